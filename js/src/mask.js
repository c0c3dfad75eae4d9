/** Grids of bits: binary arithmetic coding with mixed contexts. */

import { need } from "./errors.js";

// Neighbours (z, y, x) that are coded before a cell, as the specification lists them.
const N = [
  [0, 0, -1], [-1, 0, 0], [0, -1, 0], [0, -1, 1], [0, -1, -1], [-1, 0, 1], [-1, 1, 0], [-1, 0, -1], [-1, -1, 0],
  [-2, 0, 0], [-1, 1, 1], [-1, 1, -1], [-1, -1, 1], [-1, -1, -1], [0, 0, -2], [0, -2, 0], [-2, 0, 1], [-2, 1, 0],
  [-2, 0, -1], [-2, -1, 0],
];
const C = [
  [0, 0, -1], [0, 0, -2], [0, -2, 1], [0, -2, 0], [0, -2, -1], [0, -1, 2], [0, -1, 1], [0, -1, 0], [0, -1, -1], [0, -1, -2],
];
const A = [
  [0, 0, -1], [-1, 0, 0], [-1, 0, 1], [-1, 1, 0], [-1, 0, -1], [-1, -1, 0], [-2, 0, 0], [-2, 0, 1], [-2, 1, 0],
  [-2, 0, -1], [-2, -1, 0],
];
const P = [
  [-1, 0, 0], [-1, 0, 1], [-1, 1, 0], [-1, 0, -1], [-1, -1, 0], [-1, 1, 1], [-1, 1, -1], [-1, -1, 1], [-1, -1, -1],
  [-1, 0, 2], [-1, 2, 0], [-2, 0, 0], [-2, 0, 1], [-2, 1, 0], [-2, 0, -1], [-2, -1, 0],
];
const CONTEXTS = [N.slice(0, 8), N.slice(0, 14), N, C, A];
const K = [
  3, 5, 8, 13, 22, 36, 60, 98, 162, 267, 439, 720, 1179, 1921, 3108, 4971, 7812, 11955, 17625, 24743,
  32768, 40793, 47911, 53581, 57724, 60565, 62428, 63615, 64357, 64816, 65097, 65269, 65374, 65438, 65476, 65500,
  65514, 65523, 65528, 65531, 65533,
];
const LAST = 2559; // largest logit

const squash = (d) => {
  const i = (d >> 7) + 20, f = d & 127;
  return (K[i] * (128 - f) + K[i + 1] * f + 64) >> 7;
};

let stretched = null;
function stretch() {
  if (stretched) return stretched;
  stretched = new Int16Array(16384);
  for (let q = 0, d = -LAST - 1; q < 16384; q++) {
    while (d < LAST && squash(d + 1) <= 4 * q + 2) d++;
    stretched[q] = Math.max(d, -LAST);
  }
  return stretched;
}

/** Probabilities of a set cell, times 2^22, and how often each was updated. */
class States {
  constructor(count) {
    this.p = new Uint32Array(count).fill(2097152);
    this.n = new Uint8Array(count);
  }

  update(i, bit) {
    const n = this.n[i], p = this.p[i], r = Math.floor(655360 / (10 * n + 13));
    this.p[i] = bit ? p + Math.floor(((4194303 - p) * r) / 65536) : p - Math.floor((p * r) / 65536);
    if (n < 127) this.n[i] = n + 1;
  }
}

/** The binary arithmetic decoder. */
class Arithmetic {
  constructor(bytes) {
    this.bytes = bytes;
    this.dropped = 0;
    this.at = Uint32Array.of(0, 0xffffffff, 0); // ends of the interval, and the number in it
    for (let i = 0; i < 4; i++) this.at[2] = (this.at[2] << 8) | (bytes[i] ?? 0);
  }

  bit(probability) {
    const { at } = this, low = at[0], high = at[1], middle = low + Math.floor(((high - low) * probability) / 65536);
    const bit = at[2] <= middle ? 1 : 0;
    if (bit) at[1] = middle;
    else at[0] = middle + 1;
    if ((at[0] ^ at[1]) >>> 24 === 0) this.shift();
    return bit;
  }

  /** Drop the bytes that both ends share. */
  shift() {
    const { at } = this;
    while ((at[0] ^ at[1]) >>> 24 === 0) {
      const following = this.bytes[this.dropped + 4] ?? 0;
      need(++this.dropped <= this.bytes.length, "mask ends before its last cell");
      at[0] <<= 8;
      at[1] = (at[1] << 8) | 255;
      at[2] = (at[2] << 8) | following;
    }
  }

  /** Refuse any end but the shortest that names a number of the last interval. */
  finish() {
    const [low, high] = this.at;
    let count = 0, end = 0;
    for (; count <= 4; count++) {
      const unit = 256 ** (4 - count);
      end = Math.ceil(low / unit) * unit;
      if (end <= high) break;
    }
    const rest = this.bytes.subarray(this.dropped);
    const right = rest.length === count && rest.every((byte, i) => byte === Math.floor(end / 256 ** (3 - i)) % 256);
    need(right, "mask does not end with its last cell");
  }
}

