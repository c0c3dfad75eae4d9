"""The voxels of a file as an array that is decoded when it is needed.

In: a decoder, and a box of one of its levels.  Out: a `LazyArray`.
Invariant: passing over the slices in order decodes every brick once, and holds a row of them at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from inrcodec.file.decoder import Decoder, contiguous
from inrcodec.file.levels import Level
from inrcodec.layers.decode_options import DecodeOptions
from inrcodec.progress import Progress
from inrcodec.volume.arrays import Array
from inrcodec.volume.box import Box, BoxLike
from inrcodec.volume.checks import checked_array
from inrcodec.volume.lazy import LazyArray


class DecodedArray(LazyArray):
    """Stored values of a box of a level.

    Parameters
    ----------
    progress : called while the slices are passed over; a copy in another process has none.
    """

    def __init__(
        self,
        decoder: Decoder,
        box: Box,
        level: Level,
        options: DecodeOptions,
        progress: Progress | None = None,
    ) -> None:
        header = decoder.header
        super().__init__(box.shape, np.dtype(header.dtype), "the file")
        padding = [] if header.padding is None else [header.padding]
        self.ends = min(header.low, *padding, header.high), max(header.low, *padding, header.high)
        self.decoder, self.box, self.level = decoder, box, level
        self.options, self.progress = options, progress

    def read(self, box: Box) -> Array:
        """As `LazyArray.read`."""
        (z, y, x), (zz, yy, xx) = box.low, box.high
        a, b, c = self.box.low
        part = Box((a + z, b + y, c + x), (a + zz, b + yy, c + xx))
        return self.decoder.read(part, self.level, self.options)

    def __iter__(self) -> Iterator[Array]:
        for slab in self.decoder.slabs(self.box, self.level, self.options, self.progress):
            yield from slab.stored

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "progress": None}


def decoded_late(
    decoder: Decoder, box: BoxLike, level: Level, options: DecodeOptions, progress: Progress | None
) -> Array:
    """The stored values of a box that holds some; raises `UsageError` where it has steps."""
    around = contiguous(box, level.shape)
    assert around is not None
    return checked_array(DecodedArray(decoder, around, level, options, progress))
