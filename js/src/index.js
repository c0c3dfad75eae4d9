/** Decoder of .inrv files: `open`, and what it may throw. */

export { open, InrvFile } from "./file.js";
export { CorruptFile, InrvError, LimitExceeded, UnsupportedFile, UsageError } from "./errors.js";
export { toRas } from "./levels.js";
export { openInWorker } from "./threads.js";
