"""The levels of a file: the grids that its volume can be read at, from fine to coarse.

In: a header.  Out: shape and place of each grid.  Invariant: they follow from the header alone, so that a
level's number means the same wherever the file is opened, and however much of it was read.

A refinement halves one axis at a time.  Its lattices are taken together, so that a level is at most twice as
coarse as the one before along any axis, as in the pyramids of OME-Zarr; the coarsest lattice is the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Literal, TypeAlias

from inrcodec.format.header import Header
from inrcodec.layers.lattice import scan
from inrcodec.volume.affine import Affine, coarser, spacing_of, spread
from inrcodec.volume.box import Shape, lowres_shape

LevelKind: TypeAlias = Literal["full", "lowres", "lattice"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Level:
    """A grid that a file can be read at.

    Attributes
    ----------
    kind : {"full", "lowres", "lattice"}
        The full resolution; the low-res volume, whose voxels are means of what they cover; or every k-th
        voxel of a refinement along each axis, from the first on, as it is stored; where a filter follows the
        refinement, as it is before the filter.
    shape : (z, y, x)
        Voxels along each axis.
    factor : (z, y, x)
        Full-res voxels from one voxel to the next.
    affine : ndarray, (4, 4), float64
        Voxel index (x, y, z, 1) of this grid to LPS millimetres: of "lowres" to the centre of what a voxel
        covers, of "lattice" to the very voxel that was taken.
    steps : int
        Of a lattice, the steps of the refinement that make it; else 0.
    """

    kind: LevelKind
    shape: Shape
    factor: Shape
    affine: Affine
    steps: int = 0

    @cached_property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxels along (z, y, x), in mm."""
        return spacing_of(self.affine)

    @property
    def facts(self) -> dict[str, Any]:
        """Kind, shape and spacing in plain types."""
        return {
            "kind": self.kind,
            "shape": list(self.shape),
            "spacing": [round(edge, 9) for edge in self.spacing],
        }

    def __repr__(self) -> str:
        spacing = ", ".join(f"{edge:.6g}" for edge in self.spacing)
        return f"Level({self.kind}, shape={self.shape}, spacing=({spacing}))"


def levels_of(header: Header) -> tuple[Level, ...]:
    """The levels of a file, the full resolution first, then by their voxels; of two alike the low-res one."""
    full = Level(kind="full", shape=header.shape, factor=(1, 1, 1), affine=header.affine)
    coarse = [_lattice(header, steps) for steps in _lattices(header)]
    if header.has_lowres and header.lowres_shape != header.shape:
        coarse = sorted([lowres_level(header), *coarse], key=lambda level: -prod(level.shape))
    return full, *coarse


def lowres_level(header: Header) -> Level:
    """The grid of the low-res volume; no level of its own where nothing was reduced."""
    affine = coarser(header.affine, header.factor)
    return Level(kind="lowres", shape=header.lowres_shape, factor=header.factor, affine=affine)


def _lattices(header: Header) -> list[int]:
    """The steps of the lattices that are levels, the finest first.

    Each brick has a lattice of its own, from its first voxel on; only where its edge is a multiple of the
    spacing, or an axis has one brick, do they make one lattice of the volume.
    """
    found, halved = [], set[int]()
    bricks, axes = header.bricks, header.refine_axes
    for steps in range(len(axes), 0, -1):
        spacing = scan.spacing_of(axes[steps - 1 :])
        parts = zip(bricks.edges, bricks.counts, spacing, strict=True)
        if any(count > 1 and edge % step for edge, count, step in parts):
            break
        halved.add(axes[steps - 1])
        if steps == 1 or axes[steps - 2] in halved:
            found.append(steps)
            halved.clear()
    return found


def _lattice(header: Header, steps: int) -> Level:
    spacing = scan.spacing_of(header.refine_axes[steps - 1 :])
    affine = spread(header.affine, spacing)
    shape = lowres_shape(header.shape, spacing)
    return Level(kind="lattice", shape=shape, factor=spacing, affine=affine, steps=steps)
