"""Frequencies of tokens by context, which follow what was coded.

In: contexts and tokens of what was coded.  Out: frequencies for what comes next.
The one law: integers alone, so that every machine has the same tables after the same tokens.

A context is how large a value is expected to be, in quarters of an octave; near an end of the range, where
values pile up, in two octaves and how near it is.  Before anything was coded the tokens of a context are
those of a two-sided geometric distribution of that mean.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from inrcodec.entropy.tokens import COUNT, DIRECT, FINE, FIRST, PARTS

Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]

FAR = 56  # contexts of values that can go either way
NEAR = 8  # steps from an end, below which there are contexts for each
COARSE = 8  # of the others in one of those
CONTEXTS = FAR + FAR // COARSE * NEAR
LOWEST = -5  # octave of the mean that context 0 stands for
STEPS = 4  # contexts of an octave
BITS = 14  # frequencies of a context sum to 2^14
ESCAPE = COUNT  # stands for every token that a context does not expect
GROWN = 512  # a coded token's weight
PRIOR = 16  # tokens that the first guess is worth
MOST = 1 << 20  # of a context's weights: then all are halved
KEPT = 4  # a new beginning divides all weights by it


class Tables:
    """Weights of all tokens in all contexts.

    Attributes
    ----------
    frequency, start : ndarray, (contexts, tokens + 1), int64
        Of each token and the escape, and the sum of those before it; 0 where only the escape leads there.
    """

    def __init__(self) -> None:
        self.weights: Ints = _first_guess().copy()
        self.settle()

    def settle(self) -> None:
        """Make frequencies of the weights."""
        weights = self.weights
        expected = weights >= PRIOR // 2
        weights = np.where(expected, weights, 0)
        total = weights.sum(1, keepdims=True)
        room = (1 << BITS) - expected.sum(1, keepdims=True) - 1
        frequency = np.zeros((CONTEXTS, COUNT + 1), np.int64)
        frequency[:, :COUNT] = np.where(expected, 1 + weights * room // total, 0)
        frequency[:, ESCAPE] = 1
        best = frequency.argmax(1)
        frequency[np.arange(CONTEXTS), best] += (1 << BITS) - frequency.sum(1)
        self.frequency = frequency
        self.start = np.cumsum(frequency, 1) - frequency

    def learn(self, contexts: Bytes, tokens: Bytes) -> None:
        """Count what was coded."""
        places = contexts.astype(np.int64) * COUNT + tokens
        self.weights += GROWN * np.bincount(places, minlength=CONTEXTS * COUNT).reshape(CONTEXTS, COUNT)
        while (full := self.weights.sum(1) > MOST).any():
            self.weights[full] >>= 1
        self.settle()

    def begin_anew(self) -> None:
        """Forget most of it: other voxels follow."""
        self.weights = np.maximum(self.weights // KEPT, _first_guess())
        self.settle()


def context_of(expected: NDArray[np.float64]) -> Bytes:
    """Contexts of expected magnitudes, (n,): the exponent of each and the two bits behind its leading one."""
    found = (expected.view(np.int64) >> 50) - STEPS * (1023 + LOWEST)  # of what is negative: far below 0
    return found.clip(0, FAR - 1).astype(np.uint8)


def near_an_end(contexts: Bytes, steps: Ints) -> Bytes:
    """Contexts with those near an end told apart: as many steps as there are to the nearer one."""
    near = FAR + contexts // COARSE * NEAR + steps.clip(0, NEAR - 1).astype(np.uint8)
    return np.where(steps < NEAR, near, contexts).astype(np.uint8)


@lru_cache(maxsize=1)
def _first_guess() -> Ints:
    """Weights of two-sided geometric distributions, by fractions of integers."""
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
