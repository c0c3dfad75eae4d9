/** An open file: what it says of itself, and any part of its volume. */

import { product } from "./arithmetic.js";
import { decodeStream } from "./av1.js";
import { Cache } from "./cache.js";
import { Container } from "./container.js";
import { LimitExceeded, UsageError } from "./errors.js";
import { bricksOf, edgesOf, hasLowerHalves, hasLowres, lowresShape } from "./header.js";
import { itemOf, support, toLattice, toStored, upsample } from "./lanczos.js";
import { integersOf, Lattice } from "./lattice.js";
import { levelsOf } from "./levels.js";
import { networkWeights } from "./limits.js";
import { inflate, readPadding } from "./padding.js";
import { physicalOf } from "./remote.js";
import { Activity, linearOf, Tile, tileBoxes } from "./siren.js";
import { sourceOf } from "./source.js";
import { readSpecial } from "./special.js";
import { hasModel, hex, residualOf } from "./superres.js";
import { filtered, reached } from "./wiener.js";

const MOST = 2 ** 31; // bytes of an array, unless more are allowed
const KEPT = 2 ** 29; // bytes of what was decoded
const TURN = 50; // milliseconds between two chances of others

/** Open a file; its table and header are read and checked, nothing else. */
export async function open(source, options = {}) {
  return new InrvFile(await Container.open(await sourceOf(source, options.fetch)), options);
}

export class InrvFile {
  constructor(container, { maxBytes = MOST, cacheBytes = KEPT, superres = null } = {}) {
    const h = container.header;
    this.container = container;
    this.header = h;
    this.maxBytes = maxBytes;
    this.model = superres;
    this.cache = new Cache(cacheBytes);
    this.levels = levelsOf(h);
    this.shape = h.volume.shape;
    this.dtype = h.volume.dtype;
    this.affine = this.levels[0].affine;
    this.spacing = this.levels[0].spacing;
    this.bytes = container.bytes;
  }

  get isRefined() {
    return this.header.refine.steps.length > 0;
  }

  /** The model that the file names for what `read` decodes, or null. */
  get superres() {
    const { sr } = this.header;
    return hasModel(this.header) && !this.isRefined ? { id: sr.id, sha256: hex(sr.sha256) } : null;
  }

  /** What to know of the voxels that `read` returns here. */
  get warnings() {
    if (!this.superres || this.model) return [];
    return [`The file names the super-resolution model ${this.superres.id}. It is not applied here: ` +
      "the volume is interpolated (Lanczos), and smoother than inrcodec decodes it."];
  }

  /** Physical value of a stored one. */
  physical(stored, z = 0) {
    return physicalOf(this.header, stored, z);
  }

  /** Unit values of the low-res volume in a box of it, float64. */
  async lowres(box, options = {}) {
    if (!hasLowres(this.header)) throw new UsageError("file has no low-res volume: read the volume, or a level of it");
    const shape = lowresShape(this.header), ranges = rangesOf(box, shape);
    return { data: await this.lowresValues(ranges, options), shape: sizeOf(ranges), box: ranges };
  }

  /**
   * Stored values of a box of a level.
   * @param {([number, number]|null)[]|null} [box] first and last plus one along z, y and x
   */
  async read(box = null, level = 0, options = {}) {
    const grid = this.levels[level];
    if (!grid) throw new UsageError(`file has no level ${level}: pass 0 to ${this.levels.length - 1}`, level);
    const ranges = rangesOf(box, grid.shape), shape = sizeOf(ranges);
    this.allow(`box of ${shape.join(" x ")} voxels`, 8 * product(shape));
    const data = await this.stored(grid, ranges, options);
    return { data, shape, box: ranges, dtype: this.dtype, affine: partAffine(grid.affine, ranges) };
  }

  async stored(grid, ranges, options) {
    const h = this.header;
    if (grid.kind === "lowres") return toStored(h, await this.lowresValues(ranges, options));
    const whole = grid.kind === "full";
    if (this.isRefined && !options.base) return this.refined(ranges, whole ? h.refine.steps.length : grid.steps, grid.factor, options);
    if (!whole) throw new UsageError("level is one of the refinement, which was not to be decoded: read level 0");
    if (!hasLowres(h)) throw new UsageError("file has no low-res volume: decode its refinement");
    const stored = toStored(h, await this.unitValues(ranges, options));
    await this.pad(stored, ranges, [1, 1, 1]);
    return stored;
  }

