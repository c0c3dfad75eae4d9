/** A file that is decoded by a Worker: the surface of `InrvFile`, without its code. */

import { CLASSES } from "./errors.js";

/** Physical value of a stored one, by the header. */
export function physicalOf(header, stored, z = 0) {
  const { rescale, slice_rescale: scales } = header.volume;
  const [slope, intercept] = scales.length ? [scales[2 * z], scales[2 * z + 1]] : rescale;
  return Number(stored) * slope + intercept;
}

/**
 * Open a file in a Worker.
 * @param {ArrayBuffer|Blob|string} source  @param {Worker|MessagePort} port that runs `worker.js`
 */
export async function openRemote(source, port, options = {}) {
  const file = new RemoteFile(port), { superres, latents } = options;
  const where = superres && { models: addressOf(superres.models), runtime: addressOf(superres.runtime) };
  Object.assign(file, await file.ask("open", [addressOf(source), { ...options, superres: where, latents: addressOf(latents) }]));
  return file;
}

/** An address as the page means it: a Worker would look beside its own script. */
function addressOf(place) {
  const base = globalThis.document?.baseURI;
  if (typeof place === "string" && base) return new URL(place, base).href;
  return place instanceof URL ? place.href : place;
}

export class RemoteFile {
  constructor(port) {
    this.port = port;
    this.asked = new Map();
    this.last = 0;
    port.addEventListener("message", ({ data }) => this.hear(data));
    port.addEventListener("error", (event) => {
      for (const { reject } of this.asked.values()) reject(new Error(event.message || "the Worker does not start"));
    });
    port.start?.();
  }

  read(box = null, level = 0, options = {}) {
    return this.ask("read", [box, level], options);
  }

  lowres(box = null, options = {}) {
    return this.ask("lowres", [box], options);
  }

  verify() {
    return this.ask("verify", []);
  }

  digest(options = {}) {
    return this.ask("digest", [], options);
  }

  physical(stored, z = 0) {
    return physicalOf(this.header, stored, z);
  }

  close() {
    this.port.terminate?.();
    this.port.close?.();
  }

  ask(method, args, { signal, onProgress, base } = {}) {
    const id = ++this.last;
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      this.asked.set(id, { resolve, reject, onProgress });
      signal?.addEventListener("abort", () => this.port.postMessage({ id, method: "abort" }));
      this.port.postMessage({ id, method, args, base });
    });
  }

  hear({ id, result, error, progress }) {
    const asked = this.asked.get(id);
    if (progress !== undefined) return asked?.onProgress?.(progress);
    this.asked.delete(id);
    if (!error) return asked?.resolve(result);
    const Kind = CLASSES[error.name];
    const made = Kind ? new Kind(error.message, error.value) : Object.assign(new Error(error.message), { name: error.name });
    return asked?.reject(made);
  }
}
