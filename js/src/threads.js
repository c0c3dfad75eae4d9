/** A Worker of its own for a file. */

import { openRemote } from "./remote.js";

/** Open a file that a new Worker decodes; `close` ends it. */
export function openInWorker(source, options = {}) {
  return openRemote(source, new Worker(new URL("./worker.js", import.meta.url), { type: "module" }), options);
}
