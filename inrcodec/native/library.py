"""The compiled kernels as functions of arrays.

In: arrays.  Out: what the plain path in NumPy computes, bit for bit.
Invariant: whole numbers alone; no array reaches a kernel before its order and length were checked, nor voxels
before their type was.

A call holds no lock of Python's, so that bricks are coded side by side.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from ctypes import CDLL, c_int64, c_uint32, c_void_p
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from inrcodec.volume.arrays import Array, Bytes, Float, Float32, Int32, Ints

Halves = NDArray[np.uint16]
Words = NDArray[np.uint64]

FOLDER = Path(__file__).parent
LIBRARY = FOLDER / "kernels.library"
SWITCH = "INRCODEC_KERNELS"  # environment variable: 0 selects the plain path
DAMAGED, WRONG_BITS = -1, -2  # what `Kernels.read` found
CLASSES, CONTEXTS, TABLES = 8, 56, (112, 152)
MASK_TABLES = 128 + (1 << 14) + 5119 + 5 * ((1 << 10) + (1 << 16))
MASK_STATES = sum(1 << bits for bits in (8, 14, 20, 10, 11))


def kernels() -> Kernels | None:
    """The kernels; ``None`` where they were not built, or are switched off."""
    return None if os.environ.get(SWITCH) == "0" else _loaded(LIBRARY)


@lru_cache(maxsize=4)
def _loaded(path: Path) -> Kernels | None:
    try:
        library = CDLL(str(path))
        library.inrv_source.restype = c_uint32
        is_ours = library.inrv_source() == source_checksum()
    except (OSError, AttributeError):
        return None
    return Kernels(library) if is_ours else None


def source_checksum() -> int:
    """CRC-32 of the sources, which the library holds too."""
    return crc32(b"".join(path.read_bytes() for path in sorted(FOLDER.glob("*.[ch]"))))


@dataclass(frozen=True, eq=False)
class Weights:
    """A predictor as the kernels read it.

    Attributes
    ----------
    scales : (neighbours,), int64.
    weights : (classes, neighbours), int64.
    thresholds : (56,), int64, the smallest sum of each context; the first is not read.
    bounds : (classes - 1,), int64, the smallest sum of each class but the first.
    is_narrow : whether all sums stay below 2^31, and thresholds and bounds too.
    """

    scales: Ints
    weights: Ints
    thresholds: Ints
    bounds: Ints
    is_narrow: bool

    def check(self, neighbours: int) -> None:
        """Refuse what the kernels would read beyond."""
        classes = len(self.weights)
        expect(1 <= classes <= CLASSES)
        expect(self.scales.shape == (neighbours,) and self.weights.shape == (classes, neighbours))
        expect(self.thresholds.shape == (CONTEXTS,) and self.bounds.shape == (classes - 1,))


@dataclass(frozen=True, eq=False)
class Place:
    """Where the voxels of a phase are.

    Attributes
    ----------
    known, fresh : (z, y, x), known and new voxels of a stage.
    axis : the one that the stage halves.
    phase : 0 to 3.
    """

    known: Array
    fresh: Array
    axis: int
    phase: int

    def __post_init__(self) -> None:
        expect(self.axis in range(3) and self.phase in range(4))
        expect(self.known.ndim == 3 and self.known.size > 0 and self.known.dtype == self.fresh.dtype)
        along, known = self.fresh.shape[self.axis], list(self.known.shape)
        expect(known[self.axis] - 1 <= along <= known[self.axis])
        known[self.axis] = along
        expect(self.fresh.shape == tuple(known))

    @property
    def geometry(self) -> Ints:
        """As the kernels read it."""
        return np.array([*self.known.shape, self.fresh.shape[self.axis], self.axis, self.phase], np.int64)

    @property
    def neighbours(self) -> int:
        """Of each voxel."""
        return (20, 24, 24, 28)[self.phase]

    @property
    def counts(self) -> list[int]:
        """The phase's length along each axis."""
        counts, odd = list(self.fresh.shape), iter(((0, 0), (1, 1), (0, 1), (1, 0))[self.phase])
        for k in range(3):
            if k != self.axis:
                counts[k] = (counts[k] - next(odd) + 1) // 2
        return counts


