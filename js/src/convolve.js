/** Convolutions of 16-bit integers, of 3 x 3 x 3 positions or of one; sums are modulo 2^32, or exact. */

import { product } from "./arithmetic.js";
import { kernel } from "./kernel.js";

const LANES = 8; // channels come in groups of so many, the last filled up with zeros
const OUTPUTS = 4; // that are summed side by side
const HALF = 8; // bits of the lower part, where numbers are wider than 16 bits

const filled = (n, multiple) => Math.ceil(n / multiple) * multiple;

/** A grid, (z, y, x, channels), of 16-bit integers, with a border of zeros where its neighbours are looked at. */
export class Grid {
  /** @param {number[]} shape (z, y, x)  @param {number} channels  @param {number} border 0 or 1 */
  constructor(shape, channels, border = 1) {
    this.shape = shape;
    this.border = border;
    this.stride = filled(channels, LANES);
    this.wide = shape.map((n) => n + 2 * border);
    this.data = new Int16Array(product(this.wide) * this.stride);
  }

  /** Where the channels of each row of positions begin. */
  row(z, y) {
    const [, rows, columns] = this.wide, { border } = this;
    return (((z + border) * rows + y + border) * columns + border) * this.stride;
  }

  /** Call `set(at, position)` for each position: the place of its first channel here, and its number. */
  forEach(set) {
    const [nz, ny, nx] = this.shape;
    for (let z = 0, position = 0; z < nz; z++) {
      for (let y = 0; y < ny; y++) {
        for (let x = 0, at = this.row(z, y); x < nx; x++, at += this.stride) set(at, position++);
      }
    }
  }
}

/** A layer of a model. */
export class Layer {
  /** @param {Int16Array} weight (outputs, inputs, taps)  @param {Int32Array} bias  @param {number} point */
  constructor(weight, [outputs, inputs, edge], bias, point) {
    Object.assign(this, { outputs, inputs, bias, point, taps: edge ** 3 });
    this.border = edge >> 1;
    this.stride = filled(inputs, LANES);
    this.packed = new Int16Array(filled(outputs, OUTPUTS) * this.taps * this.stride);
    this.most = 0; // largest sum of magnitudes of an output
    for (let o = 0, from = 0; o < outputs; o++) {
      let sum = 0;
      for (let i = 0; i < inputs; i++) {
        for (let tap = 0; tap < this.taps; tap++) sum += Math.abs((this.packed[this.place(o, i, tap)] = weight[from++]));
      }
      this.most = Math.max(this.most, sum);
    }
  }

  /** Four outputs side by side, each for eight inputs in turn. */
  place(output, input, tap) {
    const group = (Math.floor(output / OUTPUTS) * this.taps + tap) * this.stride + (input - (input % LANES));
    return OUTPUTS * group + (output % OUTPUTS) * LANES + (input % LANES);
  }

  /**
   * Sums of maps at all positions, or at those of half a checkerboard, (positions, outputs), modulo 2^32.
   * @param {Grid} grid  @param {number|null} parity of the sum of the indices
   */
  maps(grid, parity = null) {
    const { outputs, bias } = this, sums = this.products(grid, parity);
    for (let i = 0; i < sums.length; i += outputs) for (let o = 0; o < outputs; o++) sums[i + o] += bias[o];
    return sums;
  }

  /**
   * Exact sums of wider integers: in one pass, or in two by their halves, unless that could overflow.
   * @param {Int32Array} x (positions, inputs)  @param {number[]} shape of the grid
   */
  exact(x, shape, parity = null) {
    const { outputs, bias, most } = this, largest = largestOf(x);
    let sums;
    if (largest < 2 ** 15 && largest * most < 2 ** 31) sums = Float64Array.from(this.products(this.part(x, shape, (v) => v), parity));
    else if (largest < 2 ** 22 && Math.max(largest / 2 ** HALF + 1, 2 ** HALF) * most < 2 ** 31) {
      const lower = this.products(this.part(x, shape, (v) => v & (2 ** HALF - 1)), parity);
      sums = Float64Array.from(this.products(this.part(x, shape, (v) => v >> HALF), parity));
      for (let i = 0; i < sums.length; i++) sums[i] = sums[i] * 2 ** HALF + lower[i];
    } else sums = this.slowly(x, shape, parity);
    for (let i = 0; i < sums.length; i += outputs) for (let o = 0; o < outputs; o++) sums[i + o] += bias[o];
    return sums;
  }

