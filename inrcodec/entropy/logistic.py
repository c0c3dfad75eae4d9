"""Steps of latents to bytes and back: rANS under tables of frequencies that a model ships.

In: steps from the means, and the index of the scale of each.  Out: bytes, and steps again.
Invariant: integers alone; the plain path and the kernels give equal bytes, and equal steps or the same error.

A state of 48 bits takes words of 16.  A step is a symbol of the table of its scale, for ``step >> shift``,
and ``shift`` low bits, the highest first.  What is beyond the table is its escape, how far beyond in the
gamma code of Elias, and a bit that is 1 below zero.  Such bits are symbols of a probability of 1/2.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import CorruptFile
from inrcodec.native import logistic as compiled
from inrcodec.native.library import Halves, kernels
from inrcodec.native.logistic import LOW, MOST_ZEROS, STATE_BYTES, TABLE, Lookup
from inrcodec.volume.arrays import Bytes, Float32, Int32, Ints

MOST_SCALES = 1 << 8  # an index is a byte
MOST_SHIFT = 16
HALF = 1 << TABLE - 1  # frequency of a plain bit
SLOT = (1 << TABLE) - 1
LARGEST = (1 << 31) - 1  # step
CHUNK = 1 << 16  # steps that are coded at a time
UNREADABLE = {compiled.ENDED: "ends before its last step", compiled.BEYOND: "holds a step beyond 32 bits"}


@dataclass(frozen=True, eq=False)
class Tables:
    """Frequencies of steps at every scale.

    Attributes
    ----------
    shift : (scales,), uint8, low bits of a step that are plain.
    reach : (scales,), int16, largest magnitude in a table.
    frequencies : (sum of 2 * reach + 2,), uint16: of -reach … reach and of the escape, table by table; each
        table sums to 2^16.

    Raises
    ------
    ValueError
        They are no such tables.

    Examples
    --------
    >>> three = Tables(np.uint8([0]), np.int16([1]), np.uint16([9000, 1 << 15, 9000, 14768]))
    >>> writer = Writer(three)
    >>> writer.put(np.int32([0, -1, 200]), np.uint8([0, 0, 0]))
    >>> reader = Reader(three, writer.bytes())
    >>> reader.get(np.uint8([0, 0, 0])).tolist()
    [0, -1, 200]
    >>> reader.finish()
    """

    shift: Bytes
    reach: NDArray[np.int16]
    frequencies: Halves

    def __post_init__(self) -> None:
        parts = self.shift, self.reach, self.frequencies
        types = [str(part.dtype) for part in parts]
        if types != ["uint8", "int16", "uint16"]:
            raise ValueError(f"tables of types {', '.join(types)}")
        if any(part.ndim != 1 for part in parts) or not 1 <= len(self.shift) <= MOST_SCALES:
            raise ValueError(f"tables of shapes {', '.join(str(part.shape) for part in parts)}")
        if len(self.reach) != len(self.shift) or self.reach.min() < 1 or self.shift.max() > MOST_SHIFT:
            raise ValueError("tables whose reach or shift is impossible")
        if len(self.frequencies) != self.sizes.sum() or self.frequencies.min() < 1:
            raise ValueError(f"{len(self.frequencies)} frequencies do not fit their tables")
        if (np.add.reduceat(self.frequencies, self.first, dtype=np.int64) != 1 << TABLE).any():
            raise ValueError(f"a table whose frequencies do not sum to 2^{TABLE}")

    @cached_property
    def sizes(self) -> Ints:
        """Symbols of each table."""
        return 2 * self.reach.astype(np.int64) + 2

    @cached_property
    def first(self) -> Ints:
        """Place of the first symbol of each table."""
        return np.cumsum(self.sizes) - self.sizes

    @cached_property
    def starts(self) -> list[list[int]]:
        """Of each table: the sum of the frequencies before each symbol."""
        parts = np.split(self.frequencies.astype(np.int64), self.first[1:])
        return [(np.cumsum(part) - part).tolist() for part in parts]

    @cached_property
    def lookup(self) -> Lookup:
        """As the kernels read them."""
        return compiled.lookup(self.shift, self.reach, self.frequencies)

    @cached_property
    def _bits(self) -> Float32:
        """Of each symbol."""
        return TABLE - np.log2(self.frequencies, dtype=np.float32)

    def costs(self, steps: Int32, index: Bytes) -> Float32:
        """Bits of steps, (n,), as an encoder reckons them."""
        high, place = self.places(steps, index)
        over = np.abs(high) - self.reach[index]
        beyond = np.where(over > 0, 2 * np.frexp(np.maximum(over, 1).astype(np.float64))[1], 0)
        found: Float32 = self._bits[place] + (beyond + self.shift[index]).astype(np.float32)
        return found

    def places(self, steps: Int32, index: Bytes) -> tuple[Ints, Ints]:
        """High parts of steps, and their symbols' places in `frequencies`."""
        high = steps.astype(np.int64) >> self.shift[index]
        reach = self.reach[index].astype(np.int64)
        return high, self.first[index] + np.where(np.abs(high) <= reach, high + reach, 2 * reach + 1)

    def check(self, index: Bytes) -> None:
        """Refuse scales that there are not."""
        if index.dtype != np.uint8 or (index.size and int(index.max()) >= len(self.shift)):
            raise ValueError(f"a scale beyond {len(self.shift)} tables")


