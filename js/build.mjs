/** Bundles of `dist/`, for pages without a bundler. */

import { mkdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const common = { bundle: true, minify: true, write: false, target: "es2022", legalComments: "none" };

/** The text of a bundle. */
export async function bundled(entry, format) {
  const made = await build({ ...common, format, entryPoints: [here(entry)] });
  return made.outputFiles[0].text;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  mkdirSync(here("dist/"), { recursive: true });
  writeFileSync(here("dist/inrcodec.js"), await bundled("src/index.js", "esm"));
  writeFileSync(here("dist/worker.js"), await bundled("src/worker.js", "esm"));
}
