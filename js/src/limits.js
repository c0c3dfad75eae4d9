/** Ceilings of the format: what is refused from the header, before anything is allocated. */

import { ceilDiv, product } from "./arithmetic.js";
import { atMost } from "./errors.js";
import { bitsOf, edgesOf, hasLowres, lowresShape, streamSlices, streamsOf } from "./header.js";

export const FILE = 2 ** 40;
export const SECTION = 2 ** 28; // bytes of a section that is read whole, or of a chunk
export const SECTIONS = 64;
export const HEADER = 2 ** 20;
const STREAMED = 2 ** 32; // low-res voxels of streams
const LOWRES = 2 ** 27; // of networks

/** Weights and biases of a network. */
export const networkWeights = (layers, width) => 4 * width + (layers - 1) * (width + 1) * width + width + 1;

/** Refuse a header that is too large to decode. */
export function check(h, masked, padded) {
  const { shape, dtype } = h.volume, edges = edgesOf(h), voxels = product(edges), refined = h.refine.steps.length > 0;
  const low = lowresShape(h), networks = h.lowres.coder === "siren", slices = streamSlices(h);
  const lowres = hasLowres(h) ? product(low) : 0;
  const weights = networks ? networkWeights(h.net.layers, h.net.width) : 0;
  const first = product(edges.map((n, axis) => ceilDiv(n, 2 ** h.refine.axes.filter((a) => a === axis).length)));
  const { unit } = h.refine;
  const wide = unit === 0 ? bitsOf(dtype) >= 32 : (h.range.high - h.range.low) / unit >= 2 ** 31;
  const tiles = product(h.net.tiles), bricks = product(shape.map((n, axis) => ceilDiv(n, edges[axis])));
  const cells = product(low.map((n, axis) => ceilDiv(n, h.mask.cell[axis])));
  for (const [name, value, ceiling] of [
    ["longest axis", Math.max(...shape), 65535],
    ["number of voxels", product(shape), 2 ** 36],
    ["number of voxels of a slice", shape[1] * shape[2], 2 ** 26],
    ["number of voxels of a brick", padded || refined ? voxels : 0, 2 ** 30],
    ["number of low-res voxels", lowres, slices ? STREAMED : LOWRES],
    ["number of voxels of a stream", slices * low[1] * low[2], h.lowres.coder === "latent" ? 2 ** 24 : 2 ** 26],
    ["number of tiles", tiles, 65536],
    ["number of hidden layers", h.net.layers, 16],
    ["width of a layer", h.net.width, 1024],
    ["number of weights", tiles * weights, 2 ** 24],
    ["number of multiply-adds", networks ? lowres * weights : 0, 2 ** 42],
    ["number of voxels in the first lattice", refined ? first : 0, 4096],
    ["number of bytes of the refinement", refined ? voxels * (wide ? 8 : 4) : 0, 2 ** 32],
    ["number of chunks", Math.max(streamsOf(h), 1) * bricks, 2 ** 22],
    ["number of mask cells", masked ? cells : 0, 2 ** 20],
  ]) atMost(name, value, ceiling);
}
