/** Chunks of Zarr arrays that are .inrv files, for zarrita: `registry.set("inrv", async () => InrvCodec)`. */

import { UsageError } from "./errors.js";
import { open } from "./file.js";

/** The codec between arrays and bytes; it decodes. */
export class InrvCodec {
  constructor(shape) {
    this.kind = "array_to_bytes";
    this.shape = shape;
  }

  /** As zarrita calls it: the codec's configuration, and the chunk that it belongs to. */
  static fromConfig(_, { shape }) {
    return new InrvCodec(shape);
  }

  encode() {
    throw new UsageError("inrcodec for JavaScript does not encode: write the array from Python");
  }

  /** @param {Uint8Array} bytes */
  async decode(bytes) {
    const { data } = await (await open(bytes)).read(), { shape } = this;
    const voxels = shape.reduce((a, b) => a * b, 1);
    if (data.length !== voxels) throw new UsageError(`chunk holds ${data.length} voxels, ${shape.join(" x ")} belong there`, data.length);
    const stride = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
    return { data, shape, stride };
  }
}
