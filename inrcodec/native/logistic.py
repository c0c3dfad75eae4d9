"""The kernels of steps of latents; see `inrcodec.entropy.logistic`.

In: arrays.  Out: what its plain path computes, bit for bit.
Invariant: a kernel sees tables of `lookup` alone, and no index beyond them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inrcodec.native.library import Halves, Kernels, expect
from inrcodec.volume.arrays import Bytes, Int32, Ints

TABLE = 16  # bits of the sum of the frequencies of a table, and of a word
LOW = 1 << 32  # states stay from here to below 2^48
STATE_BYTES = 6
MOST_ZEROS = 24  # before the leading bit of what is beyond a table
COARSE = 8  # bits of the slots of a table that are looked up as one
ENDED, BEYOND = -1, -2  # what `pull` found
WORDS = 6  # of a step at most: 16 bits of a symbol, 50 beyond a table, 16 low ones


@dataclass(frozen=True, eq=False)
class Lookup:
    """Tables as the kernels read them.

    Attributes
    ----------
    shift, reach : (scales,), uint8 and int16.
    first : (scales,), int64, place in ``starts`` of each table.
    starts : uint32, the sum of the frequencies before each symbol, table by table, each with 2^16 behind it.
    coarse : (scales, 2^8), uint16, symbol of the first of each 2^8 slots.
    """

    shift: Bytes
    reach: NDArray[np.int16]
    first: Ints
    starts: NDArray[np.uint32]
    coarse: Halves


def lookup(shift: Bytes, reach: NDArray[np.int16], frequencies: Halves) -> Lookup:
    """Of checked tables."""
    parts = np.split(frequencies, np.cumsum(2 * reach.astype(np.int64) + 2)[:-1])
    starts = [np.concatenate([[0], np.cumsum(part, dtype=np.uint32)]).astype(np.uint32) for part in parts]
    sizes = np.array([len(part) for part in starts], np.int64)
    slots = np.arange(0, 1 << TABLE, 1 << COARSE)
    coarse = [np.searchsorted(part, slots, "right") - 1 for part in starts]
    return Lookup(
        np.ascontiguousarray(shift), np.ascontiguousarray(reach), np.cumsum(sizes) - sizes,
        np.concatenate(starts), np.array(coarse, np.uint16),
    )  # fmt: skip


def push(kernels: Kernels, tables: Lookup, state: int, steps: Int32, index: Bytes) -> tuple[int, bytes]:
    """The state after some steps, the last one first, and the words that they gave, in order."""
    count = len(steps)
    expect(len(index) == count and (not count or int(index.max()) < len(tables.shift)))
    place, words = np.array([state], np.int64), np.empty(2 * (WORDS * count + 1), np.uint8)
    room = len(words) // 2
    found = kernels.call(
        "logistic_push", place, steps, index, count, tables.shift, tables.reach, tables.first, tables.starts,
        words, room,
    )  # fmt: skip
    expect(0 <= found <= room)
    return int(place[0]), words[2 * found :].tobytes()


def pull(kernels: Kernels, tables: Lookup, words: Halves, place: Ints, index: Bytes) -> tuple[Int32, int]:
    """Steps at the next scales, and 0, `ENDED` or `BEYOND`.

    Parameters
    ----------
    words : little-endian.
    place : words that were used and the state, which are moved.
    """
    count = len(index)
    expect(0 <= int(place[0]) <= len(words) and LOW <= int(place[1]) < LOW << TABLE)
    expect(not count or int(index.max()) < len(tables.shift))
    steps = np.empty(count, np.int32)
    found = kernels.call(
        "logistic_pull", words.view(np.uint8), len(words), place, index, count, tables.shift, tables.reach,
        tables.first, tables.starts, tables.coarse, steps,
    )  # fmt: skip
    return steps, found
