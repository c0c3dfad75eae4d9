/** The residual of a super-resolution model: the blocks of the low-res volume that it is called with, as in Python. */

import { clamp, product } from "./arithmetic.js";
import { forRows, sizeOf } from "./boxes.js";
import { unitWindow } from "./header.js";

const BLOCK = [16, 32, 32]; // low-res voxels at most: the result depends on it, as halos are smaller than what a model sees
const MARGIN = 1; // voxels around active ones that have a residual too
const AXES = { 1: [], 2: [2], 4: [2, 1], 8: [2, 1, 0] }; // that are mirrored, by the number of images

/** Whether a file names a model that would change its voxels. */
export const hasModel = (h) => h.sr.id !== "lanczos" && h.range.low < h.range.high;

/** Parts of a range, of equal length and as few as that allows; the last may reach beyond. */
function parts(start, stop, longest) {
  const count = Math.ceil((stop - start) / longest), length = Math.ceil((stop - start) / Math.max(count, 1));
  return Array.from({ length: count }, (_, k) => [start + k * length, start + (k + 1) * length]);
}

const grown = ([begin, end], n) => [Math.max(0, begin - MARGIN), Math.min(end + MARGIN, n)];

/** Low-res slices of each layer of blocks. */
export const layersOf = (depth) => parts(0, depth, BLOCK[0]);

/** The slices whose active voxels say where a layer has blocks. */
export const around = (layer, depth) => grown(layer, depth);

/**
 * Blocks of a layer, [z, y, x].
 * @param {Uint8Array} active which columns of the slices `around` it have an active voxel  @param {number[]} size its rows and columns
 */
export function blocksOf(layer, active, [rows, columns]) {
  const bounds = [[rows, -1], [columns, -1]];
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      if (!active[y * columns + x]) continue;
      for (const [axis, i] of [y, x].entries()) bounds[axis] = [Math.min(bounds[axis][0], i), Math.max(bounds[axis][1], i)];
    }
  }
  if (bounds[0][1] < 0) return [];
  const [down, right] = bounds.map(([first, last], axis) => parts(...grown([first, last + 1], [rows, columns][axis]), BLOCK[axis + 1]));
  return down.flatMap((y) => right.map((x) => [layer, y, x])).filter(([, y, x]) => isActive(active, columns, grown(y, rows), grown(x, columns)));
}

function isActive(active, columns, [y0, y1], [x0, x1]) {
  for (let y = y0; y < y1; y++) if (active.subarray(y * columns + x0, y * columns + x1).includes(1)) return true;
  return false;
}

/** The full-res voxels of a block. */
export const fullOf = (block, factor) => block.map(([begin, end], axis) => [begin * factor[axis], end * factor[axis]]);

/** The low-res voxels that a block reads; beyond the volume its last ones stand for those that are not there. */
export const haloed = (block, halo, low) => block.map(([begin, end], axis) => [Math.max(begin - halo[axis], 0), Math.min(end + halo[axis], low[axis])]);

/**
 * Residual of a block at full resolution, in the model's window: the mean over mirror images.
 * @param {import("./model.js").Model} model  @param {Float64Array} unit of the box that `haloed` gave
 */
export async function residualOf(h, model, block, unit, box) {
  const [a, b] = unitWindow(h), { halo, factor } = model;
  const shape = sizeOf(block).map((n, axis) => n + 2 * halo[axis]), full = sizeOf(fullOf(block, factor)), [, rows, columns] = sizeOf(box);
  const places = shape.map((n, axis) => Int32Array.from({ length: n }, (_, i) =>
    clamp(block[axis][0] - halo[axis] + i, box[axis][0], box[axis][1] - 1) - box[axis][0]));
  const input = new Float32Array(product(shape)), scale = 2 / (b - a);
  let to = 0;
  for (const z of places[0]) {
    for (const y of places[1]) {
      for (const x of places[2]) input[to++] = clamp((unit[(z * rows + y) * columns + x] - a) * scale - 1, -1, 1);
    }
  }
  const images = imagesOf(AXES[h.sr.ensemble]);
  let sum = null;
  for (const axes of images) {
    const residual = flipped(await model.residual(flipped(input, shape, axes), shape), full, axes);
    if (!sum) sum = Float32Array.from(residual);
    else for (let i = 0; i < sum.length; i++) sum[i] += residual[i];
  }
  return images.length > 1 ? sum.map((v) => v / images.length) : sum;
}

/** Add the residual of a block to unit values of a box at full resolution. */
export function addResidual(h, unit, ranges, residual, full) {
  const [a, b] = unitWindow(h), scale = (b - a) / 2;
  forRows(ranges, full, (to, from, count) => {
    for (let i = 0; i < count; i++) unit[to + i] += residual[from + i] * scale;
  });
}

/** The axes along which each image is mirrored: all subsets, small ones first. */
const imagesOf = (axes) =>
  axes.reduce((found, axis) => [...found, ...found.map((set) => [...set, axis])], [[]]).sort((a, b) => a.length - b.length);

function flipped(data, [depth, height, width], axes) {
  if (axes.length === 0) return data;
  const [fz, fy, fx] = [0, 1, 2].map((axis) => axes.includes(axis)), out = new Float32Array(data.length);
  for (let z = 0, to = 0; z < depth; z++) {
    for (let y = 0; y < height; y++) {
      const from = ((fz ? depth - 1 - z : z) * height + (fy ? height - 1 - y : y)) * width;
      for (let x = 0; x < width; x++) out[to++] = data[from + (fx ? width - 1 - x : x)];
    }
  }
  return out;
}
