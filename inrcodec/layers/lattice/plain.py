"""A brick's phases in NumPy: the plain path, which the compiled one must equal bit for bit.

In: a predictor and its neighbours, or a block.  Out: predictions, integers, or a block.
Invariant: whole numbers, in floats wide enough for all their sums: exact in any order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from inrcodec.entropy import tokens
from inrcodec.entropy.adaptive import Tables, near_an_end
from inrcodec.entropy.interleaved import BlockReader, Words, Writer, pieces
from inrcodec.layers.lattice import rate
from inrcodec.layers.lattice.neighbours import Around, Neighbourhood
from inrcodec.layers.lattice.predictor import Predictor
from inrcodec.volume.arrays import Array, Bool, Bytes, Ints

Predictions = Callable[[slice, Array, Bytes], None]  # of a range, into two arrays


class Coder:
    """Predicts and codes the phases of one brick.

    Parameters
    ----------
    most : largest integer; the smallest is 0.

    Attributes
    ----------
    dtype : of predictions.
    slabs : that are predicted at a time.
    """

    dtype: type[np.signedinteger[Any]] = np.int64
    slabs = 1

    def __init__(self, most: int) -> None:
        self.most = most
        self.tables, self.writer = Tables(), Writer()

    def start_stage(self) -> None:
        """Forget most of what the tables have counted."""
        self.tables.start_stage()

    def predictions(self, model: Predictor, near: Neighbourhood, step: int) -> Predictions:
        """Predictions and contexts of a phase, as a function of a range of its first axis."""
        kind = model.kind(self.most)

        def predict(part: slice, predicted: Array, contexts: Bytes) -> None:
            values, contexts[...] = model.predict(near.around(part, kind), step)
            values.clip(0, self.most, out=predicted)

        return predict

    def around(self, near: Neighbourhood, parts: list[slice], kept: list[Bool]) -> Around:
        """Neighbours of some voxels of ranges, in single precision."""
        middles, rows = [], []
        for part, those in zip(parts, kept, strict=True):
            found = near.around(part)
            middles.append(found.middle[those])
            rows.append(found.rows[:, those].astype(np.float32))
        return Around(np.concatenate(middles), np.ascontiguousarray(np.concatenate(rows, 1)))

    def read(
        self, states: Words, block: tuple[bytes, Bytes, Bytes], predicted: Array, contexts: Bytes, step: int
    ) -> None:
        """Turn predictions into integers, in place, by a block's words, rare tokens and plain bits."""
        words, rare, packed = block
        lanes, bits = BlockReader(states, words, rare), tokens.PlainBits(packed)
        for piece in pieces(len(predicted)):
            below, above = self._limits(predicted[piece], step)
            symbols = lanes.read(near_an_end(contexts[piece], np.minimum(below, above)), self.tables)
            quanta = tokens.unfolded(bits.values_of(symbols), below, above)
            predicted[piece] = self._reconstruct(predicted[piece], quanta, step)
        lanes.finish()
        bits.finish()

    def quantise(
        self, predicted: Array, contexts: Bytes, target: Array, ignored: Array | None, step: int, trade: int
    ) -> Ints:
        """Turn predictions into what is decoded, and contexts into those near an end, in place.

        Parameters
        ----------
        trade : what a bit is worth, see `rate`; 0 takes the nearest quantum.

        Returns
        -------
        ndarray, (n,), what is coded.
        """
        left = target.astype(np.int64) - predicted
        below, above = self._limits(predicted, step)
        both, most = np.minimum(below, above), np.where(left < 0, below, above)
        contexts[...] = near_an_end(contexts, both)
        if ignored is not None:
            most[ignored] = 0

        def quanta(up: int) -> Ints:
            found: Ints = np.minimum((np.abs(left) + up) // step, most)
            return found

        size = quanta(step // 2)
        if trade and step > 1:
            counted = np.sign(left) * quanta(rate.rounding(step))
            costs = rate.costs_of(contexts, tokens.folded(counted, below, above))
            size = rate.cheaper(left, size, (both, contexts), costs, step, trade)
        predicted[...] = self._reconstruct(predicted, np.sign(left) * size, step)
        return tokens.folded(np.sign(left) * size, below, above)

    def write(self, folded: Ints, contexts: Bytes) -> tuple[bytes, bytes]:
        """Code a block but for its words; its rare tokens and plain bits."""
        symbols, bits = tokens.tokenise(folded)
        return self.writer.add(contexts, symbols, self.tables).tobytes(), bits.tobytes()

    def _limits(self, predicted: Ints, step: int) -> tuple[Ints, Ints]:
        """Steps that a voxel can be below its prediction, and above."""
        half = step >> 1
        return (predicted + half) // step, (self.most - predicted + half) // step

    def _reconstruct(self, predicted: Ints, quanta: Ints, step: int) -> Ints:
        """Integers of predictions and quantised residuals."""
        most = self.most // step + 1  # more is as much, and could overflow
        quanta = quanta.clip(-most, most) if step > 1 << 20 else quanta
        values: Ints = predicted + quanta * step
        return values.clip(0, self.most, out=values)
