/** A model of latents: the tensors of its file, which the caller has, never a file. */

import { Layer } from "./convolve.js";
import { atMost, InrvError, UnsupportedFile, UsageError } from "./errors.js";
import { compandingOf } from "./integers.js";
import { LogisticTables } from "./logistic.js";
import { hex } from "./model.js";
import { sha256 } from "./sha256.js";
import { inflate } from "./zstd.js";

const TYPES = { U8: Uint8Array, U16: Uint16Array, I16: Int16Array, I32: Int32Array };
const LARGEST = 2 ** 27; // bytes of a file
const ENDING = ".safetensors.zst";
const CONTEXT = /^contexts\.\d+(?=\.offsets$)/;

export class LatentModel {
  /** @param {string|URL|Blob|BufferSource} models a folder with `SHA256.safetensors.zst`, or such a file, inflated or not  @param {object} h header */
  static async open(models, h) {
    const { id, sha256: stated } = h.latent, wanted = hex(stated);
    if (!models) {
      throw new UnsupportedFile(`low-res volume is latents of the model ${id}: pass the folder of its file, ${wanted}${ENDING}, as latents`, id);
    }
    const bytes = inflated(await (typeof models === "string" || models instanceof URL ? fetched(models, wanted) : new Blob([models]).arrayBuffer()));
    if (hex(sha256(bytes)) !== wanted) throw new UsageError(`model is not ${id}, which the file names: pass the file of SHA-256 ${wanted.slice(0, 16)}…`, wanted);
    try {
      return new LatentModel(tensorsOf(bytes));
    } catch (error) {
      if (error instanceof InrvError) throw error;
      throw new UsageError(`model ${id} is not one of latents: ${error.message}`, id);
    }
  }

  constructor(tensors) {
    this.tensors = tensors;
    this.layers = new Map();
    this.contexts = this.named(CONTEXT);
    this.compand = compandingOf(this.tensor("companding"));
    this.tables = new LogisticTables(this.tensor("coder.shift"), this.tensor("coder.reach"), this.tensor("coder.frequencies"));
  }

  tensor(name) {
    return this.described(name).data;
  }

  described(name) {
    const found = this.tensors.get(name);
    if (!found) throw new UsageError(`model of latents has no ${name}: pass another version of it`, name);
    return found;
  }

  /** Names that begin so, by their number. */
  named(pattern) {
    const found = [...this.tensors.keys()].flatMap((name) => name.match(pattern) ?? []);
    return found.sort((a, b) => Number(a.match(/\d+$/)[0]) - Number(b.match(/\d+$/)[0]));
  }

  residuals(kind) {
    return this.named(new RegExp(`^synthesis\\.${kind}\\.\\d+(?=\\.modulation$)`));
  }

  /** Residual blocks of a context, of two layers of three tensors each. */
  bodies(name) {
    const count = [...this.tensors.keys()].filter((key) => key.startsWith(`${name}.bodies.`)).length / 6;
    if (count % 1 || count > 2) throw new UsageError(`model of latents has half a residual block: pass another version of it`, name);
    return count;
  }

  layer(name) {
    if (!this.layers.has(name)) {
      const { data, shape } = this.described(`${name}.weight`);
      this.layers.set(name, new Layer(data, shape, this.tensor(`${name}.bias`), this.tensor(`${name}.point`)[0]));
    }
    return this.layers.get(name);
  }

  /** Channels of a context. */
  count(name) {
    return this.layer(`${name}.linear_neighbours`).outputs;
  }
}

async function fetched(folder, name) {
  const url = `${String(folder).replace(/\/?$/, "/")}${name}${ENDING}`, answer = await fetch(url);
  if (!answer.ok) throw new UsageError(`${url} answers ${answer.status}: the model that the file names is not there`, answer.status);
  return answer.arrayBuffer();
}

/** The bytes of a file, or of the Zstandard frame that it is. */
function inflated(file) {
  const bytes = new Uint8Array(file), view = new DataView(file);
  if (bytes.length < 18 || view.getUint32(0, true) !== 0xfd2fb528) return bytes;
  const stated = view.getUint32(bytes[4] & 32 ? 5 : 6, true), size = [stated & 255, (stated & 65535) + 256, stated][bytes[4] >> 6];
  atMost("bytes of the model of latents", size, LARGEST);
  return inflate(bytes, size, "model of latents");
}

/** The tensors of a safetensors file, but for those of encoders. */
function tensorsOf(bytes) {
  if (bytes.length < 8 || bytes.length > LARGEST) throw new UsageError("model of latents has an impossible size", bytes.length);
  const start = 8 + new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true), found = new Map();
  for (const [name, row] of Object.entries(JSON.parse(new TextDecoder().decode(bytes.subarray(8, start))))) {
    const Type = TYPES[row.dtype];
    if (name === "__metadata__" || name.startsWith("analysis.") || !Type) continue;
    const [begin, end] = row.data_offsets; // which need not be a multiple of the type's size
    found.set(name, { data: new Type(bytes.slice(start + begin, start + end).buffer), shape: row.shape });
  }
  return found;
}
