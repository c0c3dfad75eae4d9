"""A file's volume on another grid: another spacing, another volume's, an oblique plane.

In: a decoder and a grid.  Out: a `Volume` of that grid.
Invariant: a voxel is what `sampling` gives at its centre; beside the result, memory is that of a slab.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from threading import Lock

import numpy as np

from inrcodec.errors import UsageError
from inrcodec.file.opened import OpenFile
from inrcodec.file.sampling import Samples
from inrcodec.format.header import Header
from inrcodec.parallel import mapped, thread_count
from inrcodec.progress import Progress
from inrcodec.volume.affine import Grid, checked_affine, coarser, moved, spacing_of
from inrcodec.volume.arrays import Array, Bool, Float, Ints, empty
from inrcodec.volume.box import Box
from inrcodec.volume.bricks import USUAL, Bricks
from inrcodec.volume.description import facts_of_any_grid
from inrcodec.volume.volume import Volume, limits_of

Like = Volume | OpenFile | tuple[Sequence[int], Sequence[Sequence[float]]]
POINTS = 1 << 18  # of a slab of the new grid
WHOLE = 1 << 28  # bytes of a volume that is decoded once and whole: what bricks have in common costs twice
STAGE = "resample"  # the name under which progress is reported


def grid_of(header: Header, spacing: float | Sequence[float] | None, like: Like | None) -> Grid:
    """The grid of a spacing in the same box, or that of another volume; raises `UsageError`."""
    if (spacing is None) == (like is None):
        raise UsageError("pass a spacing or a grid like another's", option=("spacing", "like"))
    if isinstance(like, Volume | OpenFile):
        return Grid(like.affine, like.shape)
    if like is not None:
        return _checked(like)
    own = spacing_of(header.affine)
    try:
        z, y, x = (float(s) for s in np.broadcast_to(np.asarray(spacing, np.float64), 3))
    except (TypeError, ValueError):
        z = y = x = np.nan
    if not all(np.isfinite(s) and s > 0 for s in (z, y, x)):
        cause = f"{spacing!r} is not possible, allowed: a positive number of mm, or three (z, y, x)"
        raise UsageError(cause, value=spacing, option="spacing")
    ratio = z / own[0], y / own[1], x / own[2]
    d, h, w = (max(1, round(n / r)) for n, r in zip(header.shape, ratio, strict=True))
    return Grid(coarser(header.affine, ratio), (d, h, w))


def _checked(like: tuple[Sequence[int], Sequence[Sequence[float]]]) -> Grid:
    try:
        shape, affine = like
        z, y, x = (int(n) for n in shape)
        grid = Grid(checked_affine(np.asarray(affine, np.float64)), (z, y, x))
    except (TypeError, ValueError) as error:
        cause = "pass a Volume, an InrvFile, or a shape (z, y, x) and an affine (4, 4)"
        raise UsageError(cause, value=like, option="like") from error
    if min(grid.shape) < 1:
        raise UsageError(f"a grid of {grid.shape} has no voxels", value=grid.shape, option="like")
    return grid


class Resampling:
    """The voxels of a grid, from those of a file.

    Parameters
    ----------
    outside : physical value beyond the volume; by default that of the padding, or else the smallest.
    """

    def __init__(self, samples: Samples, grid: Grid, outside: float | None) -> None:
        self.samples, self.grid, self.header = samples, grid, samples.header
        scaled = bool(self.header.slice_rescale)  # slices have scales of their own: the result has one
        self.dtype = np.dtype(np.float32 if scaled else self.header.dtype)
        self.rescale = (1.0, 0.0) if scaled else self.header.rescale
        self.padding = None if scaled else self.header.padding
        slope, intercept = self.rescale
        beyond = self.header.low if self.padding is None else self.padding
        self.outside = beyond * slope + intercept if outside is None else outside
        self.to_source = np.linalg.inv(self.header.affine) @ grid.affine

    def volume(self, progress: Progress | None = None) -> Volume:
        """The volume of the grid."""
        out = empty(self.grid.shape, self.dtype)
        out[...] = self._stored(np.array([self.outside]))
        whole = Box((0, 0, 0), self.grid.shape)
        if self.samples.order is None:
            for box in _slabs(whole):
                values, _ = self.samples.at(self._index(box))
                self._put(out, box, ~np.isnan(values), values)
                if progress:
                    progress(STAGE, box.high[0] / whole.high[0])
        else:
            self._from_voxels(out, self.samples.order, progress)
        return Volume(
            out,
            self.grid.affine,
            rescale=self.rescale,
            modality=self.header.modality,
            unit=self.header.unit,
            padding=self.padding,
            description=facts_of_any_grid(self.header.description),
        )

    def _from_voxels(self, out: Array, order: int, progress: Progress | None) -> None:
        """Brick by brick of the file, each decoded once, if the grid meets it."""
        shape = self.header.shape
        small = prod(shape) * np.dtype(self.header.dtype).itemsize <= WHOLE
        bricks = Bricks.of(shape, shape if small else USUAL)
        for done, brick in enumerate(bricks, 1):
            self._from_brick(out, brick, order)
            if progress:
                progress(STAGE, done / len(bricks))

    def _from_brick(self, out: Array, brick: Box, order: int) -> None:
        """The voxels of the grid that lie in a brick, which is decoded if there are any."""
        around = self.samples.around(np.array([brick.low, brick.high]) - [[0], [1]], order)
        lock, decoded = Lock(), list[Array]()

        def stored() -> Array:
            with lock:
                if not decoded:
                    decoded.append(self.samples.stored(around))
            return decoded[0]

        def fill(box: Box) -> None:
            index = self._index(box)
            mine = self.samples.inside(index) & _within(self.samples.cells(index, order), brick)
            if mine.any():
                values, _ = self.samples.between(stored(), around, index[mine], order)
                self._put(out, box, mine, values, chosen=True)

        mapped(fill, list(_slabs(self._meeting(brick))), thread_count(self.samples.options.threads))

    def _put(self, out: Array, box: Box, mine: Bool, values: Float, *, chosen: bool = False) -> None:
        """Set some voxels of a box of the grid."""
        part = out[box.slices]
        part[mine.reshape(box.shape)] = self._stored(values if chosen else values[mine])

    def _stored(self, physical: Float) -> Array:
        """Physical values in the dtype of the result: rounded and cut off for integers."""
        slope, intercept = self.rescale
        values = (physical - intercept) / slope
        if self.dtype.kind != "f":
            values = np.clip(np.rint(values), *limits_of(self.dtype))
        return values.astype(self.dtype)

    def _index(self, box: Box) -> Float:
        """Where the voxels of a box of the grid lie in the file, (n, 3), (z, y, x) in its voxels."""
        axes = (np.arange(a, b, dtype=np.float64) for a, b in zip(box.low, box.high, strict=True))
        z, y, x = (part.reshape(-1) for part in np.meshgrid(*axes, indexing="ij"))
        return moved(np.stack([x, y, z], 1), self.to_source)[:, ::-1]

    def _meeting(self, brick: Box) -> Box:
        """A box of the grid that holds all voxels that may lie in a brick of the file."""
        ends = np.array([np.array(brick.low) - 1, brick.high])[:, ::-1]
        corners = np.array(list(product(*ends.T)), np.float64)
        found = moved(corners, np.linalg.inv(self.to_source))[:, ::-1]
        low = np.clip(np.floor(found.min(0)), 0, self.grid.shape).astype(int)
        high = np.clip(np.ceil(found.max(0)) + 1, low, self.grid.shape).astype(int)
        (z, y, x), (zz, yy, xx) = low.tolist(), high.tolist()
        return Box((z, y, x), (zz, yy, xx))


def _slabs(box: Box) -> Iterator[Box]:
    """Parts of a box of about `POINTS` voxels, some rows of some slices each."""
    _, height, width = box.shape
    rows = max(1, min(height, POINTS // max(width, 1)))
    slices = max(1, POINTS // max(rows * width, 1))
    for z in range(box.low[0], box.high[0], slices):
        for y in range(box.low[1], box.high[1], rows):
            low = z, y, box.low[2]
            yield Box(low, (min(z + slices, box.high[0]), min(y + rows, box.high[1]), box.high[2]))


def _within(cells: Ints, box: Box) -> Bool:
    return np.asarray(((cells >= np.array(box.low)) & (cells < np.array(box.high))).all(1))
