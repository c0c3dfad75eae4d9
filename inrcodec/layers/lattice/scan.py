"""The order in which voxels are coded: a coarse lattice, then the points half way between, axis by axis.

In: a shape and the order of the axes.  Out: the stages, and views of what is known and what is new in each.
The one law: a voxel is predicted from what is decoded before it; most have neighbours on all sides.

The new voxels of a stage come in four phases, by whether they are odd along the two other axes: even and
even, odd and odd, even and odd, odd and even.  Those of a phase do not see each other, so each is one array.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inrcodec.volume.box import Shape

Array = NDArray[np.generic]

SMALLEST = 64  # voxels of the first lattice, at most
PHASES = ((0, 0), (1, 1), (0, 1), (1, 0))


@dataclass(frozen=True)
class Stage:
    """One halving of the lattice.

    Attributes
    ----------
    axis : that is halved.
    spacing : (z, y, x), of the lattice that is known before, in voxels.
    """

    axis: int
    spacing: Shape

    @property
    def others(self) -> tuple[int, int]:
        """The two axes that stay."""
        first, second = (k for k in range(3) if k != self.axis)
        return first, second

    def known(self, volume: Array) -> Array:
        """The lattice that is known before."""
        z, y, x = self.spacing
        return volume[::z, ::y, ::x]

    def fresh(self, volume: Array) -> Array:
        """The voxels half way between along the axis."""
        spans = [slice(None, None, s) for s in self.spacing]
        step = self.spacing[self.axis]
        spans[self.axis] = slice(step // 2, None, step)
        return volume[tuple(spans)]

    def phase(self, fresh: Array, number: int) -> Array:
        """The voxels of a phase among the new ones."""
        spans = [slice(None)] * 3
        for axis, odd in zip(self.others, PHASES[number], strict=True):
            spans[axis] = slice(odd, None, 2)
        return fresh[tuple(spans)]


def axes_for(shape: Shape, spacing: Sequence[float]) -> tuple[int, ...]:
    """Which axis to halve, from the coarsest lattice to the finest: always the one with the longest step.

    Parameters
    ----------
    shape : voxels.
    spacing : of the voxels along (z, y, x), in mm.
    """
    steps, counts, found = list(spacing), list(shape), []
    while counts[0] * counts[1] * counts[2] > SMALLEST and max(counts) > 1:
        axis = min((k for k in range(3) if counts[k] > 1), key=lambda k: (steps[k], -k))
        found.append(axis)
        steps[axis], counts[axis] = steps[axis] * 2, -(-counts[axis] // 2)
    return tuple(reversed(found))


def stages(axes: Sequence[int]) -> Iterator[Stage]:
    """The stages of an order of axes."""
    spacing = [2 ** list(axes).count(k) for k in range(3)]
    for axis in axes:
        z, y, x = spacing
        yield Stage(axis, (z, y, x))
        spacing[axis] //= 2


def first(volume: Array, axes: Sequence[int]) -> Array:
    """The coarsest lattice."""
    z, y, x = (2 ** list(axes).count(k) for k in range(3))
    return volume[::z, ::y, ::x]
