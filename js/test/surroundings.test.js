/** Workers, viewers, sources, and what a page has to load. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { bundled } from "../build.mjs";
import { Blake2b } from "../src/blake2b.js";
import { open } from "../src/index.js";
import { toNifti } from "../src/nifti.js";
import { openRemote } from "../src/remote.js";
import { answer } from "../src/worker.js";
import { filtered, reached, WEIGHTS } from "../src/wiener.js";
import { InrvCodec } from "../src/zarr.js";
import { boxOf, contentOf, pictureOf, placeOf, usual, valueAt, voxelAt } from "../viewer/slices.js";

const bytesOf = (name) => new Uint8Array(readFileSync(new URL(`../../spec/vectors/${name}/input.inrv`, import.meta.url)));

/** A file that is decoded at the other end of a channel. */
async function behindPort(name) {
  const { port1, port2 } = new MessageChannel();
  answer(port1);
  return openRemote(bytesOf(name).buffer, port2);
}

test("a file behind a port is that file", async () => {
  const near = await open(bytesOf("bricks")), far = await behindPort("bricks"), box = [[1, 5], null, [2, 9]];
  assert.deepEqual(far.header, near.header);
  assert.deepEqual(far.levels, near.levels);
  assert.deepEqual(await far.read(box), await near.read(box));
  await far.verify();
  assert.deepEqual(await far.digest(), near.header.quality.digest);
  far.close();
});

test("errors keep their kind behind a port, and a request can be aborted", async () => {
  const file = await behindPort("many-weights");
  await assert.rejects(file.read(null, 9), { name: "UsageError", value: 9 });
  const control = new AbortController(), asked = file.read(null, 0, { signal: control.signal });
  control.abort();
  await assert.rejects(asked, { name: "AbortError" });
  assert.equal((await file.read([[0, 1], [0, 1], [0, 1]])).data.length, 1);
  file.close();
});

test("BLAKE2b is that of Python's hashlib, whatever the pieces", () => {
  const known = { 0: "cae66941d9efbd404e4d88758ea67670", 128: "8e0cf9bb1b36fa6c42aa6490f719b575", 1000: "add263669b4eb2158678a360fa6f007a" };
  for (const [length, hexadecimal] of Object.entries(known)) {
    const bytes = Uint8Array.from({ length }, (_, i) => 7 * i + 3), cut = Math.floor(length / 3);
    const found = new Blake2b().update(bytes.subarray(0, cut)).update(bytes.subarray(cut)).digest();
    assert.equal(Buffer.from(found).toString("hex"), hexadecimal);
  }
});

test("NIfTI has the voxels, the scale and the place of the volume", async () => {
  const file = await open(bytesOf("falling-slope")), { data } = await file.read(), view = new DataView(await toNifti(file));
  const [nz, ny, nx] = file.shape, float = (at) => view.getFloat32(at, true);
  assert.deepEqual([1, 2, 3].map((i) => view.getInt16(40 + 2 * i, true)), [nx, ny, nz]);
  assert.equal(view.getInt16(70, true), 4);
  assert.deepEqual([float(112), float(116)], [-1, 24]);
  const [[a], [, b], [, , c]] = file.affine;
  assert.deepEqual([float(280), float(300), float(320)], [-a, -b, c].map(Math.fround));
  assert.deepEqual(new Int16Array(view.buffer, 352), data);
});

test("NIfTI of slices with scales of their own has physical values", async () => {
  const file = await open(bytesOf("scales-of-slices")), { data } = await file.read();
  const values = new Float32Array(await toNifti(file), 352), area = data.length / file.shape[0];
  const seen = data.findLastIndex((v) => v > 0), z = Math.floor(seen / area);
  assert.equal(values[seen], Math.fround(file.physical(data[seen], z)));
  assert.notEqual(file.physical(data[seen], z), file.physical(data[seen], z - 1));
});

test("a chunk of a Zarr array has its shape", async () => {
  const codec = InrvCodec.fromConfig({}, { shape: [1, 8, 24, 28] }), { data, stride } = await codec.decode(bytesOf("bricks"));
  assert.equal(data.length, 8 * 24 * 28);
  assert.deepEqual(stride, [8 * 24 * 28, 24 * 28, 28, 1]);
  await assert.rejects(InrvCodec.fromConfig({}, { shape: [2, 2] }).decode(bytesOf("bricks")), { name: "UsageError" });
});

