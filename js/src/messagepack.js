/** Canonical MessagePack: a value has exactly one byte string, and any other is refused while it is read. */

import { atMost, CorruptFile, need } from "./errors.js";

const DEPTH = 8;
const VALUES = 2 ** 17;
const EXACT = 2 ** 53;

/**
 * Read one value. Maps become `Map`s with text as keys; integers beyond 2^53 become BigInts.
 * @param {Uint8Array} bytes
 */
export function read(bytes) {
  const reader = new Reader(bytes);
  const value = reader.value(1);
  need(reader.position === bytes.length, `header is followed by ${bytes.length - reader.position} bytes`);
  return value;
}

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.position = 0;
    this.values = 0;
  }

  /** Where `length` bytes begin, which are passed. */
  pass(length) {
    const start = this.position;
    need(length <= this.bytes.length - start, `header of ${this.bytes.length} bytes is cut off`);
    this.position += length;
    return start;
  }

  /** A big-endian length of some bytes, that needs them all. */
  length(size, least) {
    const start = this.pass(size);
    let n = 0;
    for (let i = 0; i < size; i++) n = 256 * n + this.bytes[start + i];
    canonical(n >= least);
    return n;
  }

  value(depth) {
    atMost("number of values in the header", ++this.values, VALUES);
    const first = this.bytes[this.pass(1)];
    if (first < 0x80) return first;
    if (first >= 0xe0) return first - 256;
    if (first < 0x90) return this.map(first & 15, depth);
    if (first < 0xa0) return this.array(first & 15, depth);
    if (first < 0xc0) return this.text(first & 31);
    switch (first) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: return this.octets(this.length(1, 0));
      case 0xc5: return this.octets(this.length(2, 256));
      case 0xc6: return this.octets(this.length(4, 65536));
      case 0xcb: return this.float();
      case 0xcc: return this.length(1, 128);
      case 0xcd: return this.length(2, 256);
      case 0xce: return this.length(4, 65536);
      case 0xcf: return this.long("getBigUint64", (n) => n >= 2n ** 32n);
      case 0xd0: return this.negative("getInt8", 1, -32);
      case 0xd1: return this.negative("getInt16", 2, -128);
      case 0xd2: return this.negative("getInt32", 4, -32768);
      case 0xd3: return this.long("getBigInt64", (n) => n < -(2n ** 31n));
      case 0xd9: return this.text(this.length(1, 32));
      case 0xda: return this.text(this.length(2, 256));
      case 0xdb: return this.text(this.length(4, 65536));
      case 0xdc: return this.array(this.length(2, 16), depth);
      case 0xdd: return this.array(this.length(4, 65536), depth);
      case 0xde: return this.map(this.length(2, 16), depth);
      case 0xdf: return this.map(this.length(4, 65536), depth);
      default: throw new CorruptFile(`header has MessagePack type 0x${first.toString(16)}, which is not allowed`, first);
    }
  }

  float() {
    const value = this.view.getFloat64(this.pass(8));
    need(Number.isFinite(value), "header has a number that is not finite");
    canonical(!(Number.isInteger(value) && Math.abs(value) <= EXACT));
    return value;
  }

  negative(method, size, above) {
    const value = this.view[method](this.pass(size));
    canonical(value < above);
    return value;
  }

  long(method, isLong) {
    const value = this.view[method](this.pass(8));
    canonical(isLong(value));
    return value >= -(2n ** 53n) && value <= 2n ** 53n ? Number(value) : value;
  }

  text(length) {
    const start = this.pass(length);
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(this.bytes.subarray(start, this.position));
    } catch {
      throw new CorruptFile("header has text that is not UTF-8");
    }
  }

  octets(length) {
    const start = this.pass(length);
    return this.bytes.slice(start, this.position);
  }

  /** Refuse what is nested too deep, or claims more values than there are bytes. */
  open(items, depth) {
    need(depth <= DEPTH, `header is nested deeper than ${DEPTH}`);
    need(items <= this.bytes.length - this.position, `header claims ${items} values that are not there`, items);
  }

  array(length, depth) {
    this.open(length, depth);
    const items = [];
    for (let i = 0; i < length; i++) items.push(this.value(depth + 1));
    return items;
  }

  map(length, depth) {
    this.open(2 * length, depth);
    const entries = new Map();
    let before = null;
    for (let i = 0; i < length; i++) {
      const start = this.position;
      const key = this.value(depth + 1);
      need(typeof key === "string", "header has a key that is not text");
      const encoded = new TextEncoder().encode(key);
      need(before === null || ascends(before, encoded), "header has keys that are not sorted", start);
      before = encoded;
      entries.set(key, this.value(depth + 1));
    }
    return entries;
  }
}

function canonical(condition) {
  need(condition, "header is not in canonical form");
}

/** Whether one string of bytes comes before another; UTF-8 sorts as its code points do. */
function ascends(a, b) {
  const n = Math.min(a.length, b.length);
  for (let i = 0; i < n; i++) if (a[i] !== b[i]) return a[i] < b[i];
  return a.length < b.length;
}
