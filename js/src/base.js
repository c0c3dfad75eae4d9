/** The low-res volume of a file: networks, AV1 or latents, decoded part by part, and which of its voxels are active. */

import { clamp, product } from "./arithmetic.js";
import { decodeStream } from "./av1.js";
import { copyBox, overlap, sizeOf } from "./boxes.js";
import { lowresShape, streamSlices } from "./header.js";
import { decodeLatents, HELD } from "./latent.js";
import { networkWeights } from "./limits.js";
import { Activity, linearOf, Tile, tileBoxes } from "./siren.js";
import { proceed } from "./turn.js";

const CODES = 1024;
const CELL = 2; // edge of the cells in which a stream is background or not

export class Base {
  /**
   * @param {Cache} cache of the file  @param {(what: string, bytes: number) => void} allow refuses what is too large
   * @param {() => Promise<import("./latentmodel.js").LatentModel>} openLatents
   */
  constructor(container, cache, allow, openLatents) {
    Object.assign(this, { container, cache, allow, openLatents, header: container.header, shape: lowresShape(container.header) });
  }

  /** Unit values of a box, float64, from the planes of tiles, or the streams, that it meets. */
  async values(ranges, options) {
    this.allow("low-res volume", 8 * product(sizeOf(ranges)));
    if (this.header.lowres.coder === "latent") return this.latents(ranges, options);
    const values = new Float64Array(product(sizeOf(ranges))), [first, end] = ranges[0];
    const met = this.parts.flatMap((box, i) => (overlap(box, ranges) ? [i] : []));
    if (this.header.lowres.coder === "av1") {
      const codes = await this.codes(ranges, options);
      for (let i = 0; i < codes.length; i++) values[i] = this.ofCodes[codes[i]];
      return values;
    }
    for (const [done, i] of met.entries()) {
      const box = this.parts[i], planes = [Math.max(first, box[0][0]), Math.min(end, box[0][1])], [, rows, columns] = sizeOf(box);
      this.allow("plane of a tile", 8 * rows * columns);
      for (let z = planes[0]; z < planes[1]; z++) {
        await proceed(options, (done + (z - planes[0]) / (planes[1] - planes[0])) / met.length);
        const plane = await this.cache.get(`plane ${i} ${z}`, 8 * rows * columns, () => this.decodePlane(i, z));
        copyBox(values, ranges, plane, [[z, z + 1], box[1], box[2]]);
      }
    }
    return values;
  }

  /** Which columns of some slices have an active voxel: 0 or 1, (y, x). */
  async active(slices) {
    const [, rows, columns] = this.shape, found = new Uint8Array(rows * columns), { lowres, av1, latent } = this.header;
    const whole = this.cellsAround([slices, [0, rows], [0, columns]]);
    if (lowres.coder === "av1" && av1.flat.length) {
      const codes = await this.codes(whole, {});
      markCells(found, [rows, columns], codes.length, (i) => codes[i] < av1.flat[0] || codes[i] > av1.flat[1]);
      return found;
    }
    if (lowres.coder === "latent" && latent.flat !== null) {
      const unit = await this.latentUnits(whole, {}), isFlat = this.isBackground();
      markCells(found, [rows, columns], unit.length, (i) => !isFlat(unit[i]));
      return found;
    }
    const activity = await this.openActivity();
    if (!activity) return found.fill(1);
    for (let z = slices[0]; z < slices[1]; z++) {
      for (let y = 0, i = 0; y < rows; y++) for (let x = 0; x < columns; x++, i++) found[i] |= activity.at(z, y, x);
    }
    return found;
  }

  /** Codes of AV1 in a box. */
  async codes(ranges, options) {
    const met = this.parts.flatMap((box, i) => (overlap(box, ranges) ? [i] : [])), found = new Uint16Array(product(sizeOf(ranges)));
    for (const [done, i] of met.entries()) {
      const box = this.parts[i], shape = sizeOf(box), bytes = 2 * product(shape);
      await proceed(options, done / met.length);
      this.allow("stream of AV1", bytes);
      const codes = await this.cache.get(`stream ${i}`, bytes, async () => decodeStream(await this.container.chunk("AV1S", i), shape));
      copyBox(found, ranges, codes, box);
    }
    return found;
  }

  // --- latents

  /** Unit values of a box, those of background cells equal. */
  async latents(ranges, options) {
    const whole = this.cellsAround(ranges), unit = await this.latentUnits(whole, options);
    if (this.header.latent.flat !== null) this.flatten(unit, sizeOf(whole));
    const values = new Float64Array(product(sizeOf(ranges)));
    copyBox(values, ranges, unit, whole);
    return values;
  }

