"""Adaptive frequencies of tokens by context.

Invariant: integers alone, so that every machine has the same tables after the same tokens.

A context is the expected magnitude of a value, in quarters of an octave; near an end of the range, where
values pile up, in steps of two octaves and by the distance from the end.  The initial frequencies of a
context are those of a two-sided geometric distribution of that mean.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from inrcodec.entropy.tokens import COUNT, DIRECT, FINE, FIRST, PARTS
from inrcodec.volume.arrays import Bytes, Ints

FAR = 56  # contexts of values far from both ends
NEAR = 8  # steps from an end that have contexts of their own
COARSE = 8  # far contexts that share near ones
CONTEXTS = FAR + FAR // COARSE * NEAR
LOWEST = -5  # octave of the mean of context 0
STEPS = 4  # contexts per octave
BITS = 14  # frequencies of a context sum to 2^14
ESCAPE = COUNT  # stands for every token that a context does not expect
GROWN = 512  # weight of a coded token
PRIOR = 16  # tokens that the initial distribution counts for
MOST = 1 << 20  # sum of a context's weights, above which they are halved
KEPT = 4  # divisor of all weights where a stage starts


class Tables:
    """Weights of all tokens in all contexts.

    Attributes
    ----------
    frequency, start : ndarray, (contexts, tokens + 1), int64
        Of each token and the escape, and the sum of those before it; 0 for tokens that need the escape.
    """

    def __init__(self) -> None:
        self.weights: Ints = initial_weights().copy()
        self._update()

    def _update(self) -> None:
        weights = self.weights
        expected = weights >= PRIOR // 2
        weights = np.where(expected, weights, 0)
        total = weights.sum(1, keepdims=True)
        free = (1 << BITS) - expected.sum(1, keepdims=True) - 1
        frequency = np.zeros((CONTEXTS, COUNT + 1), np.int64)
        frequency[:, :COUNT] = np.where(expected, 1 + weights * free // total, 0)
        frequency[:, ESCAPE] = 1
        best = frequency.argmax(1)
        frequency[np.arange(CONTEXTS), best] += (1 << BITS) - frequency.sum(1)
        self.frequency = frequency
        self.start = np.cumsum(frequency, 1) - frequency

    def learn(self, contexts: Bytes, tokens: Bytes) -> None:
        """Count coded tokens."""
        places = contexts.astype(np.int64) * COUNT + tokens
        self.weights += GROWN * np.bincount(places, minlength=CONTEXTS * COUNT).reshape(CONTEXTS, COUNT)
        while (full := self.weights.sum(1) > MOST).any():
            self.weights[full] >>= 1
        self._update()

    def start_stage(self) -> None:
        """Forget most of the counts: other voxels follow."""
        self.weights = np.maximum(self.weights // KEPT, initial_weights())
        self._update()


def context_of(expected: NDArray[np.float64]) -> Bytes:
    """Contexts of expected magnitudes, (n,): the exponent of each and the two bits behind its leading one."""
    quarters = (expected.view(np.int64) >> 50) - STEPS * (1023 + LOWEST)  # of negative values: far below 0
    return quarters.clip(0, FAR - 1).astype(np.uint8)


def near_an_end(contexts: Bytes, steps: Ints) -> Bytes:
    """Contexts, with those near an end replaced by ones for the number of steps to it."""
    near = FAR + contexts // COARSE * NEAR + steps.clip(0, NEAR - 1).astype(np.uint8)
    return np.where(steps < NEAR, near, contexts).astype(np.uint8)


@lru_cache(maxsize=1)
def initial_weights() -> Ints:
    """Weights of two-sided geometric distributions, in integer arithmetic."""
    rows = []
    for number in range(CONTEXTS):
        context = number if number < FAR else (number - FAR) // NEAR * COARSE + COARSE // 2
        mean = 2 ** (context // STEPS) * (STEPS + context % STEPS)  # in units of 2^LOWEST / STEPS
        decay = (mean << 32) // (mean + (STEPS << -LOWEST))
        weights: list[int] = []
        tail = 1 << 32  # P(|x| >= k) of the next magnitude k
        for token in range(COUNT):
            if token and token < DIRECT and token % 2 == 0:
                weights.append(weights[-1])  # -k after k
                continue
            octave = (token - DIRECT) // PARTS + FIRST - FINE
            nearer = _power(tail, decay, 1 if token < DIRECT else max(1, (1 << octave) // 2))
            weights.append((tail - nearer) * PRIOR * GROWN >> (33 if 0 < token < DIRECT else 32))
            tail = nearer
        rows.append(weights)
    return np.array(rows, dtype=np.int64)


def _power(tail: int, decay: int, times: int) -> int:
    """``tail`` times ``decay^times``, in fixed point of 32 bits, by squaring."""
    while times:
        if times & 1:
            tail = tail * decay >> 32
        decay, times = decay * decay >> 32, times >> 1
    return tail
