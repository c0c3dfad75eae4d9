"""A Lanczos decoder for INRV files, written from inrv-1.md alone; it shares no code with the package.

    python reference_decoder.py FILE.inrv OUTPUT.npy [--lowres] [--model FILE.safetensors]

It aims to be short, not fast. The headings in the comments are the chapters of the specification.
"""

from __future__ import annotations

import argparse
import math
import re
import struct
import zlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from reference_av1 import decode_av1
from reference_coders import Rans, decode_grid, inflate, need, read_padding
from reference_header import brick_boxes, curve, lowres_shape, read_header, stream_count, tensor_shapes
from reference_latent import decode_latents, with_background
from reference_lattice import decode_refinement

SECTIONS = (
    *("HEAD", "MASK", "PIDX", "PADM", "SIDX", "SPCL"),
    *("INDX", "WGHT", "AIDX", "AV1S", "GIDX", "LATG", "LIDX", "LATT"),
)
MAGIC = bytes.fromhex("89494E52560D0A1A")


# ---------------------------------------------------------------------------------------------------- File


def read_sections(data: bytes) -> tuple[int, dict[str, bytes]]:
    """Minor version and the bodies of the sections."""
    need(data[:8] == MAGIC and len(data) >= 28, "not an INRV file")
    major, minor, count, total = struct.unpack_from("<HHIQ", data, 8)
    need(major == 1, f"major version {major}")
    need(count <= 64 and total <= 2**40, "beyond the limits")
    start = 24 + 16 * count
    need(len(data) == total >= start + 4, "length differs from the one stated")
    need(zlib.crc32(data[:start]) == struct.unpack_from("<I", data, start)[0], "checksum of the table")
    sections: dict[str, bytes] = {}
    position = start + 4
    for row in range(count):
        raw, length, crc = struct.unpack_from("<4sQI", data, 24 + 16 * row)
        need(re.fullmatch(rb"[A-Za-z][A-Za-z0-9]{3}", raw), "section ID")
        name = raw.decode()
        need((name == "HEAD") == (row == 0) and name not in sections, "order of the sections")
        need(name[0].islower() or name in SECTIONS, f"unknown section {name}")
        chunked = name in ("PADM", "SPCL", "WGHT", "AV1S", "LATG", "LATT")
        need((length <= 2**28 or chunked) and position + length <= total, "length of a section")
        sections[name] = data[position : position + length]
        need(zlib.crc32(sections[name]) == crc, f"checksum of {name}")
        position += length
    need(position == total, "sections do not fill the file")
    need("HEAD" in sections, "a section is missing")
    return minor, sections


def chunks(index: bytes, body: bytes, count: int, short: bool = False) -> list[bytes]:
    """The chunks of a section, by its index."""
    size = 4 if short else 8
    need(len(index) == size * count, "index")
    found = []
    for row in range(0, len(index), size):
        length = int.from_bytes(index[row : row + 4], "little")
        need(length <= len(body), "index")
        found.append(body[:length])
        body = body[length:]
        need(short or zlib.crc32(found[-1]) == int.from_bytes(index[row + 4 : row + 8], "little"), "chunk")
    need(not body, "index")
    return found


# ------------------------------------------------------------------------------------------ Reconstruction


def read_network(stream: bytes, shapes: list[tuple[int, int]]) -> list[np.ndarray]:
    """W0, b0, W1, b1, ..., WL, bL of a tile, float64."""
    need(len(stream) >= 2 * len(shapes), "stream of a tile is too short")
    rans = Rans(stream[2 * len(shapes) :])
    tensors = []
    for i, (rows, columns) in enumerate(shapes):
        step, spread = stream[2 * i : 2 * i + 2]
        e, k = divmod(step - 192, 8)
        integers = np.array(rans.integers(rows * columns, spread), dtype=np.float64)
        tensors.append((integers * (2.0 ** (k / 8) * 2.0**e)).reshape(rows, columns))
    rans.finish()
    return tensors


