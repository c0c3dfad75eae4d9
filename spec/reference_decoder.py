"""A Lanczos decoder for INRV files, written from inrv-1.md alone; it shares no code with the package.

    python reference_decoder.py FILE.inrv OUTPUT.npy [--lowres]

It aims to be short, not fast. The headings in the comments are the chapters of the specification.
"""

from __future__ import annotations

import argparse
import math
import re
import struct
import zlib
from itertools import pairwise
from typing import Any

import msgpack
import numpy as np
from reference_coders import Invalid, Rans, decode_grid, need, read_padding
from reference_lattice import decode_refinement, largest

SECTIONS = ("HEAD", "MASK", "PADM", "INDX", "WGHT", "LIDX", "LATT")
MAGIC = bytes.fromhex("89494E52560D0A1A")


# ---------------------------------------------------------------------------------------------------- File


def read_sections(data: bytes) -> tuple[int, dict[str, bytes]]:
    """Minor version and the bodies of the sections."""
    need(data[:8] == MAGIC and len(data) >= 28, "not an INRV file")
    major, minor, count, total = struct.unpack_from("<HHIQ", data, 8)
    need(major == 1, f"major version {major}")
    need(count <= 64 and total <= 2**30, "beyond the limits")
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
        need((length <= 2**28 or name == "LATT") and position + length <= total, "length of a section")
        sections[name] = data[position : position + length]
        need(zlib.crc32(sections[name]) == crc, f"checksum of {name}")
        position += length
    need(position == total, "sections do not fill the file")
    need({"HEAD", "INDX", "WGHT"} <= sections.keys(), "a section is missing")
    return minor, sections


# -------------------------------------------------------------------------------------------------- Header

DEFAULTS: dict[str, Any] = {
    "volume.ndim": 3,
    "volume.rescale": [1, 0],
    "volume.slice_rescale": [],
    "volume.modality": "",
    "volume.unit": "",
    "volume.padding": None,
    "volume.about": {},
    "lowres.kernel": "lanczos3",
    "lowres.companding": [],
    "mask.background": 0,
    "mask.cell": [1, 1, 1],
    "mask.method": 1,
    "net.kind": "siren",
    "net.omega": 30,
    "net.method": 1,
    "sr.id": "lanczos",
    "sr.sha256": b"",
    "sr.window": [-1, 1],
    "sr.noise": 0,
    "sr.ensemble": 1,
    "refine.axes": [],
    "refine.steps": [],
    "refine.brick": [],
    "refine.unit": 1,
    "refine.bound": None,
    "quality.psnr": math.inf,
    "quality.lanczos": None,
    "quality.peak": 0,
    "quality.max_error": 0,
    "quality.digest": bytes(16),
    "encoder.version": "",
    "encoder.seed": 0,
}
REQUIRED = (
    *("volume.shape", "volume.dtype", "volume.affine", "range.low", "range.high", "lowres.factor"),
    *("net.layers", "net.width", "net.tiles", "net.cuts"),
)


