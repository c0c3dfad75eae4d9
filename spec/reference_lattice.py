"""The refinement of INRV files, written from inrv-1.md alone; it shares no code with the package."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
from reference_coders import Rans, inflate, need

M = 2**14  # sum of the frequencies of a context
TOKENS = 152

# -------------------------------------------------------------------------------------------------- Tables


def power(t: int, d: int, n: int) -> int:
    while n > 0:
        if n % 2:
            t = t * d >> 32
        d, n = d * d >> 32, n >> 1
    return t


def initial_weights(context: int) -> list[int]:
    if context >= 56:
        context = 8 * ((context - 56) // 8) + 4
    magnitude = 2 ** (context // 4) * (4 + context % 4)
    d = (magnitude << 32) // (magnitude + 128)
    tail, weights = 2**32, []
    for token in range(TOKENS):
        if token % 2 == 0 and 0 < token < 32:
            weights.append(weights[-1])
            continue
        n = 1 if token < 32 else max(1, 2 ** ((token - 32) // 4 + 3) // 2)
        following = power(tail, d, n)
        weights.append((tail - following) * 8192 >> (33 if 0 < token < 32 else 32))
        tail = following
    return weights


class Tables:
    """Weights and frequencies of all contexts."""

    def __init__(self) -> None:
        self.first = [initial_weights(context) for context in range(112)]
        self.weights = [list(row) for row in self.first]
        self.update_frequencies()

    def update_frequencies(self) -> None:
        self.frequency, self.start = [], []
        for weights in self.weights:
            frequent = [w for w in weights if w >= 8]
            room, total = M - 1 - len(frequent), sum(frequent)
            row = [1 + w * room // total if w >= 8 else 0 for w in weights] + [1]
            row[row.index(max(row))] += M - sum(row)
            self.frequency.append(row)
            self.start.append(np.cumsum([0, *row]).tolist())

    def adapt(self, contexts: list[int], tokens: list[int]) -> None:
        for context, token in zip(contexts, tokens, strict=True):
            self.weights[context][token] += 512
        for context, weights in enumerate(self.weights):
            while sum(weights) > 2**20:
                weights = [w >> 1 for w in weights]
            self.weights[context] = weights
        self.update_frequencies()

    def begin_stage(self) -> None:
        self.weights = [
            [max(w // 4, f) for w, f in zip(weights, first, strict=True)]
            for weights, first in zip(self.weights, self.first, strict=True)
        ]
        self.update_frequencies()


# ------------------------------------------------------------------------------------------ Lanes and tokens


class Stream:
    """Bytes that are read from the front."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, count: int) -> bytes:
        need(count <= len(self.data), "a stream of the refinement ends too early")
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def numbers(self, layout: str) -> tuple[int, ...]:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))


def read_states(stream: Stream) -> list[int]:
    (length,) = stream.numbers("<H")
    need(length % 8 == 0 and 8 <= length <= 8192, "lanes")
    states = list(struct.unpack(f"<{length // 8}Q", stream.take(length)))
    need(all(2**31 <= state < 2**63 for state in states), "states of the lanes")
    return states


def read_tokens(
    stream: Stream, contexts: list[int], states: list[int], tables: Tables
) -> tuple[list[int], bytes]:
    """Tokens and plain bits of a block."""
    sizes = stream.numbers("<III")
    need(sizes[0] % 4 == 0, "words")
    words = list(struct.unpack(f"<{sizes[0] // 4}I", stream.take(sizes[0])))[::-1]
    rare, plain = list(stream.take(sizes[1]))[::-1], stream.take(sizes[2])
    tokens: list[int] = []
    piece = 8192
    while len(tokens) < len(contexts):
        first, stop = len(tokens), min(len(contexts), len(tokens) + piece)
        for i in range(first, stop):
            lane, context = i % len(states), contexts[i]
            x, start = states[lane], tables.start[context]
            t = x % M
            token = next(s for s in range(TOKENS + 1) if start[s] <= t < start[s + 1])
            x = tables.frequency[context][token] * (x >> 14) + t - start[token]
            if x < 2**31:
                need(words, "words end too early")
                x = (x << 32) + words.pop()
            states[lane] = x
            tokens.append(token)
        for i in range(first, stop):
            if tokens[i] == TOKENS:
                need(rare and rare[-1] < TOKENS, "rare tokens")
                tokens[i] = rare.pop()
        tables.adapt(contexts[first:stop], tokens[first:stop])
        piece = min(3 * stop, 262144)
    need(not words and not rare, "words or rare tokens are left")
    return tokens, plain


