/** The low-res volume of latents: a stream decoded by the networks of a model, in integers, equal everywhere. */

import { crc32, product } from "./arithmetic.js";
import { Grid } from "./convolve.js";
import { CorruptFile, need } from "./errors.js";
import { amplitude, down, downWide, doubled, LARGEST, SHORT, slopes, spread, sumsAround, within } from "./integers.js";
import { StepReader } from "./logistic.js";

const NEAREST = 12; // channels that are also seen relative to their amplitude
const CHANNELS = 64;
const WIDEST = 2 ** 27; // value in steps

/** Bytes that decoding takes for a low-res voxel, about. */
export const HELD = 128;

/**
 * The values of a stream in steps, 12 bits behind the point, `Int32Array` in raster order; yields what part is done.
 * @param {import("./latentmodel.js").LatentModel} model  @param {Uint8Array} stream  @param {number[]} shape (z, y, x)
 */
export function* decodeLatents(model, rate, stream, shape) {
  need(stream.length >= 4, "stream of latents has no checksum");
  const network = new Network(model, rate, shape), reader = new StepReader(model.tables, stream.subarray(4));
  const { flat, level } = yield* network.latents(reader);
  reader.finish();
  const wide = yield* network.values(flat, level), values = cropped(wide, network.blocks.map((n) => 4 * n), shape);
  const stated = new DataView(stream.buffer, stream.byteOffset, 4).getUint32(0, true);
  if (crc32(new Uint8Array(values.buffer)) !== stated) throw new CorruptFile("stream of latents decodes to other values than the encoder's: damaged");
  return values;
}

function cropped(wide, [, rows, columns], [nz, ny, nx]) {
  const values = new Int32Array(nz * ny * nx);
  for (let z = 0, to = 0; z < nz; z++) {
    for (let y = 0; y < ny; y++, to += nx) {
      const from = (z * rows + y) * columns;
      values.set(wide.subarray(from, from + nx), to);
    }
  }
  return values;
}

/** A polynomial of the rate: constant, linear and square parts of n numbers each. */
function byRate(tensor, rate) {
  const n = tensor.length / 3, r = 2 * rate - 127;
  return Float64Array.from({ length: n }, (_, i) => tensor[i] + downWide(tensor[n + i] * r, 7) + downWide(tensor[2 * n + i] * r * r, 14));
}

class Network {
  constructor(model, rate, shape) {
    Object.assign(this, { model, rate });
    this.inside = shape.map((n) => Math.ceil(n / 4)); // blocks that are coded
    this.blocks = shape.map((n) => 4 * Math.ceil(n / 16));
  }

  /** A layer's grid: `value(i)` of each position and channel in turn. */
  grid(name, shape, channels, value) {
    const grid = new Grid(shape, channels, this.model.layer(name).border);
    grid.forEach((at, position) => {
      for (let i = 0, from = position * channels; i < channels; i++) grid.data[at + i] = value(from + i);
    });
    return grid;
  }

  /** Sums of a layer as maps, from `least` on. */
  maps(name, grid, least = -SHORT) {
    const layer = this.model.layer(name), sums = layer.maps(grid), found = new Int16Array(sums.length);
    for (let i = 0; i < sums.length; i++) found[i] = Math.max(least, within(down(sums[i], layer.point), SHORT));
    return found;
  }

  // --- latents

  *latents(reader) {
    const [fine, middle, coarse] = [1, 2, 4].map((stride) => ({
      shape: this.blocks.map((n) => n / stride), inside: this.inside.map((n) => Math.ceil(n / stride)), reader,
    }));
    let level = doubled(this.context("level", coarse, {}), coarse.shape);
    const hyper = this.context("hyper", middle, { linear: slopes(level, middle.shape) }), channels = this.model.count("hyper");
    const inverse = this.model.tensor("inverse")[this.rate];
    level = doubled(level.map((v, p) => within(downWide(hyper[p * channels] * inverse, 16) + v, LARGEST)), middle.shape);
    yield 0.05;
    const features = this.hints(hyper, middle.shape), linear = slopes(level, fine.shape);
    let known = null, before = 0;
    for (const name of this.model.contexts) {
      const group = this.context(name, fine, { known, before, features, linear }), count = this.model.count(name);
      known = before ? joined([known, before], [group, count]) : group;
      before += count;
      yield 0.05 + (0.3 * before) / CHANNELS;
    }
    return { flat: known, level };
  }