def canonical(value: Any) -> Any:
    if isinstance(value, dict):
        need(all(isinstance(key, str) for key in value), "a key is not text")
        return {key: canonical(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [canonical(item) for item in value]
    if isinstance(value, float):
        need(math.isfinite(value), "a number is not finite")
        return int(value) if value == int(value) and abs(value) <= 2**53 else value
    return value


def read_header(data: bytes, minor: int) -> dict[str, Any]:
    """Fields by name, "map.key", with defaults filled in."""
    need(len(data) <= 2**20, "header too long")
    try:
        tree = msgpack.unpackb(data, max_ext_len=0)
        need(msgpack.packb(canonical(tree)) == data, "header is not canonical")
        fields = {
            f"{group}.{key}": value for group, entries in tree.items() for key, value in entries.items()
        }
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise Invalid("header") from error
    need(all(tree.values()), "a map is empty")
    texts = [text for value in fields.values() for text in (value if isinstance(value, dict) else [value])]
    texts += list(fields.get("volume.about", {}).values())
    need(all(re.fullmatch("[ -~]{0,64}", text) for text in texts if isinstance(text, str)), "text")
    for name in REQUIRED:
        need(name in fields, f"header has no {name}")
    for name, value in fields.items():
        need(name in REQUIRED or name in DEFAULTS or minor > 0, f"unknown field {name}")
        need(name not in DEFAULTS or value != DEFAULTS[name], f"{name} is stated but has its default")
    header = DEFAULTS | fields
    check_header(header)
    return header


def check_header(h: dict[str, Any]) -> None:
    for name in ("volume.shape", "lowres.factor", "mask.cell", "net.tiles"):
        need(len(h[name]) == 3 and all(type(n) is int and n >= 1 for n in h[name]), name)
    need(re.fullmatch("u?int(8|16|32|64)|float(16|32|64)", h["volume.dtype"]), "unsupported type")
    need(h["lowres.kernel"] == "lanczos3" and h["net.kind"] == "siren", "unsupported identifier")
    need(h["mask.method"] == 1 and h["net.method"] == 1, "unsupported coder")
    need(max(h["lowres.factor"]) <= 8, "factor")
    need(h["volume.ndim"] == 3 or (h["volume.ndim"] == 2 and h["volume.shape"][0] == 1), "dimensions")
    need(h["range.low"] <= h["range.high"], "range")
    dtype = np.dtype(h["volume.dtype"])
    type_limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    for value in (h["range.low"], h["range.high"], h["volume.padding"]):
        need(value is None or type_limits.min <= value <= type_limits.max, "range or padding beyond the type")
        need(value is None or dtype.kind == "f" or abs(value) <= 2**53, "range or padding beyond 2^53")
    padding = h["volume.padding"]
    need(padding is None or dtype.kind == "f" or padding == int(padding), "padding is not an integer")
    need(len(h["volume.modality"]) <= 16, "modality")
    for axis in curve(h):
        need(all(a < b for a, b in pairwise(axis)), "companding")
    need(-1 <= h["mask.background"] <= 1 and 0 < h["net.omega"] <= 1000, "background or omega")
    need((h["sr.id"] == "lanczos") == (h["sr.sha256"] == b""), "hash of the model")
    need(0 <= h["sr.noise"] <= (0 if h["sr.id"] == "lanczos" else 4096), "noise")
    need(h["sr.ensemble"] in ((1,) if h["sr.id"] == "lanczos" else (1, 2, 4, 8)), "ensemble")
    check_window(h)
    check_refinement(h)
    check_slices(h)
    low = lowres_shape(h)
    layers, width, tiles = h["net.layers"], h["net.width"], math.prod(h["net.tiles"])
    need(1 <= layers <= 16 and 1 <= width <= 1024, "network")
    need(all(t <= n for t, n in zip(h["net.tiles"], low, strict=True)) and tiles <= 65536, "tiles")
    weights = sum(rows * columns for rows, columns in tensor_shapes(layers, width))
    need(math.prod(h["volume.shape"]) <= 2**30 and max(h["volume.shape"]) <= 65535, "voxels")
    need(weights * tiles <= 2**24 and weights * math.prod(low) <= 2**42, "weights or work")
    need(math.prod(low) <= 2**27, "low-res voxels")


def check_refinement(h: dict[str, Any]) -> None:
    axes, steps, unit = h["refine.axes"], h["refine.steps"], h["refine.unit"]
    if not steps:
        need(not axes and unit == 1 and h["refine.bound"] is None and not h["refine.brick"], "no refinement")
        return
    shape = h["volume.shape"]
    brick = h["refine.brick"] or shape
    need(len(brick) == 3 and (brick != shape or not h["refine.brick"]), "bricks")
    for axis, (edge, n) in enumerate(zip(brick, shape, strict=True)):
        need(edge == n or (1 <= edge < n and edge % 2 ** axes.count(axis) == 0), "edge of a brick")
    streams = len(steps) * math.prod(-(-n // edge) for n, edge in zip(shape, brick, strict=True))
    need(streams <= 2**22, "streams of the refinement")
    need(len(steps) == len(axes) + 1 and all(1 <= step <= 2**32 for step in steps), "steps")
    need(all(axis in (0, 1, 2) for axis in axes), "axes")
    first = 1
    for axis, n in enumerate(brick):
        first *= -(-n // 2 ** axes.count(axis))
        need(axis not in axes or 2 ** (axes.count(axis) - 1) < n, "axes")
    need(first <= 4096, "first lattice")
    dtype = np.dtype(h["volume.dtype"])
    need(unit >= 0 if dtype.kind == "f" else unit == 1, "unit of the refinement")
    need(unit > 0 or dtype.itemsize <= 4, "bits of the refinement")
    need(unit == 0 or (h["range.high"] - h["range.low"]) / unit < 2**32 - 0.5, "range of the refinement")
    need(largest(h) < 2**32, "range of the refinement")
    wide = (unit == 0 and dtype.itemsize == 4) or (
        unit > 0 and (h["range.high"] - h["range.low"]) / unit >= 2**31
    )
    need(math.prod(brick) * (8 if wide else 4) <= 2**32, "bytes of the refinement")
    need(h["refine.bound"] is None or h["refine.bound"] >= 0, "bound")


def check_slices(h: dict[str, Any]) -> None:
    numbers = h["volume.slice_rescale"]
    if numbers:
        need(len(numbers) == 2 * h["volume.shape"][0], "scales of slices")
        need(len(set(zip(numbers[0::2], numbers[1::2], strict=True))) > 1, "scales of slices")
        need(all(type(n) in (int, float) for n in numbers) and all(numbers[0::2]), "scales of slices")
        need(h["volume.rescale"] == [1, 0] and h["refine.bound"] == 0, "scales of slices")


def check_window(h: dict[str, Any]) -> None:
    (slope, intercept), span = h["volume.rescale"], h["range.high"] - h["range.low"]
    need(slope != 0, "slope")
    windows = [h["sr.window"]]
    if h["sr.id"] != "lanczos" and span > 0:
        stored = [(v - intercept) / slope for v in windows[0]]
        windows.append(sorted((v - h["range.low"]) * (2 / span) - 1 for v in stored))
    for low, high in windows:
        need(math.isfinite(high - low) and low < high and math.isfinite(2 / (high - low)), "window")
        need(high - low >= 1e-6 * max(abs(low), abs(high)), "window")


def curve(h: dict[str, Any]) -> list[list[int]]:
    """x and y of the nodes of the companding curve, ends included."""
    nodes = h["lowres.companding"]
    need(all(type(n) is int for n in nodes) and len(nodes) in range(0, 17, 2), "companding")
    return [[-32768, *nodes[axis::2], 32768] for axis in (0, 1)]


def lowres_shape(h: dict[str, Any]) -> tuple[int, ...]:
    return tuple(-(-n // f) for n, f in zip(h["volume.shape"], h["lowres.factor"], strict=True))


# ------------------------------------------------------------------------------------------ Reconstruction


def tensor_shapes(layers: int, width: int) -> list[tuple[int, int]]:
    widths = [3, *[width] * layers, 1]
    return [shape for rows, columns in pairwise(widths) for shape in ((rows, columns), (1, columns))]


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


def reconstruct_lowres(h: dict[str, Any], sections: dict[str, bytes]) -> np.ndarray:
    """Unit values of the low-res volume, float64."""
    active = read_active(h, sections)
    volume = np.full(active.shape, float(h["mask.background"]))
    boxes = tile_boxes(h)
    need(len(sections["INDX"]) == 4 * len(boxes), "index")
    lengths = np.frombuffer(sections["INDX"], "<u4").tolist()
    need(sum(lengths) == len(sections["WGHT"]), "index")
    position = 0
    for box, length in zip(boxes, lengths, strict=True):
        stream = sections["WGHT"][position : position + length]
        position += length
        voxels = np.argwhere(active[tuple(slice(a, b) for a, b in box)]) + [a for a, _ in box]
        if len(voxels) == 0:
            need(length == 0, "a stream for a tile without active voxels")
            continue
        first, last = voxels.min(axis=0), voxels.max(axis=0)
        sides = last - first + 1
        x = (2 * voxels - (first + last)) / np.minimum(8 * sides, max(sides))
        tensors = read_network(stream, tensor_shapes(h["net.layers"], h["net.width"]))
        for w, b in zip(tensors[:-2:2], tensors[1:-2:2], strict=True):
            x = np.sin(h["net.omega"] * (x @ w + b))
        u = np.clip(x @ tensors[-2] + tensors[-1], -1, 1)[:, 0]
        linear, companded = np.array(curve(h)) / 32768
        volume[tuple(voxels.T)] = np.interp(u, companded, linear)
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


def to_stored(h: dict[str, Any], unit: np.ndarray) -> np.ndarray:
    low, high, dtype = h["range.low"], h["range.high"], np.dtype(h["volume.dtype"])
    values = np.clip(low + (unit + 1) * ((high - low) / 2), low, high)
    if dtype.kind == "f":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    top = np.nextafter(float(limits.max) + 1, 0) if dtype.itemsize == 8 else limits.max
    return np.clip(np.rint(values), limits.min, top).astype(dtype)


def decode(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """The low-res volume in unit values, and the full resolution in stored values, both (z, y, x)."""
    minor, sections = read_sections(data)
    header = read_header(sections["HEAD"], minor)
    need(bool(header["refine.steps"]) == ("LIDX" in sections) == ("LATT" in sections), "refinement")
    lowres = reconstruct_lowres(header, sections)
    unit = lowres
    for axis, (factor, length) in enumerate(
        zip(header["lowres.factor"], header["volume.shape"], strict=True)
    ):
        unit = upsample(unit, axis, factor, length)
    stored = to_stored(header, unit)
    if header["refine.steps"]:
        stored = decode_refinement(header, sections)
    if "PADM" in sections:
        need(header["volume.padding"] is not None, "a padding mask without padding")
        stored[read_padding(sections["PADM"], stored.shape)] = header["volume.padding"]
    return lowres, stored


def main() -> None:
    parser = argparse.ArgumentParser(description="Decode an INRV file with Lanczos alone.")
    parser.add_argument("file")
    parser.add_argument("output", help=".npy")
    parser.add_argument("--lowres", action="store_true", help="unit values of the low-res volume")
    args = parser.parse_args()
    with open(args.file, "rb") as stream:
        lowres, stored = decode(stream.read())
    np.save(args.output, lowres if args.lowres else stored)


if __name__ == "__main__":
    main()
