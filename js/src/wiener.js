/** The filter of a file at full resolution: what its up-sampling blurs or rings, as its encoder measured. */

/** From a voxel to one of the two neighbours of each weight, (z, y, x). */
export const OFFSETS = [
  [1, 0, 0], [2, 0, 0], [0, 1, 0], [0, 2, 0], [0, 3, 0], [0, 0, 1], [0, 0, 2], [0, 0, 3],
  [0, 1, 1], [0, 1, -1], [1, 0, 1], [1, 0, -1], [1, 1, 0], [1, -1, 0],
];
const REACH = [2, 3, 3];
export const WEIGHTS = OFFSETS.length;

/** The voxels that a box needs. */
export const reached = (ranges, shape) =>
  ranges.map(([begin, end], axis) => [Math.max(begin - REACH[axis], 0), Math.min(end + REACH[axis], shape[axis])]);

/**
 * Filtered unit values of a box.
 * @param {number[]} weights  @param {Float64Array} unit of the box `wide`, which `reached` gave
 */
export function filtered(weights, unit, wide, ranges, shape) {
  const [[z0, z1], [y0, y1], [x0, x1]] = ranges, columns = x1 - x0, width = wide[2][1] - wide[2][0], height = wide[1][1] - wide[1][0];
  const inside = (i, axis) => Math.min(Math.max(i, 0), shape[axis] - 1) - wide[axis][0];
  const row = (z, y) => (inside(z, 0) * height + inside(y, 1)) * width;
  const out = new Float64Array((z1 - z0) * (y1 - y0) * columns), plain = new Float64Array(columns);
  const places = OFFSETS.map(([, , dx]) => [dx, -dx].map((d) => Int32Array.from({ length: columns }, (_, i) => inside(x0 + i + d, 2))));
  for (let z = z0, to = 0; z < z1; z++) {
    for (let y = y0; y < y1; y++, to += columns) {
      const at = row(z, y) + x0 - wide[2][0];
      for (let i = 0; i < columns; i++) out[to + i] = plain[i] = unit[at + i];
      for (let k = 0; k < WEIGHTS; k++) {
        const w = weights[k] / 256, [dz, dy] = OFFSETS[k], after = row(z + dz, y + dy), before = row(z - dz, y - dy);
        if (w === 0) continue;
        const [right, left] = places[k];
        for (let i = 0; i < columns; i++) out[to + i] += w * (unit[after + right[i]] + unit[before + left[i]] - 2 * plain[i]);
      }
    }
  }
  return out;
}
