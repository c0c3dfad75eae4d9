/** BLAKE2b of 16 bytes (RFC 7693), in pairs of 32-bit words: low, then high. */

const BLOCK = 128;
const START = [
  0xf3bcc908, 0x6a09e667, 0x84caa73b, 0xbb67ae85, 0xfe94f82b, 0x3c6ef372, 0x5f1d36f1, 0xa54ff53a,
  0xade682d1, 0x510e527f, 0x2b3e6c1f, 0x9b05688c, 0xfb41bd6b, 0x1f83d9ab, 0x137e2179, 0x5be0cd19,
];
const ORDERS = [
  "0123456789abcdef", "ea489fd61c02b753", "b8c052fdae367194", "7931dcbe265a40f8", "905724afe1bc683d",
  "2c6a0b834d75fe19", "c51fed4a0763928b", "db7ec13950f4862a", "6fe9b308c2d714a5", "a2847615fb9e3cd0",
].map((order) => Array.from(order, (digit) => 2 * parseInt(digit, 16)));

export class Blake2b {
  constructor() {
    this.h = Uint32Array.from(START);
    this.h[0] ^= 0x01010010; // 16 bytes, no key
    this.block = new Uint8Array(BLOCK);
    this.words = new DataView(this.block.buffer);
    this.m = new Uint32Array(32);
    this.v = new Uint32Array(32);
    this.filled = this.length = 0;
  }

  /** Take in bytes. */
  update(bytes) {
    for (let at = 0; at < bytes.length; ) {
      if (this.filled === BLOCK) this.compress(false);
      const part = bytes.subarray(at, at + BLOCK - this.filled);
      this.block.set(part, this.filled);
      this.filled += part.length;
      this.length += part.length;
      at += part.length;
    }
    return this;
  }

  /** The 16 bytes. */
  digest() {
    this.block.fill(0, this.filled);
    this.compress(true);
    const out = new DataView(new ArrayBuffer(16));
    for (let i = 0; i < 4; i++) out.setUint32(4 * i, this.h[i], true);
    return new Uint8Array(out.buffer);
  }

  compress(last) {
    const { h, v, m } = this;
    for (let i = 0; i < 32; i++) m[i] = this.words.getUint32(4 * i, true);
    v.set(h);
    v.set(START, 16);
    v[24] ^= this.length >>> 0;
    v[25] ^= Math.floor(this.length / 2 ** 32);
    if (last) {
      v[28] = ~v[28];
      v[29] = ~v[29];
    }
    for (let round = 0; round < 12; round++) {
      const s = ORDERS[round % 10];
      mix(v, 0, 8, 16, 24, m, s[0], s[1]);
      mix(v, 2, 10, 18, 26, m, s[2], s[3]);
      mix(v, 4, 12, 20, 28, m, s[4], s[5]);
      mix(v, 6, 14, 22, 30, m, s[6], s[7]);
      mix(v, 0, 10, 20, 30, m, s[8], s[9]);
      mix(v, 2, 12, 22, 24, m, s[10], s[11]);
      mix(v, 4, 14, 16, 26, m, s[12], s[13]);
      mix(v, 6, 8, 18, 28, m, s[14], s[15]);
    }
    for (let i = 0; i < 16; i++) h[i] ^= v[i] ^ v[16 + i];
    this.filled = 0;
  }
}

/** The function G: a to d are places of low words in v, x and y in m. */
function mix(v, a, b, c, d, m, x, y) {
  let al = v[a], ah = v[a + 1], bl = v[b], bh = v[b + 1], cl = v[c], ch = v[c + 1], dl = v[d], dh = v[d + 1], low, t;
  low = al + bl + m[x];
  ah = (ah + bh + m[x + 1] + ((low / 4294967296) | 0)) | 0;
  al = low | 0;
  t = dl ^ al; // rotated by 32
  dl = dh ^ ah;
  dh = t;
  low = (cl >>> 0) + (dl >>> 0);
  ch = (ch + dh + (low > 0xffffffff ? 1 : 0)) | 0;
  cl = low | 0;
  bl ^= cl;
  bh ^= ch;
  t = (bl >>> 24) | (bh << 8); // by 24
  bh = (bh >>> 24) | (bl << 8);
  bl = t;
  low = (al >>> 0) + (bl >>> 0) + m[y];
  ah = (ah + bh + m[y + 1] + ((low / 4294967296) | 0)) | 0;
  al = low | 0;
  dl ^= al;
  dh ^= ah;
  t = (dl >>> 16) | (dh << 16); // by 16
  dh = (dh >>> 16) | (dl << 16);
  dl = t;
  low = (cl >>> 0) + (dl >>> 0);
  ch = (ch + dh + (low > 0xffffffff ? 1 : 0)) | 0;
  cl = low | 0;
  bl ^= cl;
  bh ^= ch;
  t = (bh >>> 31) | (bl << 1); // by 63
  bh = (bl >>> 31) | (bh << 1);
  bl = t;
  v[a] = al;
  v[a + 1] = ah;
  v[b] = bl;
  v[b + 1] = bh;
  v[c] = cl;
  v[c + 1] = ch;
  v[d] = dl;
  v[d + 1] = dh;
}
