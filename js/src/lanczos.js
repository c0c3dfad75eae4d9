/** From unit values on the low-res grid to stored values at full resolution. */

import { fromHalfBits, rint, toHalf } from "./arithmetic.js";
import { isFloat, typeLimits } from "./header.js";

const TAPS = 6;

function kernel(t) {
  if (t === 0) return 1;
  if (Math.abs(t) >= 3) return 0;
  const a = Math.PI * t;
  return (Math.sin(a) / a) * (Math.sin(a / 3) / (a / 3));
}

/** Low-res samples that samples `begin` to `end` of the full resolution need: first and last plus one. */
export function support(begin, end, factor, n) {
  if (factor === 1) return [begin, end];
  const first = Math.floor((begin + 0.5) / factor - 0.5) - 2, last = Math.floor((end - 0.5) / factor - 0.5) + 3;
  return [Math.max(first, 0), Math.min(last + 1, n)];
}

/** For each sample from `begin` on, the first low-res sample and the weights of it and of those after it. */
function taps(begin, end, factor, n) {
  const first = new Int32Array(end - begin), counts = new Int32Array(end - begin);
  const weights = new Float64Array(TAPS * (end - begin));
  for (let j = begin; j < end; j++) {
    const p = (j + 0.5) / factor - 0.5, from = Math.max(Math.floor(p) - 2, 0), to = Math.min(Math.floor(p) + 3, n - 1);
    let sum = 0;
    for (let i = from; i <= to; i++) sum += weights[TAPS * (j - begin) + i - from] = kernel(p - i);
    for (let i = 0; i <= to - from; i++) weights[TAPS * (j - begin) + i] /= sum;
    first[j - begin] = from;
    counts[j - begin] = to - from + 1;
  }
  return { first, counts, weights };
}

/**
 * Interpolate along one axis.
 * @param {{data: Float64Array, shape: number[]}} volume from `origin` on along that axis
 * @param {number} n low-res samples of the whole axis
 */
function along(axis, { data, shape }, origin, [begin, end], factor, n) {
  if (factor === 1) return { data, shape };
  const { first, counts, weights } = taps(begin, end, factor, n);
  const outer = shape.slice(0, axis).reduce((a, b) => a * b, 1), inner = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  const length = shape[axis], made = end - begin, out = new Float64Array(outer * made * inner);
  for (let o = 0; o < outer; o++) {
    for (let j = 0; j < made; j++) {
      const to = (o * made + j) * inner;
      if (inner === 1) {
        let sum = 0;
        for (let t = 0, from = o * length + first[j] - origin; t < counts[j]; t++) sum += weights[TAPS * j + t] * data[from + t];
        out[to] = sum;
        continue;
      }
      for (let t = 0; t < counts[j]; t++) {
        const w = weights[TAPS * j + t], from = (o * length + first[j] + t - origin) * inner;
        for (let i = 0; i < inner; i++) out[to + i] += w * data[from + i];
      }
    }
  }
  return { data: out, shape: shape.map((side, k) => (k === axis ? made : side)) };
}

/** Unit values of a box at full resolution, along z, then y, then x. */
export function upsample(volume, origin, box, factor, low) {
  for (const axis of [0, 1, 2]) volume = along(axis, volume, origin[axis], box[axis], factor[axis], low[axis]);
  return volume.data;
}

const ARRAYS = {
  int8: Int8Array, int16: Int16Array, int32: Int32Array, int64: BigInt64Array,
  uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, uint64: BigUint64Array,
  float16: Float32Array, float32: Float32Array, float64: Float64Array,
};

/** An array for stored values of a type; float16 is held as float32. */
export const arrayFor = (dtype, length) => new ARRAYS[dtype](length);

/** A number as it is put into such an array. */
export const itemOf = (dtype) => (dtype.endsWith("int64") ? BigInt : dtype === "float16" ? toHalf : (v) => v);

/** Stored values of unit values. */
export function toStored(h, unit) {
  const { low, high } = h.range, { dtype } = h.volume, half = (high - low) / 2, whole = !isFloat(dtype);
  const [least, most] = typeLimits(dtype), stored = arrayFor(dtype, unit.length), item = itemOf(dtype);
  for (let i = 0; i < unit.length; i++) {
    let v = low + (unit[i] + 1) * half;
    v = v < low ? low : v > high ? high : v;
    if (whole) v = Math.min(Math.max(rint(v), least), most);
    stored[i] = item(v);
  }
  return stored;
}

/** Stored values of the integers of a refinement. */
export function toLattice(h, integers, first) {
  const { low, high } = h.range, { unit } = h.refine, { dtype } = h.volume;
  const stored = arrayFor(dtype, integers.length), item = itemOf(dtype);
  if (!isFloat(dtype)) {
    for (let i = 0; i < integers.length; i++) stored[i] = item(integers[i] + low);
    return stored;
  }
  if (unit > 0) {
    for (let i = 0; i < integers.length; i++) stored[i] = item(Math.min(Math.max(low + integers[i] * unit, low), high));
    return stored;
  }
  const sign = dtype === "float16" ? 0x8000 : 0x80000000;
  const bits = new Uint32Array(stored.buffer);
  for (let i = 0; i < integers.length; i++) {
    const rank = integers[i] + first, size = rank >= 0 ? rank : -(rank + 1);
    if (dtype === "float16") stored[i] = rank >= 0 ? fromHalfBits(size) : -fromHalfBits(size);
    else bits[dtype === "float64" ? 2 * i + 1 : i] = rank >= 0 ? size : sign + size;
  }
  return stored;
}
