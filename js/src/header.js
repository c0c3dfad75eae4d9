/** The header: its fields with their types and defaults, and the values that are impossible. */

import { atMost, CorruptFile, need, UnsupportedFile } from "./errors.js";
import { ceilDiv, product } from "./arithmetic.js";
import * as limits from "./limits.js";
import { read } from "./messagepack.js";
import { WEIGHTS } from "./wiener.js";

const REQUIRED = Symbol("required");
const NONE = null;

/** Group, name, type and default of each field, as in the specification's table. */
const FIELDS = {
  volume: {
    axes: [text, "zyx"], shape: [integers(), REQUIRED], brick: [integers(), []], dtype: [text, REQUIRED],
    affine: [numbers(12), REQUIRED], rescale: [numbers(2), [1, 0]], slice_rescale: [numbers(), []],
    modality: [text, ""], unit: [text, ""], padding: [number, NONE], about: [scalars, {}],
  },
  range: { low: [number, REQUIRED], high: [number, REQUIRED] },
  lowres: {
    coder: [text, "siren"], factor: [integers(3), [1, 1, 1]], kernel: [text, "lanczos3"], companding: [integers(), []],
    wiener: [integers(), []],
  },
  mask: { background: [number, 0], cell: [integers(3), [1, 1, 1]], method: [integer, 1] },
  net: {
    layers: [integer, 0], width: [integer, 0], tiles: [integers(3), [1, 1, 1]], cuts: [integers(), []],
    omega: [number, 30], method: [integer, 1],
  },
  av1: { slices: [integer, 0], flat: [integers(), []] },
  latent: {
    id: [text, ""], sha256: [octets(0, 32), new Uint8Array(0)], rate: [integer, 0], ends: [numbers(2), [-1, 1]],
    slices: [integer, 0], flat: [number, NONE],
  },
  sr: {
    id: [text, "lanczos"], sha256: [octets(0, 32), new Uint8Array(0)], window: [numbers(2), [-1, 1]],
    noise: [integer, 0], ensemble: [integer, 1],
  },
  refine: {
    axes: [integers(), []], steps: [integers(), []], unit: [number, 1], filter: [integers(), []], bound: [number, NONE],
  },
  quality: {
    psnr: [number, Infinity], lanczos: [number, NONE], peak: [number, 0], max_error: [number, 0],
    digest: [octets(16), new Uint8Array(16)],
  },
  encoder: { version: [text, ""], seed: [integer, 0] },
};
/** Groups that have nothing but defaults, by the coder of the low-res volume. */
const OF_OTHERS = {
  siren: ["av1", "latent"], av1: ["mask", "net", "latent"], latent: ["mask", "net", "av1"],
  none: ["lowres", "mask", "net", "av1", "latent", "sr"],
};
const OWN = { latent: ["mask.background"], none: ["lowres.coder"] }; // fields of those groups that may be there
const FLOATS = { float16: 65504, float32: (2 - 2 ** -23) * 2 ** 127, float64: Number.MAX_VALUE };
const LIMITS = 3; // of the filter of a refinement: two, and none
const SCALES = 65536; // items of an array

export const isFloat = (dtype) => dtype in FLOATS;
export const bitsOf = (dtype) => Number(dtype.match(/\d+/)[0]);

/** Smallest and largest value of a type; of integers within 2^53. */
export function typeLimits(dtype) {
  if (isFloat(dtype)) return [-FLOATS[dtype], FLOATS[dtype]];
  const bits = bitsOf(dtype), signed = dtype[0] === "i";
  const low = signed ? -(2 ** (bits - 1)) : 0, high = 2 ** (signed ? bits - 1 : bits) - 1;
  return [Math.max(low, -(2 ** 53)), Math.min(high, 2 ** 53)];
}

