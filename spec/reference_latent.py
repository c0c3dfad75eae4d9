"""The low-res volume of INRV files of latents, written from inrv-1.md alone (see reference_decoder).

Grids are (z, y, x, channels), int64 or, where sums are taken, float64: all of them are below 2^53.
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from reference_coders import need
from reference_header import lowres_shape

Model = dict[str, np.ndarray]
LARGEST = 2**20  # latent

# --------------------------------------------------------------------------------------------------- Model

TYPES = {"U8": "<u1", "U16": "<u2", "I16": "<i2", "I32": "<i4", "F16": "<f2", "F32": "<f4"}


def read_model(data: bytes) -> Model:
    """The tensors of a model file."""
    size = int.from_bytes(data[:8], "little")
    table = json.loads(data[8 : 8 + size])
    table.pop("__metadata__", None)
    found = {}
    for name, row in table.items():
        begin, end = row["data_offsets"]
        values = np.frombuffer(data[8 + size + begin : 8 + size + end], TYPES[row["dtype"]])
        found[name] = values.reshape(row["shape"])
    for context in {name.partition(".bodies.")[0] for name in found if ".bodies." in name}:
        check_bodies(context, found)
    return found


def check_bodies(context: str, names: Iterable[str]) -> None:
    """Refuse a context unless it has a residual block before its first half alone, or one before each."""
    start = f"{context}.bodies."
    parts = {name.removeprefix(start).rpartition(".")[0] for name in names if name.startswith(start)}
    whole = ["0.first", "0.second", "1.first", "1.second"]
    need(parts in (set(whole[:2]), set(whole)), f"residual blocks of {context}")


def find_model(h: dict[str, Any], models: Sequence[bytes]) -> Model:
    """The model that a header names, of some files."""
    found = [data for data in models if hashlib.sha256(data).digest() == h["latent.sha256"]]
    need(found, f"no model {h['latent.id']} of that hash")
    return read_model(found[0])


# --------------------------------------------------------------------------------------------- Range coder


class Reader:
    """Steps of a stream, by the tables of a model."""

    def __init__(self, model: Model, data: bytes) -> None:
        need(len(data) >= 6 and len(data) % 2 == 0, "a stream of latents has no state")
        self.x, self.data, self.position = int.from_bytes(data[:6], "little"), data, 6
        need(self.x >= 2**32, "state of a stream of latents")
        self.shift, self.reach = (model[f"coder.{name}"].tolist() for name in ("shift", "reach"))
        frequencies = iter(model["coder.frequencies"].tolist())
        self.tables = [[next(frequencies) for _ in range(2 * n + 2)] for n in self.reach]
        self.slots = [[s for s, n in enumerate(table) for _ in range(n)] for table in self.tables]
        self.starts = [[0, *accumulate(table)] for table in self.tables]

    def drop(self, frequency: int, start: int) -> None:
        self.x = frequency * (self.x >> 16) + self.x % 65536 - start
        if self.x < 2**32:
            need(self.position < len(self.data), "a stream of latents ends too early")
            self.x = 65536 * self.x + int.from_bytes(self.data[self.position : self.position + 2], "little")
            self.position += 2

    def bit(self) -> int:
        bit = self.x >> 15 & 1
        self.drop(32768, 32768 * bit)
        return bit

    def step(self, index: int) -> int:
        symbol, reach = self.slots[index][self.x % 65536], self.reach[index]
        self.drop(self.tables[index][symbol], self.starts[index][symbol])
        value = symbol - reach if symbol <= 2 * reach else self.beyond(reach)
        for _ in range(self.shift[index]):
            value = 2 * value + self.bit()
        need(-(2**31) <= value < 2**31, "a step beyond 32 bits")
        return value

    def beyond(self, reach: int) -> int:
        zeros, more = 0, 1
        while not self.bit():
            zeros += 1
            need(zeros <= 24, "a step beyond 32 bits")
        for _ in range(zeros):
            more = 2 * more + self.bit()
        return -(more + reach) if self.bit() else more + reach

    def finish(self) -> None:
        need(self.x == 2**32 and self.position == len(self.data), "a stream of latents goes on")


# ---------------------------------------------------------------------------------------------- Arithmetic


def down(x: np.ndarray, n: int) -> np.ndarray:
    return (x + (2**n >> 1)) >> n


def latent(x: np.ndarray) -> np.ndarray:
    return np.clip(x, -LARGEST, LARGEST)


def short(x: np.ndarray) -> np.ndarray:
    return np.clip(x, -32767, 32767)


def wrap(x: np.ndarray) -> np.ndarray:
    return (x + 2**31) % 2**32 - 2**31


def moved(x: np.ndarray, **how: Any) -> list[np.ndarray]:
    """A grid as seen from each of its 3 x 3 x 3 neighbours, z slowest."""
    z, y, w, _ = x.shape
    wide = np.pad(x, [(1, 1)] * 3 + [(0, 0)], **how)
    return [wide[a : a + z, b : b + y, c : c + w] for a, b, c in np.ndindex(3, 3, 3)]


def around(x: np.ndarray) -> np.ndarray:
    return sum(moved(x))


def double(x: np.ndarray) -> np.ndarray:
    """Twice as many positions along each axis."""
    for axis in range(3):
        x = np.moveaxis(x, axis, 0)
        before, after = np.concatenate([x[:1], x[:-1]]), np.concatenate([x[1:], x[-1:]])
        x = np.stack([before + 3 * x, 3 * x + after], axis=1).reshape(-1, *x.shape[1:])
        x = np.moveaxis(x, 0, axis)
    return latent(down(x, 6))


def slopes(level: np.ndarray) -> np.ndarray:
    seen = moved(level, mode="edge")
    return latent(down(np.concatenate([seen[22] - seen[4], seen[16] - seen[10], seen[14] - seen[12]], -1), 1))


def amplitude(*parts: np.ndarray) -> np.ndarray:
    return 64 + around(sum(np.abs(part).sum(-1, keepdims=True) for part in parts)) // 54


def relative(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return short(256 * x // scale)


def spread(x: np.ndarray) -> np.ndarray:
    """(z, y, x, 8 c) -> (2 z, 2 y, 2 x, c)."""
    z, y, w, n = x.shape
    x = x.reshape(z, y, w, n // 8, 2, 2, 2).transpose(0, 4, 1, 5, 2, 6, 3)
    return x.reshape(2 * z, 2 * y, 2 * w, n // 8)


class Network:
    """The layers of a model at a rate."""

    def __init__(self, model: Model, rate: int) -> None:
        self.model, self.rate = model, rate
        self.thresholds = model["companding"].astype(np.int64)

    def compand(self, x: np.ndarray) -> np.ndarray:
        return np.sign(x) * np.searchsorted(self.thresholds, np.abs(x), "right")

    def point(self, name: str) -> int:
        return int(self.model[f"{name}.point"][0])

    def layer(self, name: str, x: np.ndarray) -> np.ndarray:
        """Sums of latents, exactly."""
        weight = self.model[f"{name}.weight"].astype(np.float64)
        weight = weight.reshape(*weight.shape[:2], -1)
        seen = moved(x) if weight.shape[2] == 27 else [x]
        sums = sum(part.astype(np.float64) @ weight[:, :, k].T for k, part in enumerate(seen))
        return np.asarray(sums).astype(np.int64) + self.model[f"{name}.bias"]

    def maps(self, name: str, x: np.ndarray) -> np.ndarray:
        """Sums of maps, modulo 2^32."""
        return wrap(self.layer(name, x))

    def by_rate(self, name: str) -> np.ndarray:
        constant, linear, square = self.model[name].astype(np.int64)
        n = 2 * self.rate - 127
        return constant + down(linear * n, 7) + down(square * n * n, 14)

    # ---------------------------------------------------------------------------------------- Contexts

    def grid(
        self,
        name: str,
        shape: tuple[int, ...],
        coded: tuple[int, ...],
        step: Callable[[int], int],
        known: np.ndarray | None = None,
        features: np.ndarray | None = None,
        linear: np.ndarray | None = None,
    ) -> np.ndarray:
        """The latents of a grid."""
        count = self.model[f"{name}.linear_neighbours.weight"].shape[0]
        scale = np.full((*shape, 1), 64)
        plain, hidden = np.zeros((*shape, count), np.int64), np.zeros((*shape, 1), np.int64)
        if linear is not None:
            scale = amplitude(linear, *([] if known is None else [known[..., :12]]))
            hints = [relative(linear, scale)] if features is None else [features, relative(linear, scale)]
            hidden = hidden + self.maps(f"{name}.features", np.concatenate(hints, -1))
            before = [linear] if known is None else [known, linear]
            plain += self.layer(f"{name}.linear_channels", np.concatenate(before, -1))
        if known is not None:
            hidden = hidden + self.maps(f"{name}.channels", self.seen(known, scale))
        even = np.indices(shape).sum(0) % 2 == 0
        hidden = self.deeper(name, 0, hidden)
        found = self.half(name, 0, even, coded, step, hidden, plain, scale)
        near = amplitude(found[..., :12])
        scale = near if linear is None else scale + near - 64
        hidden = hidden + self.maps(f"{name}.neighbours", self.seen(found, scale))
        plain += self.layer(f"{name}.linear_neighbours", found)
        scale = np.full_like(scale, 64) if linear is None else scale
        hidden = self.deeper(name, 1, hidden)
        return found + self.half(name, 1, ~even, coded, step, hidden, plain, scale)

    def seen(self, x: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return np.concatenate([self.compand(x), relative(x[..., :12], scale)], -1)

    def deeper(self, name: str, phase: int, hidden: np.ndarray) -> np.ndarray:
        """Hidden sums after the residual block of a half, if it has one."""
        body = f"{name}.bodies.{phase}"
        if f"{body}.first.weight" not in self.model:
            return hidden
        maps = self.above(name, phase, hidden)
        return hidden + self.maps(f"{body}.second", self.rectified(f"{body}.first", maps))

    def above(self, name: str, phase: int, hidden: np.ndarray) -> np.ndarray:
        hidden = wrap(hidden + self.by_rate(f"{name}.offsets")[phase])
        return np.clip(down(hidden, self.point(f"{name}.neighbours")), 0, 32767)

    def half(
        self,
        name: str,
        phase: int,
        chosen: np.ndarray,
        coded: tuple[int, ...],
        step: Callable[[int], int],
        hidden: np.ndarray,
        plain: np.ndarray,
        scale: np.ndarray,
    ) -> np.ndarray:
        maps = self.rectified(f"{name}.hidden", self.above(name, phase, hidden))
        last = self.point(f"{name}.out")
        means, scales, parts = np.split(self.maps(f"{name}.out", maps), 3, -1)
        mean = down(plain, self.point(f"{name}.linear_neighbours")) + down(means, 2 + last)
        mean = latent(mean + down(scale * down(parts, last) * 77, 16))
        index = np.clip(down(8 * scales, 8 + last) + 24, 0, 79)
        found = np.zeros_like(mean)
        for place in np.argwhere(chosen):
            for channel in range(mean.shape[-1]):
                at = (*place, channel)
                more = 64 * step(int(index[at])) if (place < coded).all() else 0
                found[at] = np.clip(mean[at] + more, -LARGEST, LARGEST)
        return found

    def latents(self, shape: tuple[int, ...], step: Callable[[int], int]) -> tuple[np.ndarray, np.ndarray]:
        """Latents less their level, and that level."""
        blocks = [math.ceil(n / 4) for n in shape]
        grids = {k: tuple(math.ceil(n / 16) * 4 // k for n in shape) for k in (4, 2, 1)}
        coded = {k: tuple(math.ceil(n / k) for n in blocks) for k in (4, 2, 1)}
        level = double(self.grid("level", grids[4], coded[4], step))
        hyper = self.grid("hyper", grids[2], coded[2], step, linear=slopes(level))
        inverse = int(self.model["inverse"][self.rate])
        level = double(latent(down(hyper[..., :1] * inverse, 16) + level))
        maps = self.rectified("hints.in", self.compand(hyper))
        features = self.rectified("hints.out", spread(self.rectified("hints.up", maps)))
        flat: np.ndarray | None = None
        for k in range(64):
            if f"contexts.{k}.offsets" in self.model:
                group = self.grid(f"contexts.{k}", grids[1], coded[1], step, flat, features, slopes(level))
                flat = group if flat is None else np.concatenate([flat, group], -1)
        assert flat is not None
        return flat, level

    def rectified(self, name: str, maps: np.ndarray) -> np.ndarray:
        return np.clip(down(self.maps(name, maps), self.point(name)), 0, 32767)

    # --------------------------------------------------------------------------------------- Synthesis

    def values(self, flat: np.ndarray, level: np.ndarray) -> np.ndarray:
        """Low-res values in steps, 12 bits behind the point."""
        step, gains = int(self.model["steps"][self.rate]), self.model["gains"][self.rate].astype(np.int64)
        whole = np.concatenate([flat[..., :1] + level, flat[..., 1:]], -1)
        scaled = down(whole * gains, 12)
        overlapping = np.concatenate([4 * flat[..., :1], scaled[..., 1:]], -1)
        overlap = down(self.layer("synthesis.overlap", overlapping), self.point("synthesis.overlap") - 4)
        blocks = np.clip(16 * scaled + overlap, -(2**27), 2**27)
        plain = down(self.layer("synthesis.transform", blocks), self.point("synthesis.transform"))
        plain = spread(np.clip(plain, -(2**27), 2**27))
        height = short(down(down(level * gains[0], 14) * step, 17))
        maps = self.short("synthesis.enter", np.concatenate([self.compand(flat), height], -1))
        maps = self.residuals("coarse", maps)
        narrowed = spread(down(self.maps("synthesis.narrow", maps), self.point("synthesis.narrow")))
        beside = self.maps("synthesis.beside", self.apart(plain, step))
        maps = short(narrowed + down(beside, self.point("synthesis.beside")))
        maps = self.residuals("fine", maps)
        added = down(self.maps("synthesis.out", maps), self.point("synthesis.out") - 4)
        return spread(np.clip(plain + added, -(2**27), 2**27))[..., 0]

    def apart(self, plain: np.ndarray, step: int) -> np.ndarray:
        mean = down(plain.sum(-1, keepdims=True), 3)
        mean = around(mean) // around(np.ones_like(mean))
        return np.concatenate([self.compand(down(plain - mean, 6)), short(down(mean * step, 20))], -1)

    def short(self, name: str, maps: np.ndarray) -> np.ndarray:
        return short(down(self.maps(name, maps), self.point(name)))

    def residuals(self, kind: str, maps: np.ndarray) -> np.ndarray:
        sines = self.model["sines"].astype(np.int64)
        for k in range(64):
            name = f"synthesis.{kind}.{k}"
            if f"{name}.modulation" in self.model:
                gain, offset = self.by_rate(f"{name}.modulation")
                angle = down(self.maps(f"{name}.first", maps), self.point(f"{name}.first") - 4)
                angle = down(angle * (4096 + gain), 12) + offset
                waves = sines[down(angle * 10430, 16) % 4096]
                more = down(self.maps(f"{name}.second", waves), self.point(f"{name}.second") + 2)
                maps = short(maps + more)
        return maps


# ------------------------------------------------------------------------------------------------- Streams


def decode_stream(model: Model, rate: int, stream: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Values of the model, (z, y, x), float64."""
    need(len(stream) >= 4, "a stream without a checksum")
    network, reader = Network(model, rate), Reader(model, stream[4:])
    flat, level = network.latents(shape, reader.step)
    reader.finish()
    values = network.values(flat, level)[tuple(slice(n) for n in shape)]
    crc = int.from_bytes(stream[:4], "little")
    need(zlib.crc32(values.astype("<i4").tobytes()) == crc, "checksum of values")
    return values * (int(model["steps"][rate]) / 2**28) - 1


