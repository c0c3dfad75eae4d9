/** XXH64, whose lower half is the checksum of a Zstandard frame. */

const [ONE, TWO, THREE, FOUR, FIVE] = [
  0x9e3779b185ebca87n, 0xc2b2ae3d27d4eb4fn, 0x165667b19e3779f9n, 0x85ebca77c2b2ae63n, 0x27d4eb2f165667c5n];
const wrap = (x) => BigInt.asUintN(64, x);
const rotated = (x, n) => wrap(x << n) | (x >> (64n - n));
const round = (lane, x) => wrap(rotated(wrap(lane + x * TWO), 31n) * ONE);

/** The lower 32 bits, with seed 0.  @param {Uint8Array} bytes */
export function xxh64(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length), size = bytes.length;
  let at = 0, hash = FIVE;
  if (size >= 32) {
    const lanes = [wrap(ONE + TWO), TWO, 0n, wrap(-ONE)];
    for (; at + 32 <= size; at += 32) lanes.forEach((lane, i) => (lanes[i] = round(lane, view.getBigUint64(at + 8 * i, true))));
    hash = lanes.reduce((sum, lane, i) => wrap(sum + rotated(lane, [1n, 7n, 12n, 18n][i])), 0n);
    for (const lane of lanes) hash = wrap((hash ^ round(0n, lane)) * ONE + FOUR);
  }
  hash = wrap(hash + BigInt(size));
  for (; at + 8 <= size; at += 8) hash = wrap(rotated(hash ^ round(0n, view.getBigUint64(at, true)), 27n) * ONE + FOUR);
  if (at + 4 <= size) {
    hash = wrap(rotated(hash ^ wrap(BigInt(view.getUint32(at, true)) * ONE), 23n) * TWO + THREE);
    at += 4;
  }
  for (; at < size; at++) hash = wrap(rotated(hash ^ wrap(BigInt(bytes[at]) * FIVE), 11n) * ONE);
  hash = wrap((hash ^ (hash >> 33n)) * TWO);
  hash = wrap((hash ^ (hash >> 29n)) * THREE);
  return Number((hash ^ (hash >> 32n)) & 0xffffffffn);
}