class Writer:
    """Collects steps; the last one is coded first, so there are no bytes before the end."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.parts: list[tuple[Int32, Bytes]] = []

    def put(self, steps: Int32, index: Bytes) -> None:
        """Add steps, (n,), and the index of the scale of each.

        Raises
        ------
        ValueError
            A step is beyond what a stream may hold, or there is no such scale.
        """
        self.tables.check(index)
        if steps.dtype != np.int32 or steps.shape != index.shape or steps.ndim != 1:
            raise ValueError(f"steps of {steps.dtype} {steps.shape}, scales of {index.shape}")
        over = np.abs(steps.astype(np.int64) >> self.tables.shift[index]) - self.tables.reach[index]
        if over.size and int(over.max()) >= 2 << MOST_ZEROS:
            raise ValueError(f"a step of {steps[over.argmax()]} at scale {index[over.argmax()]}")
        self.parts.append((steps.copy(), index.copy()))

    def bytes(self) -> bytes:
        """The final state, 6 bytes, and the words; little-endian."""
        native, state, words = kernels(), LOW, list[bytes]()
        for steps, index in reversed(self.parts):
            for first in reversed(range(0, len(steps), CHUNK)):
                chunk = steps[first : first + CHUNK], index[first : first + CHUNK]
                if native is None:
                    state, found = _pushed(self.tables, state, *chunk)
                else:
                    state, found = compiled.push(native, self.tables.lookup, state, *chunk)
                words.append(found)
        return state.to_bytes(STATE_BYTES, "little") + b"".join(reversed(words))


def _pushed(tables: Tables, state: int, steps: Int32, index: Bytes) -> tuple[int, bytes]:
    """The state after some steps, the last one first, and the words that they gave, in order."""
    words: list[int] = []
    high, places = tables.places(steps, index)
    frequencies = tables.frequencies[places].tolist()
    within = (places - tables.first[index]).tolist()
    for k in range(len(steps) - 1, -1, -1):
        scale, step = int(index[k]), int(steps[k])
        symbols = [(frequencies[k], tables.starts[scale][within[k]])]
        symbols.extend((HALF, bit << TABLE - 1) for bit in _plain_bits(tables, scale, step, int(high[k])))
        for frequency, start in reversed(symbols):
            if state >= frequency << 32:
                words.append(state & SLOT)
                state >>= TABLE
            state = (state // frequency << TABLE) + state % frequency + start
    return state, np.array(words[::-1], "<u2").tobytes()


def _plain_bits(tables: Tables, scale: int, step: int, high: int) -> Iterator[int]:
    """Bits behind the symbol of a step, in order."""
    over = abs(high) - int(tables.reach[scale])
    if over > 0:
        yield from [0] * (over.bit_length() - 1)
        yield from map(int, f"{over:b}")
        yield int(high < 0)
    for bit in range(int(tables.shift[scale]) - 1, -1, -1):
        yield step >> bit & 1


class Reader:
    """The inverse of `Writer`.

    Parameters
    ----------
    data : of :meth:`Writer.bytes`.

    Raises
    ------
    CorruptFile
        They cannot be.
    """

    def __init__(self, tables: Tables, data: bytes) -> None:
        self.tables, self.size = tables, len(data)
        self.state = int.from_bytes(data[:STATE_BYTES], "little")
        if len(data) < STATE_BYTES or len(data) % 2 or self.state < LOW:
            raise self._damaged("has no state")
        self.words = np.frombuffer(data, "<u2", offset=STATE_BYTES)
        self.used = 0

    def get(self, index: Bytes) -> Int32:
        """Steps at the next scales, (n,).

        Raises
        ------
        CorruptFile
            The stream ends before, or holds what no writer gives.
        ValueError
            There is no such scale.
        """
        self.tables.check(index)
        native = kernels()
        if native is None:
            return np.fromiter(map(self._step, index.tolist()), np.int32, len(index))
        place = np.array([self.used, self.state], np.int64)
        steps, found = compiled.pull(native, self.tables.lookup, self.words, place, index)
        self.used, self.state = place.tolist()
        if found:
            raise self._damaged(UNREADABLE[found])
        return steps

    def finish(self) -> None:
        """Check behind the last step that nothing is left; raises `CorruptFile`."""
        if self.state != LOW or self.used != len(self.words):
            raise self._damaged("holds more than its steps")

    def _step(self, scale: int) -> int:
        starts, reach = self.tables.starts[scale], int(self.tables.reach[scale])
        symbol = bisect_right(starts, self.state & SLOT) - 1
        frequency = int(self.tables.frequencies[int(self.tables.first[scale]) + symbol])
        self._drop(frequency, starts[symbol])
        step = symbol - reach if symbol <= 2 * reach else self._escaped(reach)
        for _ in range(self.tables.shift[scale]):
            step = 2 * step + self._bit()
        if not -LARGEST - 1 <= step <= LARGEST:
            raise self._damaged(UNREADABLE[compiled.BEYOND])
        return step

    def _escaped(self, reach: int) -> int:
        zeros, over = 0, 1
        while not self._bit():
            zeros += 1
            if zeros > MOST_ZEROS:
                raise self._damaged(UNREADABLE[compiled.BEYOND])
        for _ in range(zeros):
            over = 2 * over + self._bit()
        return -(over + reach) if self._bit() else over + reach

    def _bit(self) -> int:
        bit = self.state >> TABLE - 1 & 1
        self._drop(HALF, bit << TABLE - 1)
        return bit

    def _drop(self, frequency: int, start: int) -> None:
        self.state = frequency * (self.state >> TABLE) + (self.state & SLOT) - start
        if self.state < LOW:
            if self.used == len(self.words):
                raise self._damaged(UNREADABLE[compiled.ENDED])
            self.state = self.state << TABLE | int(self.words[self.used])
            self.used += 1

    def _damaged(self, why: str) -> CorruptFile:
        return CorruptFile(f"a stream of latents of {self.size} bytes {why}", value=self.size)