  /** A grid of 16 bits of each integer. */
  part(x, shape, bits) {
    const { inputs } = this, grid = new Grid(shape, inputs, this.border);
    grid.forEach((at, position) => {
      for (let i = 0, from = position * inputs; i < inputs; i++) grid.data[at + i] = bits(x[from + i]);
    });
    return grid;
  }

  /** The same without the bias, by the kernel or by the plain loop. */
  products(grid, parity, fast = kernel()) {
    const { shape: [nz, ny, nx], wide, stride, border, data } = grid, step = parity === null ? 1 : 2, plane = wide[1] * wide[2] * stride;
    const offsets = Int32Array.from(this.neighbours(), ([z, y, x]) => ((z * wide[1] + y) * wide[2] + x) * stride);
    const out = new Int32Array(countOf(grid.shape, parity) * this.outputs), length = (1 + 2 * border) * plane;
    fast?.begin(this, offsets, length);
    for (let z = 0, to = 0; z < nz; z++) {
      fast?.planes(data.subarray(z * plane, z * plane + length));
      for (let y = 0; y < ny; y++) {
        const first = parity === null ? 0 : (parity + z + y) % 2, count = Math.ceil((nx - first) / step);
        const from = grid.row(z, y) + first * stride;
        if (fast) fast.row(from - z * plane, step * stride, out, to, count);
        else this.row(data, from, step * stride, offsets, out, to, count);
        to += count * this.outputs;
      }
    }
    return out;
  }

  /** Where the inputs of a position lie, z slowest. */
  neighbours() {
    const around = this.taps === 1 ? [0] : [-1, 0, 1];
    return around.flatMap((z) => around.flatMap((y) => around.map((x) => [z, y, x])));
  }

  row(x, from, step, offsets, out, to, count) {
    const { packed: w, outputs, stride, taps } = this;
    for (let o = 0; o < outputs; o += OUTPUTS) {
      for (let n = 0; n < count; n++) {
        let a = 0, b = 0, c = 0, d = 0, k = o * taps * stride;
        for (let tap = 0; tap < taps; tap++) {
          let at = from + n * step + offsets[tap];
          for (const end = at + stride; at < end; k += 3 * LANES) {
            for (let lane = 0; lane < LANES; lane++, at++, k++) {
              const v = x[at];
              a = (a + Math.imul(v, w[k])) | 0;
              b = (b + Math.imul(v, w[k + LANES])) | 0;
              c = (c + Math.imul(v, w[k + 2 * LANES])) | 0;
              d = (d + Math.imul(v, w[k + 3 * LANES])) | 0;
            }
          }
        }
        const place = to + n * outputs + o;
        out[place] = a;
        if (o + 1 < outputs) out[place + 1] = b;
        if (o + 2 < outputs) out[place + 2] = c;
        if (o + 3 < outputs) out[place + 3] = d;
      }
    }
  }

  /** In float64, which has the sums of all that a file can hold. */
  slowly(x, shape, parity) {
    const [nz, ny, nx] = shape, { inputs, outputs } = this, sums = new Float64Array(countOf(shape, parity) * outputs);
    let to = 0;
    for (let p = 0; p < nz * ny * nx; p++) {
      const z = Math.floor(p / (ny * nx)), y = Math.floor(p / nx) % ny, column = p % nx;
      if (parity !== null && (z + y + column) % 2 !== parity) continue;
      for (const [tap, [dz, dy, dx]] of this.neighbours().entries()) {
        const [a, b, c] = [z + dz, y + dy, column + dx];
        if (a < 0 || b < 0 || c < 0 || a >= nz || b >= ny || c >= nx) continue;
        const from = ((a * ny + b) * nx + c) * inputs;
        for (let o = 0; o < outputs; o++) for (let i = 0; i < inputs; i++) sums[to + o] += x[from + i] * this.packed[this.place(o, i, tap)];
      }
      to += outputs;
    }
    return sums;
  }
}

function largestOf(x) {
  let found = 0;
  for (let i = 0; i < x.length; i++) if (x[i] > found || -x[i] > found) found = Math.abs(x[i]);
  return found;
}

const countOf = ([z, y, x], parity) => (parity === null ? z * y * x : Math.floor((z * y * x + 1 - parity) / 2));
