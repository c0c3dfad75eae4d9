/** The refinement: a lattice of integers whose spacing is halved stage by stage, exactly. */

import { halfBits, rint, toHalf } from "./arithmetic.js";
import { need } from "./errors.js";
import { isFloat } from "./header.js";
import { Rans } from "./rans.js";
import { Block, Bytes, Lanes, Tables } from "./tables.js";
import { OFFSETS } from "./wiener.js";

const SIDES = [[1, 0], [-1, 0], [0, 1], [0, -1]];
const CORNERS = [[1, 1], [-1, 1], [1, -1], [-1, -1]];
const pairs = (others) => [0, 1].flatMap((a) => others.map(([b, c]) => [a, b, c]));
const KNOWN = [[0, 0, 0], [1, 0, 0], ...pairs(SIDES), ...pairs(CORNERS), [-1, 0, 0], [2, 0, 0]];
/** First indices along b and c, and the neighbours among new voxels. */
const PHASES = [
  { odd: [0, 0], fresh: [] }, { odd: [1, 1], fresh: CORNERS }, { odd: [0, 1], fresh: SIDES },
  { odd: [1, 0], fresh: [...SIDES, ...CORNERS] },
];

const float = new Float64Array(1);
const words = new Uint32Array(float.buffer);
const UPPER = new Uint8Array(Float64Array.of(1).buffer)[7] ? 1 : 0; // which of the two has the exponent

/** Context of an expected error. */
function contextOf(e) {
  if (!(e > 0)) return 0;
  float[0] = e;
  const context = (words[UPPER] >>> 18) - 4072; // 4 (h + 5) + q: the exponent and two bits of the fraction
  return context < 0 ? 0 : context > 55 ? 55 : context;
}

/** Rank of `range.low`, where integers count ranks, and the largest integer. */
export function integersOf(h) {
  const { low, high } = h.range, { unit } = h.refine;
  if (!isFloat(h.volume.dtype)) return { first: 0, most: high - low };
  if (unit > 0) return { first: 0, most: rint((high - low) / unit) };
  const first = rank(h.volume.dtype, low === 0 ? -0 : low);
  return { first, most: rank(h.volume.dtype, high === 0 ? 0 : high) - first };
}

function rank(dtype, value) {
  const size = Math.abs(value), negative = value < 0 || Object.is(value, -0);
  let bits;
  if (dtype === "float16") bits = halfBits(toHalf(size));
  else if (dtype === "float64") bits = new DataView(Float64Array.of(size).buffer).getUint32(4, true); // its upper half
  else bits = new Uint32Array(Float32Array.of(size).buffer)[0];
  return negative ? -bits - 1 : bits;
}

/** The integers of a brick that are decoded so far. */
export class Lattice {
  /** @param {object} h header  @param {number[]} shape of the brick */
  constructor(h, shape) {
    this.most = integersOf(h).most;
    need(this.most < 2 ** 32, "refinement has integers beyond 32 bits");
    this.axes = h.refine.axes;
    this.steps = h.refine.steps;
    this.shape = shape;
    this.strides = [shape[1] * shape[2], shape[2], 1];
    this.spacing = [0, 1, 2].map((axis) => 2 ** this.axes.filter((a) => a === axis).length);
    this.k = new (this.most < 65536 ? Uint16Array : Uint32Array)(shape[0] * shape[1] * shape[2]);
    this.tables = new Tables();
    this.stages = 0;
  }

  /** Known voxels along each axis. */
  get counts() {
    return this.shape.map((n, axis) => Math.ceil(n / this.spacing[axis]));
  }

  /** Decode the first lattice. */
  first(bytes) {
    const stream = new Bytes(bytes), step = this.steps[0], { k, spacing, strides } = this;
    this.lanes = new Lanes(stream);
    const context = contextOf((this.most + 1) / (16 * step)), prediction = Math.floor(this.most / 2);
    const block = new Block(stream, this.lanes, this.tables), voxel = this.reader(block, step);
    const [nz, ny, nx] = this.counts;
    for (let z = 0; z < nz; z++) {
      for (let y = 0; y < ny; y++) {
        const row = z * spacing[0] * strides[0] + y * spacing[1] * strides[1];
        for (let x = 0; x < nx; x++) k[row + x * spacing[2]] = voxel(prediction, context);
      }
    }
    block.finish();
    this.end(stream);
  }

  /** Decode the next stage; yields now and then what part of it is done. */
  *stage(bytes) {
    const axis = this.axes[this.stages], step = this.steps[++this.stages], stream = new Bytes(bytes);
    this.between(axis);
    this.tables.beginStage();
    for (const [done, phase] of PHASES.entries()) {
      for (const part of this.phase(axis, phase, step, stream)) yield (done + part) / PHASES.length;
    }
    this.spacing[axis] /= 2;
    this.end(stream);
  }

  /** Check that a stream is used up, and behind the last one that the lanes are where their encoder began. */
  end(stream) {
    stream.finish();
    if (this.stages === this.axes.length) this.lanes.finish();
  }

