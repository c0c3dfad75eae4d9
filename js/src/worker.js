/** The decoder behind a message port: a page stays responsive while a Worker decodes. */

import { InrvError } from "./errors.js";
import { open } from "./file.js";

/** Answer the requests of `remote.js` on a port, for one file. */
export function answer(port) {
  const running = new Map();
  let file = null;
  const methods = {
    open: async (options, source, more) => {
      file = await open(source, more);
      return described(file);
    },
    read: (options, box, level) => file.read(box, level, options),
    lowres: (options, box) => file.lowres(box, options),
    verify: () => file.verify(),
    digest: (options) => file.digest(options),
  };
  port.addEventListener("message", async ({ data: { id, method, args, base } }) => {
    if (method === "abort") return running.get(id)?.abort();
    const control = new AbortController();
    running.set(id, control);
    try {
      const onProgress = (progress) => port.postMessage({ id, progress });
      const result = await methods[method]({ signal: control.signal, onProgress, base }, ...args);
      port.postMessage({ id, result }, result?.data ? [result.data.buffer] : []);
    } catch (error) {
      const { name, message, value } = error;
      port.postMessage({ id, error: { name, message, value: error instanceof InrvError ? plain(value) : undefined } });
    } finally {
      running.delete(id);
    }
  });
  port.start?.();
}

/** What can be said of a file without decoding it, in plain types. */
function described(file) {
  const { header, levels, shape, dtype, affine, spacing, bytes, warnings, superres, isRefined } = file;
  return { header, levels, shape, dtype, affine, spacing, bytes, warnings, superres, isRefined };
}

const plain = (value) => (["string", "number", "boolean"].includes(typeof value) ? value : undefined);

if (typeof WorkerGlobalScope !== "undefined" && globalThis instanceof WorkerGlobalScope) answer(globalThis);
