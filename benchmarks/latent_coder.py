"""Latents to bytes and back: rANS under logistic distributions of an integer number of scales.

Invariant: a `Reader` gives what the `Writer` was given, where both are asked with equal means and scales.
"""

import math
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

SCALES, EACH, LEAST_SCALE = 80, 8, -3.0  # scales are exp(LEAST_SCALE + index / EACH)
TABLE = 16  # bits of the sum of the frequencies of a table
LATENT = 6  # bits of a latent behind the point
LOW = 1 << 32  # states stay from here to 2^48

Grid = NDArray[np.int64]  # (channels, z, y, x)


@cache
def frequencies(index: int) -> tuple[NDArray[np.int64], int]:
    """Frequencies of -n … n and of the escape, and n."""
    s = math.exp(LEAST_SCALE + index / EACH)
    reach = max(1, min(1 << 12, math.ceil(s * 9)))
    edges = (np.arange(-reach, reach + 2) - 0.5) / s
    cumulative = 0.5 * (1 + np.tanh(edges / 2))
    shares = np.diff(cumulative)
    room = (1 << TABLE) - len(shares) - 1
    found = 1 + np.floor(shares * room).astype(np.int64)
    escape = 1 + max(0, int((1 - shares.sum()) * room))
    found[reach] += (1 << TABLE) - found.sum() - escape
    return np.append(found, escape), reach


@dataclass
class Writer:
    """Latents to bytes: an rANS state of 48 bits, words of 16; magnitudes beyond a table by Elias gamma."""

    symbols: list[tuple[int, int]] = field(default_factory=list)  # (frequency, start), in order

    def code(
        self, mean: Grid, index: Grid, wanted: NDArray[np.bool_], values: NDArray[np.float64] | None
    ) -> Grid:
        assert values is not None
        steps = np.rint(values - mean / (1 << LATENT)).astype(np.int64)
        for step, scale in zip(steps[wanted].tolist(), index[wanted].tolist(), strict=True):
            self._put(step, scale)
        return np.where(wanted, (steps << LATENT) + mean, 0)

    def _put(self, step: int, scale: int) -> None:
        table, reach = frequencies(scale)
        place = step + reach if abs(step) <= reach else len(table) - 1
        self.symbols.append((int(table[place]), int(starts(scale)[place])))
        if place == len(table) - 1:
            over = abs(step) - reach
            bits = [*[0] * (over.bit_length() - 1), *map(int, f"{over:b}"), int(step < 0)]
            self.symbols.extend((1 << TABLE - 1, bit << TABLE - 1) for bit in bits)

    def bytes(self) -> bytes:
        state, words = LOW, []
        for frequency, start in reversed(self.symbols):
            if state >= frequency << 32:
                words.append(state & 0xFFFF)
                state >>= 16
            state = (state // frequency << TABLE) + state % frequency + start
        return state.to_bytes(6, "little") + np.array(words[::-1], "<u2").tobytes()


@cache
def starts(index: int) -> NDArray[np.int64]:
    """The sum of the frequencies before each."""
    return np.concatenate([[0], np.cumsum(frequencies(index)[0])])


class Reader:
    """The inverse of `Writer`."""

    def __init__(self, data: bytes) -> None:
        self.state, self.words = int.from_bytes(data[:6], "little"), np.frombuffer(data[6:], "<u2").tolist()
        self.words.reverse()

    def code(
        self, mean: Grid, index: Grid, wanted: NDArray[np.bool_], values: NDArray[np.float64] | None
    ) -> Grid:
        steps = np.zeros_like(mean)
        steps[wanted] = [self._get(scale) for scale in index[wanted].tolist()]
        return np.where(wanted, (steps << LATENT) + mean, 0)

    def _get(self, scale: int) -> int:
        table, reach = frequencies(scale)
        place = int(np.searchsorted(starts(scale), self.state & 0xFFFF, "right")) - 1
        self._drop(int(table[place]), int(starts(scale)[place]))
        if place < len(table) - 1:
            return place - reach
        zeros = 0
        while not self._bit():
            zeros += 1
        over = 1
        for _ in range(zeros):
            over = 2 * over + self._bit()
        return -(over + reach) if self._bit() else over + reach

    def _bit(self) -> int:
        bit = self.state >> TABLE - 1 & 1
        self._drop(1 << TABLE - 1, bit << TABLE - 1)
        return bit

    def _drop(self, frequency: int, start: int) -> None:
        self.state = frequency * (self.state >> TABLE) + (self.state & 0xFFFF) - start
        if self.state < LOW and self.words:
            self.state = self.state << 16 | self.words.pop()
