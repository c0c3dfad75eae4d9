/** A super-resolution model, run by onnxruntime-web: the caller says where both are, never a file. */

import { product } from "./arithmetic.js";
import { atMost, InrvError, need, UsageError } from "./errors.js";
import { lowresShape } from "./header.js";

const RUNTIME = "ort.wasm.bundle.min.mjs"; // of onnxruntime-web, beside the models unless it is said where
const WORK = 2 ** 48; // multiply-adds of a volume
const TRIED = 5; // voxels along each axis of what a model is first called with: its halo, and one

export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** A model that is ready to run, and what it says of itself: `halo`, `factor`. */
export class Model {
  /** @param {{models: string|URL|Blob|BufferSource, runtime?: string|URL|object}} where  @param {object} h header */
  static async open({ models, runtime }, h) {
    const sha256 = hex(h.sr.sha256), folder = typeof models === "string" || models instanceof URL ? String(models).replace(/\/?$/, "/") : null;
    if (!folder && !runtime) throw new UsageError("superres has no runtime: pass the URL of onnxruntime-web");
    const ort = await runtimeOf(runtime ?? `${folder}${RUNTIME}`);
    const bytes = folder ? await fetched(`${folder}${sha256}.onnx`) : await new Blob([models]).arrayBuffer();
    const model = new Model(ort, await ort.InferenceSession.create(bytes).catch(refuse), h.sr.noise / 4096);
    await model.check(h, sha256);
    return model;
  }

  constructor(ort, session, noise) {
    Object.assign(this, { ort, session, noise, turn: Promise.resolve() });
  }

  /** Refuse any but the model that the file names. */
  async check(h, sha256) {
    const { halo, factor, multiply_adds, sha256: made } = await this.call(new Float32Array(TRIED ** 3), [TRIED, TRIED, TRIED]);
    if (!made || hex(made.data) !== sha256) {
      throw new UsageError(`model is not ${h.sr.id}, which the file names: pass the one of weights ${sha256.slice(0, 16)}…`, sha256);
    }
    this.halo = [...halo.data];
    this.factor = [...factor.data];
    need(this.factor.join() === h.lowres.factor.join(), `model ${h.sr.id} up-samples by ${this.factor}, the file is reduced by ${h.lowres.factor}`);
    atMost("number of multiply-adds of the super-resolution", multiply_adds.data[0] * product(lowresShape(h)) * h.sr.ensemble, WORK);
  }

  /** The residual of a block with its halo, Float32Array of the block without. */
  async residual(block, shape) {
    return (await this.call(block, shape, ["residual"])).residual.data;
  }

  /** One call after another: a session runs once at a time. */
  call(block, shape, outputs) {
    const { Tensor } = this.ort, feeds = { lowres: new Tensor("float32", block, shape) };
    if (this.session.inputNames.includes("noise")) feeds.noise = new Tensor("float32", [this.noise], []);
    const called = this.turn.then(() => this.session.run(feeds, outputs));
    this.turn = called.catch(() => {});
    return called.catch(refuse);
  }

  close() {
    return this.turn.then(() => this.session.release?.());
  }
}

async function runtimeOf(runtime) {
  if (typeof runtime !== "string" && !(runtime instanceof URL)) return runtime;
  try {
    return await import(String(runtime));
  } catch (error) {
    throw new UsageError(`${runtime} is not loaded (${error.message}): pass the URL of a module of onnxruntime-web`, String(runtime));
  }
}

async function fetched(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new UsageError(`${url} answers ${answer.status}: the model that the file names is not there`, answer.status);
  return answer.arrayBuffer();
}

function refuse(error) {
  if (error instanceof InrvError) throw error;
  throw new UsageError(`model does not run (${error.message}): pass one that inrcodec exported`, error.message);
}