class Kernels:
    """Functions of the library."""

    def __init__(self, library: CDLL) -> None:
        self.library = library
        for name in (
            "predict",
            "around",
            "tables_begin",
            "tables_start_stage",
            "quantise",
            "tokens",
            "filter",
            "convolve",
        ):
            getattr(library, f"inrv_{name}").restype = None
        for name in ("read", "push", "mask", "weights", "tables_size", "logistic_push", "logistic_pull"):
            getattr(library, f"inrv_{name}").restype = c_int64
        self.tables_size = int(library.inrv_tables_size())

    def predict(
        self, place: Place, rows: range, model: Weights, most: int, predicted: Array, contexts: Bytes
    ) -> None:
        """Predictions and contexts of rows of a phase's first axis, into ``predicted`` and ``contexts``."""
        counts = place.counts
        model.check(place.neighbours)
        size = len(rows) * counts[1] * counts[2]
        expect(0 <= rows.start <= rows.stop <= counts[0])
        expect(len(predicted) == len(contexts) == size and predicted.dtype == place.known.dtype)
        self.call(
            "predict", place.known, place.fresh, _is_wide(predicted), model.is_narrow, place.geometry,
            rows.start, rows.stop, model.scales, model.weights, len(model.weights), model.thresholds,
            model.bounds, most, predicted, contexts,
        )  # fmt: skip

    def around(self, place: Place, places: Ints) -> tuple[Float, Float32]:
        """Middles and rows of the voxels at ``places`` of a phase, see `neighbours.Around`."""
        expect(places.size == 0 or (int(places.min()) >= 0 and int(places.max()) < prod(place.counts)))
        middle, rows = np.empty(len(places)), np.empty((place.neighbours, len(places)), np.float32)
        wide = _is_wide(place.known)
        self.call("around", place.known, place.fresh, wide, place.geometry, places, len(places), middle, rows)
        return middle, rows

    def new_tables(self, initial: Ints) -> Bytes:
        """Adaptive tables of initial weights, (112, 152)."""
        expect(initial.shape == TABLES)
        tables = np.empty(self.tables_size // 8, np.int64).view(np.uint8)
        self.call("tables_begin", tables, initial)
        return tables

    def start_stage(self, tables: Bytes, initial: Ints) -> None:
        """Forget most of the counts."""
        expect(initial.shape == TABLES and len(tables) == self.tables_size)
        self.call("tables_start_stage", tables, initial)

    def read(
        self,
        values: Array,
        contexts: Bytes,
        step: int,
        most: int,
        block: tuple[Bytes, Bytes, Bytes],
        states: Words,
        tables: Bytes,
    ) -> int:
        """Turn predictions into integers, in place, by a block's words, rare tokens and plain bits.

        Returns
        -------
        0, `DAMAGED` or `WRONG_BITS`.
        """
        words, rare, bits = block
        expect(len(values) == len(contexts) and len(tables) == self.tables_size)
        expect(len(words) % 4 == 0 and len(states) > 0 and step > 0)
        return self.call(
            "read", values, _is_wide(values), contexts, len(values), step, most, words, len(words) // 4, rare,
            len(rare), bits, len(bits), states, len(states), tables,
        )  # fmt: skip

    def quantise(
        self,
        values: Array,
        truth: Array,
        ignored: Array | None,
        contexts: Bytes,
        steps: tuple[int, int, int],
        most: int,
        costs: Ints | None = None,
    ) -> Ints:
        """Turn predictions into the integers that are decoded, and contexts into those near an end, in place.

        Parameters
        ----------
        steps : a step, what is added to a magnitude before it is divided by it, and what a bit is worth.
        costs : of tokens, (112, 152), in 2^-8 bits; without them a bit is worth nothing.

        Returns
        -------
        ndarray, (n,), what is coded, see `tokens.folded`.
        """
        expect(len(values) == len(truth) == len(contexts) and values.dtype == truth.dtype and steps[0] > 0)
        expect(costs is None or costs.shape == TABLES)
        expect(ignored is None or (len(ignored) == len(values) and ignored.dtype == np.bool_))
        folded = np.empty(len(values), np.int64)
        size, wide = len(values), _is_wide(values)
        self.call("quantise", values, wide, truth, ignored, contexts, size, *steps, most, costs, folded)
        return folded

    def tokens(
        self, folded: Ints, contexts: Bytes, tables: Bytes
    ) -> tuple[tuple[Halves, Halves], bytes, bytes]:
        """Frequencies and starts of the tokens, the rare ones, and the plain bits."""
        count = len(folded)
        expect(len(contexts) == count and len(tables) == self.tables_size)
        expect(count == 0 or (int(contexts.max()) < TABLES[0] and int(folded.max()) < 1 << 35))
        frequency, start = np.empty(count, np.uint16), np.empty(count, np.uint16)
        rare, bits = np.empty(count, np.uint8), np.empty(4 * count + 8, np.uint8)
        sizes = np.empty(2, np.int64)
        self.call("tokens", folded, contexts, count, tables, frequency, start, rare, bits, sizes)
        return (frequency, start), rare[: sizes[0]].tobytes(), bits[: sizes[1]].tobytes()

    def push(self, states: Words, frequency: Halves, start: Halves) -> bytes:
        """Words of a block whose symbols are pushed on the lanes, the last one first."""
        count = len(frequency)
        expect(len(start) == count and len(states) > 0)
        words = np.empty(4 * count, np.uint8)
        written = self.call("push", states, len(states), frequency, start, count, words)
        return words[4 * (count - written) :].tobytes()

    def filter(self, near: Array, weights: Sequence[int], limits: tuple[int, int], most: int) -> Array:
        """Slices of a refinement without their border, filtered; see `lattice.filter`."""
        depth, height, width = (n - pad for n, pad in zip(near.shape, (4, 6, 6), strict=True))
        largest = 2 * most * sum(map(abs, weights)) + 256
        expect(min(depth, height, width) > 0 and near.dtype == np.int32)
        expect(len(weights) == 42 and largest < 1 << 31 and 0 <= limits[0] <= limits[1] < 1 << 31)
        out = np.empty((depth, height, width), np.int32)
        known = np.array(weights, np.int32), np.array(limits, np.int32)
        self.call("filter", near, depth, height, width, *known, most, out)
        return out

    def weights(
        self, data: Bytes, place: Ints, count: int, lookup: Bytes, symbols: Ints, edge: int, shift: int
    ) -> Int32 | None:
        """Values of a tensor, see `weights.c`; ``None`` where the stream is damaged.

        Parameters
        ----------
        place : position and state of the reader, which are moved.
        symbols : (3, n), frequency, start and value of each.
        """
        expect(len(lookup) == 1 << 16 and symbols.ndim == 2 and len(symbols) == 3)
        expect(0 <= int(place[0]) <= len(data) and int(lookup.max()) < symbols.shape[1] and 0 <= shift <= 16)
        values = np.empty(count, np.int32)
        freq, start, of_symbols = symbols
        damaged = self.call(
            "weights", data, len(data), place, count, lookup, freq, start, of_symbols, len(freq), edge, shift,
            values,
        )  # fmt: skip
        return None if damaged else values

    def mask(
        self,
        known: Bytes,
        z: int,
        data: Bytes | None,
        state: Ints,
        tables: Int32,
        states: Int32,
        sizes: Ints,
    ) -> bytes | None:
        """Code a slice of a boolean grid, in place; see `mask.c`.

        Parameters
        ----------
        data : what is read; ``None`` writes.

        Returns
        -------
        What was written; ``None`` where the data ended before.
        """
        depth, height, width = (n - pad for n, pad in zip(known.shape, (2, 4, 4), strict=True))
        expect(0 <= z < depth and state.shape == (51,) and tables.shape == (MASK_TABLES,))
        expect(sizes.shape == (5,) and len(states) == sizes.sum() == MASK_STATES)
        out = np.empty(0 if data is not None else 4 * height * width, np.uint8)
        size = 0 if data is None else len(data)
        reads = data is not None
        found = self.call(
            "mask", known, z, height, width, reads, data, size, out, state, tables, states, sizes
        )
        return None if found < 0 else out[:found].tobytes()

    def call(self, name: str, *args: Array | int | None) -> int:
        """Call a function whose arrays were checked."""
        found = getattr(self.library, f"inrv_{name}")(*map(_argument, args))
        return int(found or 0)


def _argument(value: Array | int | None) -> c_void_p | c_int64:
    """As C takes it; arrays by their address, and only whole ones in C order."""
    if isinstance(value, np.ndarray):
        expect(value.flags.c_contiguous)
        return c_void_p(value.ctypes.data)
    return c_void_p(None) if value is None else c_int64(value)


def _is_wide(values: Array) -> bool:
    expect(values.dtype in (np.int32, np.int64))
    return values.dtype == np.int64


def expect(holds: bool) -> None:
    """Raise `ValueError` where arrays do not fit."""
    if not holds:
        raise ValueError("arrays that do not fit each other reached a compiled kernel")
