/** Integers beyond 32 bits in float64, and the roundings of the specification. */

const LOW = 65536;

/** a b >> 32 for 0 <= a, b <= 2^32, exactly. */
export function high32(a, b) {
  const upper = Math.floor(b / LOW), lower = b % LOW;
  return Math.floor((a * upper + Math.floor((a * lower) / LOW)) / LOW);
}

/** The nearest integer, half to even. */
export function rint(x) {
  const below = Math.floor(x), rest = x - below;
  if (rest < 0.5) return below;
  if (rest > 0.5) return below + 1;
  return below % 2 === 0 ? below : below + 1;
}

export const clamp = (x, low, high) => (x < low ? low : x > high ? high : x);

export const product = (numbers) => numbers.reduce((a, b) => a * b, 1);

export const ceilDiv = (a, b) => Math.ceil(a / b);

/** The float16 nearest to a number, half to even, as a number. */
export function toHalf(x) {
  const size = Math.abs(x);
  if (!(size < 65520)) return x; // NaN, or beyond the type
  const quantum = quantumOf(size);
  return Math.sign(x) * rint(size / quantum) * quantum || x * 0;
}

/** The bits of a number that is a float16, without its sign. */
export function halfBits(size) {
  const quantum = quantumOf(size), units = size / quantum;
  return units < 1024 ? units : (Math.log2(quantum) + 25) * 1024 + units - 1024;
}

/** The number of the 15 bits of a float16 without its sign. */
export function fromHalfBits(bits) {
  const exponent = bits >> 10, fraction = bits & 1023;
  return exponent ? (fraction + 1024) * 2 ** (exponent - 25) : fraction * 2 ** -24;
}

/** The bytes of stored values; float16 is held as float32, and becomes what it was. */
export function bytesOf(data, dtype) {
  if (dtype !== "float16") return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const bits = new Uint32Array(data.buffer, data.byteOffset, data.length);
  const halves = Uint16Array.from(bits, (word, i) => {
    const special = (word & 0x7f800000) === 0x7f800000; // NaN keeps its bits
    return ((word >>> 16) & 0x8000) | (special ? 0x7c00 | ((word >> 13) & 1023) : halfBits(Math.abs(data[i])));
  });
  return new Uint8Array(halves.buffer);
}

function quantumOf(size) {
  let exponent = -14;
  while (2 ** (exponent + 1) <= size) exponent++;
  return 2 ** (exponent - 10);
}

const CRC = new Uint32Array(256);
for (let n = 0; n < 256; n++) {
  let c = n;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
  CRC[n] = c;
}

/** The CRC-32 that zlib computes, of bytes that follow others with the checksum `before`. */
export function crc32(bytes, before = 0) {
  let c = ~before;
  for (let i = 0; i < bytes.length; i++) c = CRC[(c ^ bytes[i]) & 255] ^ (c >>> 8);
  return ~c >>> 0;
}