function wrong(value, what) {
  throw new CorruptFile(`header has ${String(value).slice(0, 80)} where ${what} belongs: the file is damaged`, value);
}
function integer(value) {
  if (typeof value === "bigint") return Number(value);
  return Number.isInteger(value) && Math.abs(value) <= 2 ** 53 ? value : wrong(value, "an integer");
}
function number(value) { // beyond 2^53 a number is a float: an integer there is not in canonical form
  return typeof value === "number" ? value : wrong(value, "a number");
}
function text(value) {
  return typeof value === "string" && /^[ -~]{0,64}$/.test(value) ? value : wrong(value, "printable ASCII of up to 64");
}
function items(parse, count) {
  return (value) => {
    const fits = Array.isArray(value) && value.length <= SCALES && (count === undefined || value.length === count);
    return fits ? value.map(parse) : wrong(value, `an array of ${count ?? "numbers"}`);
  };
}
function integers(count) {
  return items(integer, count);
}
function numbers(count) {
  return items(number, count);
}
function octets(...lengths) {
  return (value) =>
    value instanceof Uint8Array && lengths.includes(value.length) ? value : wrong(value, `${lengths.at(-1)} bytes`);
}
function scalars(value) {
  if (!(value instanceof Map) || value.size > 64) wrong(value, "a small map");
  return Object.fromEntries(
    [...value].map(([key, item]) => [text(key), typeof item === "string" ? text(item) : typeof item === "bigint" ? Number(item) : number(item)]));
}

/** Whether a value is the default, as both would be encoded. */
function same(value, other) {
  if (value === other) return true;
  if (typeof value !== "object" || value === null || other === null || typeof other !== "object") return false;
  const keys = Object.keys(value);
  return keys.length === Object.keys(other).length && keys.every((key) => value[key] === other[key]);
}

/**
 * The header in the body of HEAD: an object of groups of fields, defaults filled in.
 * `volume.shape` has three axes.
 * @param {Uint8Array} body  @param {number} minor  @param {Set<string>} sections IDs that the file has
 */
export function readHeader(body, minor, sections = new Set()) {
  atMost("number of bytes of the header", body.length, limits.HEADER);
  const tree = read(body);
  need(tree instanceof Map, "header is not a map");
  const header = {};
  for (const [group, fields] of Object.entries(FIELDS)) {
    header[group] = {};
    for (const [name, [, value]] of Object.entries(fields)) header[group][name] = value;
  }
  for (const [group, entries] of tree) {
    need(entries instanceof Map && entries.size > 0, `header has no entries in its group ${group}`);
    const fields = Object.hasOwn(FIELDS, group) ? FIELDS[group] : {};
    for (const [name, raw] of entries) {
      if (!Object.hasOwn(fields, name)) {
        need(minor > 0, `header has an unknown field ${group}.${name}`);
        continue;
      }
      const [parse, value] = fields[name];
      header[group][name] = parse(raw);
      need(!same(header[group][name], value), `header states the default of ${group}.${name}`);
    }
  }
  for (const [group, fields] of Object.entries(header)) {
    for (const [name, value] of Object.entries(fields)) {
      need(value !== REQUIRED, `header has no ${group}.${name}`);
    }
  }
  check(header);
  limits.check(header, sections.has("MASK"), sections.has("PADM"));
  return header;
}

/** Edges of the bricks, (z, y, x). */
export const edgesOf = (h) => (h.volume.brick.length ? h.volume.brick : h.volume.shape);

/** Number of bricks along each axis. */
export const bricksOf = (h) => h.volume.shape.map((n, axis) => ceilDiv(n, edgesOf(h)[axis]));

/** Low-res voxels along each axis. */
export const lowresShape = (h) => h.volume.shape.map((n, axis) => ceilDiv(n, h.lowres.factor[axis]));

/** Low-res slices of a stream of AV1 or of latents, 0 of other coders. */
export const streamSlices = (h) => (["av1", "latent"].includes(h.lowres.coder) ? h[h.lowres.coder].slices || lowresShape(h)[0] : 0);

export const hasLowres = (h) => h.lowres.coder !== "none";

/** How often each axis is halved. */
export const halvings = (axes) => [0, 1, 2].map((axis) => axes.filter((a) => a === axis).length);

function known(what, value, choices) {
  if (!choices.includes(value)) {
    throw new UnsupportedFile(`${what} ${value} is unknown to this decoder (${choices.join(", ")}): update it`, value);
  }
}