  /** Unit values at full resolution: the filter needs some voxels more than it gives. */
  async unitValues(ranges, options) {
    const h = this.header, { wiener } = h.lowres, isLeftOut = h.sr.id !== "lanczos" && !this.model;
    if (wiener.length === 0 || isLeftOut || h.range.low === h.range.high) return this.upsampled(ranges, options);
    const wide = reached(ranges, this.shape);
    return filtered(wiener, await this.upsampled(wide, options), wide, ranges, this.shape);
  }

  /** The low-res volume interpolated, and the residual of the model where there is one. */
  async upsampled(ranges, options) {
    const h = this.header, { factor } = h.lowres, low = lowresShape(h);
    const needed = ranges.map(([begin, end], axis) => support(begin, end, factor[axis], low[axis]));
    const values = await this.lowresValues(needed, options);
    const unit = upsample({ data: values, shape: sizeOf(needed) }, needed.map(([begin]) => begin), ranges, factor, low);
    if (this.superres && this.model) await this.addResidual(unit, ranges, options);
    return unit;
  }

  async addResidual(unit, ranges, options) {
    const low = lowresShape(this.header), bytes = 4 * product(this.shape);
    this.allow("residual of the super-resolution", bytes);
    const residual = await this.cache.get("residual", bytes, async () =>
      residualOf(this.header, await this.lowresValues(low.map((n) => [0, n]), options), this.model));
    const [, height, width] = this.shape;
    forRows(ranges, (z, y, to) => {
      const [x0, x1] = ranges[2], from = (z * height + y) * width;
      for (let x = x0; x < x1; x++) unit[to + x - x0] += residual[from + x];
    });
  }

  // --- the low-res volume

  /** Unit values of a box, from the planes of tiles, or the streams of AV1, that it meets. */
  async lowresValues(ranges, options) {
    this.allow("low-res volume", 8 * product(sizeOf(ranges)));
    const values = new Float64Array(product(sizeOf(ranges))), [first, end] = ranges[0];
    const met = this.parts.flatMap((box, i) => (overlap(box, ranges) ? [i] : []));
    for (const [done, i] of met.entries()) {
      const box = this.parts[i];
      if (this.header.lowres.coder === "av1") {
        await proceed(options, done / met.length);
        copyBox(values, ranges, await this.cache.get(`stream ${i}`, 8 * product(sizeOf(box)), () => this.decodeStream(i)), box);
        continue;
      }
      const planes = [Math.max(first, box[0][0]), Math.min(end, box[0][1])], [, rows, columns] = sizeOf(box);
      this.allow("plane of a tile", 8 * rows * columns);
      for (let z = planes[0]; z < planes[1]; z++) {
        await proceed(options, (done + (z - planes[0]) / (planes[1] - planes[0])) / met.length);
        const plane = await this.cache.get(`plane ${i} ${z}`, 8 * rows * columns, () => this.decodePlane(i, z));
        copyBox(values, ranges, plane, [[z, z + 1], box[1], box[2]]);
      }
    }
    return values;
  }

  /** Boxes of the tiles, or of the streams of AV1. */
  get parts() {
    if (this.boxes) return this.boxes;
    const h = this.header, low = lowresShape(h);
    if (h.lowres.coder === "siren") return (this.boxes = tileBoxes(h));
    const step = h.av1.slices || low[0], starts = Array.from({ length: Math.ceil(low[0] / step) }, (_, i) => i * step);
    return (this.boxes = starts.map((z) => [[z, Math.min(z + step, low[0])], [0, low[1]], [0, low[2]]]));
  }

  async decodePlane(i, z) {
    const h = this.header, { layers, width } = h.net;
    const tile = await this.cache.get(`tile ${i}`, 8 * networkWeights(layers, width), async () => {
      this.activity ??= this.container.has("MASK") ? this.container.section("MASK").then((body) => new Activity(h, body)) : null;
      const [stream, activity] = await Promise.all([this.container.chunk("WGHT", i), this.activity]);
      return new Tile(h, this.parts[i], stream, activity);
    });
    return tile.plane(z);
  }

  async decodeStream(i) {
    const shape = sizeOf(this.parts[i]), linear = linearOf(this.header);
    this.allow("stream of AV1", 8 * product(shape));
    const codes = await decodeStream(await this.container.chunk("AV1S", i), shape);
    const values = Float64Array.from({ length: 1024 }, (_, code) => linear((2 * code) / 1023 - 1));
    return Float64Array.from(codes, (code) => values[code]);
  }

  // --- the refinement

