/** One plane of a volume: which voxels a slice has, and where a pixel of it lies. */

/** @typedef {{name: string, across: number, down: {axis: number, flip: boolean, ends: string[]}, right: {axis: number, flip: boolean, ends: string[]}}} Plane */

/** The box of a slice of a level, of what is shown of the full resolution. */
export function boxOf(plane, level, index, shown) {
  const at = Math.min(Math.floor(index / level.factor[plane.across]), level.shape[plane.across] - 1);
  return level.shape.map((n, axis) => {
    const factor = level.factor[axis], [begin, end] = shown[axis];
    return axis === plane.across ? [at, at + 1] : [Math.floor(begin / factor), Math.min(Math.ceil(end / factor), n)];
  });
}

/**
 * A picture of physical values, from what was read.
 * @param {Plane} plane  @param {object} level  @param {{data: ArrayLike<number|bigint>, shape: number[]}} part
 */
export function pictureOf(plane, level, part, physical) {
  const { shape, data } = part, strides = [shape[1] * shape[2], shape[2], 1];
  const rows = shape[plane.down.axis], columns = shape[plane.right.axis], values = new Float64Array(rows * columns);
  const z0 = part.box[0][0];
  for (let row = 0; row < rows; row++) {
    const i = plane.down.flip ? rows - 1 - row : row;
    for (let column = 0; column < columns; column++) {
      const j = plane.right.flip ? columns - 1 - column : column;
      const z = z0 + (plane.down.axis === 0 ? i : plane.right.axis === 0 ? j : 0);
      const at = i * strides[plane.down.axis] + j * strides[plane.right.axis];
      values[row * columns + column] = physical(data[at], Math.min(z * level.factor[0], level.last));
    }
  }
  return { values, rows, columns, factor: level.factor };
}

/** The voxel (z, y, x) at a place of what is shown of a slice, given as parts of its height and width. */
export function voxelAt(plane, shown, index, down, right) {
  const voxel = [0, 0, 0];
  voxel[plane.across] = index;
  for (const [side, part] of [[plane.down, down], [plane.right, right]]) {
    const [begin, end] = shown[side.axis], n = end - begin, i = Math.min(Math.max(Math.floor(part * n), 0), n - 1);
    voxel[side.axis] = begin + (side.flip ? n - 1 - i : i);
  }
  return voxel;
}

/** Where a voxel lies in what is shown of a slice, as parts of its height and width. */
export function placeOf(plane, shown, voxel) {
  return [plane.down, plane.right].map(({ axis, flip }) => {
    const [begin, end] = shown[axis], part = (voxel[axis] - begin + 0.5) / (end - begin);
    return flip ? 1 - part : part;
  });
}

/** The value of a picture at a voxel, or null where that is not shown. */
export function valueAt(plane, shown, picture, voxel) {
  const [row, column] = placeOf(plane, shown, voxel).map((part, i) => Math.floor(part * [picture.rows, picture.columns][i]));
  if (row < 0 || column < 0 || row >= picture.rows || column >= picture.columns) return null;
  return picture.values[row * picture.columns + column];
}

const EMPTY = 0.1; // of the usual range above its lower end: air and its noise
const EDGE = 32; // what is shown begins and ends with a voxel of all lattices up to this spacing

/** First and last voxel plus one along each axis of what is brighter than the background. */
export function contentOf({ data, shape, box }, level, full, physical, padding) {
  const values = Float64Array.from(data, (v, i) => physical(v, Math.min(Math.floor(i / (shape[1] * shape[2])) * level.factor[0], full[0] - 1)));
  const [low, high] = usual(values, padding), threshold = low + EMPTY * (high - low);
  const first = [Infinity, Infinity, Infinity], last = [-1, -1, -1];
  for (let i = 0; i < values.length; i++) {
    if (!(values[i] > threshold) || values[i] === padding) continue;
    const voxel = [Math.floor(i / (shape[1] * shape[2])), Math.floor(i / shape[2]) % shape[1], i % shape[2]];
    for (let axis = 0; axis < 3; axis++) {
      if (voxel[axis] < first[axis]) first[axis] = voxel[axis];
      if (voxel[axis] > last[axis]) last[axis] = voxel[axis];
    }
  }
  if (last[0] < 0) return full.map((n) => [0, n]);
  return full.map((n, axis) => {
    const [begin, end] = [first[axis] + box[axis][0], last[axis] + 1 + box[axis][0]].map((i) => i * level.factor[axis]);
    return [Math.floor(begin / EDGE) * EDGE, Math.min(Math.ceil(end / EDGE) * EDGE, n)];
  });
}

/** Millimetres (x, y, z), LPS, of a voxel (z, y, x). */
export function millimetres(affine, [z, y, x]) {
  return affine.slice(0, 3).map(([a, b, c, d]) => a * x + b * y + c * z + d);
}

/** Values between which nearly all are, without padding and what is not finite. */
export function usual(values, padding) {
  const kept = values.filter((v) => v !== padding && Number.isFinite(v)).sort();
  if (kept.length === 0) return [0, 1];
  const at = (part) => kept[Math.round(part * (kept.length - 1))];
  return [at(0.01), at(0.995)];
}

/** Paint physical values in greys from `low` to `high`. */
export function paint(canvas, { values, rows, columns }, low, high) {
  if (canvas.width !== columns || canvas.height !== rows) Object.assign(canvas, { width: columns, height: rows });
  const context = canvas.getContext("2d"), image = context.createImageData(columns, rows), pixels = new Uint32Array(image.data.buffer);
  const scale = 255 / Math.max(high - low, 1e-12);
  for (let i = 0; i < pixels.length; i++) {
    const v = (values[i] - low) * scale, grey = v > 0 ? (v < 255 ? v + 0.5 : 255) & 255 : 0;
    pixels[i] = 0xff000000 | (grey * 0x10101);
  }
  context.putImageData(image, 0, 0);
}

/** One picture minus another, of one size; null where they are not. */
export function difference(decoded, reference) {
  if (!decoded || !reference || decoded.rows !== reference.rows || decoded.columns !== reference.columns) return null;
  return { ...decoded, values: decoded.values.map((v, i) => v - reference.values[i]) };
}
