/** NIfTI-1 of a file, for viewers that read that: NiiVue's loader, `nv.useLoader(toNifti, "inrv", "nii")`. */

import { UsageError } from "./errors.js";
import { InrvFile, open } from "./file.js";
import { toRas } from "./levels.js";
import { physicalOf } from "./remote.js";

const CODES = {
  uint8: [2, 8], int16: [4, 16], int32: [8, 32], float32: [16, 32], float64: [64, 64], int8: [256, 8], uint16: [512, 16],
  uint32: [768, 32], int64: [1024, 64], uint64: [1280, 64], float16: [16, 32],
};
const HEADER = 352; // bytes in front of the voxels
const LONGEST = 32767;
const MILLIMETRES = 2;

/**
 * A .nii file, decoded from an .inrv one.
 * @param {ArrayBuffer|Blob|string|InrvFile} source  @param {{level?: number}} [options]
 * @returns {Promise<ArrayBuffer>}
 */
export async function toNifti(source, { level = 0, ...options } = {}) {
  const file = source instanceof InrvFile ? source : await open(source, options);
  const { volume } = file.header, grid = file.levels[level], [nz, ny, nx] = grid?.shape ?? [];
  if (Math.max(nz, ny, nx) > LONGEST) throw new UsageError(`NIfTI-1 has at most ${LONGEST} voxels along an axis: read a coarser level`);
  let { data, affine } = await file.read(null, level), { dtype } = file;
  let [slope, intercept] = volume.rescale;
  if (volume.slice_rescale.length) {
    const area = nx * ny, { factor } = grid; // a scale of its own in each slice: NIfTI has one
    data = Float32Array.from(data, (v, i) => physicalOf(file.header, v, Math.floor(i / area) * factor[0]));
    [dtype, slope, intercept] = ["float32", 1, 0];
  }
  const bytes = new Uint8Array(HEADER + data.byteLength), view = new DataView(bytes.buffer), [code, bits] = CODES[dtype];
  view.setInt32(0, 348, true);
  [3, nx, ny, nz, 1, 1, 1, 1].forEach((n, i) => view.setInt16(40 + 2 * i, n, true));
  view.setInt16(70, code, true);
  view.setInt16(72, bits, true);
  [1, ...[...grid.spacing].reverse(), 0, 0, 0, 0].forEach((n, i) => view.setFloat32(76 + 4 * i, n, true));
  view.setFloat32(108, HEADER, true);
  view.setFloat32(112, slope, true);
  view.setFloat32(116, intercept, true);
  view.setUint8(123, MILLIMETRES);
  view.setInt16(254, 1, true); // the affine leads to the scanner's coordinates
  toRas(affine).slice(0, 3).flat().forEach((n, i) => view.setFloat32(280 + 4 * i, n, true));
  bytes.set([0x6e, 0x2b, 0x31, 0], 344); // "n+1"
  bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), HEADER);
  return bytes.buffer;
}
