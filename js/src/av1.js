/** The low-res volume of AV1, decoded by the browser's WebCodecs. */

import { crc32 } from "./arithmetic.js";
import { CorruptFile, InrvError, need, UnsupportedFile } from "./errors.js";

const CODEC = "av01.0.13M.10"; // Main profile, 10 bits; the level is no less than any stream's
const SEQUENCE = 1, FRAME_HEADER = 3, FRAME = 6;
const DELIMITER = [0x12, 0];
const STALLED = 60_000; // milliseconds without a frame

/** Rows and columns of the video of slices of such a size. */
const padded = (n) => Math.max(64, Math.ceil(n / 8) * 8);

/**
 * The codes of a stream, `Uint16Array` in raster order.
 * @param {Uint8Array} stream  @param {number[]} shape (z, y, x)
 */
export async function decodeStream(stream, [depth, rows, columns]) {
  need(stream.length >= 4, "stream of AV1 has no checksum");
  const units = temporalUnits(stream.subarray(4), depth);
  const codes = new Uint16Array(depth * rows * columns);
  const count = await decodeVideo(units, padded(rows), padded(columns), (index, plane, stride) => {
    need(index < depth, "stream of AV1 shows too many frames");
    for (let y = 0; y < rows; y++) {
      codes.set(plane.subarray(y * stride, y * stride + columns), (index * rows + y) * columns);
    }
  });
  need(count === depth, `stream of AV1 shows ${count} of ${depth} frames`, count);
  const stated = new DataView(stream.buffer, stream.byteOffset, 4).getUint32(0, true);
  if (crc32(new Uint8Array(codes.buffer)) !== stated) {
    throw new CorruptFile("stream of AV1 decodes to other codes than the encoder's: damaged, or this browser does not decode AV1 exactly");
  }
  return codes;
}

/** OBUs up to each frame that is shown. */
function temporalUnits(data, depth) {
  const units = [];
  let begin = 0, position = 0, frames = 0, reduced = false;
  while (position < data.length) {
    const head = data[position], kind = (head >> 3) & 15;
    need((head & 0x87) === 2 && [SEQUENCE, FRAME_HEADER, FRAME].includes(kind), "stream of AV1 has an OBU that does not belong there");
    let size = 0, shift = 0, byte;
    position++;
    do {
      need(position < data.length && shift < 56, "OBU has an impossible size");
      byte = data[position++];
      size += (byte & 127) * 2 ** shift;
      shift += 7;
    } while (byte > 127);
    need(size > 0 && position + size <= data.length, "OBU is cut off");
    const first = data[position];
    if (kind === SEQUENCE) reduced = ((first >> 3) & 1) === 1; // after the profile and one more flag
    if (kind === FRAME) need(++frames <= 2 * depth, "stream of AV1 has too many frames");
    const shown = kind === FRAME_HEADER || (kind === FRAME && (reduced || ((first >> 4) & 1) === 1));
    position += size;
    if (shown) {
      units.push(Uint8Array.of(...DELIMITER, ...data.subarray(begin, position)));
      begin = position;
    }
  }
  need(begin === position, "stream of AV1 goes on behind its last frame");
  return units;
}

/** Decode units and hand each frame's luma on, 10 bits as u16, with its samples from row to row. */
async function decodeVideo(units, height, width, take) {
  if (typeof VideoDecoder === "undefined") {
    throw new UnsupportedFile("low-res volume is AV1, which is decoded by WebCodecs: open the file in a browser that has it, over HTTPS or from disk");
  }
  const config = { codec: CODEC, codedWidth: width, codedHeight: height, optimizeForLatency: true };
  const { supported } = await VideoDecoder.isConfigSupported(config);
  if (!supported) throw new UnsupportedFile("low-res volume is AV1 of 10 bits, which this browser does not decode: try another");
  const copies = [];
  let failure = null, flushed = false, wake = () => {};
  const fail = (error) => {
    failure ??= error;
    wake();
  };
  const output = (frame) => {
    copies.push(lumaOf(frame, height, width).finally(() => frame.close()));
    wake();
  };
  const decoder = new VideoDecoder({ output, error: fail });
  let done = 0;
  try {
    decoder.configure(config);
    units.forEach((data, i) => decoder.decode(new EncodedVideoChunk({ type: i ? "delta" : "key", timestamp: i, data })));
    decoder.flush().then(() => {
      flushed = true;
      wake();
    }, fail);
    while (!failure && !(flushed && done === copies.length)) {
      if (done === copies.length) {
        await Promise.race([new Promise((resolve) => (wake = resolve)), stalled()]);
        continue;
      }
      const { plane, stride } = await copies[done];
      take(done++, plane, stride);
    }
    if (failure) throw failure;
  } catch (error) {
    if (error instanceof InrvError) throw error;
    throw new CorruptFile(`stream of AV1 is not decoded by this browser (${error.message}): damaged, or try another`, error);
  } finally {
    if (decoder.state !== "closed") decoder.close();
    await Promise.allSettled(copies);
  }
  return done;
}

function stalled() {
  return new Promise((_, reject) => setTimeout(() => reject(new Error("it stalled")), STALLED));
}

async function lumaOf(frame, height, width) {
  const { format, visibleRect } = frame;
  if (format === null || !/^I4..P10$|^I4..P10LE$/.test(format)) {
    throw new UnsupportedFile(`this browser hands AV1 out as ${format}, not as 10 bits: try another`, format);
  }
  need(visibleRect.width === width && visibleRect.height === height, "stream of AV1 has frames of another size");
  const bytes = new Uint8Array(frame.allocationSize());
  const [{ offset, stride }] = await frame.copyTo(bytes);
  return { plane: new Uint16Array(bytes.buffer, offset, (stride / 2) * height), stride: stride / 2 };
}
