"""The padding mask of a volume, brick by brick: voxels that hold the padding value, both ways.

In: stored values, or the sections PIDX and PADM.  Out: the other, any part of a slice.
Invariant: only the bricks that a slice's part meets are read and decoded.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

import numpy as np

from inrcodec.entropy.padding import Planes, decode_bits, encode_bits
from inrcodec.errors import CorruptFile
from inrcodec.format.header import Header
from inrcodec.format.sections import CHUNKED, Sections
from inrcodec.layers import brick_chunks
from inrcodec.layers.brick_chunks import BrickChunks
from inrcodec.layers.cache import forgets_after_fork
from inrcodec.volume.arrays import Array, Bool
from inrcodec.volume.box import Box
from inrcodec.volume.bricks import Bricks

SECTION = "PADM"
SECTIONS = (CHUNKED[SECTION], SECTION)
KEPT = 1 << 26  # bytes of decoded masks, a bit a voxel, beside those of the slice at hand


class Padding:
    """The padding of one file; threads may share it."""

    def __init__(self, header: Header, sections: Sections) -> None:
        self._bricks = header.bricks
        self._masks = BrickChunks(sections, SECTION, header.bricks)
        self.forget()
        forgets_after_fork(self)

    def forget(self) -> None:
        """Begin anew, with a lock that nobody holds."""
        self._kept: OrderedDict[int, Planes | None] = OrderedDict()
        self._lock, self._held = Lock(), 0  # bytes of what is kept

    @classmethod
    def of(cls, header: Header, sections: Sections) -> Padding | None:
        """The padding of a file; ``None`` where it has none."""
        return cls(header, sections) if SECTION in sections else None

    def part(self, z: int, rows: slice, columns: slice) -> Bool:
        """Which voxels of a part of a slice hold the padding value, (y, x); steps too.

        Raises
        ------
        CorruptFile, UnsupportedFile
        """
        _, height, width = self._bricks.shape
        box = Box((z, rows.start, columns.start), (z + 1, min(rows.stop, height), min(columns.stop, width)))
        out = np.zeros(box.shape, np.bool_)
        for index in self._bricks.meeting(box):
            planes, brick = self._planes(index), self._bricks[index]
            if planes is not None:
                common = brick & box
                out[common.slices_in(box)] = planes[z - brick.low[0]][common.slices_in(brick)[1:]]
        part: Bool = out[0, :: rows.step, :: columns.step]
        return part

    def bytes_needed(self, box: Box) -> int:
        """Bytes of the sections that the padding of a box is read from."""
        return self._masks.bytes_needed(self._bricks.meeting(box))

    def _planes(self, index: int) -> Planes | None:
        with self._lock:  # decoded once, whoever is first
            if index in self._kept:
                self._kept.move_to_end(index)
                return self._kept[index]
            body, shape = self._body(index), self._bricks[index].shape
            planes = self._kept[index] = decode_bits(body, shape) if body else None
            self._held += _bytes(planes)
            layer = self._bricks.counts[1] * self._bricks.counts[2]
            while len(self._kept) > layer and self._held > KEPT:
                self._held -= _bytes(self._kept.popitem(last=False)[1])
            return planes

    def _body(self, index: int) -> bytes:
        body = self._masks.body(index)
        if not body and len(self._bricks) == 1:
            raise CorruptFile("padding mask is empty", value=0)
        return body


def _bytes(planes: Planes | None) -> int:
    return 0 if planes is None else planes.rows.nbytes


def encode(array: Array, padding: float | None) -> bytes:
    """The mask of one brick, (z, y, x); empty where no voxel holds the padding value."""
    if padding is None or not any((plane == padding).any() for plane in array):
        return b""
    return encode_bits(plane == padding for plane in array)


def encode_mask(padded: Bool) -> bytes:
    """The mask of one brick, of its voxels, (z, y, x)."""
    return encode_bits(padded) if padded.any() else b""


def sections_of(masks: list[bytes]) -> dict[str, bytes]:
    """The sections of the masks of all bricks, see `brick_chunks.sections_of`."""
    return brick_chunks.sections_of(SECTION, masks)


def encode_all(array: Array, padding: float | None, bricks: Bricks) -> dict[str, bytes]:
    """The sections of a volume's padding."""
    return sections_of([encode(array[brick.slices], padding) for brick in bricks])
