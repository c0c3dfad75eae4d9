"""Prediction of a voxel and of its error, linear in its neighbours, with integer weights.

In: neighbours of the voxels of a phase.  Out: predictions and contexts.
Invariant: integers and exact sums alone, so that every machine predicts the same.

The expected error is a weighted sum of the neighbours' differences.  It sorts voxels into classes, each with
its own weights, which are fitted by least squares to the volume and stored with it.
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
from inrcodec.parallel import mapped
from inrcodec.volume.arrays import Bytes, Ints

Float = NDArray[np.floating[Any]]

SHIFT = 7  # bits of a weight behind the point
CLASSES = 8
ROWS = 6000  # voxels per class, at least
CLASS_BITS = 1 << 12  # of all voxels of a class, at least, as its weights take some too
LARGEST = 1 << 14  # magnitude of a weight
SCALES = 127  # magnitude of a weight of the expected error
RIDGE = 1e-3  # regularisation, relative to the mean energy of a neighbour
HEAD = Struct("<BbBBI")  # classes, exponent of the scales, spreads of scales and weights, bytes of both


@dataclass(frozen=True, eq=False)
class Predictor:
    """The predictor of one phase.

    Attributes
    ----------
    scales, exponent : (neighbours,), integers; the expected error is ``|rows| @ scales * 2^exponent``.
    bounds : (classes - 1,), first context of each class but the first.
    weights : (classes, neighbours), integers, in 2^-SHIFT.
    """

    scales: Ints
    exponent: int
    bounds: Ints
    weights: Ints

    def kind(self, most: int) -> type[np.floating[Any]]:
        """The floats that hold all sums of integers up to ``most`` exactly."""
        largest = max(int(np.abs(w).sum()) for w in (self.scales, *self.weights)) + (1 << SHIFT)
        return np.float32 if 2 * most * largest < 1 << 24 else np.float64

    def predict(self, around: Around, step: int) -> tuple[Ints, Bytes]:
        """Predictions, and contexts of the residuals in quantisation steps."""
        if around.is_flat:
            return (around.middle / 2).astype(np.int64), np.zeros(len(around.middle), np.uint8)
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
        """The stored form."""
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
            raise CorruptFile(f"a predictor of {classes} classes is damaged", value=classes)
        bounds = np.frombuffer(cursor.take(classes - 1), np.uint8).astype(np.int64)
        if (np.diff(bounds) <= 0).any():
            raise CorruptFile("a predictor has classes out of order")
        scales, weights = decode_weights(cursor.take(length), [neighbours, classes * neighbours], spreads)
        if (np.abs(scales) > SCALES).any() or (np.abs(weights) > LARGEST).any() or abs(exponent) > 64:
            raise CorruptFile("a predictor has impossible weights")
        matrix = weights.astype(np.int64).reshape(classes, neighbours)
        return cls(scales.astype(np.int64), exponent, bounds, matrix)


def fit(around: Around, truth: Float, step: int, count: int, threads: int = 1) -> Predictor:
    """Least squares on a sample of a phase, in single precision: weights are coarser.

    Parameters
    ----------
    around, truth : n voxels whose neighbours differ, and their values, (n,).
    step : quantisation step.
    count : such voxels of the whole phase.
    """
    rows, left = around.rows, (2 * truth - around.middle).astype(np.float32)
    if not len(left):  # all of the sample is flat, or padding
        scales, exponent = _whole(np.zeros(len(rows)))
        return Predictor(scales, exponent, scales[:0], 0 * scales[None])
    first = _solved(rows, left)
    off, size = np.abs(left - first.astype(np.float32) @ rows) / 2, np.abs(rows)
    trust = 1 / (off.mean() + size.mean(0) + np.float32(1e-9))
    scales, exponent = _whole(_solved(size * trust, off * trust))
    expected = (scales.astype(np.float32) @ size).astype(np.float64) * 2.0**exponent
    contexts = context_of(expected / step)
    bits = count * float(np.log2(1 + 2 * np.maximum(expected, 0) / step).mean())
    classes = min(CLASSES, max(1, min(count // ROWS, int(bits) // CLASS_BITS)))
    ranks = (len(left) - 1) * np.arange(1, classes) // classes
    bounds = np.unique(np.cumsum(np.bincount(contexts)).searchsorted(ranks, side="right") + 1)
    bounds = bounds[bounds < FAR]
    of = np.searchsorted(bounds, np.arange(FAR), side="right").astype(np.uint8).take(contexts)
    order = np.argsort(of, kind="stable")
    ends = np.cumsum(np.bincount(of, minlength=len(bounds) + 1))
    trust = (1 / (np.maximum(expected, 0) + 1)).astype(np.float32)[order]
    sorted_rows, sorted_left = rows.take(order, 1), left[order] * trust
    sorted_rows *= trust

    def weights_of(k: int) -> Ints:
        mine = slice(ends[k - 1] if k else 0, ends[k])
        found = _solved(sorted_rows[:, mine], sorted_left[mine], first)
        whole: Ints = np.rint(found * 2**SHIFT).clip(-LARGEST, LARGEST).astype(np.int64)
        return whole

    weights = mapped(weights_of, range(len(bounds) + 1), threads)
    return Predictor(scales, exponent, bounds, np.array(weights))


def _solved(rows: Float, left: Float, near: Float | None = None) -> Float:
    """Least squares, regularised towards ``near``."""
    near = np.zeros(len(rows)) if near is None else near
    gram, right = (rows @ rows.T).astype(np.float64), (rows @ left).astype(np.float64)
    ridge = RIDGE * np.diag(gram) + 1e-9
    return np.asarray(np.linalg.solve(gram + np.diag(ridge), right + ridge * near))


def _whole(scales: Float) -> tuple[Ints, int]:
    """Integer scales, and the power of two that they are multiples of."""
    largest = float(np.abs(scales).max(initial=0))
    if not largest > 1e-15:
        return np.ones(len(scales), np.int64), -8
    exponent = int(np.floor(np.log2(SCALES / largest)))
    exponent = min(exponent, 60)
    return np.rint(scales * 2.0**exponent).astype(np.int64), -exponent
