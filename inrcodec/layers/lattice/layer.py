"""The refinement layer: the volume itself within a bound of the error, down to lossless.

In: a header and its sections.  Out: stored values, all or a coarser version.
Invariant: no float that could differ on another machine takes part.

The layer codes the volume and not what the networks leave (docs/experiments/refinement.md); networks in front
of it serve as a preview.
"""

from __future__ import annotations

from functools import partial
from math import prod

import numpy as np

from inrcodec.errors import CorruptFile
from inrcodec.format.header import Header
from inrcodec.format.sections import Sections
from inrcodec.layers.lattice import codec, scan
from inrcodec.layers.lattice.codec import Lattice
from inrcodec.layers.lattice.integers import Scale
from inrcodec.parallel import one_blas_thread, thread_count
from inrcodec.progress import Progress
from inrcodec.volume.arrays import Array
from inrcodec.volume.box import Box, Shape

STAGE = "refine"


class Refinement:
    """The stored values of a file that has a refinement, without its padding.

    Parameters
    ----------
    header : checked against the limits, with a step for each stream.
    sections : LATT may end early: the complete streams are decoded, and all other voxels are interpolated.

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
        streams : number of streams to decode, at most; the voxels of later ones are interpolated.

        Returns
        -------
        ndarray, (z, y, x).

        Raises
        ------
        CorruptFile
            A stream has a wrong checksum or impossible content, or not even the first is complete.
        """
        rows = self.sections.streams()[:streams]
        if not rows:
            there = self.sections.lengths.get("LATT", 0)
            raise CorruptFile(
                f"the refinement ends after {there} bytes, within its first stream", value=there
            )
        data = [self.sections.stream(row) for row in rows]
        with one_blas_thread():
            report = None if progress is None else partial(progress, STAGE)
            integers = codec.decode(data, self.shape, self.lattice, thread_count(threads), report)
        if box is not None:
            integers = integers[box.slices]
        stored = np.empty(integers.shape, self.header.dtype)
        for plane, values in zip(stored, integers, strict=True):  # intermediates are wide: few at a time
            plane[...] = self.scale.stored(values)
        return stored

    def within(self, voxels: int) -> int:
        """How many streams bring more than so many voxels, at the least; all where none do."""
        count = 1
        while count <= len(self.lattice.axes) and self._voxels(count) <= voxels:
            count += 1
        return count

    def coarse(self, voxels: int, threads: int | None = None) -> tuple[Array, Shape]:
        """Stored values of the lattice of those streams, (z, y, x), and its spacing in voxels."""
        streams = min(self.within(voxels), len(self.sections.streams()))
        z, y, x = self._spacing(streams)
        return self.read(streams=streams, threads=threads)[::z, ::y, ::x], (z, y, x)

    def _spacing(self, streams: int) -> Shape:
        """Voxels from one to the next in the lattice of the first streams, along (z, y, x)."""
        return scan.spacing_of(self.lattice.axes[streams - 1 :])

    def _voxels(self, streams: int) -> int:
        return prod(-(-n // step) for n, step in zip(self.shape, self._spacing(streams), strict=True))
