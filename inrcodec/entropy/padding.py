"""Padding masks to bytes and back.

In: boolean planes (y, x), one per slice.  Out: bytes.
Invariant: in both directions, the whole mask takes one bit per voxel in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import zstandard
from numpy.typing import NDArray

from inrcodec.entropy.mask import decode_mask, encode_mask
from inrcodec.errors import CorruptFile, UnsupportedFile, reason
from inrcodec.volume.arrays import Bool, Bytes
from inrcodec.volume.box import Shape

PLAIN, DISTINCT = 0, 1  # first byte of a coded padding mask
MODELLED_CELLS = 1 << 20  # beyond, the plain loop would take longer than a decoder's other work


@dataclass(frozen=True, eq=False)
class Planes:
    """Boolean planes (y, x), packed.

    Attributes
    ----------
    rows : ndarray, (n, ceil(y x / 8)), uint8; highest bit first, spare bits 0.
    which : ndarray, (z,), the row of each plane.
    plane : (y, x).
    """

    rows: Bytes
    which: NDArray[np.int64]
    plane: tuple[int, int]

    def __len__(self) -> int:
        return len(self.which)

    def __getitem__(self, z: int) -> Bool:
        count = self.plane[0] * self.plane[1]
        bits: Bool = np.unpackbits(self.rows[self.which[z]], count=count).view(np.bool_).reshape(self.plane)
        return bits

    def __iter__(self) -> Iterator[Bool]:
        return (self[z] for z in range(len(self)))


def encode_bits(planes: Iterable[Bool]) -> bytes:
    """Code a full-resolution mask; slices that repeat cost nothing.

    A scan circle is the same on every slice, so method 1 flags the slices that differ from the one before
    and codes those by context (a circle of 512 x 512: 0.3 kB, where zstd needs 1 kB). A mask with too
    many different slices goes through method 0, zstd of the difference to the slice before.

    Parameters
    ----------
    planes : ndarray, (z, y, x), bool, or its slices one after the other
        Not empty.
    """
    rows: list[Bytes] = []  # slices that repeat are one object
    differs: list[bool] = []
    shape = (1, 1)
    for plane in planes:
        row = np.packbits(plane)
        differs.append(not rows or not np.array_equal(row, rows[-1]))
        rows.append(row if differs[-1] else rows[-1])
        shape = plane.shape
    if sum(differs) * shape[0] * shape[1] <= MODELLED_CELLS:
        distinct = np.stack([row for row, new in zip(rows, differs, strict=True) if new])
        grid = np.stack(list(Planes(distinct, np.arange(len(distinct)), shape)))
        return bytes([DISTINCT]) + np.packbits(differs).tobytes() + encode_mask(grid)
    packed = np.stack(rows)
    packed[1:] ^= packed[:-1].copy()
    return bytes([PLAIN]) + zstandard.ZstdCompressor(level=19).compress(packed.tobytes())


def decode_bits(data: bytes, shape: Shape) -> Planes:
    """Invert `encode_bits`.

    Parameters
    ----------
    shape : tuple of int
        (z, y, x) of the mask.

    Raises
    ------
    CorruptFile, UnsupportedFile
        The bytes are not those of a mask of this shape; their method is unknown.
    """
    if data[:1] == bytes([DISTINCT]):
        return _decode_distinct(data[1:], shape)
    if not data:
        raise CorruptFile("padding mask is empty", value=0)
    if data[0] != PLAIN:
        raise UnsupportedFile(f"padding mask has unknown method {data[0]}, update inrcodec", value=data[0])
    area = shape[1] * shape[2]
    width = -(-area // 8)
    rows = np.frombuffer(decompress(data[1:], shape[0] * width), dtype=np.uint8).reshape(shape[0], width)
    if area % 8 and (rows[:, -1] & (0xFF >> area % 8)).any():
        raise CorruptFile("padding mask has bits beyond its slices")
    return Planes(np.bitwise_xor.accumulate(rows, axis=0), np.arange(shape[0]), shape[1:])


def _decode_distinct(data: bytes, shape: Shape) -> Planes:
    """Invert method 1: flags of the slices that differ, then the slices."""
    count = -(-shape[0] // 8)
    flags = np.unpackbits(np.frombuffer(data[:count], dtype=np.uint8)).view(np.bool_)
    slices = int(flags.sum())
    if len(flags) < shape[0] or flags[shape[0] :].any() or not flags[0]:
        raise CorruptFile("padding mask does not flag its slices", value=len(data))
    if slices * shape[1] * shape[2] > MODELLED_CELLS:
        raise CorruptFile(f"padding mask codes {slices} slices, more than its method may", value=slices)
    distinct = decode_mask(data[count:], (slices, shape[1], shape[2]))
    if (distinct[1:] == distinct[:-1]).all(axis=(1, 2)).any():
        raise CorruptFile("padding mask codes a slice twice", value=slices)
    rows = np.packbits(distinct.reshape(slices, -1), axis=1)
    return Planes(rows, np.cumsum(flags[: shape[0]]) - 1, shape[1:])


def decompress(frame: bytes, size: int) -> bytes:
    """Inflate one zstd frame of exactly ``size`` bytes.

    The library's own ``max_output_size`` is no guard, as a frame that states its size overrules it (16
    bytes can ask for 1 TiB): so the stated size must equal ours before anything is allocated.

    Raises
    ------
    CorruptFile
        The frame states another size or a wider window, is damaged, or is followed by anything.
    """
    try:
        stated = zstandard.get_frame_parameters(frame)
        if stated.content_size != size or stated.window_size > max(size, 1 << 10):
            raise CorruptFile(
                f"zstd frame states {stated.content_size} bytes, not {size}", value=stated.content_size
            )
        reader = zstandard.ZstdDecompressor().decompressobj()
        content = reader.decompress(frame)
    except zstandard.ZstdError as error:
        raise CorruptFile(f"zstd frame is damaged: {reason(error)}", value=len(frame)) from error
    if len(content) != size or not reader.eof or reader.unused_data:
        raise CorruptFile(f"zstd frame holds {len(content)} bytes, not {size}", value=len(content))
    return bytes(content)