def read_active(h: dict[str, Any], sections: dict[str, bytes]) -> np.ndarray:
    """Active low-res voxels."""
    low = lowres_shape(h)
    if "MASK" not in sections:
        return np.ones(low, dtype=bool)
    grid = tuple(-(-n // c) for n, c in zip(low, h["mask.cell"], strict=True))
    need(math.prod(grid) <= 2**20, "cells of the mask")
    active = decode_grid(sections["MASK"], grid)
    for axis, edge in enumerate(h["mask.cell"]):
        active = active.repeat(edge, axis)
    return active[: low[0], : low[1], : low[2]]


def tile_boxes(h: dict[str, Any]) -> list[list[tuple[int, int]]]:
    """For each tile, (begin, end) along z, y and x."""
    cuts = list(h["net.cuts"])
    boxes: list[list[tuple[int, int]]] = [[]]
    for parts, n in zip(h["net.tiles"], lowres_shape(h), strict=True):
        need(len(cuts) >= len(boxes) * (parts - 1), "too few cuts")
        divided = []
        for box in boxes:
            edges = [0, *cuts[: parts - 1], n]
            del cuts[: parts - 1]
            need(all(a < b for a, b in pairwise(edges)), "an empty tile")
            divided += [[*box, span] for span in pairwise(edges)]
        boxes = divided
    need(not cuts, "too many cuts")
    return boxes


def linear(h: dict[str, Any], u: np.ndarray) -> np.ndarray:
    """Unit values of coded ones."""
    values, companded = np.array(curve(h)) / 32768
    return np.interp(u, companded, values)


def streams_of(h: dict[str, Any], body: bytes, index: bytes, slices: int) -> list[bytes]:
    """The streams of AV1, or of latents."""
    if slices:
        return chunks(index, body, -(-lowres_shape(h)[0] // slices))
    need(len(body) <= 2**28, "length of a section")
    return [body]


def reconstruct_lowres(h: dict[str, Any], sections: dict[str, bytes], models: Sequence[bytes]) -> np.ndarray:
    """Unit values of the low-res volume, float64."""
    if h["lowres.coder"] == "av1":
        streams = streams_of(h, sections["AV1S"], sections.get("AIDX", b""), h["av1.slices"])
        return linear(h, decode_av1(h, streams) * 2 / 1023 - 1)
    if h["lowres.coder"] == "latent":
        streams = streams_of(h, sections["LATG"], sections.get("GIDX", b""), h["latent.slices"])
        return with_background(h, linear(h, decode_latents(h, streams, models)))
    active = read_active(h, sections)
    volume = np.full(active.shape, float(h["mask.background"]))
    boxes = tile_boxes(h)
    short = len(sections["WGHT"]) <= 2**16
    streams = chunks(sections["INDX"], sections["WGHT"], len(boxes), short)
    for box, stream in zip(boxes, streams, strict=True):
        voxels = np.argwhere(active[tuple(slice(a, b) for a, b in box)]) + [a for a, _ in box]
        if len(voxels) == 0:
            need(not stream, "a stream for a tile without active voxels")
            continue
        first, last = voxels.min(axis=0), voxels.max(axis=0)
        sides = last - first + 1
        x = (2 * voxels - (first + last)) / np.minimum(8 * sides, max(sides))
        tensors = read_network(stream, tensor_shapes(h["net.layers"], h["net.width"]))
        for w, b in zip(tensors[:-2:2], tensors[1:-2:2], strict=True):
            x = np.sin(h["net.omega"] * (x @ w + b))
        u = np.clip(x @ tensors[-2] + tensors[-1], -1, 1)[:, 0]
        volume[tuple(voxels.T)] = linear(h, u)
    return volume


def upsample(volume: np.ndarray, axis: int, factor: int, length: int) -> np.ndarray:
    """Lanczos-3 interpolation along one axis."""
    if factor == 1:
        return volume
    n = volume.shape[axis]
    matrix = np.zeros((length, n))
    for j in range(length):
        p = (j + 0.5) / factor - 0.5
        for i in range(math.floor(p) - 2, math.floor(p) + 4):
            if 0 <= i < n and abs(p - i) < 3:
                matrix[j, i] = np.sinc(p - i) * np.sinc((p - i) / 3)
    matrix /= matrix.sum(axis=1, keepdims=True)
    return np.moveaxis(np.tensordot(matrix, volume, (1, axis)), 0, axis)


FILTERED = (
    *((1, 0, 0), (2, 0, 0)),
    *((0, 1, 0), (0, 2, 0), (0, 3, 0)),
    *((0, 0, 1), (0, 0, 2), (0, 0, 3)),
    *((0, 1, 1), (0, 1, -1), (1, 0, 1), (1, 0, -1), (1, 1, 0), (1, -1, 0)),
)


def filtered(h: dict[str, Any], unit: np.ndarray) -> np.ndarray:
    """Full-res values after the filter, where no model is left out."""
    weights = h["lowres.wiener"]
    if not weights or h["sr.id"] != "lanczos" or h["range.low"] == h["range.high"]:
        return unit
    wide, result = np.pad(unit, 3, mode="edge"), unit.copy()

    def at(*offset: int) -> np.ndarray:
        return wide[tuple(slice(3 + o, 3 + o + n) for o, n in zip(offset, unit.shape, strict=True))]

    for weight, (z, y, x) in zip(weights, FILTERED, strict=True):
        result += weight / 256 * (at(z, y, x) + at(-z, -y, -x) - 2 * unit)
    return result


def to_stored(h: dict[str, Any], unit: np.ndarray) -> np.ndarray:
    low, high, dtype = h["range.low"], h["range.high"], np.dtype(h["volume.dtype"])
    values = np.clip(low + (unit + 1) * ((high - low) / 2), low, high)
    if dtype.kind == "f":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    top = np.nextafter(float(limits.max) + 1, 0) if dtype.itemsize == 8 else limits.max
    return np.clip(np.rint(values), limits.min, top).astype(dtype)


def pad(h: dict[str, Any], sections: dict[str, bytes], stored: np.ndarray) -> None:
    """Set the voxels of the padding mask."""
    boxes, body = brick_boxes(h), sections["PADM"]
    need(h["volume.padding"] is not None, "a padding mask without padding")
    need(("PIDX" in sections) == (len(boxes) > 1), "index of the padding")
    need(math.prod(h["volume.brick"] or h["volume.shape"]) <= 2**30, "voxels of a brick")
    masks = [body] if len(boxes) == 1 else chunks(sections["PIDX"], body, len(boxes))
    for box, mask in zip(boxes, masks, strict=True):
        if mask or len(boxes) == 1:
            stored[box][read_padding(mask, stored[box].shape)] = h["volume.padding"]


def restore(h: dict[str, Any], sections: dict[str, bytes], stored: np.ndarray) -> None:
    """Set the voxels whose bits are stored."""
    boxes, body = brick_boxes(h), sections["SPCL"]
    need(bool(h["refine.steps"]) and stored.dtype.kind == "f", "special values of no refinement of floats")
    need(("SIDX" in sections) == (len(boxes) > 1), "index of the special values")
    found = [body] if len(boxes) == 1 else chunks(sections["SIDX"], body, len(boxes))
    for box, chunk in zip(boxes, found, strict=True):
        if chunk or len(boxes) == 1:
            need(len(chunk) >= 4, "special values")
            end = 4 + int.from_bytes(chunk[:4], "little")
            mask = read_padding(chunk[4:end], stored[box].shape)
            size = int(mask.sum()) * stored.itemsize
            need(0 < size <= 2**28, "number of special values")
            bits = np.frombuffer(inflate(chunk[end:], size), f"<u{stored.itemsize}")
            stored.view(bits.dtype.newbyteorder("="))[box][mask] = bits


def decode(data: bytes, models: Sequence[bytes] = ()) -> tuple[np.ndarray | None, np.ndarray]:
    """The low-res volume in unit values, if there is one, and the stored values, both (z, y, x)."""
    minor, sections = read_sections(data)
    header = read_header(sections["HEAD"], minor)
    lowres = None
    for there, names in (
        (header["lowres.coder"] == "siren", ("INDX", "WGHT")),
        (header["lowres.coder"] == "av1", ("AV1S",)),
        (header["av1.slices"] > 0, ("AIDX",)),
        (header["lowres.coder"] == "latent", ("LATG",)),
        (header["latent.slices"] > 0, ("GIDX",)),
        (bool(header["refine.steps"]), ("LIDX", "LATT")),
    ):
        need(all((name in sections) == there for name in names), "sections that do not fit the header")
    need("MASK" not in sections or header["lowres.coder"] == "siren", "a mask of no networks")
    if header["lowres.coder"] != "none":
        lowres = unit = reconstruct_lowres(header, sections, models)
        for axis, factor in enumerate(header["lowres.factor"]):
            unit = upsample(unit, axis, factor, header["volume.shape"][axis])
        stored = to_stored(header, filtered(header, unit))
    if header["refine.steps"]:
        boxes = brick_boxes(header)
        streams = chunks(sections["LIDX"], sections["LATT"], stream_count(header) * len(boxes))
        stored = decode_refinement(header, boxes, streams)
    if "PADM" in sections:
        pad(header, sections, stored)
    else:
        need("PIDX" not in sections, "an index of no padding")
    if "SPCL" in sections:
        restore(header, sections, stored)
    else:
        need("SIDX" not in sections, "an index of no special values")
    return lowres, stored


def main() -> None:
    parser = argparse.ArgumentParser(description="Decode an INRV file with Lanczos alone.")
    parser.add_argument("file")
    parser.add_argument("output", help=".npy")
    parser.add_argument("--lowres", action="store_true", help="unit values of the low-res volume")
    parser.add_argument("--model", action="append", default=[], help="file of a model of latents")
    args = parser.parse_args()
    lowres, stored = decode(Path(args.file).read_bytes(), [Path(name).read_bytes() for name in args.model])
    need(lowres is not None or not args.lowres, "the file has no low-res volume")
    np.save(args.output, lowres if args.lowres else stored)


if __name__ == "__main__":
    main()
