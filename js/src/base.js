/** The low-res volume of a file: networks or AV1, decoded part by part, and which of its voxels are active. */

import { product } from "./arithmetic.js";
import { decodeStream } from "./av1.js";
import { copyBox, overlap, sizeOf } from "./boxes.js";
import { lowresShape } from "./header.js";
import { networkWeights } from "./limits.js";
import { Activity, linearOf, Tile, tileBoxes } from "./siren.js";
import { proceed } from "./turn.js";

const CODES = 1024;
const CELL = 2; // edge of the cells in which AV1 is background or not

export class Base {
  /** @param {Cache} cache of the file  @param {(what: string, bytes: number) => void} allow refuses what is too large */
  constructor(container, cache, allow) {
    Object.assign(this, { container, cache, allow, header: container.header, shape: lowresShape(container.header) });
  }

  /** Unit values of a box, float64, from the planes of tiles, or the streams of AV1, that it meets. */
  async values(ranges, options) {
    this.allow("low-res volume", 8 * product(sizeOf(ranges)));
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
    const [, rows, columns] = this.shape, found = new Uint8Array(rows * columns), { flat } = this.header.av1;
    if (this.header.lowres.coder === "av1" && flat.length) {
      const [first, end] = slices, even = [Math.floor(first / CELL) * CELL, Math.min(Math.ceil(end / CELL) * CELL, this.shape[0])];
      const codes = await this.codes([even, [0, rows], [0, columns]], {});
      for (let i = 0; i < codes.length; i++) {
        if (codes[i] >= flat[0] && codes[i] <= flat[1]) continue;
        const y = (Math.floor(i / columns) % rows) & -CELL, x = (i % columns) & -CELL;
        for (let v = y; v < Math.min(y + CELL, rows); v++) found.fill(1, v * columns + x, v * columns + Math.min(x + CELL, columns));
      }
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

  /** The unit value of each code. */
  get ofCodes() {
    const linear = linearOf(this.header);
    return (this.unit ??= Float64Array.from({ length: CODES }, (_, code) => linear((2 * code) / (CODES - 1) - 1)));
  }

  /** Boxes of the tiles, or of the streams of AV1. */
  get parts() {
    return (this.boxes ??= this.header.lowres.coder === "siren" ? tileBoxes(this.header) : this.streamBoxes());
  }

  streamBoxes() {
    const [depth, rows, columns] = this.shape, step = this.header.av1.slices || depth;
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
