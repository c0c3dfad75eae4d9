/** The residual of a super-resolution model, which the caller brings along: no model is part of the format. */

import { UsageError } from "./errors.js";
import { lowresShape, unitWindow } from "./header.js";

const AXES = { 1: [], 2: [2], 4: [2, 1], 8: [2, 1, 0] };

/** Whether a file names a model that would change its voxels. */
export const hasModel = (h) => h.sr.id !== "lanczos" && h.range.low < h.range.high;

/**
 * Residual of the whole volume in unit values, float32.
 * @param {object} h header  @param {Float64Array} unit the low-res volume
 * @param {(input: object) => Promise<Float32Array>} model
 */
export async function residualOf(h, unit, model) {
  const [a, b] = unitWindow(h), low = lowresShape(h), full = low.map((n, axis) => n * h.lowres.factor[axis]);
  const scale = (b - a) / 2, shape = h.volume.shape, sum = new Float32Array(shape[0] * shape[1] * shape[2]);
  const input = Float32Array.from(unit, (u) => Math.min(Math.max(((u - a) * 2) / (b - a) - 1, -1), 1));
  const { id, sha256, ensemble, noise } = h.sr, mirrored = AXES[ensemble];
  for (let image = 0; image < ensemble; image++) {
    const flips = [0, 1, 2].map((axis) => ((image >> mirrored.indexOf(axis)) & 1) === 1 && mirrored.includes(axis));
    const made = await model({
      lowres: flipped(input, low, flips), shape: low, factor: h.lowres.factor, noise: noise / 4096, id, sha256: hex(sha256),
    });
    if (made?.length !== full[0] * full[1] * full[2]) {
      throw new UsageError(`model returns ${made?.length} values where ${full.join(" x ")} belong: pass one of the file's factor`, made?.length);
    }
    const residual = flipped(made, full, flips);
    for (let z = 0, to = 0; z < shape[0]; z++) {
      for (let y = 0; y < shape[1]; y++) {
        const from = (z * full[1] + y) * full[2];
        for (let x = 0; x < shape[2]; x++) sum[to++] += (residual[from + x] * scale) / ensemble;
      }
    }
  }
  return sum;
}

function flipped(data, [depth, height, width], [fz, fy, fx]) {
  if (!(fz || fy || fx)) return data;
  const out = new Float32Array(data.length);
  for (let z = 0, to = 0; z < depth; z++) {
    for (let y = 0; y < height; y++) {
      const from = ((fz ? depth - 1 - z : z) * height + (fy ? height - 1 - y : y)) * width;
      for (let x = 0; x < width; x++) out[to++] = data[from + (fx ? width - 1 - x : x)];
    }
  }
  return out;
}

/** Bytes as hexadecimal digits. */
export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
