/** Sections of a file: nothing is trusted before its checksum, or read before its length was checked. */

import { crc32, product } from "./arithmetic.js";
import { atMost, CorruptFile, need, UnsupportedFile } from "./errors.js";
import { bricksOf, isFloat, lowresShape, readHeader, streamSlices, streamsOf } from "./header.js";
import * as limits from "./limits.js";
import { readExactly } from "./source.js";

const MAGIC = [0x89, 0x49, 0x4e, 0x52, 0x56, 0x0d, 0x0a, 0x1a];
const KNOWN = ["HEAD", "MASK", "PIDX", "PADM", "SIDX", "SPCL", "INDX", "WGHT", "AIDX", "AV1S", "GIDX", "LATG", "LIDX", "LATT"];
const INDEX_OF = { PADM: "PIDX", SPCL: "SIDX", WGHT: "INDX", AV1S: "AIDX", LATG: "GIDX", LATT: "LIDX" };
const SHORT = 65536; // bytes of a WGHT whose chunks have no checksums: it is read whole
const PIECE = 2 ** 24; // bytes at a time, where a section is only checked

export class Container {
  /** Read and check the table of a file and its header; no other section. */
  static async open(source) {
    const container = new Container();
    container.source = source;
    await container.readTable();
    container.header = readHeader(await container.section("HEAD"), container.minor, new Set(container.rows.keys()));
    container.checkSections();
    return container;
  }

  constructor() {
    this.rows = new Map();
    this.whole = new Map(); // promises of sections
    this.places = new Map(); // promises of where the chunks of a section are
  }

  async readTable() {
    const { source } = this;
    need(source.size > 0, "file is empty");
    const prefix = await source.read(0, 24);
    const magic = prefix.subarray(0, 8);
    if (!MAGIC.every((byte, i) => byte === magic[i])) {
      throw new CorruptFile("not an .inrv file, or damaged at its beginning: pass one that inrv-enc wrote", magic);
    }
    need(prefix.length === 24, "file ends within its first 24 bytes");
    const view = new DataView(prefix.buffer, prefix.byteOffset, 24);
    const major = view.getUint16(8, true), count = view.getUint32(12, true), total = Number(view.getBigUint64(16, true));
    this.minor = view.getUint16(10, true);
    if (major !== 1) throw new UnsupportedFile(`file has format version ${major}.${this.minor}, this reads 1.x: update it`, major);
    atMost("number of sections", count, limits.SECTIONS);
    const length = 24 + 16 * count;
    const table = await readExactly(source, 0, length + 4);
    const rows = new DataView(table.buffer, table.byteOffset, table.byteLength);
    need(crc32(table.subarray(0, length)) === rows.getUint32(length, true), "section table has a wrong checksum");
    let start = length + 4;
    for (let row = 0; row < count; row++) {
      const at = 24 + 16 * row;
      const id = String.fromCharCode(...table.subarray(at, at + 4));
      const size = Number(rows.getBigUint64(at + 4, true));
      this.checkRow(id, size, row);
      this.rows.set(id, { start, length: size, crc: rows.getUint32(at + 12, true) });
      start += size;
    }
    need(count > 0, "file has no section HEAD");
    atMost("length of the file", total, limits.FILE);
    need(start === total, `sections add up to ${start} bytes, the file claims ${total}`, total);
    need(source.size === total, `file has ${source.size} of ${total} bytes`, source.size);
  }

  checkRow(id, size, row) {
    need(/^[A-Za-z][A-Za-z0-9]{3}$/.test(id), `section ID ${JSON.stringify(id)} is not four letters or digits`, id);
    need((id === "HEAD") === (row === 0), "first section is not HEAD");
    need(!this.rows.has(id), `section ${id} is there twice`);
    if (/^[A-Z]/.test(id) && !KNOWN.includes(id)) {
      throw new UnsupportedFile(`file needs section ${id}, which is unknown here: update the decoder`, id);
    }
    const ceiling = id === "HEAD" ? limits.HEADER : id in INDEX_OF ? limits.FILE : limits.SECTION;
    atMost(`length of section ${id}`, size, ceiling);
  }