  hints(hyper, shape) {
    const { compand } = this.model, [first, up] = ["hints.in", "hints.up"].map((name) => this.model.layer(name));
    let maps = this.maps("hints.in", this.grid("hints.in", shape, first.inputs, (i) => compand(hyper[i])), 0), from = maps;
    maps = spread(this.maps("hints.up", this.grid("hints.up", shape, up.inputs, (i) => from[i]), 0), shape, up.outputs);
    from = maps;
    return this.maps("hints.out", this.grid("hints.out", shape.map((n) => 2 * n), up.outputs / 8, (i) => from[i]), 0);
  }

  /** The latents of a grid, (positions, channels). */
  context(name, where, { known = null, before = 0, features = null, linear = null }) {
    const { model } = this, { shape } = where, positions = product(shape), count = model.count(name);
    const state = { name, count, found: new Int32Array(positions * count), scale: new Float64Array(positions).fill(64) };
    state.hidden = new Int32Array(positions * model.layer(`${name}.hidden`).inputs);
    state.plain = new Float64Array(positions * count);
    if (linear) {
      const nearest = { data: known, channels: before, first: Math.min(before, NEAREST) };
      state.scale = amplitude(shape, { data: linear, channels: 3, first: 3 }, ...(known ? [nearest] : []));
      add(state.hidden, model.layer(`${name}.features`).maps(this.given(name, shape, features, linear, state.scale)));
      const raw = known ? joined([known, before], [linear, 3]) : linear;
      add(state.plain, model.layer(`${name}.linear_channels`).exact(raw, shape));
    }
    if (known) add(state.hidden, model.layer(`${name}.channels`).maps(this.seen(`${name}.channels`, shape, known, before, state.scale)));
    this.deepen(state, shape, 0);
    this.half(state, where, 0);
    const near = amplitude(shape, { data: state.found, channels: count, first: Math.min(count, NEAREST) });
    const beside = linear ? near.map((v, p) => state.scale[p] + v - 64) : near, odd = board(shape, 1), all = model.bodies(name) > 1;
    const layer = `${name}.neighbours`, seen = this.seen(layer, shape, state.found, count, beside);
    add(state.hidden, model.layer(layer).maps(seen, all ? null : 1), all ? null : odd);
    add(state.plain, model.layer(`${name}.linear_neighbours`).exact(state.found, shape, 1), odd);
    if (linear) state.scale = beside;
    this.deepen(state, shape, 1);
    this.half(state, where, 1);
    return state.found;
  }

  /** Add what the residual block before a half gives, if there is one. */
  deepen({ name, hidden }, shape, parity) {
    if (this.model.bodies(name) <= parity) return;
    const [first, second] = ["first", "second"].map((part) => `${name}.bodies.${parity}.${part}`), layer = this.model.layer(second);
    const maps = this.maps(first, this.above(name, first, shape, parity, hidden), 0);
    add(hidden, layer.maps(this.grid(second, shape, layer.inputs, (i) => maps[i])));
  }

  /** Hidden sums of all positions, or of some, as maps that a layer reads. */
  above(name, layer, shape, parity, hidden, places) {
    const { model } = this, { inputs } = model.layer(layer), { point } = model.layer(`${name}.neighbours`);
    const offsets = byRate(model.tensor(`${name}.offsets`), this.rate).subarray(parity * inputs);
    return this.grid(layer, shape, inputs, (i) => {
      return Math.max(0, within(down((hidden[placed(i, inputs, places)] + offsets[i % inputs]) | 0, point), SHORT));
    });
  }

  /** Hints and slopes relative to their amplitude. */
  given(name, shape, features, linear, scale) {
    const count = this.model.layer(`${name}.features`).inputs, f = count - 3;
    return this.grid(`${name}.features`, shape, count, (i) => {
      const p = Math.floor(i / count), k = i - p * count;
      return k < f ? features[p * f + k] : relative(linear[3 * p + k - f], scale[p]);
    });
  }

