"""The refinement layer: the volume itself within a bound of the error, down to lossless.

In: a header and its sections.  Out: stored values of any box, or a coarser version of them.
Invariant: no float that could differ on another machine takes part; a brick needs no other brick.

The layer codes the volume and not what the networks leave (docs/experiments/refinement.md); networks in front
of it serve as a preview.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from math import prod

import numpy as np

from inrcodec.errors import CorruptFile
from inrcodec.format.header import Header
from inrcodec.format.sections import Chunk, Sections
from inrcodec.layers.cache import Cache
from inrcodec.layers.lattice import scan
from inrcodec.layers.lattice.bricks import Scale, values_of
from inrcodec.layers.lattice.codec import Lattice
from inrcodec.layers.special import SpecialVoxels
from inrcodec.parallel import mapped, one_blas_thread, thread_count
from inrcodec.progress import Progress, Report, shares
from inrcodec.volume.arrays import Array
from inrcodec.volume.box import Box, Shape, lowres_shape

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
        self.lattice = Lattice(
            axes=header.refine_axes,
            steps=header.refine_steps,
            most=self.scale.most,
            filter=header.refine_filter,
        )
        self.bricks = header.bricks
        self._special = SpecialVoxels(sections, self.bricks)
        self._decoded = Cache(KEPT)

    @cached_property
    def _streams(self) -> Sequence[Chunk]:
        """Those that are there; of each step, one for each brick."""
        return self.sections.chunks("LATT")

    @property
    def there(self) -> int:
        """Steps, the first lattice and each halving, whose streams are there for all bricks."""
        return len(self._streams) // len(self.bricks)

    @property
    def missing(self) -> int:
        """Steps of which a stream is not there."""
        return max(len(self.lattice.steps) - self.there, 0)

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
        count = self._count(steps)
        box = box or Box((0, 0, 0), self.shape)

        def decoded(index: int, threads: int, report: Report | None, asked: int) -> tuple[Box, Array]:
            return self.bricks[index], self._brick(index, count, threads, report, asked)

        return self._filled(box, self.bricks.meeting(box), decoded, threads, progress)

    def lattice_points(
        self, box: Box, steps: int, *, threads: int | None = None, progress: Progress | None = None
    ) -> Array:
        """Stored values of the lattice of the first steps, before the filter of the whole if it has one.

        Parameters
        ----------
        box : counts points of the lattice, of which each brick begins one.

        Returns
        -------
        ndarray, (z, y, x); where a cut file lacks some of these steps, points between are interpolated.
        """
        count, spacing = self._count(steps), self._spacing(steps)
        met = self.bricks.meeting(self.voxels_of(box, steps))

        def decoded(index: int, threads: int, report: Report | None, asked: int) -> tuple[Box, Array]:
            brick = self.bricks[index]
            values = self._brick(index, count, threads, report, asked, spaced=count == steps)
            if count < steps:
                z, y, x = spacing
                values = values[::z, ::y, ::x]
            return _points(brick, spacing), values

        return self._filled(box, met, decoded, threads, progress)

    def voxels_of(self, box: Box, steps: int) -> Box:
        """The voxels of a box that counts points of the lattice of the first steps."""
        axes = zip(box.low, box.high, self._spacing(steps), self.shape, strict=True)
        (z, zz), (y, yy), (x, xx) = ((a * step, min(b * step, n)) for a, b, step, n in axes)
        return Box((z, y, x), (zz, yy, xx))

    def bytes_needed(self, box: Box, steps: int | None = None, *, spaced: bool = False) -> int:
        """Bytes of the sections that a box, of voxels, is read from; or the lattice's points in it."""
        count, met = self._count(steps), self.bricks.meeting(box)
        rows = [row for index in met for row in self._rows(index, count, spaced)]
        apart = self._special.bytes_needed(met)
        return apart + self.sections.bytes_needed("LATT", rows)

    def _count(self, steps: int | None) -> int:
        """How many steps are decoded of so many; raises `CorruptFile` where not even one is there."""
        most = len(self.lattice.steps)
        count = min(self.there, most if steps is None else min(steps, most))
        if not count:
            there = self.sections.lengths.get("LATT", 0)
            raise CorruptFile(f"the refinement ends after {there} bytes, within its first step", value=there)
        return count

    def _filled(
        self,
        box: Box,
        met: list[int],
        decoded: Callable[[int, int, Report | None, int], tuple[Box, Array]],
        threads: int | None,
        progress: Progress | None,
    ) -> Array:
        """A box of what the bricks that it meets hold, each of which knows its place."""
        stored = np.empty(box.shape, self.header.dtype)
        workers = min(thread_count(threads), len(met))
        report = shares(progress, STAGE, [prod(self.bricks[index].shape) for index in met])

        def fill(number: int) -> None:
            each = thread_count(threads) // workers
            place, values = decoded(met[number], each, report(number), len(met))
            common = place & box
            stored[common.slices_in(box)] = values[common.slices_in(place)]

        with one_blas_thread():
            mapped(fill, range(len(met)), workers)
        return stored

    def _brick(
        self,
        index: int,
        steps: int,
        threads: int,
        report: Report | None,
        asked: int,
        *,
        spaced: bool = False,
    ) -> Array:
        """Stored values of a brick, or of its lattice alone, decoded or remembered."""
        key = index, steps, spaced
        kept: Array | None = self._decoded.get(key)
        if kept is not None:
            return kept
        data = self.sections.bodies("LATT", self._rows(index, steps, spaced))
        known = self.bricks[index].shape, self.lattice, self.scale, threads, report
        values = values_of(data[:steps], *known, lower=b"".join(data[steps:]), spaced=spaced)
        found = self._special.of_brick(index, values.dtype)
        if found is not None:
            found.restore(values, self._spacing(steps) if spaced else (1, 1, 1))
        if asked * values.nbytes <= KEPT:
            self._decoded.put(key, values, values.nbytes)
        return values

    def _rows(self, index: int, steps: int, spaced: bool) -> list[Chunk]:
        """The streams of a brick for so many steps, and that of lower halves if none is interpolated."""
        of_brick, most = list(self._streams[index :: len(self.bricks)]), len(self.lattice.steps)
        return of_brick[:steps] + of_brick[most:] * (spaced or steps == most)

    def within(self, voxels: int) -> int:
        """How many steps bring more than so many voxels, at the least; all where none do."""
        count = 1
        while count <= len(self.lattice.axes) and self._voxels(count) <= voxels:
            count += 1
        return count

    def coarse(self, voxels: int, threads: int | None = None) -> tuple[Array, Shape]:
        """The middle slice, (y, x), of the lattice of those steps, and its spacing (z, y, x) in voxels."""
        steps = min(self.within(voxels), self.there)
        spacing = z, y, x = self._spacing(steps)
        middle = -(-self.shape[0] // z) // 2 * z
        box = Box((middle, 0, 0), (middle + 1, *self.shape[1:]))
        return self.read(box, steps=steps, threads=threads)[0, ::y, ::x], spacing

    def _spacing(self, steps: int) -> Shape:
        """Voxels from one to the next in the lattice of the first steps, along (z, y, x)."""
        return scan.spacing_of(self.lattice.axes[steps - 1 :])

    def _voxels(self, steps: int) -> int:
        return prod(lowres_shape(self.shape, self._spacing(steps)))


def _points(brick: Box, spacing: Shape) -> Box:
    """A brick's points of a lattice that begins with its first voxel."""
    z, y, x = (a // step for a, step in zip(brick.low, spacing, strict=True))
    d, h, w = lowres_shape(brick.shape, spacing)
    return Box((z, y, x), (z + d, y + h, x + w))