/** The cells of a grid as they are decoded; small methods, which a browser compiles soon. */
class Grid {
  constructor(bytes, [depth, height, width]) {
    const row = (width + 7) & -4, plane = row * (height + 4); // rows begin with a word
    const offset = ([z, y, x]) => z * plane + y * row + x;
    this.width = width;
    this.row = row;
    this.plane = plane;
    this.cells = new Uint8Array(plane * (depth + 2)); // zeros around: two slices before, two cells beside
    this.words = new Uint32Array(this.cells.buffer);
    this.lists = CONTEXTS.map((list) => Int32Array.from(list.map(offset)));
    this.around = Int32Array.from([...C, ...P].map(offset));
    this.above = Int32Array.from([[-2, -1], [-2, 0], [-2, 1], [-1, -1], [-1, 0], [-1, 1], [-1, 2], [0, -2], [0, -1]], ([z, y]) => offset([z, y, 0]) / 4);
    this.any = new Uint8Array(row);
    this.all = new Uint8Array(row);
    this.states = CONTEXTS.map((list) => new States(2 ** list.length));
    this.unanimous = new States(2);
    this.weights = new Float64Array(45).fill(13107);
    this.keys = new Int32Array(5);
    this.logits = new Int32Array(5);
    this.decoder = new Arithmetic(bytes);
    this.table = stretch();
  }

  /** Which columns have a set cell, or nothing else, in the rows of the neighbours. */
  look(first) {
    const { words, above } = this, any = new Uint32Array(this.any.buffer), all = new Uint32Array(this.all.buffer);
    for (let i = 0; i < any.length; i++) {
      let either = 0, both = -1;
      for (let k = 0; k < above.length; k++) {
        const word = words[first + above[k] + i];
        either |= word;
        both &= word;
      }
      any[i] = either;
      all[i] = both;
    }
  }

  /** Most cells have neighbours of one kind: that is seen from all rows at once. */
  decodeRow(z, y) {
    const { cells, any, all } = this, start = (z + 2) * this.plane + (y + 2) * this.row;
    this.look(start / 4);
    let set = -1, clear = -1; // the last columns with such a cell, of those with neighbours
    for (let x = -4; x < this.width; x++) {
      if (any[x + 4] !== 0) set = x + 4;
      if (all[x + 4] === 0) clear = x + 4;
      if (x < 0) continue;
      const at = start + x + 2, before = cells[at - 1] + cells[at - 2];
      if (before === 0 && set < x) cells[at] = this.decodeAlike(0);
      else if (before === 2 && clear < x) cells[at] = this.decodeAlike(1);
      else cells[at] = this.decodeCell(at);
    }
  }

  decodeCell(at) {
    const { cells, around } = this;
    let sum = 0;
    for (let i = 0; i < around.length; i++) sum += cells[at + around[i]];
    if (sum === 0) return this.decodeAlike(0);
    return sum === around.length ? this.decodeAlike(1) : this.decodeMixed(at);
  }

  /** A cell whose neighbours are all clear or all set. */
  decodeAlike(side) {
    const { unanimous } = this, bit = this.decoder.bit(Math.min(Math.max(unanimous.p[side] >>> 6, 1), 65535));
    unanimous.update(side, bit);
    return bit;
  }

  decodeMixed(at) {
    const { cells, lists, states, weights, keys, logits } = this, nearest = lists[0];
    let set = 0, mixed = 0;
    for (let i = 0; i < 8; i++) set += cells[at + nearest[i]];
    for (let j = 0; j < 5; j++) {
      const list = lists[j];
      let key = 0;
      for (let i = 0; i < list.length; i++) key |= cells[at + list[i]] << i;
      keys[j] = key;
      logits[j] = this.table[states[j].p[key] >>> 8];
      mixed += weights[5 * set + j] * logits[j];
    }
    const d = Math.min(Math.max(Math.floor(mixed / 65536), -LAST), LAST), probability = squash(d);
    const bit = this.decoder.bit(probability), e = ((65536 * bit - probability) * 100) >> 4;
    for (let j = 0; j < 5; j++) {
      weights[5 * set + j] += (logits[j] * e + 32768) >> 16;
      states[j].update(keys[j], bit);
    }
    return bit;
  }
}

/**
 * Decode a grid; a `Uint8Array` of 0 and 1 in raster order.
 * @param {Uint8Array} bytes  @param {number[]} shape (z, y, x), at most 2^20 cells
 */
export function decodeGrid(bytes, shape) {
  const [depth, height, width] = shape, grid = new Grid(bytes, shape), cells = new Uint8Array(depth * height * width);
  for (let z = 0, to = 0; z < depth; z++) {
    for (let y = 0; y < height; y++, to += width) {
      grid.decodeRow(z, y);
      const at = (z + 2) * grid.plane + (y + 2) * grid.row + 2;
      cells.set(grid.cells.subarray(at, at + width), to);
    }
  }
  grid.decoder.finish();
  return cells;
}
