/** The conformance vectors of the specification: what is exact in Python is exact here. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { crc32 } from "../src/arithmetic.js";
import { Container } from "../src/container.js";
import { Layer } from "../src/convolve.js";
import { InrvError, open, UnsupportedFile } from "../src/index.js";
import { kernel } from "../src/kernel.js";
import { decodeLatents } from "../src/latent.js";
import { LatentModel } from "../src/latentmodel.js";
import { sourceOf } from "../src/source.js";
import { readNpz } from "./npz.js";

const VECTORS = new URL("../../spec/vectors/", import.meta.url);
const [latents, deep] = ["latent", "deep"].map((name) => readFileSync(new URL(`../../spec/models/small-${name}.safetensors`, import.meta.url)));
const modelOf = (name) => (name === "latent-deep" ? deep : latents);

function vector(name) {
  const at = (file) => new URL(`${name}/${file}`, VECTORS);
  return {
    bytes: new Uint8Array(readFileSync(at("input.inrv"))),
    expected: readNpz(readFileSync(at("expected.npz"))),
    facts: JSON.parse(readFileSync(at("case.json"), "utf8")),
  };
}

/** The bits of an array; all of float16 are in float32. */
const bits = ({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength).toString("base64");

/** Largest difference of two arrays of one length; of integers beyond 53 bits, too. */
function far(decoded, expected) {
  assert.equal(decoded.length, expected.length);
  let most = 0;
  for (let i = 0; i < decoded.length; i++) {
    if (decoded[i] !== expected[i]) most = Math.max(most, Math.abs(Number(decoded[i] - expected[i])) || Infinity);
  }
  return most;
}

const NAMES = readdirSync(VECTORS).sort();

for (const name of NAMES) {
  test(`vector ${name}`, async () => {
    const { bytes, expected, facts } = vector(name);
    const file = await open(bytes, { latents: modelOf(name) });
    await file.verify();
    if (file.header.lowres.coder === "av1") {
      await assert.rejects(file.read(), UnsupportedFile, "Node has no WebCodecs");
      return;
    }
    assert.equal("lowres" in expected, file.header.lowres.coder !== "none");
    if (expected.lowres) assert.ok(far((await file.lowres()).data, expected.lowres.data) <= facts.lowres_tolerance);
    const { data, shape, dtype } = await file.read();
    assert.equal(dtype, expected.lanczos.dtype);
    assert.deepEqual(shape, expected.lanczos.shape);
    if (facts.lanczos_tolerance === 0) {
      assert.equal(bits(data), bits(expected.lanczos.data));
      assert.deepEqual(await file.digest(), file.header.quality.digest);
    }
    else assert.ok(far(data, expected.lanczos.data) <= facts.lanczos_tolerance);
  });
}

test("a box is what the whole has there, whatever was decoded before", async () => {
  for (const name of ["several-tiles", "bricks", "bricks-with-holes", "special-in-bricks", "anisotropic", "padding-mask", "image-2d", "latent", "latent-streams", "latent-deep"]) {
    const { bytes } = vector(name), options = { latents: modelOf(name) }, whole = await (await open(bytes, options)).read(), [, height, width] = whole.shape;
    const box = whole.shape.map((n) => [Math.floor(n / 3), Math.floor(n / 3) + Math.max(1, Math.floor(n / 2) - 1)]);
    const part = await (await open(bytes, options)).read(box);
    let i = 0;
    for (let z = box[0][0]; z < box[0][1]; z++) {
      for (let y = box[1][0]; y < box[1][1]; y++) {
        for (let x = box[2][0]; x < box[2][1]; x++) assert.equal(part.data[i++], whole.data[(z * height + y) * width + x], name);
      }
    }
    assert.equal(i, part.data.length);
  }
});

test("a lattice has every so-manieth voxel of a lossless volume", async () => {
  const file = await open(vector("bricks").bytes), whole = await file.read(), [, height, width] = whole.shape;
  assert.ok(file.levels.length > 1);
  for (const [number, { factor, shape }] of file.levels.entries()) {
    const { data } = await file.read(null, number);
    let i = 0;
    for (let z = 0; z < shape[0]; z++) {
      for (let y = 0; y < shape[1]; y++) {
        for (let x = 0; x < shape[2]; x++) {
          assert.equal(data[i++], whole.data[(z * factor[0] * height + y * factor[1]) * width + x * factor[2]]);
        }
      }
    }
  }
});

/** A runtime whose model answers with one value everywhere, and notes what it was called with. */
function runtime(value, about = {}) {
  const seen = [];
  class Tensor {
    constructor(type, data, dims) {
      Object.assign(this, { type, data, dims });
    }
  }
  const run = async ({ lowres, noise }) => {
    seen.push({ lowres, noise });
    const residual = lowres.dims.reduce((n, side) => n * (side - 4) * 4, 1);
    return {
      residual: { data: new Float32Array(residual).fill(value) }, halo: { data: Int32Array.of(2, 2, 2) },
      factor: { data: Int32Array.of(4, 4, 4) }, multiply_adds: { data: Float64Array.of(9) }, ...about, sha256: { data: about.sha256 },
    };
  };
  return { seen, Tensor, InferenceSession: { create: async () => ({ inputNames: ["lowres", "noise"], run }) } };
}

test("a named model is said to be missing, and is applied where there is one", async () => {
  const { bytes } = vector("model-named");
  const plain = await open(bytes), { data } = await plain.read(), { sha256, ensemble, noise } = plain.header.sr;
  assert.equal(plain.superres.id, "ct-3d-x4");
  assert.match(plain.warnings[0], /ct-3d-x4/);
  const made = runtime(0.5, { sha256 }), file = await open(bytes, { superres: { models: new Uint8Array(1), runtime: made } });
  const shifted = (await file.read()).data, middle = Math.floor(data.length / 2);
  assert.deepEqual(file.warnings, []);
  assert.equal(made.seen.length, 1 + ensemble);
  assert.equal(made.seen[1].noise.data[0], noise / 4096);
  assert.ok(shifted[middle] > data[middle]);
  await file.read([[3, 4], null, null]);
  assert.equal(made.seen.length, 1 + ensemble, "a block is remembered");
});

test("other models than the named one are refused", async () => {
  const { bytes } = vector("model-named"), { sha256 } = (await open(bytes)).header.sr, models = new Uint8Array(1);
  for (const [about, name] of [
    [{ sha256: new Uint8Array(32) }, "UsageError"],
    [{ sha256, factor: { data: Int32Array.of(2, 2, 2) } }, "CorruptFile"],
    [{ sha256, multiply_adds: { data: Float64Array.of(2 ** 45) } }, "LimitExceeded"],
  ]) {
    await assert.rejects((await open(bytes, { superres: { models, runtime: runtime(0, about) } })).read(), { name });
  }
  await assert.rejects((await open(bytes, { superres: { models } })).read(), { name: "UsageError" });
  await assert.rejects((await open(bytes, { superres: { models, runtime: "./nowhere.mjs" } })).read(), { name: "UsageError" });
});

test("layers give the sums of their definition, by the kernel and without it", () => {
  let seed = 5;
  const random = (most) => Math.floor(((seed = (seed * 1103515245 + 12345) % 2 ** 31) / 2 ** 31) * (2 * most + 1)) - most;
  for (const [shape, inputs, outputs, edge] of [[[3, 4, 5], 3, 6, 3], [[1, 1, 2100], 17, 4, 1], [[2, 5, 1], 8, 9, 3], [[1, 1, 1], 1, 1, 3]]) {
    const weight = Int16Array.from({ length: outputs * inputs * edge ** 3 }, () => random(32767));
    const layer = new Layer(weight, [outputs, inputs, edge], Int32Array.from({ length: outputs }, () => random(2 ** 31 - 1)), 12);
    for (const most of [100, 32767, 2 ** 20]) {
      const x = Int32Array.from({ length: shape[0] * shape[1] * shape[2] * inputs }, () => random(most));
      for (const parity of [null, 0, 1]) {
        const sums = layer.slowly(x, shape, parity), exact = layer.exact(x, shape, parity), grid = layer.part(x, shape, (v) => v);
        assert.deepEqual(exact, sums.map((sum, i) => sum + layer.bias[i % outputs]), `${shape} ${most} ${parity}`);
        if (most > 32767) continue;
        for (const fast of [undefined, null]) assert.deepEqual(layer.products(grid, parity, fast), Int32Array.from(sums, (v) => v | 0));
      }
    }
  }
  assert.ok(kernel() !== null);
});

test("latents need the model that the file names", async () => {
  const { bytes } = vector("latent-coarsest"), other = Uint8Array.from(latents), answered = { "b/": other, "c/": latents };
  other[other.length - 1] ^= 1;
  await assert.rejects((await open(bytes)).lowres(), { name: "UnsupportedFile", message: /small-latent/ });
  await assert.rejects((await open(bytes, { latents: other })).lowres(), { name: "UsageError" });
  const before = globalThis.fetch;
  globalThis.fetch = async (url) => {
    const [folder, name] = String(url).split(/(?<=\/)/);
    assert.match(name, /^[0-9a-f]{64}\.safetensors\.zst$/);
    return answered[folder] ? new Response(answered[folder]) : new Response("", { status: 404 });
  };
  try {
    for (const folder of ["a", "b"]) await assert.rejects((await open(bytes, { latents: folder })).lowres(), { name: "UsageError" }, folder);
    const [near, far] = await Promise.all([latents, "c"].map(async (source) => (await open(bytes, { latents: source })).lowres()));
    assert.deepEqual(near, far);
  } finally {
    globalThis.fetch = before;
  }
});

/** The model of residual blocks with other names of its tensors, or without those that get none. */
function renamed(named) {
  const start = 8 + deep.readUInt32LE(), size = Buffer.alloc(8), rows = Object.entries(JSON.parse(deep.subarray(8, start)));
  const head = Buffer.from(JSON.stringify(Object.fromEntries(rows.map(([name, row]) => [named(name), row]).filter(([name]) => name))));
  size.writeUInt32LE(head.length);
  return Buffer.concat([size, head, deep.subarray(start)]);
}

test("a model is opened as the package has it, and a damaged frame is refused", async () => {
  const folder = new URL("../../inrcodec/layers/base/latent/models/", import.meta.url), names = readdirSync(folder).filter((name) => name.endsWith(".zst"));
  assert.ok(names.length);
  for (const name of names) {
    const { id, sha256 } = JSON.parse(readFileSync(new URL(name.replace("safetensors.zst", "json"), folder), "utf8"));
    const header = { latent: { id, sha256: Buffer.from(sha256, "hex") } }, stored = readFileSync(new URL(name, folder));
    assert.equal((await LatentModel.open(stored, header)).tensor("steps").length, 128);
    const wide = Uint8Array.from(stored), at = stored[4] & 32 ? 5 : 6; // its size, behind that of a window
    wide.fill(255, at, at + 4);
    await assert.rejects(LatentModel.open(wide, header), { name: "LimitExceeded" });
    for (const damaged of [stored.subarray(0, -1), Buffer.concat([stored, Buffer.alloc(1)])]) await assert.rejects(LatentModel.open(damaged, header), { name: "CorruptFile" });
  }
});

test("models with a part of their residual blocks are refused", async () => {
  const container = await Container.open(await sourceOf(vector("latent-deep").bytes)), { latent } = container.header;
  const stream = await container.chunk("LATG", 0), shape = [latent.slices, 15, 22], start = "contexts.0.bodies.";
  const decoded = async (named) => {
    const data = renamed(named), header = { latent: { id: "other", sha256: createHash("sha256").update(data).digest() } };
    for (const done of decodeLatents(await LatentModel.open(data, header), latent.rate, stream, shape)) assert.ok(done < 1);
  };
  await decoded((name) => name);
  for (const gone of ["0.", "0.first.", "0.second.", "1.first.", "1.second."]) {
    await assert.rejects(decoded((name) => (name.startsWith(start + gone) ? "" : name)), { name: "UsageError" }, gone);
  }
  for (const other of ["2", "later"]) {
    await assert.rejects(decoded((name) => name.replace(`${start}1`, start + other)), { name: "UsageError" }, other);
    await assert.rejects(decoded((name) => name.replace("contexts.1.bodies.0.first", `${start}${other}.first`)), { name: "UsageError" }, other);
  }
  await assert.rejects(decoded((name) => (name.includes(".bodies.") ? "" : name)), { name: "CorruptFile" });
});

test("every cut and every flipped byte is seen", async () => {
  for (const name of ["padding-mask", "bricks-with-holes"]) {
    const { bytes } = vector(name);
    for (let place = 0; place < bytes.length; place += 7) {
      const flipped = bytes.slice();
      flipped[place] ^= 0x41;
      for (const damaged of [bytes.slice(0, place), flipped]) {
        await assert.rejects(async () => (await open(damaged)).verify(), InrvError, `${name} at ${place}`);
      }
    }
  }
});

const INDEX = { PADM: "PIDX", SPCL: "SIDX", LATG: "GIDX", LATT: "LIDX" };

/** A file with some bits of its sections flipped, under right checksums. */
function forged(bytes, random) {
  const made = bytes.slice(), view = new DataView(made.buffer), count = view.getUint32(12, true), rows = {};
  const seal = (at, start, length) => view.setUint32(at, crc32(made.subarray(start, start + length)), true);
  for (let i = 0, start = 28 + 16 * count; i < count; i++) {
    const at = 24 + 16 * i, length = view.getUint32(at + 4, true);
    rows[String.fromCharCode(...made.subarray(at, at + 4))] = { at, start, length };
    start += length;
  }
  const places = Object.values(rows).filter(({ length }) => length);
  for (let flips = 1 + random(3); flips > 0; flips--) {
    const { start, length } = places[random(places.length)];
    made[start + random(length)] ^= 1 << random(8);
  }
  for (const [id, index] of Object.entries(INDEX)) {
    let at = rows[id]?.start;
    for (let row = rows[index]?.start; row < rows[index]?.start + rows[index]?.length; row += 8) {
      seal(row + 4, at, view.getUint32(row, true));
      at += view.getUint32(row, true);
    }
  }
  for (const { at, start, length } of Object.values(rows)) seal(at + 12, start, length);
  seal(24 + 16 * count, 0, 24 + 16 * count);
  return made;
}

test("a forged file decodes to something or is refused, and nothing else happens", async () => {
  let seed = 7, refused = 0;
  const random = (n) => Math.floor(((seed = (seed * 1103515245 + 12345) % 2 ** 31) / 2 ** 31) * n);
  for (const name of ["ct-int16-mask", "one-tile", "lossless-float32", "bricks-with-holes", "special-values", "latent-coarsest"]) {
    const { bytes } = vector(name);
    for (let round = 0; round < 40; round++) {
      try {
        const file = await open(forged(bytes, random), { maxBytes: 2 ** 26, latents });
        await file.read();
      } catch (error) {
        assert.ok(error instanceof InrvError, `${name}: ${error.stack}`);
        refused++;
      }
    }
  }
  assert.ok(refused > 130 && refused < 240);
});

test("more memory than is allowed is refused before it is taken", async () => {
  const file = await open(vector("many-weights").bytes, { maxBytes: 1000 });
  await assert.rejects(file.read(), { name: "LimitExceeded" });
  await assert.rejects(file.lowres(), { name: "LimitExceeded" });
  await assert.rejects((await open(vector("lossless").bytes, { maxBytes: 1000 })).read([[0, 1], [0, 1], [0, 1]]), { name: "LimitExceeded" });
});

test("boxes and levels that are not there are refused", async () => {
  const file = await open(vector("lossless").bytes);
  for (const box of [[[0, 99]], [[3, 3]], [[-1, 2]], [[0.5, 2]]]) await assert.rejects(file.read(box), { name: "UsageError" });
  await assert.rejects(file.read(null, 99), { name: "UsageError" });
  await assert.rejects(file.lowres(), { name: "UsageError" });
  await assert.rejects(open(42), { name: "UsageError" });
});
