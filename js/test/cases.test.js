/** What the Python package's tests wrote for both: headers, masks and files that are to be refused, or read alike. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { readHeader } from "../src/header.js";
import { open } from "../src/index.js";
import { decodeGrid } from "../src/mask.js";
import { read } from "../src/messagepack.js";
import { readPadding } from "../src/padding.js";
import { Rans } from "../src/rans.js";
import { openRemote } from "../src/remote.js";
import { answer } from "../src/worker.js";
import { inflate } from "../src/zstd.js";

const PATH = process.env.INRV_CASES; // set by tests/test_javascript.py
const options = { skip: PATH ? false : "tests/test_javascript.py writes the cases" };
const cases = PATH ? JSON.parse(readFileSync(PATH, "utf8")) : {};
const bytes = (hex) => Uint8Array.from(Buffer.from(hex, "hex"));
const large = new Set(["MASK", "PADM"]);

test("headers are refused as Python refuses them", options, () => {
  for (const { name, header, error } of cases.refused) {
    assert.throws(() => readHeader(bytes(header), 0, new Set()), { name: error }, name);
  }
  for (const { name, header, error } of cases.beyond) {
    assert.throws(() => readHeader(bytes(header), 0, large), { name: error }, name);
  }
});

test("headers that Python reads are read", options, () => {
  for (const { name, header, minor, shape } of cases.accepted) {
    assert.deepEqual(readHeader(bytes(header), minor).volume.shape, shape, name);
  }
});

test("files decode as Python decodes them, within a stored unit", options, async () => {
  for (const { name, file, values } of cases.files) {
    const { data } = await (await open(bytes(file))).read();
    assert.equal(data.length, values.length);
    assert.ok(data.every((v, i) => Math.abs(v - values[i]) <= 1), name);
  }
});

test("super-resolution is Python's within a stored unit, of a box too, and behind a port", options, async () => {
  for (const { name, file: coded, model, values } of cases.superres) {
    const superres = { models: bytes(model), runtime: "onnxruntime-web" }, file = await open(bytes(coded), { superres });
    const { data, shape } = await file.read(), off = data.map((v, i) => Math.abs(v - values[i]));
    assert.ok(off.every((v) => v <= 1) && off.filter((v) => v > 0).length < data.length / 100, name);
    const plain = (await (await open(bytes(coded))).read()).data;
    assert.ok(Math.max(...plain.map((v, i) => Math.abs(v - values[i]))) > 5, name);
    const box = [[1, 3], [shape[1] - 9, shape[1]], [shape[2] - 40, shape[2] - 2]], { port1, port2 } = new MessageChannel();
    answer(port1);
    const far = await openRemote(bytes(coded).buffer, port2, { superres }), part = await far.read(box);
    for (const [i, voxel] of part.data.entries()) {
      const z = 1 + Math.floor(i / (9 * 38)), y = shape[1] - 9 + (Math.floor(i / 38) % 9), x = shape[2] - 40 + (i % 38);
      assert.equal(voxel, data[(z * shape[1] + y) * shape[2] + x], name);
    }
    file.close();
    far.close();
  }
  const [{ file: coded }] = cases.superres, superres = { models: Uint8Array.of(8, 1), runtime: "onnxruntime-web" };
  await assert.rejects((await open(bytes(coded), { superres })).read(), { name: "UsageError" }, "no ONNX");
});

test("Zstandard frames are inflated, or refused, as by Python; four Huffman streams more strictly", options, () => {
  for (const { frame, size, whole, content } of cases.frames) {
    const read = () => inflate(bytes(frame), size, "a test");
    let found = null;
    if (content === null) assert.throws(read, { name: "CorruptFile" }, frame);
    else {
      try {
        found = Buffer.from(read()).toString("hex");
      } catch (error) {
        if (whole || !/Huffman/.test(error.message)) throw error;
        continue;
      }
      assert.ok(found === content, frame);
    }
  }
});

test("bytes that are not canonical MessagePack are refused", options, () => {
  for (const { name, header } of cases.uncanonical) assert.throws(() => read(bytes(header)), { name: "CorruptFile" }, name);
});

test("any mask is read, and refused where its bytes go on", options, () => {
  for (const { name, shape, set, grid, coded, packed } of cases.masks) {
    const expected = bytes(set), area = shape[1] * shape[2];
    assert.deepEqual(decodeGrid(bytes(grid), shape), expected, name);
    for (const body of [coded, packed]) {
      const slice = readPadding(bytes(body), shape);
      for (let z = 0; z < shape[0]; z++) assert.deepEqual(slice(z), expected.subarray(z * area, (z + 1) * area), name);
      assert.throws(() => readPadding(bytes(`${body}00`), shape), { name: "CorruptFile" }, name);
    }
    assert.throws(() => readPadding(bytes(packed.slice(0, -2)), shape), { name: "CorruptFile" }, name);
  }
});

test("any weights are read", options, () => {
  for (const { spread, stream, values } of cases.weights) {
    const reader = new Rans(bytes(stream));
    assert.deepEqual([...reader.integers(values.length, spread)].map((v) => v + 0), values);
    reader.finish();
    assert.throws(() => new Rans(bytes(stream).slice(0, -1)).integers(values.length, spread), { name: "CorruptFile" });
  }
});
