/** Zstandard frames (RFC 8878): what it forbids is refused, down to bits that are left over. */

import { need } from "./errors.js";
import { xxh64 } from "./xxh64.js";

const BLOCK = 2 ** 17; // bytes of a block, inflated
const HUFFMAN_LOG = 12, WEIGHTS_LOG = 6;

const zeros = (count) => Array(count).fill(0), ones = (count, one = 1) => Array(count).fill(one);
const upTo = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

/** Codes of literal lengths, offsets and match lengths: extra bits, first values, longest table, usual counts. */
const LITERALS = kind([...zeros(16), 1, 1, 1, 1, 2, 2, 3, 3, 4, ...upTo(6, 16)], 0, 9,
  [4, 3, ...ones(11, 2), 1, 1, 1, ...ones(9, 2), 3, 2, ...ones(5), ...ones(4, -1)]);
const OFFSETS = kind(upTo(0, 31), 1, 8, [...ones(6), 2, 2, 2, ...ones(15), ...ones(5, -1)]);
const MATCHES = kind([...zeros(32), 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, ...upTo(7, 16)], 3, 9,
  [1, 4, 3, ...ones(6, 2), ...ones(37), ...ones(7, -1)]);

function kind(extra, first, log, counts) {
  let next = first;
  const bases = extra.map((bits) => (next += 2 ** bits) - 2 ** bits);
  return { extra, bases, log, usual: tableOf(counts) };
}

/**
 * The `size` bytes of a frame, which must state that size, a window no larger, and end with the bytes.
 * @param {Uint8Array} frame  @param {number} size  @param {string} what it holds
 */
export function inflate(frame, size, what) {
  const check = (condition, wrong = `not a Zstandard frame of ${size} bytes`) => need(condition, `${what}: ${wrong}`);
  check(frame.length >= 6 && frame[0] === 0x28 && frame[1] === 0xb5 && frame[2] === 0x2f && frame[3] === 0xfd);
  const descriptor = frame[4], single = (descriptor >> 5) & 1, sizes = [single, 2, 4, 8][descriptor >> 6];
  check(!(descriptor & 8) && sizes > 0);
  let at = 5;
  const number = (count) => {
    check(at + count <= frame.length);
    let n = 0;
    for (let i = count - 1; i >= 0; i--) n = 256 * n + frame[at + i];
    at += count;
    return n;
  };
  const byte = single ? 0 : number(1), window = single ? size : 2 ** (10 + (byte >> 3)) * (1 + (byte & 7) / 8);
  check(number([0, 1, 2, 4][descriptor & 3]) === 0); // no dictionary
  check(number(sizes) + (sizes === 2 ? 256 : 0) === size && window <= Math.max(size, 1024));
  const most = Math.min(window, BLOCK), inflater = new Inflater(new Uint8Array(size), most, check);
  for (let last = 0; !last; ) {
    const block = number(3), length = block >> 3, method = (block >> 1) & 3, stored = method === 1 ? 1 : length;
    check(method < 3 && length <= most && at + stored <= frame.length);
    inflater.block(method, frame.subarray(at, at + stored), length);
    last = block & 1;
    at += stored;
  }
  check(inflater.at === size && (!(descriptor & 4) || number(4) === xxh64(inflater.out)) && at === frame.length);
  return inflater.out;
}

class Inflater {
  constructor(out, most, check) {
    Object.assign(this, { out, most, check, at: 0, recent: [1, 4, 8], huffman: null, tables: [] });
    this.literals = new Uint8Array(most);
  }

  /** One block: as it is, a byte so many times, or compressed. */
  block(method, data, length) {
    const { out, check } = this;
    if (method === 2) return this.compressed(data);
    check(this.at + length <= out.length);
    if (method) out.fill(data[0], this.at, this.at + length);
    else out.set(data, this.at);
    this.at += length;
  }

  compressed(data) {
    const { out, check, literals } = this, start = this.at;
    let [count, place] = this.readLiterals(data), used = 0;
    const number = () => {
      check(place < data.length);
      return data[place++];
    };
    let sequences = number();
    if (sequences === 255) sequences = number() + 256 * number() + 0x7f00;
    else if (sequences > 127) sequences = 256 * (sequences - 128) + number();
    if (sequences) {
      const modes = number();
      check(!(modes & 3));
      this.tables = [LITERALS, OFFSETS, MATCHES].map(({ usual, extra, log }, i) => {
        const mode = (modes >> (6 - 2 * i)) & 3;
        if (mode === 0) return usual;
        if (mode === 3) return check(this.tables[i]), this.tables[i];
        if (mode === 1) return only(number(), extra.length, check);
        const [table, end] = readTable(data, place, data.length, extra.length, log, check);
        place = end;
        return table;
      });
      used = this.runSequences(sequences, new Bits(data, place, data.length, check), count);
    } else check(place === data.length);
    check(this.at + count - used <= out.length && this.at + count - used - start <= this.most);
    out.set(literals.subarray(used, count), this.at);
    this.at += count - used;
  }

