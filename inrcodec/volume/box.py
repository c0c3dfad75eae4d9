"""Boxes and shapes: (z, y, x) index ranges on a grid, and the grid's low-res version, in plain integers."""

from __future__ import annotations

from dataclasses import dataclass

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
