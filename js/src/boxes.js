/** Boxes: first index and last index plus one along z, y and x. */

import { UsageError } from "./errors.js";

export const sizeOf = (ranges) => ranges.map(([begin, end]) => end - begin);

export const overlap = (box, other) => box.every(([begin, end], axis) => begin < other[axis][1] && other[axis][0] < end);

/** What two boxes share. */
export const shared = (box, other) => box.map(([begin, end], axis) => [Math.max(begin, other[axis][0]), Math.min(end, other[axis][1])]);

/** Voxels of a coarser lattice that belong to a box: multiples of the factor, counted. */
export const coarse = (box, factor) => box.map(([begin, end], axis) => [Math.ceil(begin / factor[axis]), Math.ceil(end / factor[axis])]);

export function rangesOf(box, shape) {
  return shape.map((n, axis) => {
    const [begin, end] = box?.[axis] ?? [0, n];
    if (Number.isInteger(begin) && Number.isInteger(end) && begin >= 0 && begin < end && end <= n) return [begin, end];
    throw new UsageError(`box [${begin}, ${end}] along ${"zyx"[axis]} is not within its ${n} voxels`, [begin, end]);
  });
}

/** Where the voxels of a box lie. */
export function partAffine(affine, ranges) {
  const [z, y, x] = ranges.map(([begin]) => begin);
  return affine.map((row, i) => (i < 3 ? [...row.slice(0, 3), row[3] + row[0] * x + row[1] * y + row[2] * z] : row));
}

/** For each row that two boxes share: where it begins in arrays of either, and how long it is. */
export function forRows(box, other, visit) {
  const [z, y, [x0, x1]] = shared(box, other), [, rows, columns] = sizeOf(box), [, height, width] = sizeOf(other);
  for (let k = z[0]; k < z[1]; k++) {
    for (let j = y[0]; j < y[1]; j++) {
      const to = ((k - box[0][0]) * rows + j - box[1][0]) * columns + x0 - box[2][0];
      visit(to, ((k - other[0][0]) * height + j - other[1][0]) * width + x0 - other[2][0], x1 - x0);
    }
  }
}

/** Copy what two boxes share; of the source, every `factor`-th voxel. */
export function copyBox(values, ranges, data, box, factor = [1, 1, 1]) {
  const place = coarse(box, factor), [, rows, columns] = sizeOf(ranges), [, height, width] = sizeOf(box);
  const [z, y, x] = shared(place, ranges), count = x[1] - x[0];
  for (let k = z[0]; k < z[1]; k++) {
    for (let j = y[0]; j < y[1]; j++) {
      const from = ((k * factor[0] - box[0][0]) * height + j * factor[1] - box[1][0]) * width + x[0] * factor[2] - box[2][0];
      const to = ((k - ranges[0][0]) * rows + j - ranges[1][0]) * columns + x[0] - ranges[2][0];
      if (factor[2] === 1) values.set(data.subarray(from, from + count), to);
      else for (let l = 0; l < count; l++) values[to + l] = data[from + l * factor[2]];
    }
  }
}