  /** Fill `literals`; their number and the place behind them. */
  readLiterals(data) {
    const { check, literals } = this, method = data[0] & 3, format = (data[0] >> 2) & 3;
    const bytes = method > 1 ? [3, 3, 4, 5][format] : [1, 2, 1, 3][format];
    check(data.length > bytes);
    let head = 0;
    for (let i = bytes - 1; i >= 0; i--) head = 256 * head + data[i];
    if (method < 2) {
      const count = head >> (format & 1 ? 4 : 3), end = bytes + (method ? 1 : count);
      check(count <= this.most && end <= data.length);
      if (method) literals.fill(data[bytes], 0, count);
      else literals.set(data.subarray(bytes, end));
      return [count, end];
    }
    const width = [10, 10, 14, 18][format], count = (head >>> 4) & (2 ** width - 1);
    const end = bytes + Math.floor(head / 2 ** (4 + width));
    check(count <= this.most && end <= data.length);
    let place = bytes;
    if (method === 2) [this.huffman, place] = readHuffman(data, place, end, check);
    check(this.huffman);
    if (!format) this.huffmanStream(data, place, end, 0, count);
    else {
      check(count >= 6 && end - place >= 10);
      const part = Math.ceil(count / 4);
      let next = place + 6;
      for (let i = 0; i < 4; i++) {
        const from = next;
        next = i < 3 ? from + data[place + 2 * i] + 256 * data[place + 2 * i + 1] : end;
        check(next <= end && part * 3 <= count);
        this.huffmanStream(data, from, next, part * i, i < 3 ? part * (i + 1) : count);
      }
    }
    return [count, end];
  }

  huffmanStream(data, from, to, first, last) {
    const { literals, huffman: { log, symbols, lengths } } = this;
    const check = (condition) => this.check(condition, "a Huffman stream ends elsewhere"), bits = new Bits(data, from, to, check);
    for (let i = first; i < last; i++) {
      const code = bits.peek(log);
      literals[i] = symbols[code];
      bits.at -= lengths[code];
    }
    check(bits.at === bits.first);
  }

  /** Copy literals and earlier bytes; the number of literals that were used. */
  runSequences(sequences, bits, count) {
    const { out, check, literals, recent } = this, [lengths, offsets, matches] = this.tables;
    let { at } = this, used = 0, a = bits.take(lengths.log), b = bits.take(offsets.log), c = bits.take(matches.log);
    for (let left = sequences; left--; ) {
      const code = offsets.symbols[b], value = 2 ** code + bits.take(code);
      let match = matches.symbols[c], run = lengths.symbols[a];
      match = MATCHES.bases[match] + bits.take(MATCHES.extra[match]);
      run = LITERALS.bases[run] + bits.take(LITERALS.extra[run]);
      if (left) {
        a = lengths.bases[a] + bits.take(lengths.lengths[a]);
        c = matches.bases[c] + bits.take(matches.lengths[c]);
        b = offsets.bases[b] + bits.take(offsets.lengths[b]);
      }
      const which = value - (run > 0); // of the recent ones, or 3 for one less than the last
      const distance = value > 3 ? value - 3 : which < 3 ? recent[which] : recent[0] - 1;
      if (which > 1) recent[2] = recent[1];
      if (which > 0) recent[1] = recent[0];
      recent[0] = distance;
      check(used + run <= count && at + run + match <= out.length && distance > 0 && distance <= at + run);
      for (const end = at + run; at < end; ) out[at++] = literals[used++];
      for (const end = at + match; at < end; at++) out[at] = out[at - distance];
    }
    check(bits.at === bits.first);
    this.at = at;
    return used;
  }
}

/** Bits of `data`, from the highest of the last byte, which is behind its first 1, down to those of the byte `from`. */
class Bits {
  constructor(data, from, to, check) {
    check(to > from && data[to - 1]);
    Object.assign(this, { data, first: 8 * from, at: 8 * to - 1 - Math.clz32(data[to - 1] << 24) });
  }

  peek(count) {
    const { data } = this, low = this.at - count, i = low >> 3;
    return ((data[i] | (data[i + 1] << 8) | (data[i + 2] << 16)) >> (low & 7)) & ((1 << count) - 1);
  }

