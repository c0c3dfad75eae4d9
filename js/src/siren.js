/** The low-res volume of networks: tiles, their weights, and their evaluation in float64. */

import { ceilDiv, clamp } from "./arithmetic.js";
import { need } from "./errors.js";
import { curve, lowresShape } from "./header.js";
import { decodeGrid } from "./mask.js";
import { Rans } from "./rans.js";

const FRACTIONS = [
  1, 1.0905077326652577, 1.189207115002721, 1.2968395546510096, 1.4142135623730951, 1.5422108254079407,
  1.681792830507429, 1.8340080864093424,
];
const FAR = 100_000; // where the reduction by multiples of pi still has twelve digits
const INVERSE_PI = 1 / Math.PI;
const PI_HIGH = 3.1415926218032837; // its product with such multiples is exact
const PI_LOW = Math.PI - PI_HIGH + 1.2246467991473532e-16;
// Taylor's coefficients up to r^15: the first that is left out is 6 10^-12 at the end of the interval, pi / 2.
const [S1, S2, S3, S4, S5, S6, S7] = [3, 5, 7, 9, 11, 13, 15].map((n) => {
  let f = 1;
  for (let i = 2; i <= n; i++) f *= i;
  return (n % 4 === 3 ? -1 : 1) / f;
});
const ROUNDING = 1.5 * 2 ** 52; // added and taken away, it leaves the nearest integer: several times as fast as Math.round
const BATCH = 64; // voxels that a layer is computed of at a time: they stay in the processor's cache

/** First and last index plus one of each tile along z, y and x, in the order of the tiles. */
export function tileBoxes(h) {
  const { tiles, cuts } = h.net, low = lowresShape(h);
  let boxes = [[]], at = 0;
  for (const axis of [0, 1, 2]) {
    boxes = boxes.flatMap((box) => {
      const edges = [0, ...cuts.slice(at, at + tiles[axis] - 1), low[axis]];
      at += tiles[axis] - 1;
      return edges.slice(1).map((end, i) => [...box, [edges[i], end]]);
    });
  }
  return boxes;
}

/** Active low-res cells of MASK. */
export class Activity {
  constructor(h, body) {
    this.cell = h.mask.cell;
    this.shape = lowresShape(h).map((n, axis) => ceilDiv(n, this.cell[axis]));
    this.cells = decodeGrid(body, this.shape);
  }

  at(z, y, x) {
    return this.row(z, y)[Math.floor(x / this.cell[2])];
  }

  /** The cells along a row of voxels. */
  row(z, y) {
    const [, height, width] = this.shape, [a, b] = this.cell, from = (Math.floor(z / a) * height + Math.floor(y / b)) * width;
    return this.cells.subarray(from, from + width);
  }
}

/** First and last index of the active voxels of a box along each axis, or null where there are none. */
function activeExtent([[z0, z1], [y0, y1], [x0, x1]], activity) {
  if (!activity) return [[z0, z1 - 1], [y0, y1 - 1], [x0, x1 - 1]];
  let [za, ya, xa, zb, yb, xb] = [Infinity, Infinity, Infinity, -1, -1, -1];
  const [a, b, c] = activity.cell, first = [Math.floor(z0 / a), Math.floor(y0 / b), Math.floor(x0 / c)];
  for (let k = first[0]; k * a < z1; k++) {
    for (let j = first[1]; j * b < y1; j++) {
      const cells = activity.row(k * a, j * b);
      for (let i = first[2]; i * c < x1; i++) {
        if (!cells[i]) continue;
        za = Math.min(za, Math.max(k * a, z0));
        zb = Math.max(zb, Math.min((k + 1) * a, z1) - 1);
        ya = Math.min(ya, Math.max(j * b, y0));
        yb = Math.max(yb, Math.min((j + 1) * b, y1) - 1);
        xa = Math.min(xa, Math.max(i * c, x0));
        xb = Math.max(xb, Math.min((i + 1) * c, x1) - 1);
      }
    }
  }
  return zb < 0 ? null : [[za, zb], [ya, yb], [xa, xb]];
}

/** Tensors W0, b0, W1, b1, ... of a stream; a matrix has the weights of each output in a row. */
function readNetwork(stream, { layers, width }) {
  const widths = [3, ...Array(layers).fill(width), 1], count = 2 * (widths.length - 1);
  need(stream.length >= 2 * count, "stream of a tile is too short");
  const rans = new Rans(stream.subarray(2 * count)), tensors = [];
  for (let i = 0; i < count; i++) {
    const step = stream[2 * i] - 192, spread = stream[2 * i + 1], layer = i >> 1;
    const rows = i % 2 ? 1 : widths[layer], columns = widths[layer + 1];
    const scale = FRACTIONS[step & 7] * 2 ** (step >> 3);
    const integers = rans.integers(rows * columns, spread), tensor = new Float64Array(rows * columns);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) tensor[column * rows + row] = integers[row * columns + column] * scale;
    }
    tensors.push(tensor);
  }
  rans.finish();
  return tensors;
}

