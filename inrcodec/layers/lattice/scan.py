"""The scan order: a coarse lattice, then the voxels half way between, axis by axis.

In: a shape, and the axis that each stage halves.  Out: the stages, and views of known and new voxels.
Invariant: a voxel is predicted from voxels decoded before it; most have neighbours on all sides.

The new voxels of a stage come in four phases, by their parity along the two other axes: even and even, odd
and odd, even and odd, odd and even.  Voxels of a phase do not depend on each other, so a phase is one array.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from inrcodec.volume.arrays import Array
from inrcodec.volume.box import Shape

SMALLEST = 64  # voxels of the first lattice, at most
PHASES = ((0, 0), (1, 1), (0, 1), (1, 0))


@dataclass(frozen=True)
class Stage:
    """One halving of the lattice.

    Attributes
    ----------
    axis : along which the spacing is halved.
    spacing : (z, y, x), of the known lattice, in voxels.
    """

    axis: int
    spacing: Shape

    @property
    def others(self) -> tuple[int, int]:
        """The two other axes."""
        first, second = (k for k in range(3) if k != self.axis)
        return first, second

    def known(self, volume: Array) -> Array:
        """The known lattice."""
        z, y, x = self.spacing
        return volume[::z, ::y, ::x]

    def fresh(self, volume: Array) -> Array:
        """The new voxels, half way between known ones along the axis."""
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


def axes_for(shape: Shape, spacing: Sequence[float], whole: tuple[int, ...] = ()) -> tuple[int, ...]:
    """The axis that each stage halves, the coarsest stage first: always the one with the widest spacing.

    Parameters
    ----------
    shape : voxels.
    spacing : of the voxels along (z, y, x), in mm.
    whole : axes that are never halved: voxels are not predicted along them.
    """
    steps, counts, axes = list(spacing), list(shape), []
    while counts[0] * counts[1] * counts[2] > SMALLEST:
        divisible = [k for k in range(3) if counts[k] > 1 and k not in whole]
        if not divisible:
            break
        axis = min(divisible, key=lambda k: (steps[k], -k))
        axes.append(axis)
        steps[axis], counts[axis] = steps[axis] * 2, -(-counts[axis] // 2)
    return tuple(reversed(axes))


def stages(axes: Sequence[int]) -> Iterator[Stage]:
    """The stages, the coarsest first."""
    for k, axis in enumerate(axes):
        yield Stage(axis, spacing_of(axes[k:]))


def first(volume: Array, axes: Sequence[int]) -> Array:
    """The coarsest lattice."""
    z, y, x = spacing_of(axes)
    return volume[::z, ::y, ::x]


def spacing_of(axes: Sequence[int]) -> Shape:
    """Voxels along (z, y, x) from one to the next of a lattice that these halvings would make whole."""
    z, y, x = (2 ** list(axes).count(k) for k in range(3))
    return z, y, x