  /** Set each new voxel of a stage to the mean of the two beside it. */
  between(axis) {
    const { k, shape, spacing, strides } = this, half = spacing[axis] / 2, jump = half * strides[axis];
    const begin = [0, 1, 2].map((other) => (other === axis ? half : 0));
    for (let z = begin[0]; z < shape[0]; z += spacing[0]) {
      for (let y = begin[1]; y < shape[1]; y += spacing[1]) {
        for (let x = begin[2]; x < shape[2]; x += spacing[2]) {
          const at = z * strides[0] + y * strides[1] + x, u = k[at - jump];
          const place = axis === 0 ? z : axis === 1 ? y : x;
          k[at] = place + half < shape[axis] ? u + Math.floor((k[at + jump] - u) / 2) : u;
        }
      }
    }
  }

  /** Filter the integers of the whole brick; yields after each slice. */
  *filter(weights) {
    const { k, most, shape: [nz, ny, nx] } = this, step = this.steps[this.steps.length - 1], count = OFFSETS.length;
    const small = Math.min(Math.floor(step / 4), most), large = Math.min(Math.floor((3 * step) / 4), most);
    const within = (d, limit) => (d < -limit ? -limit : d > limit ? limit : d);
    const inside = (i, n) => (i < 0 ? 0 : i < n ? i : n - 1), row = (z, y) => (inside(z, nz) * ny + inside(y, ny)) * nx;
    const places = OFFSETS.map(([, , dx]) => [dx, -dx].map((d) => Int32Array.from({ length: nx }, (_, x) => inside(x + d, nx))));
    const out = new k.constructor(k.length), sums = new Float64Array(nx);
    for (let z = 0; z < nz; z++) {
      for (let y = 0; y < ny; y++) {
        const at = row(z, y);
        sums.fill(128);
        for (let n = 0; n < count; n++) {
          const [dz, dy] = OFFSETS[n], after = row(z + dz, y + dy), before = row(z - dz, y - dy), [right, left] = places[n];
          const a = weights[n], b = weights[n + count], c = weights[n + 2 * count];
          for (let x = 0; x < nx; x++) {
            const middle = k[at + x], one = k[after + right[x]] - middle, other = k[before + left[x]] - middle;
            sums[x] += a * (within(one, small) + within(other, small)) + b * (within(one, large) + within(other, large)) + c * (one + other);
          }
        }
        for (let x = 0; x < nx; x++) {
          const value = k[at + x] + Math.floor(sums[x] / 256);
          out[at + x] = value < 0 ? 0 : value > most ? most : value;
        }
      }
      yield z;
    }
    this.k = out;
  }

  /** A function that decodes the next voxel of a block from its prediction and context. */
  reader(block, step) {
    const { most } = this, half = Math.floor(step / 2);
    return (prediction, context) => {
      const below = step === 1 ? prediction : Math.floor((prediction + half) / step);
      const above = step === 1 ? most - prediction : Math.floor((most - prediction + half) / step);
      const n = below < above ? below : above;
      const token = block.token(n < 8 ? 56 + (context & ~7) + n : context);
      const z = token < 32 ? token : block.long(token);
      let q;
      if (z <= 2 * n) q = z % 2 ? (z + 1) / 2 : -z / 2;
      else q = above > below ? z - n : n - z;
      const value = prediction + q * step;
      return value < 0 ? 0 : value > most ? most : value;
    };
  }

  /** Decode the new voxels of a phase along `a` at such indices along `b` and `c`; yields after each slice of them. */
  *phase(a, { odd, fresh }, step, stream) {
    const { k, shape, spacing, strides, most } = this, counts = this.counts;
    const [b, c] = [0, 1, 2].filter((axis) => axis !== a);
    const made = Math.ceil((shape[a] - spacing[a] / 2) / spacing[a]);
    const begin = [0, 0, 0], by = [1, 1, 1], end = [...counts];
    end[a] = made;
    [begin[b], begin[c]] = odd;
    by[b] = by[c] = 2;
    if (begin.some((first, axis) => first >= end[axis])) return;
    const jump = [0, 1, 2].map((axis) => spacing[axis] * strides[axis]), half = (spacing[a] / 2) * strides[a];
    const neighbours = new Neighbours({ a, b, c, fresh, counts, jump, half });
    const predictor = new Predictor(stream, neighbours.count);
    const block = new Block(stream, this.lanes, this.tables), voxel = this.reader(block, step);
    const predict = predictor.isSmall(most) ? predictSmall : predictLarge;
    const i = [0, 0, 0], last = counts[2] - (a === 2 ? 2 : 1); // the neighbours of x up to here are all there
    for (i[0] = begin[0]; i[0] < end[0]; i[0] += by[0]) {
      for (i[1] = begin[1]; i[1] < end[1]; i[1] += by[1]) {
        let at = i[0] * jump[0] + i[1] * jump[1] + begin[2] * jump[2] + half;
        for (let x = begin[2]; x < end[2]; x += by[2], at += by[2] * jump[2]) {
          i[2] = x;
          if (x <= by[2] || x >= last || !neighbours.inner) neighbours.place(i);
          predict(k, at, neighbours.offsets, predictor, step);
          const predicted = predictor.value;
          k[at] = voxel(predicted < 0 ? 0 : predicted > most ? most : predicted, predictor.context);
        }
      }
      yield i[0] / end[0];
    }
    block.finish();
  }
}

