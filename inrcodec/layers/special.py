"""Voxels that no lattice gives back, brick by brick: NaN, infinities, zeros of the other sign.

In: stored floats, or the sections SIDX and SPCL.  Out: the other.
Invariant: nothing is allocated for what a chunk says before its mask was counted.

A chunk has the length of a mask, the mask (as that of padding), and the bits of its voxels in a zstd frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct

import numpy as np
import zstandard

from inrcodec.entropy.padding import Planes, decode_bits, decompress, encode_bits
from inrcodec.errors import CorruptFile
from inrcodec.format import limits
from inrcodec.format.sections import Sections
from inrcodec.layers import brick_chunks
from inrcodec.layers.brick_chunks import BrickChunks
from inrcodec.volume.arrays import Array, Bool, Ints
from inrcodec.volume.box import Shape
from inrcodec.volume.bricks import Bricks

SECTION = "SPCL"
LENGTH = Struct("<I")  # bytes of the mask
LEVEL = 19  # of zstd


@dataclass(frozen=True, eq=False)
class Special:
    """The special voxels of a brick.

    Attributes
    ----------
    planes : where they are.
    values : their values, in raster order.
    starts : (z + 1,), the first value of each slice.
    """

    planes: Planes
    values: Array
    starts: Ints

    @classmethod
    def decoded(cls, body: bytes, shape: Shape, dtype: np.dtype[np.generic]) -> Special:
        """Read a chunk that is not empty.

        Raises
        ------
        CorruptFile, UnsupportedFile, LimitExceeded
        """
        if len(body) < LENGTH.size:
            raise CorruptFile(f"special values have {len(body)} bytes", value=len(body))
        end = LENGTH.size + LENGTH.unpack_from(body)[0]
        planes = decode_bits(body[LENGTH.size : end], shape)
        each = np.array([np.unpackbits(row).sum(dtype=np.int64) for row in planes.rows])
        starts = np.concatenate([[0], np.cumsum(each[planes.which])])
        size = int(starts[-1]) * dtype.itemsize
        limits.check("number of bytes of the special values of a brick", size, limits.SECTION)
        little = np.frombuffer(decompress(body[end:], size), dtype.newbyteorder("<"))
        values = little.astype(dtype, copy=False)
        if not len(values):
            raise CorruptFile("a brick has no special values where some are stored")
        return cls(planes, values, starts)

    def restore(self, stored: Array, spacing: Shape = (1, 1, 1)) -> None:
        """Set them in a brick, (z, y, x), or in every so many of its voxels."""
        z, y, x = spacing
        for index, plane in enumerate(stored):
            inside = self.planes[index * z]
            whole = np.empty(inside.shape, stored.dtype)
            whole[inside] = self.values[self.starts[index * z] : self.starts[index * z + 1]]
            inside = inside[::y, ::x]
            plane[inside] = whole[::y, ::x][inside]


class SpecialVoxels:
    """The special voxels of one file, of any brick; none where it has no section of them."""

    def __init__(self, sections: Sections, bricks: Bricks) -> None:
        self.bricks = bricks
        self._chunks = BrickChunks(sections, SECTION, bricks) if SECTION in sections else None

    def of_brick(self, index: int, dtype: np.dtype[np.generic]) -> Special | None:
        """Those of a brick; ``None`` where there are none.

        Raises
        ------
        CorruptFile, UnsupportedFile, LimitExceeded
        """
        if self._chunks is None:
            return None
        body = self._chunks.body(index)
        if not body and len(self.bricks) > 1:
            return None
        return Special.decoded(body, self.bricks[index].shape, dtype)

    def bytes_needed(self, met: Sequence[int]) -> int:
        """Bytes of the sections that those of some bricks are read from."""
        return 0 if self._chunks is None else self._chunks.bytes_needed(met)


def encode(values: Array, special: Bool) -> bytes:
    """The chunk of one brick, (z, y, x), and its special voxels; empty where there are none."""
    if not special.any():
        return b""
    mask, values = encode_bits(special), values[special]
    little = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    return LENGTH.pack(len(mask)) + mask + zstandard.ZstdCompressor(level=LEVEL).compress(little)


def sections_of(chunks: list[bytes]) -> dict[str, bytes]:
    """The sections of the chunks of all bricks, see `brick_chunks.sections_of`."""
    return brick_chunks.sections_of(SECTION, chunks)