  /** Latents, companded, and the first of them relative to their amplitude. */
  seen(name, shape, x, channels, scale) {
    const { compand } = this.model, count = channels + Math.min(channels, NEAREST);
    const grid = new Grid(shape, count, this.model.layer(name).border);
    grid.forEach((at, p) => {
      for (let i = 0, from = p * channels; i < channels; i++) grid.data[at + i] = compand(x[from + i]);
      for (let i = channels, from = p * channels; i < count; i++, from++) grid.data[at + i] = relative(x[from], scale[p]);
    });
    return grid;
  }

  /** Decode half a checkerboard. */
  half({ name, count, found, hidden, plain, scale }, { shape, inside, reader }, parity) {
    const { model } = this, last = model.layer(`${name}.out`), linear = model.layer(`${name}.linear_neighbours`).point;
    const layer = `${name}.hidden`, places = board(shape, parity), row = [1, 1, places.length];
    const maps = this.maps(layer, this.above(name, layer, row, parity, hidden, places), 0);
    const out = last.maps(this.grid(`${name}.out`, row, last.inputs, (i) => maps[i]));
    const [, ny, nx] = shape, { point } = last;
    for (let k = 0, at = 0; k < places.length; k++, at += 2 * count) {
      const p = places[k], coded = p % nx < inside[2] && Math.floor(p / nx) % ny < inside[1] && Math.floor(p / (nx * ny)) < inside[0];
      for (let i = 0; i < count; i++, at++) {
        const apart = down(out[at], point + 2) + share(scale[p] * down(out[at + 2 * count], point));
        const mean = within(downWide(plain[p * count + i], linear) + apart, LARGEST);
        const index = Math.max(0, Math.min(down(out[at + count], point + 5) + 24, 79));
        found[p * count + i] = coded ? within(mean + 64 * reader.step(index), LARGEST) : mean;
      }
    }
  }

  // --- synthesis

  *values(flat, level) {
    const { model, rate, blocks } = this, { compand } = model, fine = blocks.map((n) => 2 * n);
    const step = model.tensor("steps")[rate], gains = model.tensor("gains").subarray(CHANNELS * rate, CHANNELS * (rate + 1));
    const plain = this.plain(flat, level, gains);
    yield 0.45;
    const high = CHANNELS + 1, heights = level.map((v) => within(downWide(downWide(v * gains[0], 14) * step, 17), SHORT));
    let maps = this.maps("synthesis.enter", this.grid("synthesis.enter", blocks, high, (i) => {
      const p = Math.floor(i / high), k = i - p * high;
      return k < CHANNELS ? compand(flat[p * CHANNELS + k]) : heights[p];
    }));
    maps = yield* this.residuals("coarse", maps, blocks, 0.5, 0.75);
    const narrow = model.layer("synthesis.narrow"), beside = model.layer("synthesis.beside"), { point } = beside, from = maps;
    const narrowed = spread(narrow.maps(this.grid("synthesis.narrow", blocks, narrow.inputs, (i) => from[i])), blocks, narrow.outputs);
    const sums = beside.maps(this.apart(plain, fine, step));
    maps = new Int16Array(sums.length);
    for (let i = 0; i < maps.length; i++) maps[i] = within(down(narrowed[i], narrow.point) + down(sums[i], point), SHORT);
    maps = yield* this.residuals("fine", maps, fine, 0.75, 0.95);
    const out = model.layer("synthesis.out"), last = maps, added = out.maps(this.grid("synthesis.out", fine, out.inputs, (i) => last[i]));
    for (let i = 0; i < plain.length; i++) plain[i] = within(plain[i] + down(added[i], out.point - 4), WIDEST);
    return spread(plain, fine, 8);
  }

  /** Values of the transform alone, (2 z, 2 y, 2 x, 8). */
  plain(flat, level, gains) {
    const { model, blocks } = this, scaled = new Int32Array(flat.length), overlapping = new Int32Array(flat.length);
    for (let i = 0; i < flat.length; i++) {
      const k = i % CHANNELS;
      scaled[i] = downWide((flat[i] + (k ? 0 : level[i / CHANNELS])) * gains[k], 12);
      overlapping[i] = k ? scaled[i] : 4 * flat[i];
    }
    const overlap = model.layer("synthesis.overlap"), sums = overlap.exact(overlapping, blocks);
    for (let i = 0; i < scaled.length; i++) scaled[i] = within(16 * scaled[i] + downWide(sums[i], overlap.point - 4), WIDEST);
    const transform = model.layer("synthesis.transform");
    const values = transform.exact(scaled, blocks);
    for (let i = 0; i < values.length; i++) scaled[i] = within(downWide(values[i], transform.point), WIDEST);
    return spread(scaled, blocks, CHANNELS);
  }