  /** Unit values of a box, before any of them are the background's. */
  async latentUnits(ranges, options) {
    const { latent } = this.header, met = this.parts.flatMap((box, i) => (overlap(box, ranges) ? [i] : []));
    const integers = new Int32Array(product(sizeOf(ranges)));
    for (const [done, i] of met.entries()) {
      const box = this.parts[i], shape = sizeOf(box);
      const part = { ...options, onProgress: (of) => options.onProgress?.((done + of) / met.length) };
      copyBox(integers, ranges, await this.cache.get(`stream ${i}`, 4 * product(shape), () => this.latentStream(i, shape, part)), box);
    }
    const model = await this.openLatents(), scale = model.tensor("steps")[latent.rate] / 2 ** 28, linear = linearOf(this.header);
    const [low, high] = latent.ends, across = 2 / (high - low);
    return Float64Array.from(integers, (v) => linear(clamp((v * scale - 1 - low) * across - 1, -1, 1)));
  }

  async latentStream(i, shape, options) {
    this.allow("stream of latents", HELD * product(shape));
    const [model, stream] = await Promise.all([this.openLatents(), this.container.chunk("LATG", i)]);
    const decoding = decodeLatents(model, this.header.latent.rate, stream, shape);
    for (;;) {
      const { done, value } = decoding.next();
      if (done) return value;
      await proceed(options, value);
    }
  }

  /** Make cells that are all background it. */
  flatten(unit, [nz, ny, nx]) {
    const isFlat = this.isBackground(), { background } = this.header.mask;
    for (let z = 0; z < nz; z += CELL) {
      for (let y = 0; y < ny; y += CELL) {
        for (let x = 0; x < nx; x += CELL) {
          const cell = [];
          for (let a = z; a < Math.min(z + CELL, nz); a++) {
            for (let b = y; b < Math.min(y + CELL, ny); b++) for (let c = x; c < Math.min(x + CELL, nx); c++) cell.push((a * ny + b) * nx + c);
          }
          if (cell.every((at) => isFlat(unit[at]))) for (const at of cell) unit[at] = background;
        }
      }
    }
  }

  isBackground() {
    const { mask, latent } = this.header;
    return (u) => Math.abs(u - mask.background) <= latent.flat;
  }

  /** The cells that a box meets. */
  cellsAround(ranges) {
    return ranges.map(([first, end], axis) => [Math.floor(first / CELL) * CELL, Math.min(Math.ceil(end / CELL) * CELL, this.shape[axis])]);
  }

  /** The unit value of each code. */
  get ofCodes() {
    const linear = linearOf(this.header);
    return (this.unit ??= Float64Array.from({ length: CODES }, (_, code) => linear((2 * code) / (CODES - 1) - 1)));
  }

  /** Boxes of the tiles, or of the streams. */
  get parts() {
    return (this.boxes ??= this.header.lowres.coder === "siren" ? tileBoxes(this.header) : this.streamBoxes());
  }

  streamBoxes() {
    const [depth, rows, columns] = this.shape, step = streamSlices(this.header);
    const starts = Array.from({ length: Math.ceil(depth / step) }, (_, i) => i * step);
    return starts.map((z) => [[z, Math.min(z + step, depth)], [0, rows], [0, columns]]);
  }

  async decodePlane(i, z) {
    const h = this.header, { layers, width } = h.net;
    const tile = await this.cache.get(`tile ${i}`, 8 * networkWeights(layers, width), async () => {
      const [stream, activity] = await Promise.all([this.container.chunk("WGHT", i), this.openActivity()]);
      return new Tile(h, this.parts[i], stream, activity);
    });
    return tile.plane(z);
  }

  /** Active cells, or null where every voxel is active. */
  openActivity() {
    this.activity ??= this.container.has("MASK") ? this.container.section("MASK").then((body) => new Activity(this.header, body)) : null;
    return this.activity;
  }
}

/** Mark the columns of each cell that has such a voxel. */
function markCells(found, [rows, columns], count, isActive) {
  for (let i = 0; i < count; i++) {
    if (!isActive(i)) continue;
    const y = (Math.floor(i / columns) % rows) & -CELL, x = (i % columns) & -CELL;
    for (let v = y; v < Math.min(y + CELL, rows); v++) found.fill(1, v * columns + x, v * columns + Math.min(x + CELL, columns));
  }
}
