/** The innermost loops of `convolve.js` in WebAssembly, eight products at a time; it is assembled here. */

const PAGE = 65536;
const OUTPUTS = 4;
const CHUNK = 1024; // positions of a call
const TABLE = 128; // bytes of the offsets of all taps

// Instructions, as the specification of WebAssembly numbers them.
const [LOOP, BLOCK, END, SKIP_IF, CALLS] = [[0x03, 0x40], [0x02, 0x40], [0x0b], 0x0d, 0x60];
const ADD = [0x6a], MUL = [0x6c], LESS = [0x48], SELECT = [0x1b];
const SUM = [0xfd, 0xae, 0x01], DOT = [0xfd, 0xba, 0x01], ZERO = [0xfd, 0x0c, ...new Array(16).fill(0)];
const I32 = 0x7f, V128 = 0x7b;

function signed(n) {
  const bytes = [];
  for (;;) {
    const low = n & 127;
    n >>= 7;
    if ((n === 0 && !(low & 64)) || (n === -1 && low & 64)) return [...bytes, low];
    bytes.push(low | 128);
  }
}
function unsigned(n) {
  return n < 128 ? [n] : [(n & 127) | 128, ...unsigned(n >>> 7)];
}
const number = (n) => [0x41, ...signed(n)];
const get = (local) => [0x20, local];
const set = (local, ...value) => [...value.flat(), 0x21, local];
const more = (local, by) => set(local, get(local), by, ADD);
const word = (place) => [...place, 0x28, 2, 0];
const load = (local, offset = 0) => [...get(local), 0xfd, 0x00, 4, ...unsigned(offset)];
const shuffled = (...bytes) => [0xfd, 0x0d, ...bytes];
const lanes32 = (...lanes) => shuffled(...lanes.flatMap((lane) => [0, 1, 2, 3].map((byte) => 4 * lane + byte)));
const repeatWhile = (body, condition) => [...LOOP, ...body.flat(), ...condition.flat(), SKIP_IF, 0, ...END];

/** Sums of the lanes of four registers, beside each other. */
function summed([a, b, c, d]) {
  const pairs = (x, y) => [get(x), get(y), lanes32(0, 4, 2, 6), get(x), get(y), lanes32(1, 5, 3, 7), SUM].flat();
  const twice = (x, y) => [...pairs(x, y)];
  return [...twice(a, b), 0x21, a, ...twice(c, d), 0x21, b,
    ...get(a), ...get(b), ...lanes32(0, 1, 4, 5), ...get(a), ...get(b), ...lanes32(2, 3, 6, 7), ...SUM];
}

/** The function: sums of `count` positions, two at a time, of groups of four outputs. */
function body() {
  const [x, w, out, taps, bytes, step, count, groups, width] = [0, 1, 2, 3, 4, 5, 6, 7, 8]; // parameters
  const [at, place, n, weights, tap, a, b, end, other] = [9, 10, 11, 12, 13, 14, 15, 16, 17];
  const sums = [18, 19, 20, 21, 22, 23, 24, 25], [one, two, weight] = [26, 27, 28];
  const products = [0, 1, 2, 3].flatMap((o) => [
    ...set(weight, load(weights, 16 * o)),
    ...set(sums[o], get(sums[o]), get(one), get(weight), DOT, SUM),
    ...set(sums[4 + o], get(sums[4 + o]), get(two), get(weight), DOT, SUM),
  ]);
  const inputs = repeatWhile([
    set(one, load(a)), set(two, load(b)), products, more(a, number(16)), more(b, number(16)), more(weights, number(64)),
  ], [get(a), get(end), LESS]);
  const offset = word([...get(tap), ...number(2), 0x74]);
  const around = repeatWhile([
    set(a, get(at), offset, ADD), set(b, get(other), offset, ADD), set(end, get(a), get(bytes), ADD), inputs, more(tap, number(1)),
  ], [get(tap), get(taps), LESS]);
  const last = [...get(n), ...number(1), ...ADD, ...get(count), ...LESS]; // is there a second position
  const positions = repeatWhile([
    set(other, get(at), get(step), ADD, get(at), last, SELECT), sums.flatMap((sum) => set(sum, ZERO)), set(weights, get(w)), set(tap, number(0)), around,
    get(place), summed(sums.slice(0, 4)), [0xfd, 0x0b, 4, 0], more(place, get(width)),
    BLOCK, last, [0x45, SKIP_IF, 0], get(place), summed(sums.slice(4)), [0xfd, 0x0b, 4, 0], more(place, get(width)), END,
    more(at, [...get(step), ...number(1), 0x74]), more(n, number(2)),
  ], [get(n), get(count), LESS]);
  const all = repeatWhile([
    set(at, get(x)), set(place, get(out)), set(n, number(0)), positions,
    more(w, [...get(taps), ...get(bytes), ...MUL, ...number(2), 0x74]), more(out, number(16)), more(groups, number(-1)),
  ], [number(0), get(groups), LESS]);
  return [2, 9, I32, 11, V128, ...all, ...END];
}

const list = (...items) => [items.length, ...items.flat()];
const section = (id, content) => [id, ...unsigned(content.length), ...content];
const named = (name) => [name.length, ...new TextEncoder().encode(name)];

function assembled() {
  const code = body();
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, list([CALLS, ...list(...new Array(9).fill([I32])), 0])),
    ...section(3, list([0])),
    ...section(5, list([0, 1])),
    ...section(7, list([...named("memory"), 2, 0], [...named("sums"), 0, 0])),
    ...section(10, list([...unsigned(code.length), ...code])),
  ]);
}

let found; // null where there is no WebAssembly, or a page does not allow it

/** The kernel, or null. */
export function kernel() {
  if (found !== undefined) return found;
  try {
    found = new Kernel(new WebAssembly.Instance(new WebAssembly.Module(assembled())).exports);
  } catch {
    found = null;
  }
  return found;
}

class Kernel {
  constructor({ memory, sums }) {
    Object.assign(this, { memory, sums });
  }

  /** Get ready for a layer and planes of so many numbers. */
  begin(layer, offsets, length) {
    const { packed, outputs } = layer, groups = Math.ceil(outputs / OUTPUTS);
    this.layer = layer;
    this.x = TABLE + 2 * packed.length;
    this.out = Math.ceil((this.x + 2 * length) / 16) * 16;
    const missing = this.out + 4 * OUTPUTS * groups * CHUNK - this.memory.buffer.byteLength;
    if (missing > 0) this.memory.grow(Math.ceil(missing / PAGE));
    new Int32Array(this.memory.buffer, 0, offsets.length).set(offsets.map((offset) => 2 * offset));
    new Int16Array(this.memory.buffer, TABLE, packed.length).set(packed);
  }

  /** Planes that the rows to come are of. */
  planes(data) {
    new Int16Array(this.memory.buffer, this.x, data.length).set(data);
  }

  /** Sums of a row of positions that begins at some place of the planes. */
  row(from, step, out, to, count) {
    const { outputs, taps, stride } = this.layer, groups = Math.ceil(outputs / OUTPUTS), width = OUTPUTS * groups;
    for (let first = 0; first < count; first += CHUNK) {
      const some = Math.min(CHUNK, count - first);
      this.sums(this.x + 2 * (from + first * step), TABLE, this.out, taps, 2 * stride, 2 * step, some, groups, 4 * width);
      const sums = new Int32Array(this.memory.buffer, this.out, some * width), at = to + first * outputs;
      if (width === outputs) out.set(sums, at);
      else for (let n = 0; n < some; n++) out.set(sums.subarray(n * width, n * width + outputs), at + n * outputs);
    }
  }
}
