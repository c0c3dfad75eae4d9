/** Bundles: `dist/` for pages without a bundler, and the two scripts that a page of the Python package carries. */

import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const common = { bundle: true, minify: true, write: false, target: "es2022", legalComments: "none" };

/** The text of a bundle. */
export async function bundled(entry, format) {
  const made = await build({ ...common, format, entryPoints: [here(entry)] });
  return made.outputFiles[0].text;
}

/** SHA-256 of all that the bundles are made of; tests/test_javascript.py computes it too. */
function digest() {
  const scripts = ["src", "viewer"].flatMap((folder) => readdirSync(here(folder)).sort().map((name) => `${folder}/${name}`));
  const hash = createHash("sha256");
  for (const name of [...scripts, "build.mjs", "package-lock.json"]) hash.update(`${name}\n`).update(readFileSync(here(name)));
  return hash.digest("hex");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  mkdirSync(here("dist/"), { recursive: true });
  writeFileSync(here("dist/inrcodec.js"), await bundled("src/index.js", "esm"));
  writeFileSync(here("dist/worker.js"), await bundled("src/worker.js", "esm"));
  const page = here("../inrcodec/report/page/scripts/"), head = `// Built by "make js" from sources with the SHA-256 ${digest()}\n`;
  mkdirSync(page, { recursive: true });
  writeFileSync(`${page}viewer.js`, head + (await bundled("viewer/main.js", "iife")));
  writeFileSync(`${page}decoder.js`, head + (await bundled("src/worker.js", "iife")));
}
