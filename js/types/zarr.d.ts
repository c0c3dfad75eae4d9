import type { Voxels } from "./index.js";

/** Codec of chunks that are .inrv files: `registry.set("inrv", async () => InrvCodec)`. */
export class InrvCodec {
  readonly kind: "array_to_bytes";
  static fromConfig(configuration: unknown, meta: { shape: number[] }): InrvCodec;
  encode(): never;
  decode(bytes: Uint8Array): Promise<{ data: Voxels; shape: number[]; stride: number[] }>;
}