  /** Stored values of every `factor`-th voxel, of so many steps. */
  async refined(ranges, steps, factor, options) {
    const h = this.header, { first, most } = integersOf(h), integers = new Float64Array(product(sizeOf(ranges)));
    const met = this.bricks.flatMap((box, i) => (overlap(coarse(box, factor), ranges) ? [i] : []));
    for (const [done, i] of met.entries()) {
      const box = this.bricks[i], bytes = (most < 65536 ? 2 : 4) * product(sizeOf(box));
      const part = { ...options, onProgress: (of) => options.onProgress?.((done + of) / met.length) };
      const k = await this.cache.get(`brick ${i} ${steps}`, bytes, () => this.decodeBrick(i, steps, part));
      copyBox(integers, ranges, k, box, factor);
    }
    const stored = toLattice(h, integers, first);
    if (hasLowerHalves(h)) await this.joinLowerHalves(stored, ranges, met, factor);
    await this.pad(stored, ranges, factor);
    await this.restore(stored, ranges, factor);
    return stored;
  }

  /** Set the lower halves of float64, from the last stream of each brick. */
  async joinLowerHalves(stored, ranges, met, factor) {
    const count = this.header.refine.steps.length * this.bricks.length, halves = new Uint32Array(stored.length);
    for (const i of met) {
      const box = this.bricks[i], voxels = product(sizeOf(box));
      this.allow("lower halves of a brick", 8 * voxels);
      const lower = await this.cache.get(`lower halves ${i}`, 4 * voxels, async () => {
        const bytes = inflate(await this.container.chunk("LATT", count + i), 4 * voxels, "stream of lower halves");
        return Uint32Array.from({ length: voxels }, (_, k) => [0, 1, 2, 3].reduce((sum, n) => sum | (bytes[n * voxels + k] << (8 * n)), 0));
      });
      copyBox(halves, ranges, lower, box, factor);
    }
    const words = new Uint32Array(stored.buffer);
    for (let k = 0; k < halves.length; k++) words[2 * k] |= halves[k];
  }

  async decodeBrick(i, steps, options) {
    const h = this.header, shape = sizeOf(this.bricks[i]), count = this.bricks.length;
    this.allow("brick", 4 * product(shape));
    const lattice = new Lattice(h, shape);
    lattice.first(await this.container.chunk("LATT", i));
    for (let stage = 1, part = 2 ** -steps; stage < steps; stage++, part *= 2) {
      const chunk = await this.container.chunk("LATT", stage * count + i);
      for (const of of lattice.stage(chunk)) await proceed(options, part * (1 + of));
    }
    return lattice.k;
  }

  /** Boxes of the bricks, in their order. */
  get bricks() {
    if (this.brickBoxes) return this.brickBoxes;
    const edges = edgesOf(this.header), [nz, ny, nx] = bricksOf(this.header), boxes = [];
    const range = (i, axis) => [i * edges[axis], Math.min((i + 1) * edges[axis], this.shape[axis])];
    for (let z = 0; z < nz; z++) {
      for (let y = 0; y < ny; y++) for (let x = 0; x < nx; x++) boxes.push([range(z, 0), range(y, 1), range(x, 2)]);
    }
    return (this.brickBoxes = boxes);
  }

  // --- padding

  /** Set the voxels of the padding masks; every `factor`-th voxel is there. */
  async pad(stored, ranges, factor) {
    if (!this.container.has("PADM")) return;
    const value = itemOf(this.dtype)(this.header.volume.padding), [, rows, columns] = sizeOf(ranges);
    for (const [i, box] of this.bricks.entries()) {
      const place = coarse(box, factor);
      if (!overlap(place, ranges)) continue;
      const mask = await this.cache.get(`padding ${i}`, product(sizeOf(box)), () => this.decodePadding(i));
      if (!mask) continue;
      const [z, y, x] = place.map(([begin, end], axis) => [Math.max(begin, ranges[axis][0]), Math.min(end, ranges[axis][1])]);
      for (let k = z[0]; k < z[1]; k++) {
        const bits = mask(k * factor[0] - box[0][0]), width = box[2][1] - box[2][0];
        for (let j = y[0]; j < y[1]; j++) {
          const from = (j * factor[1] - box[1][0]) * width - box[2][0];
          const to = ((k - ranges[0][0]) * rows + j - ranges[1][0]) * columns - ranges[2][0];
          for (let l = x[0]; l < x[1]; l++) if (bits[from + l * factor[2]]) stored[to + l] = value;
        }
      }
    }
  }