/** out = h W + b for `count` voxels; four outputs at a time, so that an input is loaded once for them. */
function layer(out, h, weights, bias, inputs, outputs, count) {
  for (let v = 0; v < count; v++) {
    const from = v * inputs, to = v * outputs;
    let j = 0;
    for (; j + 4 <= outputs; j += 4) {
      let a = bias[j], b = bias[j + 1], c = bias[j + 2], d = bias[j + 3];
      let p = j * inputs, q = p + inputs, r = q + inputs, s = r + inputs;
      for (let i = from; i < from + inputs; i++) {
        const x = h[i];
        a += x * weights[p++];
        b += x * weights[q++];
        c += x * weights[r++];
        d += x * weights[s++];
      }
      out[to + j] = a;
      out[to + j + 1] = b;
      out[to + j + 2] = c;
      out[to + j + 3] = d;
    }
    for (; j < outputs; j++) {
      let a = bias[j];
      for (let i = 0, p = j * inputs; i < inputs; i++) a += h[from + i] * weights[p++];
      out[to + j] = a;
    }
  }
}

/** sin(x), off by 10^-11 at most: several times as fast as `Math.sin`, which takes over for large x. */
function sine(x) {
  if (!(x > -FAR && x < FAR)) return Math.sin(x);
  const n = x * INVERSE_PI + ROUNDING - ROUNDING, r = x - n * PI_HIGH - n * PI_LOW, s = r * r;
  const p = r + r * s * (S1 + s * (S2 + s * (S3 + s * (S4 + s * (S5 + s * (S6 + s * S7))))));
  return n & 1 ? -p : p;
}

/** Unit values of coded ones, by the curve of the header. */
export function linearOf(h) {
  const [xs, ys] = curve(h.lowres.companding).map((axis) => axis.map((v) => v / 32768));
  if (xs.length === 2) return (u) => u;
  const slopes = xs.slice(1).map((x, k) => (x - xs[k]) / (ys[k + 1] - ys[k]));
  return (u) => {
    let k = 0;
    while (k < slopes.length - 1 && ys[k + 1] <= u) k++;
    return xs[k] + (u - ys[k]) * slopes[k];
  };
}

/** A tile, whose planes are computed one at a time. */
export class Tile {
  /** @param {object} h header  @param {number[][]} box  @param {Uint8Array} stream  @param {Activity|null} activity */
  constructor(h, box, stream, activity) {
    const extent = activeExtent(box, activity);
    need(extent || stream.length === 0, "tile without active voxels has a stream");
    need(!extent || stream.length > 0, "tile with active voxels has no stream");
    Object.assign(this, { h, box, activity, extent, linear: linearOf(h) });
    if (!extent) return;
    this.tensors = readNetwork(stream, h.net);
    const sides = extent.map(([first, last]) => last - first + 1), longest = Math.max(...sides);
    this.scales = sides.map((side) => Math.min(8 * side, longest));
  }

  /** Unit values of a plane, float64, (y, x); z is the low-res volume's. */
  plane(z) {
    const { h, extent, box } = this, [y0, y1] = box[1], [x0, x1] = box[2], columns = x1 - x0;
    const values = new Float64Array((y1 - y0) * columns).fill(h.mask.background);
    if (!extent || z < extent[0][0] || z > extent[0][1]) return values;
    const input = (i, axis) => (2 * i - (extent[axis][0] + extent[axis][1])) / this.scales[axis];
    const hidden = new Float64Array(BATCH * Math.max(h.net.width, 3)), spare = new Float64Array(hidden.length), places = new Int32Array(BATCH);
    let count = 0;
    const width = this.activity?.cell[2] ?? 1;
    for (let y = y0; y < y1; y++) {
      const cells = this.activity?.row(z, y);
      for (let x = x0; x < x1; x++) {
        if (!cells || cells[Math.floor(x / width)]) {
          hidden[3 * count] = input(z, 0);
          hidden[3 * count + 1] = input(y, 1);
          hidden[3 * count + 2] = input(x, 2);
          places[count++] = (y - y0) * columns + x - x0;
        }
        if (count === BATCH || (count > 0 && y === y1 - 1 && x === x1 - 1)) {
          const out = this.evaluate(hidden, spare, count);
          for (let v = 0; v < count; v++) values[places[v]] = this.linear(clamp(out[v], -1, 1));
          count = 0;
        }
      }
    }
    return values;
  }

  /** The network's outputs; `hidden` has its inputs, and both arrays are overwritten. */
  evaluate(hidden, out, count) {
    const { tensors } = this, { omega, width } = this.h.net, last = tensors.length - 2;
    for (let t = 0; t < last; t += 2) {
      layer(out, hidden, tensors[t], tensors[t + 1], t ? width : 3, width, count);
      for (let i = 0; i < count * width; i++) out[i] = sine(omega * out[i]);
      [hidden, out] = [out, hidden];
    }
    layer(out, hidden, tensors[last], tensors[last + 1], width, 1, count);
    return out;
  }
}
