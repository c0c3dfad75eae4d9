/** Masks at full resolution: which voxels of a brick hold the padding value. */

import { atMost, need, UnsupportedFile } from "./errors.js";
import { decodeGrid } from "./mask.js";
import { inflate } from "./zstd.js";

/**
 * Decode the mask of a brick; slices are unpacked when they are asked for.
 * @param {Uint8Array} body  @param {number[]} shape (z, y, x)
 * @returns {(z: number) => Uint8Array} the bits of a slice, 0 or 1
 */
export function readPadding(body, shape) {
  const method = body[0];
  if (method === 1) return coded(body.subarray(1), shape);
  if (method === 0) return packed(body.subarray(1), shape);
  need(body.length > 0, "padding mask is empty");
  throw new UnsupportedFile(`coder ${method} of a padding mask is unknown to this decoder: update it`, method);
}

function coded(body, [depth, height, width]) {
  const size = Math.ceil(depth / 8), area = height * width, slices = new Int32Array(depth);
  need(body.length >= size, "padding mask ends within its flags");
  let count = 0;
  for (let z = 0; z < 8 * size; z++) {
    const flag = (body[z >> 3] >> (7 - (z & 7))) & 1;
    need(z < depth || !flag, "padding mask has flags behind its last slice");
    count += flag;
    if (z < depth) slices[z] = count - 1;
  }
  need(slices[0] === 0, "padding mask has no first slice");
  atMost("number of cells of a padding mask", count * area, 2 ** 20);
  const grid = decodeGrid(body.subarray(size), [count, height, width]);
  for (let i = 1; i < count; i++) {
    let same = true;
    for (let k = (i - 1) * area; same && k < i * area; k++) same = grid[k] === grid[k + area];
    need(!same, "padding mask repeats a slice");
  }
  return (z) => grid.subarray(slices[z] * area, (slices[z] + 1) * area);
}

function packed(frame, [depth, height, width]) {
  const area = height * width, bytes = Math.ceil(area / 8), size = depth * bytes;
  atMost("number of bytes of a padding mask", size, 2 ** 28);
  const content = inflate(frame, size, "padding mask");
  const unused = area % 8 ? (1 << (8 - (area % 8))) - 1 : 0;
  for (let i = 0; i < size; i++) {
    if (i >= bytes) content[i] ^= content[i - bytes];
    if ((i + 1) % bytes === 0) need((content[i] & unused) === 0, "padding mask has bits behind a slice");
  }
  return (z) => {
    const bits = new Uint8Array(area);
    for (let i = 0; i < area; i++) bits[i] = (content[z * bytes + (i >> 3)] >> (7 - (i & 7))) & 1;
    return bits;
  };
}
