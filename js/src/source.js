/** Bytes of a file, wherever it lies: `size`, and `read(start, length)` that resolves to just so many. */

import { CorruptFile, UsageError } from "./errors.js";

const FRONT = 65536; // bytes that the first request takes: of a small file, all

class Bytes {
  constructor(bytes) {
    this.bytes = bytes;
    this.size = bytes.length;
  }

  async read(start, length) {
    return this.bytes.subarray(start, start + length);
  }
}

class BlobSource {
  constructor(blob) {
    this.blob = blob;
    this.size = blob.size;
  }

  async read(start, length) {
    return new Uint8Array(await this.blob.slice(start, start + length).arrayBuffer());
  }
}

/** A server with byte ranges; of one without, the file is read whole. */
class Remote {
  constructor(url, options) {
    this.url = url;
    this.options = options;
  }

  static async open(url, options) {
    const source = new Remote(url, options);
    const answer = await source.request(0, FRONT);
    const front = new Uint8Array(await answer.arrayBuffer());
    if (answer.status !== 206) return new Bytes(front);
    const stated = /\/(\d+)$/.exec(answer.headers.get("content-range") ?? "");
    if (stated) source.size = Number(stated[1]);
    else if (front.length < FRONT) source.size = front.length;
    else throw new UsageError(`${url} does not tell its length: let the server send Content-Range`, url);
    source.front = front;
    return source;
  }

  async request(start, length) {
    const headers = { ...this.options?.headers, Range: `bytes=${start}-${start + length - 1}` };
    const answer = await fetch(this.url, { ...this.options, headers });
    if (!answer.ok) throw new UsageError(`${this.url} answers ${answer.status}: look at the address`, answer.status);
    return answer;
  }

  async read(start, length) {
    if (length === 0) return new Uint8Array(0);
    if (start + length <= this.front.length) return this.front.subarray(start, start + length);
    const answer = await this.request(start, length);
    const bytes = new Uint8Array(await answer.arrayBuffer());
    return answer.status === 206 ? bytes : bytes.subarray(start, start + length);
  }
}

/** A source of an ArrayBuffer, typed array, Blob, URL, or of anything with `size` and `read`. */
export async function sourceOf(source, fetchOptions) {
  if (source instanceof ArrayBuffer) return new Bytes(new Uint8Array(source));
  if (ArrayBuffer.isView(source)) return new Bytes(new Uint8Array(source.buffer, source.byteOffset, source.byteLength));
  if (typeof Blob !== "undefined" && source instanceof Blob) return new BlobSource(source);
  if (typeof source === "string" || source instanceof URL) return Remote.open(String(source), fetchOptions);
  if (typeof source?.read === "function" && Number.isFinite(source?.size)) return source;
  throw new UsageError("cannot read that: pass an ArrayBuffer, a Blob, a URL, or an object with size and read()", source);
}

/** Bytes of a source, or an error that says where it ends. */
export async function readExactly(source, start, length) {
  const bytes = await source.read(start, length);
  if (bytes.length !== length) {
    throw new CorruptFile(`file ends after ${start + bytes.length} bytes, ${start + length} are needed: get it again`, bytes.length);
  }
  return bytes;
}
