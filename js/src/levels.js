/** The grids that a file can be read at, from fine to coarse, and where their voxels lie. */

import { product } from "./arithmetic.js";
import { bricksOf, edgesOf, halvings, hasLowres, lowresShape } from "./header.js";

const FULL = [1, 1, 1];

/**
 * Levels of a file: the full resolution, then by their voxels the low-res volume and the lattices of the
 * refinement, where a lattice is at most twice as coarse along an axis as the one before.
 */
export function levelsOf(h) {
  const coarse = lattices(h).map((steps) => lattice(h, steps));
  const low = lowresShape(h);
  if (hasLowres(h) && low.some((n, axis) => n !== h.volume.shape[axis])) coarse.push(lowresLevel(h));
  coarse.sort((a, b) => product(b.shape) - product(a.shape) || (a.kind === "lowres" ? -1 : b.kind === "lowres" ? 1 : 0));
  return [level("full", h, FULL, h.volume.shape, 0, 0), ...coarse];
}

/** The grid of the low-res volume: a voxel lies at the centre of those that it covers. */
function lowresLevel(h) {
  const { factor } = h.lowres;
  return level("lowres", h, factor, lowresShape(h), 0, 0.5);
}

function lattices(h) {
  const { axes } = h.refine, edges = edgesOf(h), counts = bricksOf(h), found = [];
  let halved = new Set();
  for (let steps = axes.length; steps > 0; steps--) {
    const spacing = halvings(axes.slice(steps - 1)).map((n) => 2 ** n);
    if (spacing.some((s, axis) => counts[axis] > 1 && edges[axis] % s)) break;
    halved.add(axes[steps - 1]);
    if (steps === 1 || halved.has(axes[steps - 2])) {
      found.push(steps);
      halved = new Set();
    }
  }
  return found;
}

function lattice(h, steps) {
  const factor = halvings(h.refine.axes.slice(steps - 1)).map((n) => 2 ** n);
  return level("lattice", h, factor, h.volume.shape.map((n, axis) => Math.ceil(n / factor[axis])), steps, 0);
}

function level(kind, h, factor, shape, steps, centred) {
  const rows = h.volume.affine, [fx, fy, fz] = [...factor].reverse(), shift = [fx, fy, fz].map((f) => centred * (f - 1));
  const affine = [0, 1, 2].map((row) => {
    const [x, y, z, origin] = rows.slice(4 * row, 4 * row + 4);
    return [x * fx, y * fy, z * fz, origin + x * shift[0] + y * shift[1] + z * shift[2]];
  });
  const spacing = [2, 1, 0].map((axis) => Math.hypot(affine[0][axis], affine[1][axis], affine[2][axis]));
  return { kind, shape: [...shape], factor: [...factor], steps, affine: [...affine, [0, 0, 0, 1]], spacing };
}

/** An affine to RAS of one to LPS, as NIfTI has it. */
export const toRas = (affine) => affine.map((row, i) => (i < 2 ? row.map((v) => (v === 0 ? 0 : -v)) : [...row]));
