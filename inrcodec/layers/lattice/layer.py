"""The refinement layer: the volume itself within a bound of the error, down to lossless.

In: a header and its sections.  Out: stored values of any box, or a coarser version of them.
Invariant: no float that could differ on another machine takes part; a brick needs no other brick.

The layer codes the volume and not what the networks leave (docs/experiments/refinement.md); networks in front
of it serve as a preview.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import cached_property
from math import prod
from threading import Lock

import numpy as np

from inrcodec.errors import CorruptFile
from inrcodec.format.header import Header
from inrcodec.format.sections import Sections, Stream
from inrcodec.layers.lattice import codec, scan
from inrcodec.layers.lattice.codec import Lattice
from inrcodec.layers.lattice.integers import Scale
from inrcodec.parallel import mapped, one_blas_thread, thread_count
from inrcodec.progress import Progress, Report, shares
from inrcodec.volume.arrays import Array
from inrcodec.volume.box import Box, Shape

STAGE = "refine"
KEPT = 1 << 26  # bytes of decoded bricks that are kept: the four that meet in a slice of 512 x 512


class Refinement:
    """The stored values of a file that has a refinement, without its padding.

    Parameters
    ----------
    header : checked against the limits, with the size of each step.
    sections : LATT may end early: the complete steps are decoded, and all other voxels are interpolated.

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

        self.bricks = header.refine_bricks
        self._kept: OrderedDict[tuple[int, int], Array] = OrderedDict()
        self._held = 0  # bytes of them
        self._lock = Lock()

    @cached_property
    def _streams(self) -> list[Stream]:
        """Those that are there; of each step, one for each brick."""
        return self.sections.streams()

    @property
    def there(self) -> int:
        """Steps, the first lattice and each halving, whose streams are there for all bricks."""
        return len(self._streams) // len(self.bricks)

    @property
    def missing(self) -> int:
        """Steps of which a stream is not there."""
        return len(self.lattice.steps) - self.there

    def read(
        self,
        box: Box | None = None,
        *,
        steps: int | None = None,
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> Array:
        """Stored values of a box; the bricks that it meets are read and decoded, and no others.

        Parameters
        ----------
        box : all by default.
        steps : number of steps to decode, at most; the voxels of later ones are interpolated.

        Returns
        -------
        ndarray, (z, y, x).

        Raises
        ------
        CorruptFile
            A stream has a wrong checksum or impossible content, or not even the first step is complete.
        """
        count = min(self.there, len(self.lattice.steps) if steps is None else steps)
        if not count:
            there = self.sections.lengths.get("LATT", 0)
            raise CorruptFile(f"the refinement ends after {there} bytes, within its first step", value=there)
        box = box or Box((0, 0, 0), self.shape)
        stored, met = np.empty(box.shape, self.header.dtype), self.bricks.meeting(box)
        workers = min(thread_count(threads), len(met))
        report = shares(progress, STAGE, [prod(self.bricks[index].shape) for index in met])

        def fill(number: int) -> None:
            brick = self.bricks[index := met[number]]
            common = brick & box
            values = self._brick(index, count, thread_count(threads) // workers, report(number), len(met))
            stored[common.slices_in(box)] = values[common.slices_in(brick)]

        with one_blas_thread():
            mapped(fill, range(len(met)), workers)
        return stored

    def _brick(self, index: int, steps: int, threads: int, report: Report | None, asked: int) -> Array:
        """Stored values of a brick, decoded or remembered."""
        with self._lock:
            kept = self._kept.get((index, steps))
            if kept is not None:
                self._kept.move_to_end((index, steps))
                return kept
        rows = self._streams[index :: len(self.bricks)][:steps]
        data = self.sections.bodies(rows)
        integers = codec.decode(data, self.bricks[index].shape, self.lattice, threads, report)
        values = np.empty(integers.shape, self.header.dtype)
        for plane, wide in zip(values, integers, strict=True):  # intermediates are wide: few at a time
            plane[...] = self.scale.stored(wide)
        if asked * values.nbytes <= KEPT:
            with self._lock:
                if (index, steps) not in self._kept:  # another thread may have been faster
                    self._kept[index, steps] = values
                    self._held += values.nbytes
                while self._held > KEPT:
                    self._held -= self._kept.popitem(last=False)[1].nbytes
        return values

    def within(self, voxels: int) -> int:
        """How many steps bring more than so many voxels, at the least; all where none do."""
        count = 1
        while count <= len(self.lattice.axes) and self._voxels(count) <= voxels:
            count += 1
        return count

    def coarse(self, voxels: int, threads: int | None = None) -> tuple[Array, Shape]:
        """Stored values of the lattice of those steps, (z, y, x), and its spacing in voxels."""
        steps = min(self.within(voxels), self.there)
        z, y, x = self._spacing(steps)
        return self.read(steps=steps, threads=threads)[::z, ::y, ::x], (z, y, x)

    def _spacing(self, steps: int) -> Shape:
        """Voxels from one to the next in the lattice of the first steps, along (z, y, x)."""
        return scan.spacing_of(self.lattice.axes[steps - 1 :])

    def _voxels(self, steps: int) -> int:
        return prod(-(-n // step) for n, step in zip(self.shape, self._spacing(steps), strict=True))