  /** Refuse sections that do not belong to the header, and indexes of another number of chunks. */
  checkSections() {
    const h = this.header, { coder } = h.lowres, bricks = product(bricksOf(h)), padded = this.rows.has("PADM");
    for (const [there, ...ids] of [
      [coder === "siren", "INDX", "WGHT"],
      [coder === "av1", "AV1S"],
      [h.av1.slices > 0, "AIDX"],
      [coder === "latent", "LATG"],
      [h.latent.slices > 0, "GIDX"],
      [h.refine.steps.length > 0, "LIDX", "LATT"],
      [padded && bricks > 1, "PIDX"],
      [this.rows.has("SPCL") && bricks > 1, "SIDX"],
    ]) for (const id of ids) need(this.rows.has(id) === there, `header and sections differ on ${id}`);
    need(!this.rows.has("MASK") || coder === "siren", "file has a mask of networks that it has not");
    const special = h.refine.steps.length > 0 && isFloat(h.volume.dtype);
    need(!this.rows.has("SPCL") || special, "file has special values of no refinement of floats");
    need(!padded || h.volume.padding !== null, "file has a padding mask but no padding value");
    for (const [id, index] of Object.entries(INDEX_OF)) {
      if (!this.rows.has(index)) continue;
      const count = this.chunkCount(id), length = this.rows.get(index).length;
      need(length === this.rowSize(id) * count, `section ${index} of ${length} bytes does not index ${count} chunks`);
    }
  }

  has(id) {
    return this.rows.has(id);
  }

  chunkCount(id) {
    const h = this.header;
    switch (id) {
      case "WGHT": return product(h.net.tiles);
      case "AV1S": case "LATG": return Math.ceil(lowresShape(h)[0] / streamSlices(h));
      case "PADM": case "SPCL": return product(bricksOf(h));
      default: return streamsOf(h) * product(bricksOf(h));
    }
  }

  rowSize(id) {
    return id === "WGHT" && this.rows.get(id).length <= SHORT ? 4 : 8;
  }

  /** The body of a section. */
  section(id) {
    if (!this.whole.has(id)) this.whole.set(id, this.readSection(id));
    return this.whole.get(id);
  }

  async readSection(id) {
    const { start, length, crc } = this.rows.get(id);
    atMost(`length of section ${id}`, length, limits.SECTION);
    const body = await readExactly(this.source, start, length);
    need(crc32(body) === crc, `section ${id} has a wrong checksum`);
    return body;
  }

  /** A chunk of a section, by its number. */
  async chunk(id, number) {
    if (!this.rows.has(INDEX_OF[id])) return this.section(id);
    if (!this.places.has(id)) this.places.set(id, this.readIndex(id));
    const places = await this.places.get(id);
    if (this.rowSize(id) === 4) return (await this.section(id)).subarray(places.start[number], places.start[number + 1]);
    const from = places.start[number], length = places.start[number + 1] - from;
    const chunk = await readExactly(this.source, this.rows.get(id).start + from, length);
    need(crc32(chunk) === places.crc[number], `chunk ${number} of section ${id} has a wrong checksum`);
    return chunk;
  }

  async readIndex(id) {
    const index = await this.section(INDEX_OF[id]), size = this.rowSize(id), count = this.chunkCount(id);
    const view = new DataView(index.buffer, index.byteOffset, index.byteLength);
    const start = new Float64Array(count + 1), crc = new Uint32Array(count);
    for (let i = 0; i < count; i++) {
      const length = view.getUint32(i * size, true);
      atMost(`length of a chunk of ${id}`, length, limits.SECTION);
      start[i + 1] = start[i] + length;
      if (size === 8) crc[i] = view.getUint32(i * size + 4, true);
    }
    need(start[count] === this.rows.get(id).length, `chunks of section ${id} do not fill it`);
    return { start, crc };
  }

  /** Bytes by section, and of the table in front of them. */
  get bytes() {
    const sections = Object.fromEntries([...this.rows].map(([id, row]) => [id, row.length]));
    return { ...sections, table: 28 + 16 * this.rows.size, file: this.source.size };
  }

  /** Read every section, and compare its checksum. */
  async verify() {
    for (const [id, { start, length, crc }] of this.rows) {
      let running = 0;
      for (let at = 0; at < length; at += PIECE) {
        running = crc32(await readExactly(this.source, start + at, Math.min(PIECE, length - at)), running);
      }
      need(running === crc, `section ${id} has a wrong checksum`);
      if (id in INDEX_OF && this.rows.has(INDEX_OF[id])) {
        for (let n = 0; n < this.chunkCount(id); n++) await this.chunk(id, n);
      }
    }
  }
}