/** Where the neighbours of a voxel lie, from its own place on. */
class Neighbours {
  constructor({ a, b, c, fresh, counts, jump, half }) {
    Object.assign(this, { a, b, c, fresh, counts, jump, half });
    this.count = KNOWN.length + fresh.length;
    this.offsets = new Int32Array(this.count);
    this.inner = false;
  }

  /** Bring the offsets to those of a voxel; all voxels away from the ends have the same. */
  place(i) {
    const { a, b, c, counts } = this, ia = i[a], ib = i[b], ic = i[c];
    const inner = ia > 0 && ia + 2 < counts[a] && ib > 0 && ib + 1 < counts[b] && ic > 0 && ic + 1 < counts[c];
    if (inner && this.inner) return;
    this.inner = inner;
    const known = (axis, at, move) => (Math.min(Math.max(at + move, 0), counts[axis] - 1) - at) * this.jump[axis];
    const fresh = (axis, at, move) => (mirrored(at + move, counts[axis]) - at) * this.jump[axis];
    let n = 0;
    for (const [x, y, z] of KNOWN) this.offsets[n++] = known(a, ia, x) + known(b, ib, y) + known(c, ic, z) - this.half;
    for (const [y, z] of this.fresh) this.offsets[n++] = fresh(b, ib, y) + fresh(c, ic, z);
  }
}

function mirrored(index, n) {
  if (index < 0) index = -index;
  if (index > n - 1) index = 2 * (n - 1) - index;
  return Math.min(Math.max(index, 0), n - 1);
}

/** Scales, weights by class, and the class of each context; and what was predicted last. */
class Predictor {
  constructor(stream, count) {
    const view = stream.view(8), number = view.getUint8(0), power = view.getInt8(1);
    need(number >= 1 && number <= 8 && Math.abs(power) <= 64, "predictor of the refinement is impossible");
    const bounds = stream.take(number - 1);
    need(bounds.every((bound, i) => i === 0 || bounds[i - 1] < bound), "classes of a predictor do not ascend");
    const rans = new Rans(stream.take(view.getUint32(4, true)));
    const scales = rans.integers(count, view.getUint8(2)), weights = rans.integers(number * count, view.getUint8(3));
    rans.finish();
    const within = scales.every((s) => Math.abs(s) <= 127) && weights.every((w) => Math.abs(w) <= 16384);
    need(within, "weights of a predictor are impossible");
    this.count = count;
    this.scales = Int32Array.from(scales);
    this.weights = Int32Array.from(weights);
    this.classes = Uint8Array.from({ length: 56 }, (_, context) => bounds.filter((bound) => bound <= context).length);
    this.factor = 2 ** power;
    this.differences = new Int32Array(count);
    this.exact = new Float64Array(count);
    this.value = 0;
    this.context = 0;
  }

  /** Whether all sums are below 2^31 for integers up to `most`. */
  isSmall(most) {
    const sizes = (numbers) => numbers.reduce((sum, n) => sum + Math.abs(n), 0);
    let largest = sizes(this.scales);
    for (let i = 0; i < this.weights.length; i += this.count) {
      largest = Math.max(largest, sizes(this.weights.subarray(i, i + this.count)));
    }
    return 2 * most * (largest + 128) + 128 < 2 ** 31;
  }
}

/** Prediction and context of a voxel, with integers of 32 bits: twice as fast as `predictLarge`, and equal. */
function predictSmall(k, at, offsets, predictor, step) {
  const { count, scales, weights, differences: d } = predictor, m = (k[at + offsets[0]] + k[at + offsets[1]]) | 0;
  let error = 0;
  for (let n = 0; n < count; n++) {
    const difference = ((k[at + offsets[n]] << 1) - m) | 0;
    d[n] = difference;
    error = (error + Math.imul(scales[n], difference < 0 ? -difference | 0 : difference)) | 0;
  }
  const context = contextOf((error * predictor.factor) / step), first = predictor.classes[context] * count;
  let sum = ((m << 7) + 128) | 0;
  for (let n = 0; n < count; n++) sum = (sum + Math.imul(weights[first + n], d[n])) | 0;
  predictor.context = context;
  predictor.value = sum >> 8;
}

/** The same in float64, which has the sums of all integers. */
function predictLarge(k, at, offsets, predictor, step) {
  const { count, scales, weights, exact: d } = predictor, m = k[at + offsets[0]] + k[at + offsets[1]];
  let error = 0;
  for (let n = 0; n < count; n++) {
    d[n] = 2 * k[at + offsets[n]] - m;
    error += scales[n] * Math.abs(d[n]);
  }
  const context = contextOf((error * predictor.factor) / step), first = predictor.classes[context] * count;
  let sum = 128 * m + 128;
  for (let n = 0; n < count; n++) sum += weights[first + n] * d[n];
  predictor.context = context;
  predictor.value = Math.floor(sum / 256);
}
