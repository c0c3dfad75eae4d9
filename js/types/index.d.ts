/** Decoder of .inrv files. Boxes, shapes and spacings are in the order z, y, x; affines take x, y, z to LPS millimetres. */

/** First voxel and last voxel plus one along an axis; null is the whole axis. */
export type Range = readonly [begin: number, end: number] | null;
export type Box = readonly [z?: Range, y?: Range, x?: Range];
export type Triple = [number, number, number];
/** Four rows of a matrix. */
export type Affine = number[][];

export type DType =
  | "int8" | "int16" | "int32" | "int64" | "uint8" | "uint16" | "uint32" | "uint64" | "float16" | "float32" | "float64";
/** float16 is held as float32. */
export type Voxels =
  | Int8Array | Int16Array | Int32Array | BigInt64Array | Uint8Array | Uint16Array | Uint32Array | BigUint64Array
  | Float32Array | Float64Array;

/** Anything with a length that gives bytes. */
export interface ByteSource {
  readonly size: number;
  read(start: number, length: number): Promise<Uint8Array>;
}
/** A string is a URL; of a server with byte ranges only what is needed is read. */
export type Source = ArrayBuffer | ArrayBufferView | Blob | string | URL | ByteSource;

/** Fields by group and name, as in the specification's table, defaults filled in. */
export interface Header {
  volume: {
    axes: "zyx" | "yx"; shape: Triple; brick: number[]; dtype: DType; affine: number[]; rescale: [number, number];
    slice_rescale: number[]; modality: string; unit: string; padding: number | null;
    about: Record<string, string | number>;
  };
  range: { low: number; high: number };
  lowres: { coder: "siren" | "av1" | "latent" | "none"; factor: Triple; kernel: "lanczos3"; companding: number[]; wiener: number[] };
  mask: { background: number; cell: Triple; method: number };
  net: { layers: number; width: number; tiles: Triple; cuts: number[]; omega: number; method: number };
  av1: { slices: number; flat: number[] };
  latent: { id: string; sha256: Uint8Array; rate: number; ends: [number, number]; slices: number; flat: number | null };
  sr: { id: string; sha256: Uint8Array; window: [number, number]; noise: number; ensemble: number };
  refine: { axes: number[]; steps: number[]; unit: number; filter: number[]; bound: number | null };
  quality: { psnr: number; lanczos: number | null; peak: number; max_error: number; digest: Uint8Array };
  encoder: { version: string; seed: number };
}

/** A grid that a file can be read at. */
export interface Level {
  kind: "full" | "lowres" | "lattice";
  shape: Triple;
  /** Full-res voxels from one voxel to the next. */
  factor: Triple;
  spacing: Triple;
  affine: Affine;
  steps: number;
}

/** Where the super-resolution model of a file comes from, and what runs it. */
export interface Superres {
  /** Address of a folder with `SHA256.onnx` by the hash that a file names, as "make superres" makes it; or one model. */
  models: string | URL | Blob | ArrayBuffer | ArrayBufferView;
  /** Address of a module of onnxruntime-web, or, without a Worker, that module; `ort.wasm.bundle.min.mjs` beside the models by default. */
  runtime?: string | URL | object;
}

export interface OpenOptions {
  /** Largest array in bytes; 2 GiB by default. Anything larger is a LimitExceeded before it is allocated. */
  maxBytes?: number;
  /** Bytes of decoded parts that are kept; 512 MiB by default. */
  cacheBytes?: number;
  /** Options of `fetch` for a URL. */
  fetch?: RequestInit;
  /** The model that the file names is loaded and applied when it is first needed; without this the volume is interpolated. */
  superres?: Superres;
  /** Address of a folder with the models of latents, `SHA256.safetensors.zst` by the hash that a file names; or one such file, inflated or not. A low-res volume of latents needs it. */
  latents?: string | URL | Blob | ArrayBuffer | ArrayBufferView;
}

export interface ReadOptions {
  signal?: AbortSignal;
  /** Called with the part that is done, 0 to 1. */
  onProgress?: (done: number) => void;
  /** Decode the low-res volume although there is a refinement. */
  base?: boolean;
}

export interface Part<Data = Voxels> {
  data: Data;
  shape: Triple;
  box: [[number, number], [number, number], [number, number]];
}
export interface VoxelPart extends Part {
  dtype: DType;
  affine: Affine;
}

/** What a file says of itself, and its voxels on request. */
export interface OpenedFile {
  readonly header: Header;
  readonly levels: Level[];
  readonly shape: Triple;
  readonly dtype: DType;
  readonly affine: Affine;
  readonly spacing: Triple;
  /** Bytes by section ID, of the `table` in front of them, and of the `file`. */
  readonly bytes: Record<string, number>;
  /** What to know of the voxels that are decoded here: a model that is not applied. */
  readonly warnings: string[];
  readonly superres: { id: string; sha256: string } | null;
  readonly isRefined: boolean;
  /** Stored values of a box of a level. */
  read(box?: Box | null, level?: number, options?: ReadOptions): Promise<VoxelPart>;
  /** Unit values of the low-res volume: -1 and 1 are the ends of `header.range`. */
  lowres(box?: Box | null, options?: ReadOptions): Promise<Part<Float64Array>>;
  /** Read all sections and compare every checksum. */
  verify(): Promise<void>;
  /** Decode all, and digest it: of a file with a refinement that has to give `header.quality.digest`, else single voxels may differ by one. */
  digest(options?: ReadOptions): Promise<Uint8Array>;
  /** Physical value of a stored one, of a slice where they have scales of their own. */
  physical(stored: number | bigint, z?: number): number;
  close(): void;
}

/** A file that is decoded here. */
export interface InrvFile extends OpenedFile {}
export abstract class InrvFile {}

/** Open a file: its table and header are read and checked, nothing else. */
export function open(source: Source, options?: OpenOptions): Promise<InrvFile>;
/** The same in a Worker of its own, which `close` ends. */
export function openInWorker(source: ArrayBuffer | Blob | string | URL, options?: OpenOptions): Promise<OpenedFile>;
/** The affine to RAS of one to LPS. */
export function toRas(affine: Affine): Affine;

/** What is wrong with a file or a request; `value` is what was wrong. */
export class InrvError extends Error {
  value: unknown;
}
/** Damaged, cut, extended or forged. */
export class CorruptFile extends InrvError {}
/** Needs something that this decoder, or this browser, does not have. */
export class UnsupportedFile extends InrvError {}
/** Larger than is allowed. */
export class LimitExceeded extends InrvError {}
/** A request that no file could fulfil. */
export class UsageError extends InrvError {}