def decode_latents(h: dict[str, Any], streams: list[bytes], models: Sequence[bytes]) -> np.ndarray:
    """Coded values of the low-res volume, in [-1, 1]."""
    model, rate = find_model(h, models), h["latent.rate"]
    depth, *plane = lowres_shape(h)
    slices = h["latent.slices"] or depth
    spans = [(z, min(z + slices, depth)) for z in range(0, depth, slices)]
    need(len(streams) == len(spans), "number of streams")
    parts = [decode_stream(model, rate, s, (b - a, *plane)) for s, (a, b) in zip(streams, spans, strict=True)]
    low, high = h["latent.ends"]
    return np.clip((np.concatenate(parts) - low) * (2 / (high - low)) - 1, -1, 1)


def active(h: dict[str, Any], unit: np.ndarray) -> np.ndarray:
    """Where a model of super-resolution may have a residual."""
    found = np.ones(unit.shape, dtype=bool)
    for z, y, x in np.ndindex(*(math.ceil(n / 2) for n in unit.shape)):
        cell = np.s_[2 * z : 2 * z + 2, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
        if h["latent.flat"] is not None:
            found[cell] = (np.abs(unit[cell] - h["mask.background"]) > h["latent.flat"]).any()
    return found


def with_background(h: dict[str, Any], unit: np.ndarray) -> np.ndarray:
    """Unit values, those of background cells equal."""
    return np.where(active(h, unit), unit, float(h["mask.background"]))