  take(count) {
    if (count > 16) return this.take(count - 16) * 65536 + this.take(16);
    const value = this.peek(count);
    this.at -= count;
    return value;
  }
}

/** A table of one symbol, which takes no bits. */
function only(symbol, symbols, check) {
  check(symbol < symbols);
  return { log: 0, symbols: Uint8Array.of(symbol), lengths: Uint8Array.of(0), bases: Uint16Array.of(0) };
}

/** The table of states for counts of symbols that add up to a power of two; -1 counts as 1, from the end. */
function tableOf(counts) {
  const size = counts.reduce((sum, n) => sum + Math.abs(n), 0), log = 31 - Math.clz32(size), next = counts.map(Math.abs);
  const symbols = new Uint8Array(size), lengths = new Uint8Array(size), bases = new Uint16Array(size);
  let high = size - 1, at = 0;
  counts.forEach((n, symbol) => n < 0 && (symbols[high--] = symbol));
  counts.forEach((n, symbol) => {
    for (; n > 0; n--) {
      symbols[at] = symbol;
      do at = (at + (size >> 1) + (size >> 3) + 3) & (size - 1);
      while (at > high);
    }
  });
  symbols.forEach((symbol, state) => {
    const n = next[symbol]++;
    lengths[state] = log - 31 + Math.clz32(n);
    bases[state] = (n << lengths[state]) - size;
  });
  return { log, symbols, lengths, bases };
}

/** The table whose counts are at `from`, and the place behind them. */
function readTable(data, from, to, most, maxLog, check) {
  let at = 8 * from;
  const take = (count) => {
    const i = at >> 3, value = (data[i] | (data[i + 1] << 8) | (data[i + 2] << 16)) >> (at & 7);
    at += count;
    return value & ((1 << count) - 1);
  };
  const log = 5 + take(4), counts = [];
  check(log <= maxLog);
  for (let left = 1 << log; left > 0; ) {
    check(counts.length < most && at <= 8 * to);
    const bits = 32 - Math.clz32(left + 1), low = 2 ** bits - 2 - left;
    let n = take(bits - 1);
    if (n >= low && take(1)) n += 2 ** (bits - 1) - low;
    counts.push(n - 1);
    left -= Math.abs(n - 1);
    if (n === 1) for (let more = 3; more === 3; ) {
      more = take(2);
      check(at <= 8 * to);
      counts.push(...zeros(more));
    }
  }
  check(counts.length <= most && at <= 8 * to);
  return [tableOf(counts), (at + 7) >> 3];
}

/** The table of codes at `from`, and the place behind it. */
function readHuffman(data, from, to, check) {
  const head = data[from++], end = from + (head > 127 ? (head - 126) >> 1 : head), weights = [];
  check(end < to);
  if (head > 127) for (let i = 0; i < head - 127; i++) weights.push((data[from + (i >> 1)] >> (i & 1 ? 0 : 4)) & 15);
  else readWeights(data, from, end, weights, check);
  check(weights.every((weight) => weight <= HUFFMAN_LOG));
  const sum = weights.reduce((all, weight) => all + ((1 << weight) >> 1), 0), log = 32 - Math.clz32(sum);
  const rest = 2 ** log - sum, last = 32 - Math.clz32(rest);
  check(sum > 0 && log <= HUFFMAN_LOG && rest === 2 ** (last - 1));
  weights.push(last);
  const longest = weights.filter((weight) => weight === 1).length;
  check(longest > 1 && longest % 2 === 0);
  const symbols = new Uint8Array(2 ** log), lengths = new Uint8Array(2 ** log);
  for (let weight = 1, at = 0; weight <= log; weight++) {
    weights.forEach((found, symbol) => {
      if (found !== weight) return;
      symbols.fill(symbol, at, at + 2 ** (weight - 1));
      lengths.fill(log + 1 - weight, at, (at += 2 ** (weight - 1)));
    });
  }
  return [{ log, symbols, lengths }, end];
}

/** Weights that two states give in turn, until there are no more bits. */
function readWeights(data, from, to, weights, check) {
  const [{ log, symbols, lengths, bases }, start] = readTable(data, from, to, 256, WEIGHTS_LOG, check);
  const bits = new Bits(data, start, to, check);
  let state = bits.take(log), other = bits.take(log);
  check(bits.at >= bits.first);
  while (bits.at >= bits.first) {
    check(weights.length < 254);
    weights.push(symbols[state]);
    [state, other] = [other, bases[state] + bits.take(lengths[state])];
  }
  weights.push(symbols[state]);
}
