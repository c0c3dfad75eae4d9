/** Steps of latents: rANS with the tables of a model. */

import { need } from "./errors.js";

const TOTAL = 65536;
const LOW = 2 ** 32; // states stay from here to 2^48
const MOST_ZEROS = 24;

/** The tables of a model, by the index of a scale. */
export class LogisticTables {
  /** @param {Uint8Array} shift  @param {Int16Array} reach  @param {Uint16Array} frequencies of all tables, one after the other */
  constructor(shift, reach, frequencies) {
    Object.assign(this, { shift, reach, tables: [] });
    this.parts = [];
    for (let index = 0, from = 0; index < reach.length; index++) {
      this.parts.push(frequencies.subarray(from, (from += 2 * reach[index] + 2)));
    }
  }

  /** Frequencies, starts and the symbol of each slot. */
  at(index) {
    return (this.tables[index] ??= tabulated(this.parts[index]));
  }
}

function tabulated(frequency) {
  const start = new Int32Array(frequency.length), symbols = new Uint16Array(TOTAL);
  for (let s = 0, at = 0; s < frequency.length; s++) {
    start[s] = at;
    symbols.fill(s, at, (at += frequency[s]));
  }
  return { frequency, start, symbols };
}

/** A stream that is read from its beginning. */
export class StepReader {
  /** @param {LogisticTables} tables  @param {Uint8Array} bytes */
  constructor(tables, bytes) {
    need(bytes.length >= 6 && bytes.length % 2 === 0, "stream of latents has no state");
    this.tables = tables;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.x = this.view.getUint32(0, true) + this.view.getUint16(4, true) * 2 ** 32;
    this.position = 6;
    need(this.x >= LOW, "stream of latents has an impossible state");
  }

  /** The next step, at the scale of an index. */
  step(index) {
    const { frequency, start, symbols } = this.tables.at(index), reach = this.tables.reach[index], shift = this.tables.shift[index];
    const symbol = symbols[this.x % TOTAL];
    this.drop(frequency[symbol], start[symbol]);
    let value = symbol <= 2 * reach ? symbol - reach : this.escaped(reach);
    for (let bit = 0; bit < shift; bit++) value = 2 * value + this.bit();
    need(value === (value | 0), "latent is beyond 32 bits");
    return value;
  }

  escaped(reach) {
    let zeros = 0, over = 1;
    while (!this.bit()) need(++zeros <= MOST_ZEROS, "latent is beyond 32 bits");
    for (; zeros > 0; zeros--) over = 2 * over + this.bit();
    return this.bit() ? -(over + reach) : over + reach;
  }

  bit() {
    const bit = this.x % TOTAL >= TOTAL / 2 ? 1 : 0;
    this.drop(TOTAL / 2, bit * (TOTAL / 2));
    return bit;
  }

  drop(frequency, start) {
    const upper = Math.floor(this.x / TOTAL);
    this.x = frequency * upper + (this.x - upper * TOTAL) - start;
    if (this.x >= LOW) return;
    need(this.position < this.view.byteLength, "stream of latents ends before its last step");
    this.x = this.x * TOTAL + this.view.getUint16(this.position, true);
    this.position += 2;
  }

  /** Refuse a stream that goes on, or does not end where an encoder began. */
  finish() {
    need(this.x === LOW && this.position === this.view.byteLength, "stream of latents does not end with its last step");
  }
}