function check(h) {
  const { volume } = h;
  known("type", volume.dtype,
    ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", ...Object.keys(FLOATS)]);
  known("order of axes", volume.axes, ["zyx", "yx"]);
  known("kernel", h.lowres.kernel, ["lanczos3"]);
  known("coder of the low-res volume", h.lowres.coder, Object.keys(OF_OTHERS));
  known("coder of weights", h.net.method, [1]);
  known("coder of masks", h.mask.method, [1]);
  need(volume.shape.length === volume.axes.length, "header has an impossible shape");
  if (volume.shape.length === 2) volume.shape = [1, ...volume.shape];
  for (const [name, wrongs] of Object.entries(impossible(h))) need(!wrongs, `header has an impossible ${name}`);
  checkCuts(h);
}

function impossible(h) {
  const { volume, range, lowres, mask, sr, refine, quality } = h;
  const [least, most] = typeLimits(volume.dtype);
  const held = (v) => v >= least && v <= most;
  const others = OF_OTHERS[lowres.coder].some((group) =>
    Object.entries(FIELDS[group]).some(([name, [, value]]) =>
      !OWN[lowres.coder]?.includes(`${group}.${name}`) && !same(h[group][name], value)));
  const modelled = sr.id !== "lanczos";
  return {
    shape: volume.shape.some((n) => n < 1),
    brick: volume.brick.length > 0 && !areBricks(h),
    affine: isBeyond(volume.affine) || isSingular(volume.affine),
    rescale: volume.rescale[0] === 0,
    "scale of slices": volume.slice_rescale.length > 0 && !scalesSlices(h),
    range: !(held(range.low) && range.low <= range.high && held(range.high) && Number.isFinite(range.high - range.low)),
    padding: volume.padding !== null && !(held(volume.padding) && (isFloat(volume.dtype) || Number.isInteger(volume.padding))),
    modality: volume.modality.length > 16,
    factor: lowres.factor.some((f) => f < 1 || f > 8),
    companding: !isCurve(lowres.companding),
    filter: !isFilter(lowres.wiener, WEIGHTS),
    background: !(mask.background >= -1 && mask.background <= 1),
    "mask cell": mask.cell.some((n) => n < 1),
    "field of another coder": others,
    "low-res volume": !hasLowres(h) && (h.refine.steps.length === 0 || quality.lanczos !== null),
    video: lowres.coder === "av1" && !isVideo(h),
    "latent volume": lowres.coder === "latent" && !isLatent(h),
    network: lowres.coder === "siren" && !isNetwork(h),
    "hash of a model": modelled !== (sr.sha256.length > 0),
    window: isNarrow(...sr.window) || (modelled && range.low < range.high && isNarrow(...unitWindow(h))),
    noise: !(sr.noise >= 0 && sr.noise <= (modelled ? 4096 : 0)),
    ensemble: !(modelled ? [1, 2, 4, 8] : [1]).includes(sr.ensemble),
    refinement: !isRefinement(h),
    "filter of the refinement": !isFilter(refine.filter, LIMITS * WEIGHTS) ||
      (refine.filter.length > 0 && (refine.bound !== null || refine.unit === 0 || refine.steps.length === 0)),
    quality: quality.peak < 0 || quality.max_error < 0,
    seed: h.encoder.seed < 0,
  };
}

const axesOf = (affine) => [0, 1, 2].map((k) => [affine[k], affine[4 + k], affine[8 + k]]);

function isBeyond(affine) {
  const isShort = (axis) => axis.every((v) => Math.abs(v) < 1e-12);
  return affine.some((v) => Math.abs(v) > 1e12) || axesOf(affine).some(isShort);
}

function isSingular(affine) {
  const axes = axesOf(affine);
  const lengths = axes.map(([x, y, z]) => Math.sqrt(x * x + y * y + z * z));
  const [a, b, c] = axes.map((axis, k) => axis.map((v) => v / lengths[k]));
  const det = a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0]) + a[2] * (b[0] * c[1] - b[1] * c[0]);
  return !(Math.abs(det) >= 1e-6);
}

function areBricks(h) {
  const { shape, brick } = h.volume, halved = halvings(h.refine.axes);
  return brick.length === 3 && !same(brick, shape) && brick.every((edge, axis) =>
    edge === shape[axis] || (edge >= 1 && edge < shape[axis] && edge % 2 ** halved[axis] === 0));
}

function scalesSlices(h) {
  const scales = h.volume.slice_rescale;
  const slopes = scales.filter((_, i) => i % 2 === 0), intercepts = scales.filter((_, i) => i % 2 === 1);
  const differ = slopes.some((slope, z) => slope !== slopes[0] || intercepts[z] !== intercepts[0]);
  return scales.length === 2 * h.volume.shape[0] && slopes.every((slope) => slope !== 0) && differ &&
    same(h.volume.rescale, [1, 0]) && h.refine.bound === 0;
}

