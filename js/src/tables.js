/** The adaptive frequencies of the refinement, and the lanes that are decoded with them. */

import { high32 } from "./arithmetic.js";
import { need } from "./errors.js";

export const TOKENS = 152; // and so the escape
const CONTEXTS = 112;
const TOTAL = 16384;
const LIMIT = 2 ** 20; // of the weights of a context
const SLOTS = 256; // places where the search for a token may begin
const SHIFT = 6;
const FREQUENT = 8; // the least weight of a token that has a frequency

let initial = null;

/** Weights that a table begins with, for all contexts. */
function initialWeights() {
  if (initial) return initial;
  initial = new Float64Array(CONTEXTS * TOKENS);
  for (let context = 0; context < CONTEXTS; context++) {
    const c = context < 56 ? context : 8 * ((context - 56) >> 3) + 4;
    const magnitude = 2 ** (c >> 2) * (4 + (c & 3)), d = Math.floor((magnitude * 2 ** 32) / (magnitude + 128));
    let tail = 2 ** 32;
    for (let token = 0; token < TOKENS; token++) {
      const at = context * TOKENS + token;
      if (token % 2 === 0 && token > 0 && token < 32) {
        initial[at] = initial[at - 1];
        continue;
      }
      const n = token < 32 ? 1 : Math.max(1, 2 ** (((token - 32) >> 2) + 2));
      const next = tail && power(tail, d, n);
      initial[at] = Math.floor(((tail - next) * 8192) / 2 ** (token > 0 && token < 32 ? 33 : 32));
      tail = next;
    }
  }
  return initial;
}

function power(t, d, n) {
  for (; n > 0; n = Math.floor(n / 2)) {
    if (n % 2) t = high32(t, d);
    d = high32(d, d);
  }
  return t;
}

/** Weights and frequencies of all contexts. */
export class Tables {
  constructor() {
    this.weights = Float64Array.from(initialWeights());
    this.sums = new Float64Array(CONTEXTS);
    this.frequency = new Int32Array(CONTEXTS * (TOKENS + 1));
    this.start = new Int32Array(CONTEXTS * (TOKENS + 2));
    this.slots = new Uint8Array(CONTEXTS * SLOTS);
    this.changed = new Uint8Array(CONTEXTS).fill(1);
    this.update();
  }

  /** Count a token of the present piece. */
  count(context, token) {
    this.weights[context * TOKENS + token] += 512;
    this.changed[context] = 1;
  }

  /** Frequencies after a piece. */
  adapt() {
    const { weights } = this;
    for (let context = 0; context < CONTEXTS; context++) {
      if (!this.changed[context]) continue;
      const from = context * TOKENS, to = from + TOKENS;
      for (;;) {
        let sum = 0;
        for (let i = from; i < to; i++) sum += weights[i];
        if (sum <= LIMIT) break;
        for (let i = from; i < to; i++) weights[i] = Math.floor(weights[i] / 2);
      }
    }
    this.update();
  }

  /** Forget most of what was counted. */
  beginStage() {
    const first = initialWeights();
    for (let i = 0; i < first.length; i++) this.weights[i] = Math.max(Math.floor(this.weights[i] / 4), first[i]);
    this.changed.fill(1);
    this.update();
  }

  update() {
    const { weights, frequency, start, slots } = this;
    for (let context = 0; context < CONTEXTS; context++) {
      if (!this.changed[context]) continue;
      this.changed[context] = 0;
      const from = context * TOKENS, to = context * (TOKENS + 1);
      let frequent = 0, total = 0;
      for (let i = 0; i < TOKENS; i++) {
        if (weights[from + i] < FREQUENT) continue;
        frequent++;
        total += weights[from + i];
      }
      const room = TOTAL - 1 - frequent;
      let sum = 1, highest = TOKENS;
      frequency[to + TOKENS] = 1;
      for (let i = TOKENS - 1; i >= 0; i--) {
        const w = weights[from + i], f = w < FREQUENT ? 0 : 1 + Math.floor((w * room) / total);
        frequency[to + i] = f;
        sum += f;
        if (f >= frequency[to + highest]) highest = i;
      }
      frequency[to + highest] += TOTAL - sum;
      let at = 0;
      for (let i = 0, slot = 0; i <= TOKENS; i++) {
        start[context * (TOKENS + 2) + i] = at;
        at += frequency[to + i];
        for (; slot << SHIFT < at; slot++) slots[context * SLOTS + slot] = i;
      }
      start[context * (TOKENS + 2) + TOKENS + 1] = at;
    }
  }
}

