/** A reference that the reader chooses: a NIfTI-1 file, compressed or not, as a volume that is read by boxes. */

const TYPES = {
  2: ["getUint8", 1], 4: ["getInt16", 2], 8: ["getInt32", 4], 16: ["getFloat32", 4], 64: ["getFloat64", 8],
  256: ["getInt8", 1], 512: ["getUint16", 2], 768: ["getUint32", 4],
};
const LONGEST = 2 ** 31;

/** @param {Blob} blob  @param {number[]} shape (z, y, x) that is wanted */
export async function openNifti(blob, shape) {
  const start = new Uint8Array(await blob.slice(0, 2).arrayBuffer());
  const packed = start[0] === 0x1f && start[1] === 0x8b;
  const stream = packed ? blob.stream().pipeThrough(new DecompressionStream("gzip")) : blob.stream();
  const voxels = shape[0] * shape[1] * shape[2];
  const bytes = await collected(stream, Math.min(8 * voxels + 2 ** 20, LONGEST));
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 352) throw new Error("it is not a NIfTI-1 file");
  const little = view.getInt32(0, true) === 348;
  if (!little && view.getInt32(0, false) !== 348) throw new Error("it is not a NIfTI-1 file");
  const [nx, ny, nz] = [1, 2, 3].map((axis) => Math.max(view.getInt16(40 + 2 * axis, little), 1));
  if (nz !== shape[0] || ny !== shape[1] || nx !== shape[2]) {
    throw new Error(`it has ${nz} x ${ny} x ${nx} voxels, the file ${shape.join(" x ")}`);
  }
  const [method, size] = TYPES[view.getInt16(70, little)] ?? [];
  if (!method) throw new Error("its type of voxels is not read here");
  const first = view.getFloat32(108, little), [slope, intercept] = [112, 116].map((at) => view.getFloat32(at, little));
  if (!(first >= 348) || first + size * voxels > bytes.length) throw new Error("it is cut off");
  const factor = slope && Number.isFinite(slope) ? slope : 1, added = Number.isFinite(intercept) ? intercept : 0;
  const read = async (box) => {
    const ranges = shape.map((n, axis) => box?.[axis] ?? [0, n]), sides = ranges.map(([a, b]) => b - a);
    const data = new Float64Array(sides[0] * sides[1] * sides[2]);
    let to = 0;
    for (let z = ranges[0][0]; z < ranges[0][1]; z++) {
      for (let y = ranges[1][0]; y < ranges[1][1]; y++) {
        for (let x = ranges[2][0]; x < ranges[2][1]; x++) {
          data[to++] = view[method](first + size * ((z * ny + y) * nx + x), little) * factor + added;
        }
      }
    }
    return { data, shape: sides, box: ranges };
  };
  return { read, physical: (v) => v };
}

/** All bytes of a stream, of `most` at most. */
async function collected(stream, most) {
  const parts = [], reader = stream.getReader();
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    length += value.length;
    if (length > most) throw new Error("it is larger than the volume could be");
    parts.push(value);
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
