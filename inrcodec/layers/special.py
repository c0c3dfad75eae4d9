"""Voxels that no lattice gives back, brick by brick: NaN, infinities, zeros of the other sign.

In: stored floats, or the sections SIDX and SPCL.  Out: the other.
Invariant: nothing is allocated for what a chunk says before its mask was counted.

A chunk has the length of a mask, the mask (as that of padding), and the bits of its voxels in a zstd frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

import numpy as np
import zstandard

from inrcodec.entropy.padding import Planes, decode_bits, decompress, encode_bits
from inrcodec.errors import CorruptFile
from inrcodec.format import limits
from inrcodec.format.sections import CHUNKED, Sections, index_of
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


def of_brick(sections: Sections, index: int, bricks: Bricks, dtype: np.dtype[np.generic]) -> Special | None:
    """The special voxels of a brick of a file; ``None`` where there are none.

    Raises
    ------
    CorruptFile, UnsupportedFile, LimitExceeded
    """
    if SECTION not in sections:
        return None
    if len(bricks) == 1:
        body = sections[SECTION]
    else:
        (body,) = sections.bodies(SECTION, [sections.chunks(SECTION)[index]])
    return Special.decoded(body, bricks[index].shape, dtype) if body or len(bricks) == 1 else None


def bytes_needed(sections: Sections, met: list[int], bricks: Bricks) -> int:
    """Bytes of the sections that the special voxels of some bricks are read from."""
    if SECTION not in sections:
        return 0
    if len(bricks) == 1:
        return sections.lengths[SECTION]
    chunks = sections.chunks(SECTION)
    return sections.bytes_needed(SECTION, [chunks[index] for index in met])


def encode(values: Array, special: Bool) -> bytes:
    """The chunk of one brick, (z, y, x), and its special voxels; empty where there are none."""
    if not special.any():
        return b""
    mask, values = encode_bits(special), values[special]
    little = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    return LENGTH.pack(len(mask)) + mask + zstandard.ZstdCompressor(level=LEVEL).compress(little)


def sections_of(chunks: list[bytes]) -> dict[str, bytes]:
    """The sections of the chunks of all bricks, in raster order; none where all are empty."""
    if not any(chunks):
        return {}
    index = {CHUNKED[SECTION]: index_of(SECTION, chunks)} if len(chunks) > 1 else {}
    return {**index, SECTION: b"".join(chunks)}
