"""A brick's phases by the compiled kernels: what `plain` does, bit for bit.

In: a predictor and its neighbours, or a block.  Out: predictions, integers, or a block.
Invariant: whole numbers alone.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from inrcodec.entropy.adaptive import FAR, LOWEST, STEPS, initial_weights
from inrcodec.entropy.interleaved import Words, Writer, damaged
from inrcodec.entropy.tokens import damaged_bits
from inrcodec.layers.lattice import rate
from inrcodec.layers.lattice.neighbours import Around, Neighbourhood
from inrcodec.layers.lattice.plain import Predictions
from inrcodec.layers.lattice.predictor import SHIFT, Predictor
from inrcodec.native.library import DAMAGED, Kernels, Place, Weights
from inrcodec.volume.arrays import Array, Bool, Bytes, Ints


class Coder:
    """Predicts and codes the phases of one brick; see `plain.Coder`, whose methods these are."""

    slabs = 8  # nothing as large is held: a call takes time too

    def __init__(self, most: int, kernels: Kernels) -> None:
        self.most, self.kernels = most, kernels
        self.dtype: type[np.signedinteger[Any]] = np.int32 if most < 1 << 31 else np.int64
        self.tables = kernels.new_tables(initial_weights())
        self.writer = Writer(kernels.push)

    def start_stage(self) -> None:
        """Forget most of what the tables have counted."""
        self.kernels.start_stage(self.tables, initial_weights())

    def predictions(self, model: Predictor, near: Neighbourhood, step: int) -> Predictions:
        """Predictions and contexts of a phase, as a function of a range of its first axis."""
        place, weights = _place(near), weights_of(model, step, self.most)

        def predict(part: slice, predicted: Array, contexts: Bytes) -> None:
            rows = range(part.start, part.stop)
            self.kernels.predict(place, rows, weights, self.most, predicted, contexts)

        return predict

    def around(self, near: Neighbourhood, parts: list[slice], kept: list[Bool]) -> Around:
        """Neighbours of some voxels of ranges, in single precision."""
        rows = len(kept[0]) // (parts[0].stop - parts[0].start)
        places = [np.flatnonzero(k) + part.start * rows for part, k in zip(parts, kept, strict=True)]
        return Around(*self.kernels.around(_place(near), np.concatenate(places)))

    def read(
        self, states: Words, block: tuple[bytes, Bytes, Bytes], predicted: Array, contexts: Bytes, step: int
    ) -> None:
        """Turn predictions into integers, in place, by words, rare tokens and plain bits."""
        words, rare, packed = block
        if len(words) % 4:
            raise damaged(words)
        parts = np.frombuffer(words, np.uint8), rare, packed
        found = self.kernels.read(predicted, contexts, step, self.most, parts, states, self.tables)
        if found:
            raise damaged(words) if found == DAMAGED else damaged_bits(packed)

    def quantise(
        self, predicted: Array, contexts: Bytes, target: Array, ignored: Array | None, step: int, trade: int
    ) -> Ints:
        """Turn predictions into what is decoded, and contexts into those near an end, in place."""
        target = np.ascontiguousarray(target, self.dtype)
        ignored = None if ignored is None else np.ascontiguousarray(ignored)
        quantise, costs = self.kernels.quantise, None
        if trade and step > 1:
            counted, near = predicted.copy(), contexts.copy()
            folded = quantise(counted, target, ignored, near, (step, rate.rounding(step), 0), self.most)
            costs = rate.costs_of(near, folded)
        return quantise(predicted, target, ignored, contexts, (step, step // 2, trade), self.most, costs)

    def write(self, folded: Ints, contexts: Bytes) -> tuple[bytes, bytes]:
        """Code a block but for its words; its rare tokens and plain bits."""
        symbols, rare, bits = self.kernels.tokens(folded, contexts, self.tables)
        self.writer.append(*symbols)
        return rare, bits


def _place(near: Neighbourhood) -> Place:
    return Place(near.known, near.fresh, near.stage.axis, near.phase)


def weights_of(model: Predictor, step: int, most: int) -> Weights:
    """A predictor as the kernels read it."""
    largest = max(int(np.abs(w).sum()) for w in (model.scales, *model.weights)) + (1 << SHIFT)
    narrow = 2 * most * largest + (2 << SHIFT) < 1 << 31
    least = _least(step, model.exponent, (1 << 31) - 1 if narrow else 1 << 62)
    return Weights(
        np.ascontiguousarray(model.scales, np.int64),
        np.ascontiguousarray(model.weights, np.int64),
        least[:FAR],
        least[np.minimum(model.bounds, FAR)],
        narrow,
    )


@lru_cache(maxsize=256)
def _least(step: int, exponent: int, ceiling: int) -> Ints:
    """The smallest whole sum of each context: all are above that of the first, and below that of one more.

    A context begins where the expected error passes a quarter of an octave.  Whole sums pass it at a whole
    number, and rounded division of doubles says the same: sums, and quarters times step, are below 2^53.
    """
    least = [-ceiling]
    for context in range(1, FAR):
        quarters, power = (STEPS + context % STEPS) * step, context // STEPS + LOWEST - 2 - exponent
        least.append(min(quarters << power if power >= 0 else -(-quarters >> -power), ceiling))
    return np.array([*least, ceiling], np.int64)
