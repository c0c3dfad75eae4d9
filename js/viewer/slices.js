/** One plane of a volume: which voxels a slice has, and where a pixel of it lies. */

/** @typedef {{name: string, across: number, down: {axis: number, flip: boolean, ends: string[]}, right: {axis: number, flip: boolean, ends: string[]}}} Plane */

/** The box of a slice of a level, and the slice's number there. */
export function boxOf(plane, level, index) {
  const at = Math.min(Math.floor(index / level.factor[plane.across]), level.shape[plane.across] - 1);
  return level.shape.map((_, axis) => (axis === plane.across ? [at, at + 1] : null));
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

/** The voxel (z, y, x) at a place of a slice, given as parts of its height and width. */
export function voxelAt(plane, shape, index, down, right) {
  const voxel = [0, 0, 0];
  voxel[plane.across] = index;
  for (const [side, part] of [[plane.down, down], [plane.right, right]]) {
    const n = shape[side.axis], i = Math.min(Math.max(Math.floor(part * n), 0), n - 1);
    voxel[side.axis] = side.flip ? n - 1 - i : i;
  }
  return voxel;
}

/** Where a voxel lies in a slice, as parts of its height and width. */
export function placeOf(plane, shape, voxel) {
  return [plane.down, plane.right].map(({ axis, flip }) => {
    const n = shape[axis], part = (voxel[axis] + 0.5) / n;
    return flip ? 1 - part : part;
  });
}

/** The value of a picture at a voxel. */
export function valueAt(plane, shape, picture, voxel) {
  const [down, right] = placeOf(plane, shape, voxel);
  const row = Math.min(Math.floor(down * picture.rows), picture.rows - 1);
  return picture.values[row * picture.columns + Math.min(Math.floor(right * picture.columns), picture.columns - 1)];
}

/** Millimetres (x, y, z), LPS, of a voxel (z, y, x). */
export function millimetres(affine, [z, y, x]) {
  return affine.slice(0, 3).map(([a, b, c, d]) => a * x + b * y + c * z + d);
}

/** Values between which nearly all are, padding left out. */
export function usual(values, padding) {
  const kept = values.filter((v) => v !== padding).sort();
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
