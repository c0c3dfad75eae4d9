"""The header of INRV files, written from inrv-1.md alone; it shares no code with the package."""

from __future__ import annotations

import itertools
import math
import re
from itertools import pairwise
from typing import Any

import msgpack
import numpy as np
from reference_coders import Invalid, need
from reference_lattice import largest

DEFAULTS: dict[str, Any] = {
    "volume.axes": "zyx",
    "volume.brick": [],
    "volume.rescale": [1, 0],
    "volume.slice_rescale": [],
    "volume.modality": "",
    "volume.unit": "",
    "volume.padding": None,
    "volume.about": {},
    "lowres.coder": "siren",
    "lowres.factor": [1, 1, 1],
    "lowres.kernel": "lanczos3",
    "lowres.companding": [],
    "lowres.wiener": [],
    "mask.background": 0,
    "mask.cell": [1, 1, 1],
    "mask.method": 1,
    "net.layers": 0,
    "net.width": 0,
    "net.tiles": [1, 1, 1],
    "net.cuts": [],
    "net.omega": 30,
    "net.method": 1,
    "av1.slices": 0,
    "av1.flat": [],
    "latent.id": "",
    "latent.sha256": b"",
    "latent.rate": 0,
    "latent.ends": [-1, 1],
    "latent.slices": 0,
    "latent.flat": None,
    "sr.id": "lanczos",
    "sr.sha256": b"",
    "sr.window": [-1, 1],
    "sr.noise": 0,
    "sr.ensemble": 1,
    "refine.axes": [],
    "refine.steps": [],
    "refine.unit": 1,
    "refine.filter": [],
    "refine.bound": None,
    "quality.psnr": math.inf,
    "quality.lanczos": None,
    "quality.peak": 0,
    "quality.max_error": 0,
    "quality.digest": bytes(16),
    "encoder.version": "",
    "encoder.seed": 0,
}
# Groups that have nothing but defaults, by the coder.
OF_OTHERS = {
    "siren": ["av1", "latent"],
    "av1": ["mask", "net", "latent"],
    "latent": ["mask", "net", "av1"],
    "none": ["lowres", "mask", "net", "av1", "latent", "sr"],
}
REQUIRED = ("volume.shape", "volume.dtype", "volume.affine", "range.low", "range.high")


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
    need(header["volume.axes"] in ("zyx", "yx"), "unsupported axes")
    need(len(header["volume.shape"]) == len(header["volume.axes"]), "shape")
    header["volume.shape"] = [1, *header["volume.shape"]][-3:]
    check_header(header)
    return header


def check_header(h: dict[str, Any]) -> None:
    for name in ("volume.shape", "lowres.factor", "mask.cell", "net.tiles"):
        need(len(h[name]) == 3 and all(type(n) is int and n >= 1 for n in h[name]), name)
    need(re.fullmatch("u?int(8|16|32|64)|float(16|32|64)", h["volume.dtype"]), "unsupported type")
    need(h["lowres.kernel"] == "lanczos3", "unsupported kernel")
    need(h["lowres.coder"] in OF_OTHERS, "unsupported coder of the low-res volume")
    need(h["mask.method"] == 1 and h["net.method"] == 1, "unsupported coder")
    need(max(h["lowres.factor"]) <= 8, "factor")
    need(h["range.low"] <= h["range.high"] and math.isfinite(h["range.high"] - h["range.low"]), "range")
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
    for name, count in (("lowres.wiener", 14), ("refine.filter", 42)):
        weights = h[name]
        need(len(weights) in (0, count) and all(type(w) is int and -128 <= w <= 255 for w in weights), name)
        need(weights == [] or any(weights), name)
    need(-1 <= h["mask.background"] <= 1 and 0 < h["net.omega"] <= 1000, "background or omega")
    need((h["sr.id"] == "lanczos") == (h["sr.sha256"] == b""), "hash of the model")
    need(0 <= h["sr.noise"] <= (0 if h["sr.id"] == "lanczos" else 4096), "noise")
    need(h["sr.ensemble"] in ((1,) if h["sr.id"] == "lanczos" else (1, 2, 4, 8)), "ensemble")
    check_window(h)
    check_bricks(h)
    check_refinement(h)
    check_slices(h)
    need(math.prod(h["volume.shape"]) <= 2**36 and max(h["volume.shape"]) <= 65535, "voxels")
    need(math.prod(h["volume.shape"][1:]) <= 2**26, "voxels of a slice")
    low, coder = lowres_shape(h), h["lowres.coder"]
    if coder == "none":
        need(bool(h["refine.steps"]), "neither a low-res volume nor a refinement")
        need(h["quality.lanczos"] is None, "quality.lanczos")
    for group in OF_OTHERS[coder]:
        for name in DEFAULTS:
            ours = name.startswith(f"{group}.") and name != "lowres.coder"
            ours &= (coder, name) != ("latent", "mask.background")
            need(not ours or h[name] == DEFAULTS[name], f"{name} with the coder {coder}")
    if coder == "av1":
        slices, flat = h["av1.slices"], h["av1.flat"]
        need(type(slices) is int and 0 <= slices < low[0], "slices of a stream")
        need(flat == [] or (len(flat) == 2 and 0 <= flat[0] <= flat[1] <= 1023), "codes of background")
        need(all(type(code) is int for code in flat), "codes of background")
        need(math.prod(low) <= 2**32 and (slices or low[0]) * math.prod(low[1:]) <= 2**26, "low-res voxels")
    if coder == "latent":
        check_latent(h, low)
    if coder != "siren":
        return
    layers, width, tiles = h["net.layers"], h["net.width"], math.prod(h["net.tiles"])
    need(1 <= layers <= 16 and 1 <= width <= 1024, "network")
    need(all(t <= n for t, n in zip(h["net.tiles"], low, strict=True)) and tiles <= 65536, "tiles")
    weights = sum(rows * columns for rows, columns in tensor_shapes(layers, width))
    need(weights * tiles <= 2**24 and weights * math.prod(low) <= 2**42, "weights or work")
    need(math.prod(low) <= 2**27, "low-res voxels")


