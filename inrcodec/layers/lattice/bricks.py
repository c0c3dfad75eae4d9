"""One brick of a volume to the streams of its refinement, and back as a reader would.

In: stored values, and how they are counted and quantised.  Out: a stream for each step, or stored values.
Invariant: a brick is coded by itself, so that neither threads nor other bricks change a byte of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inrcodec.entropy.padding import decode_bits
from inrcodec.layers import padding
from inrcodec.layers.lattice import codec
from inrcodec.layers.lattice.codec import Lattice, Source
from inrcodec.layers.lattice.integers import Scale
from inrcodec.progress import Report
from inrcodec.volume.arrays import Array
from inrcodec.volume.box import Shape


@dataclass(frozen=True, kw_only=True)
class Coding:
    """How stored values are counted and quantised.

    Attributes
    ----------
    scale, lattice : shared by all bricks.
    trade : what a bit is worth, see `codec.Source`.
    padding : stored value of voxels that are restored from a mask.
    """

    scale: Scale
    lattice: Lattice
    trade: int = 0
    padding: float | None = None

    def encode(
        self, values: Array, threads: int = 1, report: Report | None = None
    ) -> tuple[list[bytes], Array]:
        """Streams of the stored values of a brick, (z, y, x), and the stored values that they come to."""
        padded = None if self.padding is None else np.asarray(values == self.padding)
        integers = self.scale.of(np.ascontiguousarray(values)).astype(self.lattice.dtype, copy=False)
        source = Source(values=integers, lattice=self.lattice, trade=self.trade, dont_care=padded)
        streams, decoded = codec.encode(source, threads, report)
        stored = stored_of(decoded, self.scale)
        if padded is not None:
            stored[padded] = self.padding
        return streams, stored

    def decode(
        self,
        streams: Sequence[bytes],
        shape: Shape,
        mask: bytes,
        threads: int = 1,
        report: Report | None = None,
    ) -> Array:
        """The stored values of a brick, (z, y, x), that a reader gets from streams and padding mask."""
        stored = stored_of(codec.decode(streams, shape, self.lattice, threads, report), self.scale)
        for plane, padded in zip(stored, decode_bits(mask, shape) if mask else (), strict=bool(mask)):
            plane[padded] = self.padding
        return stored

    def mask(self, values: Array) -> bytes:
        """The padding mask of a brick; empty where no voxel holds the padding value."""
        return padding.encode(values, self.padding)


def stored_of(integers: Array, scale: Scale) -> Array:
    """Stored values of integers, (z, y, x); a plane at a time, as what lies between them is wide."""
    stored = np.empty(integers.shape, scale.dtype)
    for plane, wide in zip(stored, integers, strict=True):
        plane[...] = scale.stored(wide)
    return stored
