"""The bricks of a volume to the sections of its refinement; the way back is `layer`.

In: stored values, and how they are counted and quantised.  Out: sections, and what they decode to.
Invariant: each brick is coded by itself, so that threads change no byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from inrcodec.format.sections import index_of
from inrcodec.layers import padding
from inrcodec.layers.lattice import codec
from inrcodec.layers.lattice.codec import Lattice, Source
from inrcodec.layers.lattice.integers import Scale
from inrcodec.layers.lattice.layer import STAGE
from inrcodec.parallel import mapped, one_blas_thread, thread_count
from inrcodec.progress import Progress, Report, shares
from inrcodec.volume.arrays import Array
from inrcodec.volume.box import Box
from inrcodec.volume.bricks import Bricks


@dataclass(frozen=True, kw_only=True, eq=False)
class Coding:
    """How stored values are counted and quantised.

    Attributes
    ----------
    scale, lattice : shared by all bricks.
    up : added to a magnitude before it is divided by its step, for each step, see `codec.Source`.
    padding : stored value of voxels that are restored from elsewhere.
    """

    scale: Scale
    lattice: Lattice
    up: tuple[int, ...]
    padding: float | None = None

    def sections(
        self, array: Array, bricks: Bricks, threads: int | None = None, progress: Progress | None = None
    ) -> tuple[dict[str, bytes], Array]:
        """Sections of stored values, (z, y, x), padding too, and the stored values that they decode to."""
        workers = min(thread_count(threads), len(bricks))
        report = shares(progress, STAGE, [prod(brick.shape) for brick in bricks])
        streams: list[list[bytes]] = [[]] * len(bricks)
        decoded = np.empty_like(array)

        def code(index: int) -> None:
            box = bricks[index]
            each = thread_count(threads) // workers
            streams[index], decoded[box.slices] = self._brick(array, box, each, report(index))

        with one_blas_thread():
            mapped(code, range(len(bricks)), workers)
        in_order = [brick[step] for step in range(len(self.lattice.steps)) for brick in streams]
        coded = {"LIDX": index_of("LATT", in_order), "LATT": b"".join(in_order)}
        return {**padding.encode_all(array, self.padding, bricks), **coded}, decoded

    def _brick(
        self, array: Array, box: Box, threads: int, report: Report | None
    ) -> tuple[list[bytes], Array]:
        values = np.ascontiguousarray(array[box.slices])
        padded = None if self.padding is None else np.asarray(values == self.padding)
        integers = self.scale.of(values).astype(self.lattice.dtype, copy=False)
        source = Source(values=integers, lattice=self.lattice, up=self.up, dont_care=padded)
        streams, decoded = codec.encode(source, threads, report)
        stored = self.scale.stored(decoded)
        if padded is not None:
            stored[padded] = self.padding
        return streams, stored
