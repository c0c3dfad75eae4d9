/** The integers of weights: rANS with static frequencies of a Laplace distribution. */

import { high32 } from "./arithmetic.js";
import { need } from "./errors.js";

const PHI = [
  4045453815, 4055731996, 4065598892, 4075069962, 4084160169, 4092883986, 4101255408, 4109287957,
  4116994699, 4124388246, 4131480777, 4138284039, 4144809366, 4151067684, 4157069526, 4162825044,
];
const WIDEST = 136; // of the spreads that have frequencies of their own; beyond it plain bits follow
const TOTAL = 65536;

const tables = new Map();

/** Frequency, start and symbol of each place of a spread up to 136. */
function tableOf(spread) {
  if (!tables.has(spread)) tables.set(spread, tabulated(frequencies(spread)));
  return tables.get(spread);
}

/** Of 0, +1, -1, +2, -2, ..., and the escape. */
function frequencies(spread) {
  let squares = spread < 121 ? Math.ceil((121 - spread) / 16) : 0;
  let phi = PHI[spread + 16 * squares - 121];
  for (; squares > 0; squares--) phi = high32(phi, phi);
  const decay = high32(phi, phi), found = [];
  let tail = phi, sum = 0;
  while (found.length < 254) {
    const nearer = high32(tail, decay);
    const n = Math.floor((Math.floor((tail - nearer) / 2) + 32768) / TOTAL);
    if (n === 0) break;
    found.push(n, n);
    sum += n;
    tail = nearer;
  }
  const escape = Math.max(1, Math.floor((tail + 32768) / TOTAL));
  return [TOTAL - 2 * sum - escape, ...found, escape];
}

function tabulated(frequency) {
  const start = new Int32Array(frequency.length), symbols = new Uint8Array(TOTAL);
  let at = 0;
  for (let s = 0; s < frequency.length; s++) {
    start[s] = at;
    symbols.fill(s, at, at + frequency[s]);
    at += frequency[s];
  }
  return { frequency: Int32Array.from(frequency), start, symbols, escape: frequency.length - 1 };
}

/** A stream of integers that is read from its beginning. */
export class Rans {
  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    need(bytes[0] !== 0, "stream of weights begins with 0");
    this.bytes = bytes;
    this.position = 0;
    this.x = 0;
    this.refill();
  }

  refill() {
    while (this.x < 4194304 && this.position < this.bytes.length) this.x = 256 * this.x + this.bytes[this.position++];
    need(this.x >= TOTAL, "stream of weights ends before its last one");
  }

  plain(bits) {
    const value = this.x & ((1 << bits) - 1);
    this.x >>= bits;
    this.refill();
    return value;
  }

  /** The next `count` integers, of one spread. */
  integers(count, spread) {
    const more = spread > WIDEST ? Math.ceil((spread - WIDEST) / 16) : 0;
    const { frequency, start, symbols, escape } = tableOf(spread - 16 * more);
    const values = new Float64Array(count);
    for (let i = 0; i < count; i++) {
      const t = this.x & 65535, symbol = symbols[t];
      this.x = frequency[symbol] * (this.x >> 16) + t - start[symbol];
      this.refill();
      let value = symbol === escape ? this.escaped((escape - 1) / 2) : symbol & 1 ? (symbol + 1) >> 1 : -(symbol >> 1);
      if (more > 0) value = 2 ** more * value + this.plain(more) - 2 ** (more - 1);
      need(Math.abs(value) < 2 ** 31, "weight is beyond 32 bits");
      values[i] = value;
    }
    return values;
  }

  escaped(sides) {
    const v = this.plain(6), n = v >> 1;
    const m = n <= 16 ? this.plain(n) : TOTAL * this.plain(n - 16) + this.plain(16);
    return (2 ** n + m + sides) * (v & 1 ? -1 : 1);
  }

  /** Refuse a stream that goes on, or does not end where an encoder began. */
  finish() {
    need(this.x === TOTAL && this.position === this.bytes.length, "stream of weights does not end with its last one");
  }
}