/** Bytes of a stream that are taken from its beginning. */
export class Bytes {
  constructor(bytes) {
    this.bytes = bytes;
    this.position = 0;
  }

  take(count) {
    need(count <= this.bytes.length - this.position, "stream of the refinement ends too early");
    this.position += count;
    return this.bytes.subarray(this.position - count, this.position);
  }

  view(count) {
    const part = this.take(count);
    return new DataView(part.buffer, part.byteOffset, count);
  }

  finish() {
    need(this.position === this.bytes.length, "stream of the refinement goes on behind its end");
  }
}

/** The states of the lanes of a brick; a state has 64 bits, in two halves. */
export class Lanes {
  constructor(stream) {
    const length = stream.view(2).getUint16(0, true);
    need(length % 8 === 0 && length >= 8 && length <= 8192, "refinement has an impossible number of lanes", length);
    const view = stream.view(length);
    this.count = length / 8;
    this.low = new Uint32Array(this.count);
    this.high = new Uint32Array(this.count);
    for (let i = 0; i < this.count; i++) {
      this.low[i] = view.getUint32(8 * i, true);
      this.high[i] = view.getUint32(8 * i + 4, true);
      need(this.high[i] < 2 ** 31 && (this.high[i] > 0 || this.low[i] >= 2 ** 31), "lane has an impossible state");
    }
  }

  finish() {
    const ended = this.low.every((low, i) => low === 2 ** 31 && this.high[i] === 0);
    need(ended, "refinement does not end where its encoder began");
  }
}

/** One block: the integer of each voxel in turn. */
export class Block {
  /** @param {Bytes} stream  @param {Lanes} lanes  @param {Tables} tables */
  constructor(stream, lanes, tables) {
    const sizes = stream.view(12), words = sizes.getUint32(0, true);
    need(words % 4 === 0, "words of a block are cut off");
    this.lanes = lanes;
    this.tables = tables;
    this.words = stream.view(words);
    this.rare = stream.take(sizes.getUint32(4, true));
    this.plain = stream.take(sizes.getUint32(8, true));
    this.word = 0;
    this.escaped = 0;
    this.bit = 0;
    this.lane = 0;
    this.done = 0;
    this.piece = 8192; // voxels up to the next update of the tables
  }

  /** The next token, of a context. */
  token(context) {
    const { low, high, count } = this.lanes, { slots, start, frequency } = this.tables, lane = this.lane;
    if (this.done === this.piece) {
      this.tables.adapt();
      this.piece += Math.min(3 * this.piece, 262144);
    }
    const x0 = low[lane], x1 = high[lane], t = x0 & 16383, first = context * (TOKENS + 2);
    let token = slots[context * SLOTS + (t >> SHIFT)];
    while (start[first + token + 1] <= t) token++;
    const f = frequency[context * (TOKENS + 1) + token];
    const product = (((x0 >>> 14) | (x1 << 18)) >>> 0) * f + t - start[first + token];
    const quotient = Math.floor(product / 4294967296), upper = (x1 >>> 14) * f + quotient;
    const lower = product - quotient * 4294967296;
    if (upper === 0 && lower < 2147483648) {
      need(this.word < this.words.byteLength, "words of a block end too early");
      high[lane] = lower;
      low[lane] = this.words.getUint32(this.word, true);
      this.word += 4;
    } else {
      high[lane] = upper;
      low[lane] = lower;
    }
    this.lane = lane + 1 === count ? 0 : lane + 1;
    this.done++;
    if (token === TOKENS) {
      need(this.escaped < this.rare.length && this.rare[this.escaped] < TOKENS, "rare tokens of a block are damaged");
      token = this.rare[this.escaped++];
    }
    this.tables.count(context, token);
    return token;
  }

  /** The plain integer of a token from 32 on. */
  long(token) {
    const h = 5 + ((token - 32) >> 2);
    let rest = h - 2, low = 0, scale = 1;
    need(this.bit + rest <= 8 * this.plain.length, "plain bits of a block end too early");
    while (rest > 0) {
      const within = this.bit & 7, count = Math.min(8 - within, rest);
      low += ((this.plain[this.bit >> 3] >> within) & ((1 << count) - 1)) * scale;
      scale *= 2 ** count;
      this.bit += count;
      rest -= count;
    }
    return (4 + ((token - 32) & 3)) * scale + low;
  }

  finish() {
    this.tables.adapt();
    need(this.word === this.words.byteLength && this.escaped === this.rare.length, "words or rare tokens are left");
    const within = this.bit & 7;
    need(this.plain.length === Math.ceil(this.bit / 8) && (!within || this.plain.at(-1) >> within === 0), "plain bits are left");
  }
}