  async decodePadding(i) {
    const body = await this.container.chunk("PADM", i), box = this.bricks[i];
    return body.length === 0 && this.bricks.length > 1 ? null : readPadding(body, sizeOf(box));
  }

  /** Set the voxels whose bits are stored. */
  async restore(stored, ranges, factor) {
    if (!this.container.has("SPCL")) return;
    const [, rows, columns] = sizeOf(ranges);
    for (const [i, box] of this.bricks.entries()) {
      if (!overlap(coarse(box, factor), ranges)) continue;
      const shape = sizeOf(box), chunk = await this.container.chunk("SPCL", i);
      if (chunk.length === 0 && this.bricks.length > 1) continue;
      const { places, values } = readSpecial(chunk, shape, this.dtype);
      places.forEach((at, k) => {
        const voxel = [Math.floor(at / (shape[1] * shape[2])), Math.floor(at / shape[2]) % shape[1], at % shape[2]];
        const [z, y, x] = voxel.map((n, axis) => (n + box[axis][0]) / factor[axis] - ranges[axis][0]);
        const there = [z, y, x].every((n, axis) => Number.isInteger(n) && n >= 0 && n < ranges[axis][1] - ranges[axis][0]);
        if (there) stored.set(values.subarray(k, k + 1), (z * rows + y) * columns + x);
      });
    }
  }

  // --- the whole

  /** Read all sections, and compare every checksum. */
  verify() {
    return this.container.verify();
  }

  /** Forget what was decoded. */
  close() {
    this.cache.clear();
  }

  allow(what, bytes) {
    if (bytes <= this.maxBytes) return;
    throw new LimitExceeded(`${what} takes ${bytes} bytes, ${this.maxBytes} are allowed: read a smaller box or a coarser level, or raise maxBytes`, bytes);
  }
}

/** Voxels of a coarser lattice that belong to a box: multiples of the factor, counted. */
const coarse = (box, factor) => box.map(([begin, end], axis) => [Math.ceil(begin / factor[axis]), Math.ceil(end / factor[axis])]);

const sizeOf = (ranges) => ranges.map(([begin, end]) => end - begin);

const overlap = (box, other) => box.every(([begin, end], axis) => begin < other[axis][1] && other[axis][0] < end);

function rangesOf(box, shape) {
  return shape.map((n, axis) => {
    const [begin, end] = box?.[axis] ?? [0, n];
    if (Number.isInteger(begin) && Number.isInteger(end) && begin >= 0 && begin < end && end <= n) return [begin, end];
    throw new UsageError(`box [${begin}, ${end}] along ${"zyx"[axis]} is not within its ${n} voxels`, [begin, end]);
  });
}

/** Where the voxels of a box lie. */
function partAffine(affine, ranges) {
  const [z, y, x] = ranges.map(([begin]) => begin);
  return affine.map((row, i) => (i < 3 ? [...row.slice(0, 3), row[3] + row[0] * x + row[1] * y + row[2] * z] : row));
}

/** Call with z, y, and where a row of a box begins. */
function forRows(ranges, visit) {
  const width = ranges[2][1] - ranges[2][0];
  let to = 0;
  for (let z = ranges[0][0]; z < ranges[0][1]; z++) {
    for (let y = ranges[1][0]; y < ranges[1][1]; y++, to += width) visit(z, y, to);
  }
}

/** Copy what two boxes share; of the source, every `factor`-th voxel. */
function copyBox(values, ranges, data, box, factor = [1, 1, 1]) {
  const place = coarse(box, factor), [, rows, columns] = sizeOf(ranges), [, height, width] = sizeOf(box);
  const [z, y, x] = place.map(([begin, end], axis) => [Math.max(begin, ranges[axis][0]), Math.min(end, ranges[axis][1])]);
  for (let k = z[0]; k < z[1]; k++) {
    for (let j = y[0]; j < y[1]; j++) {
      const from = ((k * factor[0] - box[0][0]) * height + j * factor[1] - box[1][0]) * width - box[2][0];
      const to = ((k - ranges[0][0]) * rows + j - ranges[1][0]) * columns - ranges[2][0];
      for (let l = x[0]; l < x[1]; l++) values[to + l] = data[from + l * factor[2]];
    }
  }
}

let paused = 0; // when others had their turn

/** Let others have their turn now and then; stop where the caller has asked to. */
async function proceed({ signal, onProgress }, of) {
  if (performance.now() - paused > TURN) {
    onProgress?.(of);
    await new Promise((resolve) => setTimeout(resolve));
    paused = performance.now();
  }
  signal?.throwIfAborted();
}

