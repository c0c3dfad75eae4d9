/** Arrays of an .npz file: a zip of .npy files, read as far as NumPy writes them. */

import { inflateRawSync } from "node:zlib";

const ARRAYS = {
  i1: Int8Array, i2: Int16Array, i4: Int32Array, i8: BigInt64Array,
  u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, u8: BigUint64Array, f4: Float32Array, f8: Float64Array,
};
const NAMES = { i: "int", u: "uint", f: "float" };

/** Name of each array to its `data`, `shape` and `dtype`; float16 becomes float32. */
export function readNpz(bytes) {
  const end = bytes.lastIndexOf(Buffer.from("PK\x05\x06", "latin1")), found = {};
  let at = bytes.readUInt32LE(end + 16);
  for (let left = bytes.readUInt16LE(end + 10); left > 0; left--) {
    const [method, size] = [bytes.readUInt16LE(at + 10), bytes.readUInt32LE(at + 20)];
    const [name, extra, comment] = [28, 30, 32].map((offset) => bytes.readUInt16LE(at + offset));
    const local = bytes.readUInt32LE(at + 42), key = bytes.toString("utf8", at + 46, at + 46 + name);
    const start = local + 30 + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
    const body = bytes.subarray(start, start + size);
    found[key.replace(/\.npy$/, "")] = readNpy(method ? inflateRawSync(body) : body);
    at += 46 + name + extra + comment;
  }
  return found;
}

function readNpy(bytes) {
  const length = bytes.readUInt16LE(8), header = bytes.toString("latin1", 10, 10 + length);
  const [, order, type] = /'descr': '([<|])(\w\d)'/.exec(header), [, shape] = /'shape': \(([^)]*)\)/.exec(header);
  const content = Uint8Array.from(bytes.subarray(10 + length)).buffer;
  if (!order || /'fortran_order': True/.test(header)) throw new Error(`cannot read ${header}`);
  const data = type === "f2" ? Float32Array.from(new Uint16Array(content), half) : new ARRAYS[type](content);
  return { data, shape: shape.split(",").filter((n) => n.trim()).map(Number), dtype: NAMES[type[0]] + 8 * type[1] };
}

function half(bits) {
  const exponent = (bits >> 10) & 31, fraction = bits & 1023;
  const size = exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24;
  return bits >> 15 ? -size : size;
}
