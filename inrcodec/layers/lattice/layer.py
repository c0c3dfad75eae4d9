"""The refinement: a layer behind the networks that brings every voxel within a bound, down to the bit.

In: a header and the sections LIDX and LATT.  Out: stored values.
Invariant: no float that could be another on another machine has a part in it.

The layer codes the volume itself, not what the networks leave: to predict from them saved less than they
cost (crop of the dev head, 16 kB of networks: 12 kB fewer of 288 at 32 HU, 7 of 122 at 44 dB, none
lossless).  Networks in front of it serve a preview.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import CorruptFile
from inrcodec.format.header import Header
from inrcodec.format.sections import Sections
from inrcodec.layers.lattice import codec, scan
from inrcodec.layers.lattice.codec import Lattice
from inrcodec.layers.lattice.integers import Scale
from inrcodec.parallel import one_blas_thread, thread_count
from inrcodec.progress import Progress
from inrcodec.volume.box import Box, Shape

Array = NDArray[Any]

STAGE = "refine"


class Refinement:
    """The stored values of a file that has a refinement, without its padding.

    Parameters
    ----------
    header : checked against the limits, with a step for each stream.
    sections : LATT may end early: then the last voxels lie half way between others.

    Attributes
    ----------
    shape : (z, y, x)
        Voxels along each axis.
    """

    def __init__(self, header: Header, sections: Sections) -> None:
        self.header, self.sections = header, sections
        self.shape: Shape = header.shape
        self.scale = Scale(
            np.dtype(header.dtype), float(header.low), float(header.high), float(header.refine_unit)
        )
        self.lattice = Lattice(axes=header.refine_axes, steps=header.refine_steps, most=self.scale.most)

    @property
    def missing(self) -> int:
        """Streams, one for the first lattice and each halving, that are not there from end to end."""
        return len(self.lattice.steps) - len(self.sections.streams())

    def read(
        self,
        box: Box | None = None,
        *,
        streams: int | None = None,
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> Array:
        """Stored values of a box.

        Each voxel is predicted from those before, so the whole is decoded whatever the box.

        Parameters
        ----------
        box : all by default.
        streams : that are decoded at most; the finest voxels of fewer lie half way between others.

        Returns
        -------
        ndarray, (z, y, x).

        Raises
        ------
        CorruptFile
            A stream has a wrong checksum, does not hold what it should, or not even the first is there.
        """
        rows = self.sections.streams()[:streams]
        if not rows:
            there = self.sections.lengths.get("LATT", 0)
            raise CorruptFile(
                f"the refinement ends after {there} bytes, before its first stream does; get the file again",
                value=there,
            )
        data = [self.sections.stream(row) for row in rows]
        with one_blas_thread():
            report = None if progress is None else partial(progress, STAGE)
            known = codec.decode(data, self.shape, self.lattice, thread_count(threads), report)
        return self.scale.stored(known if box is None else known[box.slices])

    def within(self, voxels: int) -> int:
        """How many streams bring more than so many voxels, at the least; all where none do."""
        count = 1
        while count <= len(self.lattice.axes) and prod(self._grid(count)) <= voxels:
            count += 1
        return count

    def coarse(self, voxels: int, threads: int | None = None) -> Array:
        """Stored values of the lattice of those streams, (z, y, x), without what lies between."""
        streams = min(self.within(voxels), len(self.sections.streams()))
        left = self.lattice.axes[max(streams - 1, 0) :]
        return scan.first(self.read(streams=self.within(voxels), threads=threads), left)

    def _grid(self, streams: int) -> Shape:
        left = self.lattice.axes[streams - 1 :]
        z, y, x = (-(-n // 2 ** left.count(k)) for k, n in enumerate(self.shape))
        return z, y, x