  /** What stands out of its surroundings, companded; and those. */
  apart(plain, shape, step) {
    const positions = product(shape), { compand } = this.model, means = new Int32Array(positions);
    for (let p = 0; p < positions; p++) {
      let sum = 0;
      for (let i = 0; i < 8; i++) sum += plain[8 * p + i];
      means[p] = downWide(sum, 3);
    }
    const around = sumsAround(means, shape), counts = sumsAround(new Int32Array(positions).fill(1), shape);
    const grid = new Grid(shape, 9, this.model.layer("synthesis.beside").border);
    grid.forEach((at, p) => {
      const mean = Math.floor(around[p] / counts[p]);
      for (let i = 0; i < 8; i++) grid.data[at + i] = compand(down(plain[8 * p + i] - mean, 6));
      grid.data[at + 8] = within(downWide(mean * step, 20), SHORT);
    });
    return grid;
  }

  /** Two convolutions with sines between them, beside the identity. */
  *residuals(kind, maps, shape, begin, end) {
    const { model } = this, sines = model.tensor("sines"), names = model.residuals(kind);
    for (const [done, name] of names.entries()) {
      const [first, second] = ["first", "second"].map((part) => model.layer(`${name}.${part}`)), channels = first.inputs, wide = first.outputs;
      const modulation = byRate(model.tensor(`${name}.modulation`), this.rate), from = maps;
      const sums = first.maps(this.grid(`${name}.first`, shape, channels, (i) => from[i])), shift = first.point - 4;
      const waves = new Grid(shape, wide, second.border);
      waves.forEach((at, p) => {
        for (let k = 0, i = p * wide; k < wide; k++, i++) {
          const angle = Math.floor((down(sums[i], shift) * (4096 + modulation[k]) + 2048) / 4096) + modulation[wide + k];
          waves.data[at + k] = sines[Math.floor((angle * 10430 + 32768) / 65536) & 4095];
        }
      });
      const more = second.maps(waves), rest = second.point + 2;
      maps = new Int16Array(more.length);
      for (let i = 0; i < maps.length; i++) maps[i] = within(from[i] + down(more[i], rest), SHORT);
      yield begin + ((end - begin) * (done + 1)) / names.length;
    }
    return maps;
  }
}

/** Latents in units of an amplitude. */
const relative = (x, scale) => within(Math.floor((256 * x) / scale), SHORT);

/** An amplitude times what a mean is off by, of which 77 / 256 is taken: exact up to 2^53 before it. */
function share(product) {
  const upper = Math.floor(product / 65536);
  return 77 * upper + Math.floor((77 * (product - 65536 * upper) + 32768) / 65536);
}

/** Where a number of all positions is, or of some. */
const placed = (i, channels, places) => (places ? places[Math.floor(i / channels)] * channels + (i % channels) : i);

function add(to, more, places) {
  for (let i = 0; i < more.length; i++) to[placed(i, more.length / places?.length, places)] += more[i];
}

/** Channels beside each other. */
function joined(...parts) {
  const width = parts.reduce((sum, [, channels]) => sum + channels, 0), positions = parts[0][0].length / parts[0][1];
  const found = new Int32Array(positions * width);
  for (let p = 0, to = 0; p < positions; p++) {
    for (const [data, channels] of parts) {
      for (let i = 0; i < channels; i++) found[to++] = data[p * channels + i];
    }
  }
  return found;
}

/** The positions of half a checkerboard, in raster order. */
function board([nz, ny, nx], parity) {
  const places = [];
  for (let z = 0; z < nz; z++) {
    for (let y = 0; y < ny; y++) for (let x = (parity + z + y) % 2; x < nx; x += 2) places.push((z * ny + y) * nx + x);
  }
  return Int32Array.from(places);
}
