"""The parts of a refinement's streams: the states of the lanes, then blocks.

In: the bytes of a stream.  Out: its parts, from the front, without a copy of what is left.
Invariant: nothing is taken before its length was checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import CorruptFile

LANES = Struct("<H")  # bytes of the states of all lanes
SIZES = Struct("<III")  # bytes of the words, of the rare tokens and of the plain bits of a block


class Cursor:
    """A stream that is read from the front."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position = memoryview(data), 0

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if count > len(self.data) - self.position:
            raise CorruptFile(
                f"a refinement stream of {len(self.data)} bytes is cut off", value=len(self.data)
            )
        self.position += count
        return bytes(self.data[self.position - count : self.position])

    def unpack(self, layout: Struct) -> tuple[Any, ...]:
        """The next numbers."""
        return layout.unpack(self.take(layout.size))

    def finish(self) -> None:
        """Refuse bytes behind the last part."""
        left = len(self.data) - self.position
        if left:
            raise CorruptFile(f"{left} bytes follow a refinement stream", value=left)


@dataclass(frozen=True)
class Block:
    """One phase of a stage, or the first lattice, without the words of the lanes."""

    predictor: bytes
    rare: bytes
    bits: bytes

    def to_bytes(self, words: bytes) -> bytes:
        """As it is stored."""
        sizes = SIZES.pack(len(words), len(self.rare), len(self.bits))
        return b"".join([self.predictor, sizes, words, self.rare, self.bits])


def read_block(cursor: Cursor) -> tuple[bytes, NDArray[np.uint8], NDArray[np.uint8]]:
    """Words, rare tokens and plain bits of a block, behind its predictor."""
    words, rare, bits = (cursor.take(size) for size in cursor.unpack(SIZES))
    return words, np.frombuffer(rare, np.uint8), np.frombuffer(bits, np.uint8)