def check_latent(h: dict[str, Any], low: tuple[int, ...]) -> None:
    slices, flat, ends = h["latent.slices"], h["latent.flat"], h["latent.ends"]
    need(h["latent.id"] != "" and len(h["latent.sha256"]) == 32, "model of latents")
    need(type(h["latent.rate"]) is int and 0 <= h["latent.rate"] <= 127, "rate of latents")
    need(len(ends) == 2 and is_wide(*sorted(ends)), "ends of latents")
    need(type(slices) is int and 0 <= slices < low[0], "slices of a stream")
    need(h["mask.background"] == 0 if flat is None else 0 <= flat <= 2, "background")
    need(math.prod(low) <= 2**32 and (slices or low[0]) * math.prod(low[1:]) <= 2**24, "low-res voxels")


def check_bricks(h: dict[str, Any]) -> None:
    shape, edges = h["volume.shape"], h["volume.brick"]
    if edges:
        need(len(edges) == 3 and edges != shape, "bricks")
        for axis, (edge, n) in enumerate(zip(edges, shape, strict=True)):
            need(type(edge) is int and 1 <= edge <= n, "edge of a brick")
            need(edge == n or edge % 2 ** h["refine.axes"].count(axis) == 0, "edge of a brick")
    need(max(stream_count(h), 1) * len(brick_boxes(h)) <= 2**22, "chunks")


def stream_count(h: dict[str, Any]) -> int:
    """Streams of the refinement of a brick."""
    lower = bool(h["refine.steps"]) and h["refine.unit"] == 0 and h["volume.dtype"] == "float64"
    return len(h["refine.steps"]) + lower


def check_refinement(h: dict[str, Any]) -> None:
    axes, steps, unit = h["refine.axes"], h["refine.steps"], h["refine.unit"]
    if not steps:
        need(not axes and unit == 1 and h["refine.bound"] is None and not h["refine.filter"], "no refinement")
        return
    brick = h["volume.brick"] or h["volume.shape"]
    need(math.prod(brick) <= 2**30, "voxels of a brick")
    need(len(steps) == len(axes) + 1 and all(1 <= step <= 2**32 for step in steps), "steps")
    need(all(axis in (0, 1, 2) for axis in axes), "axes")
    first = 1
    for axis, n in enumerate(brick):
        first *= -(-n // 2 ** axes.count(axis))
        need(axis not in axes or 2 ** (axes.count(axis) - 1) < n, "axes")
    need(first <= 4096, "first lattice")
    dtype = np.dtype(h["volume.dtype"])
    need(unit >= 0 if dtype.kind == "f" else unit == 1, "unit of the refinement")
    ends = (h["range.low"], h["range.high"])
    need(dtype.kind == "f" or all(end == int(end) for end in ends), "ends of the range are not integers")
    need(unit == 0 or (h["range.high"] - h["range.low"]) / unit < 2**32 - 0.5, "range of the refinement")
    need(largest(h) < 2**32, "range of the refinement")
    wide = (unit == 0 and dtype.itemsize >= 4) or (
        unit > 0 and (h["range.high"] - h["range.low"]) / unit >= 2**31
    )
    need(math.prod(brick) * (8 if wide else 4) <= 2**32, "bytes of the refinement")
    need(h["refine.bound"] is None or h["refine.bound"] >= 0, "bound")
    need(not h["refine.filter"] or (h["refine.bound"] is None and unit > 0), "filter of exact values")


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
        need(is_wide(low, high), "window")


def is_wide(low: float, high: float) -> bool:
    """Whether dividing by the width between two ends is safe."""
    wide = math.isfinite(high - low) and low < high and math.isfinite(2 / (high - low))
    return wide and high - low >= 1e-6 * max(abs(low), abs(high))


def curve(h: dict[str, Any]) -> list[list[int]]:
    """x and y of the nodes of the companding curve, ends included."""
    nodes = h["lowres.companding"]
    need(all(type(n) is int for n in nodes) and len(nodes) in range(0, 17, 2), "companding")
    return [[-32768, *nodes[axis::2], 32768] for axis in (0, 1)]


def brick_boxes(h: dict[str, Any]) -> list[tuple[slice, ...]]:
    """The voxels of each brick, along z, y and x."""
    shape = h["volume.shape"]
    edges = h["volume.brick"] or shape
    need(math.prod(-(-n // edge) for n, edge in zip(shape, edges, strict=True)) <= 2**22, "bricks")
    spans = [[slice(a, min(a + e, n)) for a in range(0, n, e)] for n, e in zip(shape, edges, strict=True)]
    return list(itertools.product(*spans))


def lowres_shape(h: dict[str, Any]) -> tuple[int, ...]:
    return tuple(-(-n // f) for n, f in zip(h["volume.shape"], h["lowres.factor"], strict=True))


def tensor_shapes(layers: int, width: int) -> list[tuple[int, int]]:
    widths = [3, *[width] * layers, 1]
    return [shape for rows, columns in pairwise(widths) for shape in ((rows, columns), (1, columns))]
