"""Interleaved range coders, tokens to words and back: many lanes as array operations, or one as a plain loop.

Invariant: symbol i of a block belongs to lane i mod lanes; each lane is an rANS coder of its own (Duda,
arXiv:1311.2540; Giesen, arXiv:1402.3392) that goes on from block to block; words are stored in the order in
which the decoder reads them.

The tables adapt piece by piece: a piece is coded with the tables that earlier ones left.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.entropy.adaptive import BITS, CONTEXTS, ESCAPE, Tables
from inrcodec.entropy.tokens import COUNT
from inrcodec.errors import CorruptFile
from inrcodec.volume.arrays import Bytes

Halves = NDArray[np.uint16]
Words = NDArray[np.uint64]

LOW, HIGH = np.uint64(1 << 31), np.uint64(1 << 63)  # states stay from the one to below the other
WORD = np.uint64(32)
SHIFT = np.uint64(BITS)
MASK = np.uint64((1 << BITS) - 1)
SYMBOLS = np.arange(COUNT + 1, dtype=np.uint8)
SLOTS = np.arange(1 << BITS, dtype=np.uint16)
LANE_BITS = 1 << 13  # bits of a brick per lane: its state wastes half a per cent
MOST_LANES = 1024
# Fewer are one: an array operation on so few symbols takes longer than a plain loop over them, by which runs
# of the likeliest symbol are 60 times as fast as by arrays of one.
FEWEST_LANES = 32
# Symbols of the first piece of a block, and at most; each next one is three times as long as all before it.
PIECES = (MOST_LANES << 3, MOST_LANES << 8)


def pieces(count: int) -> Iterator[slice]:
    """The pieces of a block: whole rows of lanes, whatever their number."""
    start, length = 0, PIECES[0]
    while start < count:
        yield slice(start, min(count, start + length))
        start, length = start + length, min(3 * (start + length), PIECES[1])


class Writer:
    """Collects blocks; the last symbol is coded first, so nothing is written before the end.

    Parameters
    ----------
    push : puts a block on the lanes' stacks; by default in NumPy.
    """

    def __init__(self, push: Callable[[Words, Halves, Halves], bytes] | None = None) -> None:
        self.push = push
        self.blocks: list[tuple[Halves, Halves]] = []
        self.bits = 0.0

    def add(self, contexts: Bytes, tokens: Bytes, tables: Tables) -> Bytes:
        """Add a block; the tables adapt to it.

        Returns
        -------
        ndarray, the escaped tokens, in their order.
        """
        frequency, start = np.empty(len(tokens), np.uint16), np.empty(len(tokens), np.uint16)
        escaped = [np.empty(0, np.uint8)]
        for piece in pieces(len(tokens)):
            row, symbol = contexts[piece].astype(np.int64), tokens[piece].astype(np.int64)
            rare = tables.frequency[row, symbol] == 0
            escaped.append(tokens[piece][rare])
            symbol[rare] = ESCAPE
            frequency[piece], start[piece] = tables.frequency[row, symbol], tables.start[row, symbol]
            tables.learn(contexts[piece], tokens[piece])
        self.append(frequency, start)
        return np.concatenate(escaped)

    def append(self, frequency: Halves, start: Halves) -> None:
        """Add a block whose symbols were looked up."""
        self.blocks.append((frequency, start))
        self.bits += float((BITS - np.log2(frequency, dtype=np.float32)).sum())

    def finish(self) -> tuple[bytes, list[bytes]]:
        """Initial states of all lanes, and words of each block; little-endian."""
        lanes = 1 << min(max(int(self.bits / LANE_BITS), 1), MOST_LANES).bit_length() - 1
        states = np.full(lanes if lanes >= FEWEST_LANES else 1, LOW)
        push = self.push or (_pushed if len(states) > 1 else _pushed_on_one)
        words = [push(states, *block) for block in reversed(self.blocks)]
        return states.astype("<u8").tobytes(), words[::-1]


def _pushed(states: Words, frequency: Halves, start: Halves) -> bytes:
    """Push a block on the lanes' stacks, the last symbol first."""
    lanes, words = len(states), []
    for first in range((len(frequency) - 1) // lanes * lanes, -1, -lanes):
        row = slice(first, min(first + lanes, len(frequency)))
        x, f = states[: row.stop - first], frequency[row].astype(np.uint64)
        full = (x >= f << np.uint64(63 - BITS)).nonzero()[0]
        if len(full):
            words.append(x[full].astype("<u4"))
            x[full] >>= WORD
        quotient = x // f
        x += quotient * (np.uint64(1 << BITS) - f) + start[row]
    return b"".join(w.tobytes() for w in reversed(words))


def _pushed_on_one(states: Words, frequency: Halves, start: Halves) -> bytes:
    """The same for a single lane, run by run of equal symbols."""
    x, words = int(states[0]), list[int]()
    for end in range(len(frequency), 0, -PIECES[1]):  # a list of runs takes memory
        begin = max(0, end - PIECES[1])
        symbols = frequency[begin:end].astype(np.uint32) << 16 | start[begin:end]
        for first, stop in reversed(_runs(symbols)):
            f, s = divmod(int(symbols[first]), 1 << 16)
            full, rest = f << 63 - BITS, (1 << BITS) - f
            for _ in range(stop - first):
                if x >= full:
                    words.append(x & 0xFFFFFFFF)
                    x >>= 32
                x += x // f * rest + s
    states[0] = x
    return np.array(words[::-1], "<u4").tobytes()


def _runs(values: NDArray[np.integer[Any]]) -> list[tuple[int, int]]:
    """First index of each run of equal values, and the first behind it."""
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    return list(pairwise(edges)) if len(values) else []


class Reader:
    """Reads the blocks in their order.

    Parameters
    ----------
    states : of :meth:`Writer.finish`.
    """

    def __init__(self, states: bytes) -> None:
        lanes = len(states) // 8
        if len(states) % 8 or not 1 <= lanes <= MOST_LANES:
            raise damaged(states)
        self.states = np.frombuffer(states, "<u8").astype(np.uint64)
        if (self.states < LOW).any() or (self.states >= HIGH).any():
            raise damaged(states)

    def finish(self) -> None:
        """Check behind the last block that nothing is left; raises `CorruptFile`."""
        if (self.states != LOW).any():
            raise damaged(self.states.tobytes())


class BlockReader:
    """The next block, of words and escaped tokens; the lanes' states go on from block to block."""

    def __init__(self, states: Words, words: bytes, rare: Bytes) -> None:
        if len(words) % 4:
            raise damaged(words)
        self.states, self.words, self.rare = states, np.frombuffer(words, "<u4"), rare
        self.used = self.escapes = 0  # words and rare tokens

    def read(self, contexts: Bytes, tables: Tables) -> Bytes:
        """Tokens of the next of the :func:`pieces`; the tables adapt to it.

        Raises
        ------
        CorruptFile
            The block holds fewer tokens.
        """
        tokens = (self._pop if len(self.states) > 1 else self._pop_one)(contexts, tables)
        escaped = np.flatnonzero(tokens == ESCAPE)
        rare = self.rare[self.escapes : self.escapes + len(escaped)]
        if len(rare) != len(escaped) or (rare >= COUNT).any():
            raise damaged(self.words.tobytes())
        tokens[escaped] = rare
        self.escapes += len(escaped)
        tables.learn(contexts, tokens)
        return tokens

    def finish(self) -> None:
        """Check that the block is used up; raises `CorruptFile`."""
        if self.used != len(self.words) or self.escapes != len(self.rare):
            raise damaged(self.words.tobytes())

    def _pop(self, contexts: Bytes, tables: Tables) -> Bytes:
        states, lanes = self.states, len(self.states)
        tokens = np.empty(len(contexts), np.uint8)
        symbols, frequency, inside = _lookup(contexts, tables)
        rows = contexts.astype(np.int64) << BITS
        for first in range(0, len(contexts), lanes):
            row = slice(first, min(first + lanes, len(contexts)))
            x = states[: row.stop - first]
            slot = (x & MASK).view(np.int64)
            slot += rows[row]
            symbols.take(slot, out=tokens[row], mode="clip")
            x >>= SHIFT
            x *= frequency.take(slot, mode="clip")
            x += inside.take(slot, mode="clip")
            low = (x < LOW).nonzero()[0]
            if len(low):
                fresh = self.words[self.used : self.used + len(low)]
                if len(fresh) != len(low):
                    raise damaged(self.words.tobytes())
                x[low] = (x[low] << WORD) | fresh
                self.used += len(low)
        return tokens

    def _pop_one(self, contexts: Bytes, tables: Tables) -> Bytes:
        """The same for a single lane, run by run of equal contexts; token 0 is tried first."""
        tokens, x, low, mask = np.zeros(len(contexts), np.uint8), int(self.states[0]), int(LOW), int(MASK)
        frequencies, starts = tables.frequency.tolist(), tables.start.tolist()
        for first, stop in _runs(contexts):
            frequency, start = frequencies[contexts[first]], starts[contexts[first]]
            zero = frequency[0]
            rest = mask + 1 - zero
            for index in range(first, stop):
                slot = x & mask
                if slot < zero:
                    x -= (x >> BITS) * rest
                else:
                    tokens[index] = token = bisect_right(start, slot) - 1
                    x = frequency[token] * (x >> BITS) + slot - start[token]
                if x < low:
                    if self.used == len(self.words):
                        raise damaged(self.words.tobytes())
                    x = x << 32 | int(self.words[self.used])
                    self.used += 1
        self.states[0] = x
        return tokens


def _lookup(contexts: Bytes, tables: Tables) -> tuple[Bytes, Halves, Halves]:
    """By context and slot: the symbol, its frequency, and the slot's place in it."""
    symbols = np.zeros((CONTEXTS, 1 << BITS), np.uint8)
    frequencies, inside = (np.zeros((CONTEXTS, 1 << BITS), np.uint16) for _ in range(2))
    for row in np.flatnonzero(np.bincount(contexts, minlength=CONTEXTS)):
        frequency = tables.frequency[row]
        symbols[row] = np.repeat(SYMBOLS, frequency)
        frequencies[row] = np.repeat(frequency.astype(np.uint16), frequency)
        inside[row] = SLOTS - np.repeat(tables.start[row].astype(np.uint16), frequency)
    return symbols.ravel(), frequencies.ravel(), inside.ravel()


def damaged(data: bytes) -> CorruptFile:
    """The error of a stream that does not hold its symbols."""
    return CorruptFile(f"a refinement stream of {len(data)} bytes is damaged", value=len(data))
