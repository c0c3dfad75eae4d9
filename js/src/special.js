/** Voxels whose bits are stored: NaN, infinities, and zeros of the other sign. */

import { fromHalfBits } from "./arithmetic.js";
import { atMost, need } from "./errors.js";
import { bitsOf } from "./header.js";
import { readPadding } from "./padding.js";
import { inflate } from "./zstd.js";

/**
 * The values of a chunk, and their places in the brick.
 * @param {Uint8Array} chunk  @param {number[]} shape of the brick  @param {string} dtype
 */
export function readSpecial(chunk, shape, dtype) {
  need(chunk.length >= 4, "chunk of special values is too short");
  const length = new DataView(chunk.buffer, chunk.byteOffset, 4).getUint32(0, true);
  need(length <= chunk.length - 4, "mask of special values is cut off");
  const slice = readPadding(chunk.subarray(4, 4 + length), shape), places = [], area = shape[1] * shape[2];
  for (let z = 0; z < shape[0]; z++) {
    const bits = slice(z);
    for (let i = 0; i < area; i++) if (bits[i]) places.push(z * area + i);
  }
  const size = bitsOf(dtype) / 8;
  need(places.length > 0, "chunk of special values has none");
  atMost("number of bytes of special values", places.length * size, 2 ** 28);
  const bytes = inflate(chunk.subarray(4 + length), places.length * size, "special values");
  return { places, values: arrayOf(bytes, dtype) };
}

/** Float16 becomes float32, NaN keeps its bits. */
function arrayOf(bytes, dtype) {
  const { buffer } = bytes.slice();
  if (dtype === "float64") return new Float64Array(buffer);
  if (dtype === "float32") return new Float32Array(buffer);
  const bits = Uint32Array.from(new Uint16Array(buffer), (half) => {
    const sign = (half & 0x8000) * 65536, size = half & 0x7fff;
    if (size >= 0x7c00) return sign + 0x7f800000 + (size & 1023) * 8192;
    return sign + new Uint32Array(Float32Array.of(fromHalfBits(size)).buffer)[0];
  });
  return new Float32Array(bits.buffer);
}
