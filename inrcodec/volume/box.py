"""Boxes and shapes: (z, y, x) index ranges on a grid, and the grid's low-res version.

Invariant: plain integers; boxes include their lower corner and not their upper one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inrcodec.errors import UsageError

Shape = tuple[int, int, int]
"""Lengths, factors or an index along (z, y, x)."""


def lowres_shape(shape: Shape, factor: Shape) -> Shape:
    """Low-res lengths ``ceil(n / f)`` of each axis."""
    z, y, x = (-(-n // f) for n, f in zip(shape, factor, strict=True))
    return z, y, x


@dataclass(frozen=True)
class Box:
    """Voxels ``low <= (z, y, x) < high`` of a grid."""

    low: Shape
    high: Shape

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Index of these voxels in an array (z, y, x)."""
        z, y, x = (slice(a, b) for a, b in zip(self.low, self.high, strict=True))
        return z, y, x

    @property
    def shape(self) -> Shape:
        """Voxels along each axis."""
        z, y, x = (b - a for a, b in zip(self.low, self.high, strict=True))
        return z, y, x

    def run(self, start: int, stop: int) -> Box:
        """Its slices ``start <= z < stop``."""
        return Box((start, *self.low[1:]), (stop, *self.high[1:]))

    def scaled(self, factor: Shape, shape: Shape) -> Box:
        """The voxels of a grid of a shape that a box of its low-res grid stands for."""
        low, high = (
            tuple(min(a * f, n) for a, f, n in zip(corner, factor, shape, strict=True))
            for corner in (self.low, self.high)
        )
        return Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))

    def meets(self, other: Box) -> bool:
        """Whether both have a voxel in common."""
        corners = zip(self.low, other.low, self.high, other.high, strict=True)
        return all(max(a, b) < min(c, d) for a, b, c, d in corners)

    def __and__(self, other: Box) -> Box:
        """The voxels that both have; without meaning where there are none."""
        low = (max(a, b) for a, b in zip(self.low, other.low, strict=True))
        high = (min(a, b) for a, b in zip(self.high, other.high, strict=True))
        (z, y, x), (zz, yy, xx) = low, high
        return Box((z, y, x), (zz, yy, xx))

    def slices_in(self, outer: Box) -> tuple[slice, slice, slice]:
        """Index of these voxels in an array (z, y, x) of a box around it."""
        parts = zip(self.low, self.high, outer.low, strict=True)
        z, y, x = (slice(a - start, b - start) for a, b, start in parts)
        return z, y, x


BoxLike = Box | slice | Sequence[slice] | None
"""A box, slices of the first axes, or all."""

Ranges = tuple[range, range, range]
"""Indices along (z, y, x)."""


def ranges_of(box: BoxLike, shape: Shape) -> Ranges:
    """The indices that a box or slices stand for; slices are cut off at the edges, as NumPy's are.

    Raises
    ------
    UsageError
        A box reaches beyond the grid, or there are more than three slices, or something else.

    Examples
    --------
    >>> ranges_of((slice(2, None, 2), slice(5)), (4, 8, 8))
    (range(2, 4, 2), range(0, 5), range(0, 8))
    """
    if isinstance(box, Box):
        if min(box.low) < 0 or any(b > n or a > b for a, b, n in zip(box.low, box.high, shape, strict=True)):
            cause = f"{box} reaches beyond the grid of {shape}: stay within it"
            raise UsageError(cause, value=box, option="box")
        box = box.slices
    slices = [box] if isinstance(box, slice | int) else list(box or ())
    if len(slices) > 3 or not all(isinstance(part, slice) for part in slices):
        cause = f"{box!r} is not a box: pass up to three slices, such as slice(3, 4)"
        raise UsageError(cause, value=box, option="box")
    slices += [slice(None)] * (3 - len(slices))
    try:
        z, y, x = (range(*part.indices(n)) for part, n in zip(slices, shape, strict=True))
    except (TypeError, ValueError) as error:  # slices of words, a step of 0
        raise UsageError(f"{box!r} is not a box: {error}", value=box, option="box") from error
    return z, y, x


def run_of(slices: slice | None, count: int) -> range:
    """Indices of a run of some of ``count`` slices, all by default.

    Raises
    ------
    UsageError
        No slice is left, or there is a step.
    """
    slices = slices or slice(None)
    kept = range(count)[slices]
    if not kept or kept.step != 1:
        text = ":".join("" if end is None else str(end) for end in (slices.start, slices.stop))
        cause = f"{text} is not a run of some of {count} slices, counted from 0"
        raise UsageError(cause, value=slices, option="slices")
    return kept


def bounds(ranges: Ranges) -> Box | None:
    """The smallest box around indices; ``None`` where there are none."""
    if not all(ranges):
        return None
    (z, zz), (y, yy), (x, xx) = ((min(r[0], r[-1]), max(r[0], r[-1]) + 1) for r in ranges)
    return Box((z, y, x), (zz, yy, xx))


def within(part: range, start: int) -> slice:
    """The index of a range in an array that begins at ``start``."""
    stop = part.stop - start
    return slice(part.start - start, stop if stop >= 0 else None, part.step)