function isCurve(nodes) {
  if (nodes.length % 2 || nodes.length > 16) return false;
  return curve(nodes).every((axis) => axis.every((v, i) => i === 0 || axis[i - 1] < v));
}

function isFilter(weights, count) {
  const fits = weights.length === count && weights.every((w) => w >= -128 && w <= 255) && weights.some((w) => w !== 0);
  return weights.length === 0 || fits;
}

/** Whether the last stream of a brick holds the lower halves of float64. */
export const hasLowerHalves = (h) => h.refine.steps.length > 0 && h.refine.unit === 0 && h.volume.dtype === "float64";

/** Streams of the refinement of a brick. */
export const streamsOf = (h) => h.refine.steps.length + Number(hasLowerHalves(h));

/** x and y of the nodes of a companding curve, ends included, in units of 2^-15. */
export function curve(nodes) {
  return [0, 1].map((axis) => [-32768, ...nodes.filter((_, i) => i % 2 === axis), 32768]);
}

function isVideo(h) {
  const { slices, flat } = h.av1;
  const fits = slices === 0 || (slices >= 1 && slices < lowresShape(h)[0]);
  return fits && (flat.length === 0 || (flat.length === 2 && flat[0] >= 0 && flat[0] <= flat[1] && flat[1] <= 1023));
}

function isLatent(h) {
  const { id, sha256, rate, ends, slices, flat } = h.latent;
  const fits = slices === 0 || (slices >= 1 && slices < lowresShape(h)[0]);
  const named = id !== "" && sha256.length > 0 && rate >= 0 && rate < 128 && !isNarrow(...[...ends].sort((a, b) => a - b));
  return fits && named && (flat === null ? h.mask.background === 0 : flat >= 0 && flat <= 2);
}

function isNetwork(h) {
  const { layers, width, omega, tiles } = h.net, low = lowresShape(h);
  return layers >= 1 && width >= 1 && omega > 0 && omega <= 1000 && tiles.every((t, axis) => t >= 1 && t <= low[axis]);
}

function isNarrow(low, high) {
  const width = high - low;
  if (!(Number.isFinite(width) && width > 0 && Number.isFinite(2 / width))) return true;
  return width < 1e-6 * Math.max(Math.abs(low), Math.abs(high));
}

/** The window of a model in unit values, ascending. */
export function unitWindow(h) {
  const { low, high } = h.range, [slope, intercept] = h.volume.rescale;
  return h.sr.window.map((v) => ((v - intercept) / slope - low) * (2 / (high - low)) - 1).sort((a, b) => a - b);
}

function isRefinement(h) {
  const { axes, steps, unit, bound } = h.refine;
  if (steps.length === 0) return axes.length === 0 && unit === 1 && bound === null;
  const { dtype } = h.volume, edges = edgesOf(h);
  const countable = unit === 0 || (h.range.high - h.range.low) / unit < 2 ** 32 - 0.5;
  return axes.every((a) => a >= 0 && a <= 2) &&
    halvings(axes).every((count, axis) => count === 0 || 2 ** (count - 1) < edges[axis]) &&
    steps.length === axes.length + 1 && steps.every((step) => step >= 1 && step <= 2 ** 32) &&
    (isFloat(dtype) ? unit >= 0 : unit === 1 && Number.isInteger(h.range.low) && Number.isInteger(h.range.high)) && countable && (bound === null || bound >= 0);
}

function checkCuts(h) {
  if (h.lowres.coder !== "siren") return;
  const { tiles, cuts } = h.net, low = lowresShape(h);
  const lists = [1, tiles[0], tiles[0] * tiles[1]];
  const expected = lists.reduce((sum, n, axis) => sum + n * (tiles[axis] - 1), 0);
  need(cuts.length === expected, `header has ${cuts.length} cuts for ${product(tiles)} tiles`, cuts.length);
  let at = 0;
  for (const axis of [0, 1, 2]) {
    for (let list = 0; list < (tiles[axis] > 1 ? lists[axis] : 0); list++) {
      const edges = [0, ...cuts.slice(at, at + tiles[axis] - 1), low[axis]];
      need(edges.every((cut, i) => i === 0 || edges[i - 1] < cut), "header has cuts that leave a tile empty");
      at += tiles[axis] - 1;
    }
  }
}