/** A server of one file that counts the bytes it sends. */
async function served(bytes, ranges) {
  let sent = 0;
  const server = createServer((request, response) => {
    const [, first, last] = /bytes=(\d+)-(\d+)/.exec(request.headers.range) ?? [];
    const part = ranges ? bytes.subarray(Number(first), Number(last) + 1) : bytes;
    sent += part.length;
    response.writeHead(ranges ? 206 : 200, ranges ? { "content-range": `bytes ${first}-${last}/${bytes.length}` } : {});
    response.end(part);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${server.address().port}/a.inrv`, server, sent: () => sent };
}

test("of a file behind a URL only what is needed is read", async () => {
  const bytes = bytesOf("many-weights");
  for (const ranges of [true, false]) {
    const { url, server, sent } = await served(bytes, ranges);
    const file = await open(url), part = await file.read([[0, 2], [0, 2], [0, 2]]);
    assert.deepEqual(part.data, (await (await open(bytes)).read([[0, 2], [0, 2], [0, 2]])).data);
    assert.ok(ranges ? sent() < bytes.length : sent() === bytes.length);
    server.close();
  }
});

test("a model is looked for by its hash in the folder that was named, once a voxel is read", async () => {
  const asked = [];
  const server = createServer((request, response) => {
    asked.push(request.url);
    response.writeHead(404).end();
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const models = `http://127.0.0.1:${server.address().port}/a/b`;
  const file = await open(bytesOf("model-named"), { superres: { models, runtime: {} } });
  assert.deepEqual(asked, []);
  for (const time of [1, 2]) {
    await assert.rejects(file.read([[0, 1], [0, 1], [0, 1]]), { name: "UsageError", value: 404 });
    assert.deepEqual(asked, Array(time).fill(`/a/b/${file.superres.sha256}.onnx`), "a failure is not remembered");
  }
  await assert.rejects(file.digest(), { name: "UsageError" });
  server.close();
});

test("a blob is read like bytes", async () => {
  const bytes = bytesOf("lossless"), file = await open(new Blob([bytes]));
  assert.deepEqual((await file.read()).data, (await (await open(bytes)).read()).data);
});

test("the decoder takes 40 kB of a page at most", async () => {
  for (const entry of ["index", "worker"]) {
    const size = gzipSync(await bundled(`src/${entry}.js`, "esm"), { level: 9 }).length;
    assert.ok(size > 5_000 && size <= 40_000, `${entry}: ${size} bytes`);
  }
});

test("a slice of the viewer is turned as its plane says, and a pixel leads back to its voxel", () => {
  const shape = [3, 4, 5], data = Float64Array.from({ length: 60 }, (_, i) => i), level = { factor: [1, 1, 1], shape, last: 2 };
  for (const flips of [[false, false], [true, false], [true, true]]) {
    const plane = { across: 1, down: { axis: 0, flip: flips[0] }, right: { axis: 2, flip: flips[1] } };
    const shown = shape.map((n) => [0, n]), half = [[1, 3], [0, 4], [2, 5]];
    assert.deepEqual(voxelAt(plane, half, 3, ...placeOf(plane, half, [2, 3, 2])), [2, 3, 2]);
    assert.deepEqual(boxOf(plane, { factor: [1, 2, 1], shape: [3, 2, 5] }, 3, shown), [[0, 3], [1, 2], [0, 5]]);
    const part = { data: data.filter((i) => Math.floor(i / 5) % 4 === 3), shape: [3, 1, 5], box: [[0, 3], [3, 4], [0, 5]] };
    const picture = pictureOf(plane, level, part, (v) => 10 * v);
    for (const voxel of [[0, 3, 0], [2, 3, 1], [1, 3, 4]]) {
      assert.deepEqual(voxelAt(plane, shown, 3, ...placeOf(plane, shown, voxel)), voxel);
      assert.equal(valueAt(plane, shown, picture, voxel), 10 * (voxel[0] * 20 + 15 + voxel[2]));
    }
  }
});

test("the filter is what the specification says, and of a box the same as of the whole", () => {
  const shape = [4, 6, 7], weights = Array.from({ length: WEIGHTS }, (_, k) => 7 * k - 40);
  const unit = Float64Array.from({ length: 168 }, (_, i) => Math.sin(i * i)), whole = shape.map((n) => [0, n]);
  const at = (...voxel) => {
    const [z, y, x] = voxel.map((i, axis) => Math.min(Math.max(i, 0), shape[axis] - 1));
    return unit[(z * 6 + y) * 7 + x];
  };
  const offsets = [[1, 0, 0], [2, 0, 0], [0, 1, 0], [0, 2, 0], [0, 3, 0], [0, 0, 1], [0, 0, 2], [0, 0, 3],
    [0, 1, 1], [0, 1, -1], [1, 0, 1], [1, 0, -1], [1, 1, 0], [1, -1, 0]];
  const full = filtered(weights, unit, whole, whole, shape);
  for (const [z, y, x] of [[0, 0, 0], [3, 5, 6], [1, 2, 3], [2, 5, 0]]) {
    let expected = at(z, y, x);
    offsets.forEach(([a, b, c], k) => (expected += (weights[k] / 256) * (at(z + a, y + b, x + c) + at(z - a, y - b, x - c) - 2 * at(z, y, x))));
    assert.ok(Math.abs(full[(z * 6 + y) * 7 + x] - expected) < 1e-12);
  }
  const box = [[1, 2], [4, 6], [0, 3]], wide = reached(box, shape), part = [];
  for (let z = wide[0][0]; z < wide[0][1]; z++) {
    for (let y = wide[1][0]; y < wide[1][1]; y++) for (let x = wide[2][0]; x < wide[2][1]; x++) part.push(at(z, y, x));
  }
  const found = filtered(weights, Float64Array.from(part), wide, box, shape);
  assert.deepEqual([...found], [4, 5].flatMap((y) => [0, 1, 2].map((x) => full[(6 + y) * 7 + x])));
});

test("what is shown is what is brighter than the background", () => {
  const data = new Float64Array(8 * 8 * 8).fill(-1000);
  data[(2 * 8 + 3) * 8 + 4] = data[(5 * 8 + 3) * 8 + 6] = 60;
  for (let i = 0; i < 40; i++) data[(3 * 8 + 3) * 8 + 4 + (i % 3)] = 50;
  const part = { data, shape: [8, 8, 8], box: [[0, 8], [0, 8], [0, 8]] }, level = { factor: [16, 16, 16] };
  assert.deepEqual(contentOf(part, level, [128, 128, 100], (v) => v, NaN), [[32, 96], [32, 64], [64, 100]]);
});

test("usual values leave padding and one bright voxel out", () => {
  const values = Float64Array.from({ length: 2000 }, (_, i) => (i < 500 ? -2000 : i % 100));
  values[700] = 30_000;
  [values[701], values[702]] = [NaN, Infinity];
  assert.deepEqual(usual(values, -2000), [1, 99]);
});
