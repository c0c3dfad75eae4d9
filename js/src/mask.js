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
    this.low = 0;
    this.high = 0xffffffff;
    this.value = 0;
    for (let i = 0; i < 4; i++) this.value = ((this.value << 8) | (bytes[i] ?? 0)) >>> 0;
  }

  bit(probability) {
    const middle = this.low + Math.floor(((this.high - this.low) * probability) / 65536);
    const bit = this.value <= middle ? 1 : 0;
    if (bit) this.high = middle;
    else this.low = middle + 1;
    while (this.low >>> 24 === this.high >>> 24) {
      const following = this.bytes[this.dropped + 4] ?? 0;
      need(++this.dropped <= this.bytes.length, "mask ends before its last cell");
      this.low = (this.low << 8) >>> 0;
      this.high = ((this.high << 8) | 255) >>> 0;
      this.value = ((this.value << 8) | following) >>> 0;
    }
    return bit;
  }

  /** Refuse any end but the shortest that names a number of the last interval. */
  finish() {
    let count = 0, end = 0;
    for (; count <= 4; count++) {
      const unit = 256 ** (4 - count);
      end = Math.ceil(this.low / unit) * unit;
      if (end <= this.high) break;
    }
    const rest = this.bytes.subarray(this.dropped);
    const right = rest.length === count && rest.every((byte, i) => byte === Math.floor(end / 256 ** (3 - i)) % 256);
    need(right, "mask does not end with its last cell");
  }
}

/**
 * Decode a grid; a `Uint8Array` of 0 and 1 in raster order.
 * @param {Uint8Array} bytes  @param {number[]} shape (z, y, x), at most 2^20 cells
 */
export function decodeGrid(bytes, [depth, height, width]) {
  const row = width + 4, plane = row * (height + 4);
  const grid = new Uint8Array(plane * (depth + 2)); // zeros around: two slices before, two cells beside
  const offset = ([z, y, x]) => z * plane + y * row + x;
  const lists = CONTEXTS.map((list) => Int32Array.from(list.map(offset)));
  const around = Int32Array.from([...C, ...P].map(offset)), nearest = lists[0];
  const states = CONTEXTS.map((list) => new States(2 ** list.length)), unanimous = new States(2);
  const weights = new Float64Array(45).fill(13107), keys = new Int32Array(5), logits = new Int32Array(5);
  const decoder = new Arithmetic(bytes), table = stretch();
  for (let z = 0; z < depth; z++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const at = (z + 2) * plane + (y + 2) * row + x + 2;
        let sum = 0;
        for (let i = 0; i < around.length; i++) sum += grid[at + around[i]];
        if (sum === 0 || sum === around.length) {
          const side = sum ? 1 : 0, bit = decoder.bit(Math.min(Math.max(unanimous.p[side] >>> 6, 1), 65535));
          unanimous.update(side, bit);
          grid[at] = bit;
          continue;
        }
        let set = 0, mixed = 0;
        for (let i = 0; i < 8; i++) set += grid[at + nearest[i]];
        for (let j = 0; j < 5; j++) {
          let key = 0;
          for (let i = 0; i < lists[j].length; i++) key |= grid[at + lists[j][i]] << i;
          keys[j] = key;
          logits[j] = table[states[j].p[key] >>> 8];
          mixed += weights[5 * set + j] * logits[j];
        }
        const d = Math.min(Math.max(Math.floor(mixed / 65536), -LAST), LAST), probability = squash(d);
        const bit = decoder.bit(probability), e = ((65536 * bit - probability) * 100) >> 4;
        for (let j = 0; j < 5; j++) {
          weights[5 * set + j] += (logits[j] * e + 32768) >> 16;
          states[j].update(keys[j], bit);
        }
        grid[at] = bit;
      }
    }
  }
  decoder.finish();
  const cells = new Uint8Array(depth * height * width);
  for (let z = 0, to = 0; z < depth; z++) {
    for (let y = 0; y < height; y++, to += width) {
      const at = (z + 2) * plane + (y + 2) * row + 2;
      cells.set(grid.subarray(at, at + width), to);
    }
  }
  return cells;
}
