"""Grids of values in space, and how two of them differ: what ``readers.py`` compares by.

Values are physical, (z, y, x); affines take a voxel index (x, y, z, 1) to LPS mm.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

NEAR = 1e-3  # mm that a corner may be off
ROUNDING = 1e-6  # of the largest value: slopes are float32 in NIfTI, and some readers hold float32
STRAIGHT = 0.02  # cosine and relative spacing by which an axis may be off one of the other grid's


@dataclass(frozen=True)
class Grid:
    """What a reader returned; ``affine`` is None where it has no geometry."""

    values: NDArray[Any]
    affine: Float | None
    note: str = ""


@dataclass(frozen=True)
class Difference:
    """How another reader's grid differs from ours; ``shape`` is the other's where it does not fit."""

    shape: tuple[int, ...] | None = None
    voxels: int = 0  # whose values differ by more than rounding
    largest: float = 0.0
    rounding: bool = False  # values agree only within `ROUNDING`
    corner: float | None = None  # mm; None where one of them has no geometry

    @property
    def equal(self) -> bool:
        return self.shape is None and not self.voxels and not self.is_elsewhere

    @property
    def is_elsewhere(self) -> bool:
        return self.corner is not None and self.corner > NEAR

    def __str__(self) -> str:
        if self.shape is not None:
            return f"shape {self.shape}"
        words = [f"{self.voxels} voxels by up to {self.largest:g}"] if self.voxels else []
        words += [f"corner {self.corner:.3g} mm off"] if self.is_elsewhere else []
        return ", ".join(words) or ("equal within rounding" if self.rounding else "equal")


def corners(shape: tuple[int, ...], affine: Float) -> Float:
    """Centres of the eight corner voxels, (8, 3), LPS mm, in the order of the grid's axes."""
    z, y, x = shape
    index = np.array([[*at, 1.0] for at in product((0, x - 1), (0, y - 1), (0, z - 1))])
    return (index @ affine.T)[:, :3]


def signed_axes(ours: Float, theirs: Float, shape: tuple[int, ...]) -> tuple[list[int], list[bool]] | None:
    """For each of our axes (x, y, z) the axis of theirs, and whether it runs the other way.

    None where their axes are not ours, permuted and flipped.  The direction of an axis with one voxel does
    not count.
    """
    ours, theirs = (m[:3, :3] / np.linalg.norm(m[:3, :3], axis=0) for m in (ours, theirs))
    cosines = ours.T @ theirs
    axes = [int(np.abs(row).argmax()) for row in cosines]
    if sorted(axes) != [0, 1, 2]:
        return None
    long = [n > 1 for n in reversed(shape)]
    if any(abs(cosines[i, axis]) < 1 - STRAIGHT for i, axis in enumerate(axes) if long[i]):
        return None
    return axes, [bool(cosines[i, axis] < 0) and long[i] for i, axis in enumerate(axes)]


def aligned(ours: Grid, theirs: Grid) -> Grid:
    """Their grid with axes permuted and flipped to run along ours; as it is where it has other axes."""
    if ours.affine is None or theirs.affine is None or theirs.values.ndim != 3:
        return theirs
    found = signed_axes(ours.affine, theirs.affine, ours.values.shape)
    if found is None:
        return theirs
    axes, flips = found
    values, affine = theirs.values, theirs.affine.copy()
    for axis, flip in zip(axes, flips, strict=True):
        if flip:
            count = values.shape[2 - axis]
            values = np.flip(values, 2 - axis)
            affine[:3, 3] += affine[:3, axis] * (count - 1)
            affine[:3, axis] *= -1
    values = values.transpose([2 - axes[2 - k] for k in range(3)])
    return Grid(values, affine[:, [*axes, 3]], theirs.note)


def compare(ours: Grid, theirs: Grid, placed: bool = True) -> Difference:
    """Compare values voxel for voxel and, of images that have a place, the places of the corners."""
    theirs = aligned(ours, theirs)
    if theirs.values.shape != ours.values.shape:
        return Difference(shape=theirs.values.shape)
    ours_values, their_values = (np.asarray(g.values, np.float64) for g in (ours, theirs))
    with np.errstate(invalid="ignore"):
        error = np.abs(ours_values - their_values)
    error[np.isnan(ours_values) & np.isnan(their_values)] = 0
    scale = float(np.nanmax(np.abs(their_values), initial=0.0))
    wrong = ~(error <= ROUNDING * scale)
    corner = None
    if placed and ours.affine is not None and theirs.affine is not None:
        places = (corners(ours.values.shape, affine) for affine in (ours.affine, theirs.affine))
        corner = float(np.linalg.norm(np.subtract(*places), axis=1).max())
    return Difference(
        voxels=int(wrong.sum()),
        largest=float(error[wrong].max(initial=0.0)),
        rounding=bool(error.any()),
        corner=corner,
    )


def closest(ours: Grid, candidates: list[Grid], placed: bool = True) -> tuple[Difference, Grid]:
    """The least difference to one of several grids that a reader made of the same files, and that grid."""
    found = [(compare(ours, grid, placed), grid) for grid in candidates]
    return min(found, key=lambda f: (f[0].shape is not None, not f[0].equal, f[0].voxels, f[0].corner or 0.0))
