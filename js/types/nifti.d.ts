import type { InrvFile, OpenOptions, Source } from "./index.js";

/** A .nii file (NIfTI-1) of an .inrv one: `nv.useLoader(toNifti, "inrv", "nii")`. */
export function toNifti(source: Source | InrvFile, options?: OpenOptions & { level?: number }): Promise<ArrayBuffer>;
