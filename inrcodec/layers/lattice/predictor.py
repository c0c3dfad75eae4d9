"""What a voxel is expected to be, and how far off: linear in its neighbours, with whole weights.

In: neighbours of the voxels of a phase.  Out: predictions and contexts.
The one law: integers and exact sums alone: every machine predicts the same.

The expected error is a weighted sum of the neighbours' differences; by it voxels fall into classes, each of
which has weights of its own, fitted by least squares to the volume at hand and stored with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.entropy.adaptive import FAR, context_of
from inrcodec.entropy.laplace import best_spread, decode_weights, encode_weights
from inrcodec.errors import CorruptFile
from inrcodec.layers.lattice.neighbours import Around
from inrcodec.layers.lattice.stream import Cursor
from inrcodec.parallel import InterruptiblePool

Float = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]

SHIFT = 7  # bits of a weight behind the point
CLASSES = 8
ROWS = 6000  # voxels that a class is worth, at least
LARGEST = 1 << 14  # of a weight
SCALES = 127  # largest weight of the expected error
RIDGE = 1e-3  # of the mean energy of a neighbour
HEAD = Struct("<BbBBI")  # classes, exponent of the scales, spreads of scales and weights, bytes of both


@dataclass(frozen=True, eq=False)
class Predictor:
    """Of one phase.

    Attributes
    ----------
    scales, exponent : (neighbours,), whole; the expected error is ``|rows| @ scales * 2^exponent``.
    bounds : (classes - 1,), first context of each class but the first.
    weights : (classes, neighbours), whole, in 2^-SHIFT.
    """

    scales: Ints
    exponent: int
    bounds: Ints
    weights: Ints

    def kind(self, most: int) -> type[np.floating[Any]]:
        """The floats that have room for all sums of integers up to ``most``."""
        largest = max(int(np.abs(w).sum()) for w in (self.scales, *self.weights)) + (1 << SHIFT)
        return np.float32 if 2 * most * largest < 1 << 24 else np.float64

    def predict(self, around: Around, step: int) -> tuple[Ints, Bytes]:
        """Predictions, and contexts of what is left, in steps of the quantisation."""
        kind = around.rows.dtype
        sums = self.weights.astype(kind) @ around.rows
        expected = self.scales.astype(kind) @ np.abs(around.rows, out=around.rows)
        contexts = context_of(expected.astype(np.float64) * 2.0**self.exponent / step)
        if len(sums) > 1:
            of = np.searchsorted(self.bounds, np.arange(FAR), side="right") * sums.shape[1]
            chosen = sums.ravel().take(of.take(contexts) + np.arange(sums.shape[1]))
        else:
            chosen = sums[0]
        whole = (around.middle * kind.type(1 << SHIFT) + chosen).astype(np.int64)
        return (whole + (1 << SHIFT)) >> (SHIFT + 1), contexts

    def to_bytes(self) -> bytes:
        """As it is stored."""
        tensors = [self.scales.astype(np.int32), self.weights.ravel().astype(np.int32)]
        spreads = [best_spread(t) for t in tensors]
        stream = encode_weights(tensors, spreads)
        head = HEAD.pack(len(self.weights), self.exponent, *spreads, len(stream))
        return head + self.bounds.astype(np.uint8).tobytes() + stream

    @classmethod
    def read(cls, cursor: Cursor, neighbours: int) -> Predictor:
        """Read the next one of a stream."""
        classes, exponent, *spreads, length = cursor.unpack(HEAD)
        if not 1 <= classes <= CLASSES:
            raise CorruptFile(
                f"a predictor of {classes} classes is damaged, get the file again", value=classes
            )
        bounds = np.frombuffer(cursor.take(classes - 1), np.uint8).astype(np.int64)
        if (np.diff(bounds) <= 0).any():
            raise CorruptFile("a predictor has classes out of order, get the file again")
        scales, weights = decode_weights(cursor.take(length), [neighbours, classes * neighbours], spreads)
        if (np.abs(scales) > SCALES).any() or (np.abs(weights) > LARGEST).any() or abs(exponent) > 64:
            raise CorruptFile("a predictor has impossible weights, get the file again")
        matrix = weights.astype(np.int64).reshape(classes, neighbours)
        return cls(scales.astype(np.int64), exponent, bounds, matrix)


def fit(around: Around, truth: Float, step: int, count: int, threads: int = 1) -> Predictor:
    """Least squares on some voxels of a phase.

    Parameters
    ----------
    truth : (n,), what the voxels are.
    step : of the quantisation.
    count : voxels of the whole phase.
    """
    rows, left = around.rows, 2 * truth - around.middle
    if not len(left):  # nothing but padding
        nothing = np.zeros(len(rows), np.int64)
        return Predictor(nothing, 0, nothing[:0], nothing[None])
    first = _solved(rows, left, np.ones_like(left))
    off = np.abs(left - first @ rows) / 2
    size = np.abs(rows)
    scales, exponent = _whole(_solved(size, off, 1 / np.square(off.mean() + size.mean(0) + 1e-9)))
    expected = scales.astype(np.float64) @ size * 2.0**exponent
    contexts = context_of(expected / step).astype(np.int64)
    classes = min(CLASSES, max(1, count // ROWS))
    bounds = np.unique(np.quantile(contexts, np.arange(1, classes) / classes).astype(np.int64) + 1)
    bounds = bounds[bounds < FAR]
    of = np.searchsorted(bounds, contexts, side="right")
    trust = 1 / np.square(np.maximum(expected, 0) + 1)

    def weights_of(k: int) -> Ints:
        mine = of == k
        found = _solved(rows[:, mine], left[mine], trust[mine], first)
        whole: Ints = np.rint(found * 2**SHIFT).clip(-LARGEST, LARGEST).astype(np.int64)
        return whole

    with InterruptiblePool(threads) as pool:
        weights = list(pool.map(weights_of, range(len(bounds) + 1)))
    return Predictor(scales, exponent, bounds, np.array(weights))


def _solved(rows: Float, left: Float, trust: Float, near: Float | None = None) -> Float:
    """Weighted least squares, drawn a little towards ``near``."""
    near = np.zeros(len(rows)) if near is None else near
    weighted = rows * trust
    gram, right = weighted @ rows.T, weighted @ left
    ridge = RIDGE * np.diag(gram) + 1e-9
    return np.asarray(np.linalg.solve(gram + np.diag(ridge), right + ridge * near))


def _whole(scales: Float) -> tuple[Ints, int]:
    """Whole scales, and the power of two that makes them so."""
    largest = float(np.abs(scales).max(initial=0))
    if not largest > 1e-15:
        return np.ones(len(scales), np.int64), -8
    exponent = int(np.floor(np.log2(SCALES / largest)))
    exponent = min(exponent, 60)
    return np.rint(scales * 2.0**exponent).astype(np.int64), -exponent