def read_block(
    stream: Stream,
    predicted: list[int],
    contexts: list[int],
    most: int,
    step: int,
    shared: tuple[list[int], Tables],
) -> list[int]:
    """The integers of a block; ``shared`` are the states and the tables."""
    half = step >> 1
    room = [((p + half) // step, (most - p + half) // step) for p in predicted]
    near = [
        56 + 8 * (c // 8) + min(ends) if min(ends) < 8 else c for c, ends in zip(contexts, room, strict=True)
    ]
    tokens, plain = read_tokens(stream, near, *shared)
    bits, position, found = int.from_bytes(plain, "little"), 0, []
    for token, (below, above) in zip(tokens, room, strict=True):
        z = token
        if token >= 32:
            h = 5 + (token - 32) // 4
            low = bits >> position & (2 ** (h - 2) - 1)
            position += h - 2
            z = (4 + (token - 32) % 4 << h - 2) + low
        n = min(below, above)
        if z <= 2 * n:
            found.append((z + 1) // 2 if z % 2 else -(z // 2))
        else:
            found.append(z - n if above > below else n - z)
    need(len(plain) == -(-position // 8) and bits >> position == 0, "plain bits")
    return found


# -------------------------------------------------------------------------------------- Order and prediction

SIDES = [(1, 0), (-1, 0), (0, 1), (0, -1)]
CORNERS = [(1, 1), (-1, 1), (1, -1), (-1, -1)]
KNOWN = [(0, 0, 0), (1, 0, 0)]
KNOWN += [(a, *other) for others in (SIDES, CORNERS) for a in (0, 1) for other in others]
KNOWN += [(-1, 0, 0), (2, 0, 0)]
PHASES = [((0, 0), []), ((1, 1), CORNERS), ((0, 1), SIDES), ((1, 0), SIDES + CORNERS)]


def context_of(e: float) -> int:
    if e <= 0:
        return 0
    fraction, exponent = math.frexp(e)  # 0.5 <= fraction < 1
    return min(max(4 * (exponent - 1 + 5) + math.floor(4 * (2 * fraction - 1)), 0), 55)


def clamped(index: np.ndarray, n: int) -> np.ndarray:
    return np.clip(index, 0, n - 1)


def mirrored(index: np.ndarray, n: int) -> np.ndarray:
    index = np.where(index < 0, -index, index)
    return clamped(np.where(index > n - 1, 2 * (n - 1) - index, index), n)


class Lattice:
    """The integers of a brick that are decoded so far."""

    def __init__(self, h: dict[str, Any], most: int, shape: list[int]) -> None:
        self.h, self.most = h, most
        self.axes = h["refine.axes"]
        self.spacing = [2 ** self.axes.count(axis) for axis in range(3)]
        self.k = np.zeros(shape, np.int64)
        self.tables = Tables()

    def put(self, places: tuple[np.ndarray, ...], predicted: np.ndarray, q: list[int], step: int) -> None:
        self.k[places] = np.clip(predicted + np.array(q, dtype=object) * step, 0, self.most).astype(np.int64)

    def first(self, stream: Stream) -> None:
        self.states = read_states(stream)
        grid = np.meshgrid(
            *(np.arange(0, n, s) for n, s in zip(self.k.shape, self.spacing, strict=True)), indexing="ij"
        )
        places = tuple(g.ravel() for g in grid)
        step = self.h["refine.steps"][0]
        contexts = [context_of((self.most + 1) / (16 * step))] * places[0].size
        predicted = np.full(places[0].size, self.most >> 1)
        shared = (self.states, self.tables)
        q = read_block(stream, predicted.tolist(), contexts, self.most, step, shared)
        self.put(places, predicted, q, step)

    def between(self, axis: int) -> None:
        s = self.spacing[axis]
        lattice = np.moveaxis(
            self.k[tuple(slice(None, None, s) for s in self._after(axis))], axis, 0
        )  # every other one is known
        for i in range(1, len(lattice), 2):
            u = lattice[i - 1]
            lattice[i] = u + ((lattice[i + 1] - u) >> 1) if i + 1 < len(lattice) else u
        need(s > 1, "axes")

    def _after(self, axis: int) -> list[int]:
        return [s // 2 if k == axis else s for k, s in enumerate(self.spacing)]

    def stage(self, number: int, stream: Stream | None) -> None:
        axis = self.axes[number]
        self.between(axis)
        if stream is not None:
            self.tables.begin_stage()
            for odd, new in PHASES:
                self.phase(axis, odd, new, self.h["refine.steps"][number + 1], stream)
            need(not stream.data, "bytes after a stage")
        self.spacing = self._after(axis)

    def phase(
        self, axis: int, odd: tuple[int, int], new: list[tuple[int, int]], step: int, stream: Stream
    ) -> None:
        others = [k for k in range(3) if k != axis]
        counts = [-(-n // s) for n, s in zip(self.k.shape, self.spacing, strict=True)]  # of known ones
        half = self.spacing[axis] // 2
        fresh = len(range(half, self.k.shape[axis], self.spacing[axis]))
        ranges: list[Any] = [None] * 3
        ranges[axis] = np.arange(fresh)
        for k, first in zip(others, odd, strict=True):
            ranges[k] = np.arange(first, counts[k], 2)
        i = [g.ravel() for g in np.meshgrid(*ranges, indexing="ij")]
        if i[0].size == 0:
            return
        neighbours = [self._known(axis, others, i, counts, *offset) for offset in KNOWN]
        for b, c in new:
            at = list(i)
            for k, move in zip(others, (b, c), strict=True):
                at[k] = mirrored(i[k] + move, counts[k])
            neighbours.append(self.k[self._fresh(axis, at)])
        m = neighbours[0] + neighbours[1]
        d = np.array([2 * n - m for n in neighbours])
        predicted, contexts = self._predicted(stream, m, d, step)
        shared = (self.states, self.tables)
        q = read_block(stream, predicted.tolist(), contexts, self.most, step, shared)
        self.put(self._fresh(axis, i), predicted, q, step)

    def _known(self, axis, others, i, counts, a, b, c):  # type: ignore[no-untyped-def]
        at = list(i)
        for k, move in zip([axis, *others], (a, b, c), strict=True):
            at[k] = clamped(i[k] + move, counts[k]) * self.spacing[k]
        return self.k[tuple(at)]

    def _fresh(self, axis: int, i: list[np.ndarray]) -> tuple[np.ndarray, ...]:
        moved = [self.spacing[axis] // 2 if k == axis else 0 for k in range(3)]
        return tuple(index * s + more for index, s, more in zip(i, self.spacing, moved, strict=True))

    def _predicted(
        self, stream: Stream, m: np.ndarray, d: np.ndarray, step: int
    ) -> tuple[np.ndarray, list[int]]:
        classes, exponent, first, second, length = stream.numbers("<BbBBI")
        need(1 <= classes <= 8 and abs(exponent) <= 64, "classes")
        bounds = list(stream.take(classes - 1))
        rans = Rans(stream.take(length))
        scales = np.array(rans.integers(len(d), first))
        weights = np.array(rans.integers(classes * len(d), second)).reshape(classes, len(d))
        rans.finish()
        need(np.abs(scales).max() <= 127 and np.abs(weights).max() <= 2**14, "weights of a predictor")
        contexts = [context_of(int(e) * 2.0**exponent / step) for e in scales @ np.abs(d)]
        chosen = np.array([sum(bound <= context for bound in bounds) for context in contexts])
        sums = (weights[chosen].T * d).sum(axis=0)
        return np.clip((128 * m + sums + 128) >> 8, 0, self.most), contexts


# ------------------------------------------------------------------------------------------------- Integers


def rank(h: dict[str, Any], value: float) -> int:
    dtype = np.dtype(h["volume.dtype"])
    bits, size = int(np.array(value, dtype).view(f"i{dtype.itemsize}")), dtype.itemsize
    if size == 8:
        bits, size = bits >> 32, 4
    return bits if bits >= 0 else -(bits % 2 ** (8 * size - 1)) - 1


def ends(h: dict[str, Any]) -> tuple[int, int]:
    low, high = h["range.low"], h["range.high"]
    return rank(h, -0.0 if low == 0 else low), rank(h, 0.0 if high == 0 else high)


def largest(h: dict[str, Any]) -> int:
    low, high, unit = h["range.low"], h["range.high"], h["refine.unit"]
    if np.dtype(h["volume.dtype"]).kind != "f":
        return int(high - low)
    return int(np.rint((high - low) / unit)) if unit > 0 else ends(h)[1] - ends(h)[0]


def to_stored(h: dict[str, Any], k: np.ndarray) -> np.ndarray:
    low, high, unit, dtype = h["range.low"], h["range.high"], h["refine.unit"], np.dtype(h["volume.dtype"])
    if dtype.kind != "f":
        return (k + int(low)).astype(dtype)
    if unit > 0:
        return np.clip(float(low) + k * float(unit), low, high).astype(dtype)
    ranks, top = k + ends(h)[0], 2 ** (8 * min(dtype.itemsize, 4) - 1)
    bits = np.where(ranks >= 0, ranks, -(ranks + 1) - top)
    if dtype.itemsize == 8:
        bits = bits << 32
    return bits.astype(f"i{dtype.itemsize}").view(dtype)


def decode_refinement(h: dict[str, Any], boxes: list[tuple[slice, ...]], streams: list[bytes]) -> np.ndarray:
    """Stored values, (z, y, x), without padding, from the streams of the first lattice and some stages."""
    k = np.zeros(h["volume.shape"], np.int64)
    lower = np.zeros(h["volume.shape"], np.uint64)
    for number, box in enumerate(boxes):
        mine, stages = streams[number :: len(boxes)], len(h["refine.steps"])
        k[box] = decode_brick(h, list(k[box].shape), mine[:stages])
        if len(mine) > stages:
            planes = np.frombuffer(inflate(mine[stages], 4 * k[box].size), np.uint8).reshape(4, -1)
            words = sum(planes[n].astype(np.uint64) << np.uint64(8 * n) for n in range(4))
            lower[box] = words.reshape(k[box].shape)
    stored = to_stored(h, k)
    if stored.dtype == np.float64:
        stored.view(np.uint64)[...] |= lower
    return stored


def decode_brick(h: dict[str, Any], shape: list[int], streams: list[bytes]) -> np.ndarray:
    """Integers of a brick, (z, y, x)."""
    parts = [Stream(data) for data in streams]
    lattice = Lattice(h, largest(h), shape)
    lattice.first(parts[0])
    need(not parts[0].data, "bytes after the first lattice")
    for number in range(len(h["refine.axes"])):
        lattice.stage(number, parts[number + 1] if number + 1 < len(parts) else None)
    if len(parts) < len(h["refine.steps"]):
        return lattice.k
    need(all(x == 2**31 for x in lattice.states), "end of the lanes")
    return filtered(h, lattice.k) if h["refine.filter"] else lattice.k


# -------------------------------------------------------------------------------------------------- Filter

OPPOSITE = [(1, 0, 0), (2, 0, 0), (0, 1, 0), (0, 2, 0), (0, 3, 0), (0, 0, 1), (0, 0, 2), (0, 0, 3)]
OPPOSITE += [(0, 1, 1), (0, 1, -1), (1, 0, 1), (1, 0, -1), (1, 1, 0), (1, -1, 0)]


def filtered(h: dict[str, Any], k: np.ndarray) -> np.ndarray:
    """Integers of a brick after the filter."""
    most, step, weights = largest(h), h["refine.steps"][-1], h["refine.filter"]
    sums = np.zeros(k.shape, np.int64)
    for number, weight in enumerate(weights):
        limit = (step // 4, 3 * step // 4, most)[number // 14]
        for sign in (1, -1):
            places = [
                clamped(np.arange(n) + sign * move, n)
                for n, move in zip(k.shape, OPPOSITE[number % 14], strict=True)
            ]
            sums += weight * np.clip(k[np.ix_(*places)] - k, -limit, limit)
    return np.clip(k + ((sums + 128) >> 8), 0, most)
