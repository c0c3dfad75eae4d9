/** An open file: what it says of itself, and any part of its volume. */

import { bytesOf, product } from "./arithmetic.js";
import { Base } from "./base.js";
import { Blake2b } from "./blake2b.js";
import { coarse, copyBox, overlap, partAffine, rangesOf, shared, sizeOf } from "./boxes.js";
import { Cache } from "./cache.js";
import { Container } from "./container.js";
import { LimitExceeded, UsageError } from "./errors.js";
import { bricksOf, edgesOf, hasLowerHalves, hasLowres, lowresShape } from "./header.js";
import { itemOf, support, toLattice, toStored, upsample } from "./lanczos.js";
import { LatentModel } from "./latentmodel.js";
import { integersOf, Lattice } from "./lattice.js";
import { levelsOf } from "./levels.js";
import { hex, Model } from "./model.js";
import { readPadding } from "./padding.js";
import { physicalOf } from "./remote.js";
import { sourceOf } from "./source.js";
import { readSpecial } from "./special.js";
import { addResidual, around, blocksOf, fullOf, haloed, hasModel, layersOf, residualOf } from "./superres.js";
import { proceed } from "./turn.js";
import { filtered, reached } from "./wiener.js";
import { inflate } from "./zstd.js";

const MOST = 2 ** 31; // bytes of an array, unless more are allowed
const KEPT = 2 ** 29; // bytes of what was decoded

/** Open a file; its table and header are read and checked, nothing else. */
export async function open(source, options = {}) {
  return new InrvFile(await Container.open(await sourceOf(source, options.fetch)), options);
}

export class InrvFile {
  constructor(container, { maxBytes = MOST, cacheBytes = KEPT, superres = null, latents = null } = {}) {
    const h = container.header;
    this.container = container;
    this.header = h;
    this.maxBytes = maxBytes;
    this.where = superres; // what `Model.open` needs
    this.model = null;
    this.latents = latents; // what `LatentModel.open` needs
    this.latentModel = null;
    this.cache = new Cache(cacheBytes);
    this.base = new Base(container, this.cache, (what, bytes) => this.allow(what, bytes), () => this.openLatents());
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
    if (!this.superres || this.where) return [];
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
    return { data: await this.base.values(ranges, options), shape: sizeOf(ranges), box: ranges };
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
    if (grid.kind === "lowres") return toStored(h, await this.base.values(ranges, options));
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
    const h = this.header, { wiener } = h.lowres, isLeftOut = h.sr.id !== "lanczos" && !this.where;
    if (wiener.length === 0 || isLeftOut || h.range.low === h.range.high) return this.upsampled(ranges, options);
    const wide = reached(ranges, this.shape);
    return filtered(wiener, await this.upsampled(wide, options), wide, ranges, this.shape);
  }

  /** The low-res volume interpolated, and the residual of the model where there is one. */
  async upsampled(ranges, options) {
    const h = this.header, { factor } = h.lowres, low = lowresShape(h);
    const needed = ranges.map(([begin, end], axis) => support(begin, end, factor[axis], low[axis]));
    const values = await this.base.values(needed, options);
    const unit = upsample({ data: values, shape: sizeOf(needed) }, needed.map(([begin]) => begin), ranges, factor, low);
    if (hasModel(h) && this.where) await this.sharpen(unit, ranges, options);
    return unit;
  }

  /** Add the residual, block by block: of a box, those that it meets. */
  async sharpen(unit, ranges, { signal, onProgress }) {
    const h = this.header, low = lowresShape(h), model = await this.openModel(), { factor, halo } = model, met = [];
    for (const layer of layersOf(low[0])) {
      if (layer[0] * factor[0] >= ranges[0][1] || layer[1] * factor[0] <= ranges[0][0]) continue;
      const blocks = blocksOf(layer, await this.base.active(around(layer, low[0])), low.slice(1));
      met.push(...blocks.filter((block) => overlap(fullOf(block, factor), ranges)));
    }
    for (const [done, block] of met.entries()) {
      await proceed({ signal, onProgress }, done / met.length);
      const full = fullOf(block, factor), bytes = 4 * product(sizeOf(full)), box = haloed(block, halo, low);
      this.allow("block of the super-resolution", bytes);
      const residual = await this.cache.get(`residual ${block}`, bytes, async () =>
        residualOf(h, model, block, await this.base.values(box, {}), box));
      addResidual(h, unit, ranges, residual, full);
    }
  }

  /** The model, loaded when it is first needed; a failure may have been of the network. */
  openModel() {
    this.model ??= Model.open(this.where, this.header).catch((error) => {
      this.model = null;
      throw error;
    });
    return this.model;
  }

  /** The model of the latents, likewise. */
  openLatents() {
    this.latentModel ??= LatentModel.open(this.latents, this.header).catch((error) => {
      this.latentModel = null;
      throw error;
    });
    return this.latentModel;
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
    const { filter } = h.refine;
    if (filter.length > 0 && steps === h.refine.steps.length) for (const _ of lattice.filter(filter)) await proceed(options, 1);
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
      const [z, y, x] = shared(place, ranges);
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

  /** The digest of the volume as it is decoded here: of a refinement it has to be `header.quality.digest`. */
  async digest({ signal, onProgress } = {}) {
    const whole = new Blake2b(), { bricks, dtype } = this;
    for (const [done, box] of bricks.entries()) {
      const { data } = await this.read(box, 0, { signal, onProgress: (of) => onProgress?.((done + of) / bricks.length) });
      whole.update(new Blake2b().update(bytesOf(data, dtype)).digest());
    }
    return whole.digest();
  }

  /** Forget what was decoded, and the model. */
  close() {
    this.cache.clear();
    this.model?.then((model) => model.close(), () => {});
    this.model = this.latentModel = null;
  }

  allow(what, bytes) {
    if (bytes <= this.maxBytes) return;
    throw new LimitExceeded(`${what} takes ${bytes} bytes, ${this.maxBytes} are allowed: read a smaller box or a coarser level, or raise maxBytes`, bytes);
  }
}
