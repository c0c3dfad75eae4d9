/** Files on the standard input, each behind its length as u32; a line of JSON for each. */

import { createHash } from "node:crypto";
import { readFileSync, readSync } from "node:fs";
import { open } from "../js/src/index.js";

const MODELS = Object.fromEntries(["small-latent", "small-deep"].map((name) => [name, readFileSync(new URL(`../spec/models/${name}.safetensors`, import.meta.url))]));

function exactly(length) {
  const found = Buffer.alloc(length);
  for (let done = 0; done < length;) {
    const more = readSync(0, found, done, length - done);
    if (more === 0) process.exit(0);
    done += more;
  }
  return found;
}

for (;;) {
  const bytes = new Uint8Array(exactly(exactly(4).readUInt32LE()));
  const answer = { error: null, message: "", digest: null };
  try {
    const { header } = await open(bytes);
    const file = await open(bytes, { maxBytes: 2 ** 28, latents: MODELS[header.latent.id] });
    const { data } = await file.read();
    answer.digest = createHash("sha256").update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength)).digest("hex");
  } catch (error) {
    answer.error = error.name;
    answer.message = String(error.stack ?? error).slice(0, 500);
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
