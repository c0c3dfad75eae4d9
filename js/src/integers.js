/** Arithmetic of latents: integers with a stated number of bits behind the point. */

import { product } from "./arithmetic.js";

export const LARGEST = 2 ** 20; // latent
export const SHORT = 32767; // map

const POWERS = Array.from({ length: 32 }, (_, n) => 2 ** n);

/** Divided by 2^n to the nearest, halves up: of 32 bits. */
export const down = (x, n) => (n === 0 ? x : ((x >> (n - 1)) + 1) >> 1);

/** The same of integers below 2^53. */
export const downWide = (x, n) => Math.floor(n === 0 ? x : x / POWERS[n] + 0.5);

export const within = (x, most) => (x < -most ? -most : x > most ? most : x);

/** Sums of 3 x 3 x 3 positions of one channel, zeros beyond the grid. */
export function sumsAround(values, shape) {
  let from = Float64Array.from(values);
  const strides = [shape[1] * shape[2], shape[2], 1];
  for (const [axis, stride] of strides.entries()) {
    const to = Float64Array.from(from), n = shape[axis];
    for (let p = 0; p < to.length; p++) {
      const i = Math.floor(p / stride) % n;
      if (i > 0) to[p] += from[p - stride];
      if (i + 1 < n) to[p] += from[p + stride];
    }
    from = to;
  }
  return from;
}

/** 1 and half the mean around of the sum of the magnitudes of the first channels of each part. */
export function amplitude(shape, ...parts) {
  const total = new Float64Array(product(shape));
  for (const { data, channels, first } of parts) {
    for (let p = 0; p < total.length; p++) for (let i = 0; i < first; i++) total[p] += Math.abs(data[p * channels + i]);
  }
  return sumsAround(total, shape).map((sum) => 64 + Math.floor(sum / 54));
}

/** Trilinear interpolation by 2 of one channel. */
export function doubled(values, shape) {
  let from = Float64Array.from(values);
  const now = [...shape];
  for (const axis of [0, 1, 2]) {
    const stride = product(now.slice(axis + 1)), n = now[axis], to = new Float64Array(2 * from.length);
    for (let outer = 0; outer < product(now.slice(0, axis)); outer++) {
      for (let i = 0; i < n; i++) {
        for (let inner = 0; inner < stride; inner++) {
          const line = outer * n * stride + inner, middle = 3 * from[line + i * stride], at = 2 * (line - inner) + 2 * i * stride + inner;
          to[at] = from[line + Math.max(i - 1, 0) * stride] + middle;
          to[at + stride] = middle + from[line + Math.min(i + 1, n - 1) * stride];
        }
      }
    }
    now[axis] = 2 * n;
    from = to;
  }
  return Int32Array.from(from, (sum) => within(downWide(sum, 6), LARGEST));
}

/** Central differences of one channel along z, y and x, (positions, 3). */
export function slopes(values, shape) {
  const found = new Int32Array(3 * values.length), strides = [shape[1] * shape[2], shape[2], 1];
  for (let p = 0; p < values.length; p++) {
    for (let axis = 0; axis < 3; axis++) {
      const i = Math.floor(p / strides[axis]) % shape[axis], after = i + 1 < shape[axis] ? p + strides[axis] : p;
      found[3 * p + axis] = within(down(values[after] - values[i > 0 ? p - strides[axis] : p], 1), LARGEST);
    }
  }
  return found;
}

/** (z, y, x, 8 n) to (2 z, 2 y, 2 x, n): where each value goes. */
export function spread(data, [nz, ny, nx], channels) {
  const n = channels / 8, to = new data.constructor(data.length);
  for (let z = 0, from = 0; z < nz; z++) {
    for (let y = 0; y < ny; y++) {
      for (let x = 0; x < nx; x++) {
        for (let i = 0; i < n; i++) {
          for (let octant = 0; octant < 8; octant++, from++) {
            const row = (2 * z + (octant >> 2)) * 2 * ny + 2 * y + ((octant >> 1) & 1);
            to[(row * 2 * nx + 2 * x + (octant & 1)) * n + i] = data[from];
          }
        }
      }
    }
  }
  return to;
}

/** A table of the companding, from 0 to the last threshold. */
export function compandingOf(thresholds) {
  const table = new Int16Array(thresholds[thresholds.length - 1] + 1);
  for (let x = 0, value = 0; x < table.length; x++) {
    while (value < thresholds.length && thresholds[value] <= x) value++;
    table[x] = value;
  }
  return (x) => (x < 0 ? -table[Math.min(-x, table.length - 1)] : table[Math.min(x, table.length - 1)]);
}
