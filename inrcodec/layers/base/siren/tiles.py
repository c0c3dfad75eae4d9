"""A low-res volume cut into k-d boxes of equal work, one small network each.

In: the active voxels (low-res, boolean) and how many parts each axis gets.  Out: cuts (a few integers),
boxes, and in each box its active voxels with their coordinates.
Invariant: every voxel belongs to exactly one box, and the cuts are all that a decoder needs to know.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import log

import numpy as np
from numpy.typing import NDArray

from inrcodec.volume.arrays import Bool
from inrcodec.volume.box import Box, Shape

THINNEST = 8  # sides of a tile may differ by this much before their coordinates have scales of their own
CANDIDATES = 24  # ways to divide a volume of which the tiles are cut and compared


@dataclass(frozen=True, eq=False)
class Tile:
    """The active voxels of a box, in raster order.

    Attributes
    ----------
    index : ndarray, (n, 3), int16 where that holds the volume's axes, else int32
        Low-res (z, y, x) of each active voxel.
    centre : ndarray, (3,), int64
        First plus last active index of each axis.
    extent : ndarray, (3,), int64
        For each axis, the longest side of the active voxels' bounding box, in voxels; at most ``THINNEST``
        times the axis's own side.
    """

    index: NDArray[np.integer]
    centre: NDArray[np.int64]
    extent: NDArray[np.int64]

    def coordinates(self, rows: slice = slice(None)) -> NDArray[np.float64]:
        """Cell-centred coordinates in [-1, 1]: ``(2 i - (first + last)) / extent``, (n, 3), float64.

        On a box's longest axis this is the grid ``(2 i + 1)/n - 1``; the others share its scale, so a network
        sees the same frequency in every direction. A far shorter axis has a finer scale of its own: the
        network could not follow what changes along it.
        """
        return (2 * self.index[rows].astype(np.int64) - self.centre) / self.extent


def parts_for(active: Bool, tiles: int) -> Shape:
    """Parts per axis, about ``tiles`` in all, whose tiles are as near to cubes as they can be.

    The shape of the tiles' active voxels counts, not that of the boxes: on the head (1, 3, 3) makes boxes
    nearer to cubes than (2, 2, 2), but tiles twice as long, and costs 1 dB.
    """
    n = active.shape

    def off(parts: Shape) -> float:
        return 3 * abs(log(parts[0] * parts[1] * parts[2] / tiles))

    candidates = sorted(
        (
            (z, y, min(max(1, round(tiles / (z * y))), n[2]))
            for z in range(1, min(tiles, n[0]) + 1)
            for y in range(1, min(tiles // z, n[1]) + 1)
        ),
        key=lambda parts: off(parts) + _length(n, parts),
    )[:CANDIDATES]

    def unfitness(parts: Shape) -> float:
        sides = [_sides(active[box.slices]) for box in boxes(_shape(active), parts, cut(active, parts))]
        lengths = [_length(s, (1, 1, 1)) for s in sides if min(s) > 0]
        return off(parts) + sum(lengths) / max(1, len(lengths))

    return min(candidates, key=unfitness)


def cut(active: Bool, parts: Shape) -> tuple[int, ...]:
    """k-d cuts that give every box the same number of active voxels.

    Axis by axis (z, then y in each slab, then x in each column); a cut is the first index of the next box.
    """
    cuts: list[int] = []
    boxes = [Box((0, 0, 0), _shape(active))]
    for axis, count in enumerate(parts):
        following = []
        for box in boxes:
            here = _equal_cuts(active[box.slices], axis, count, box.low[axis])
            cuts += here
            following += _split(box, axis, here)
        boxes = following
    return tuple(cuts)


def boxes(shape: Shape, parts: Shape, cuts: tuple[int, ...]) -> list[Box]:
    """The boxes that ``cut`` described, z slowest."""
    following = iter(cuts)
    result = [Box((0, 0, 0), shape)]
    for axis, count in enumerate(parts):
        result = [
            part for box in result for part in _split(box, axis, [next(following) for _ in range(count - 1)])
        ]
    return result


def tiles_of(active: Bool, parts: Shape, cuts: tuple[int, ...]) -> list[Tile | None]:
    """The tiles of all boxes, z slowest; ``None`` for a box without active voxels."""
    return [tile(active, box) for box in boxes(_shape(active), parts, cuts)]


def tile(active: Bool, box: Box) -> Tile | None:
    """The active voxels of a box; ``None`` where it has none."""
    dtype = np.int16 if max(active.shape) <= np.iinfo(np.int16).max else np.int32
    # A plane at a time: eight bytes an index would be four times the volume.
    planes = [np.argwhere(plane).astype(dtype) for plane in active[box.slices]]
    rows = np.repeat(np.arange(len(planes), dtype=dtype), [len(p) for p in planes])
    index = np.column_stack([rows, np.concatenate(planes)]) + np.array(box.low, dtype=dtype)
    if not len(index):
        return None
    first, last = index.min(0).astype(np.int64), index.max(0).astype(np.int64)
    sides = last - first + 1
    return Tile(index, first + last, np.minimum(sides.max(), THINNEST * sides))


def _length(sides: tuple[int, ...], parts: Shape) -> float:
    """How much longer than wide a box is, as a logarithm."""
    edges = [side / part for side, part in zip(sides, parts, strict=True)]
    return log(max(edges) / min(edges))


def _sides(active: Bool) -> tuple[int, ...]:
    """Edges of the bounding box of what is active; zeros where nothing is."""
    spans = [np.flatnonzero(active.any(axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    return tuple(int(s[-1] - s[0]) + 1 if len(s) else 0 for s in spans)


def _equal_cuts(active: Bool, axis: int, parts: int, offset: int) -> list[int]:
    others = tuple(a for a in range(3) if a != axis)
    counted = active.sum(others).cumsum()
    n = len(counted)
    cuts: list[int] = []
    for k in range(1, parts):
        nearest = int(np.abs(counted - counted[-1] * k / parts).argmin()) + 1
        # Strictly increasing, and planes left for the parts that follow.
        low = cuts[-1] + 1 if cuts else 1
        cuts.append(min(max(nearest, low), n - (parts - k)))
    return [c + offset for c in cuts]


def _split(box: Box, axis: int, cuts: list[int]) -> list[Box]:
    edges = [box.low[axis], *cuts, box.high[axis]]
    return [Box(_with(box.low, axis, a), _with(box.high, axis, b)) for a, b in pairwise(edges)]


def _with(point: Shape, axis: int, value: int) -> Shape:
    z, y, x = (value if a == axis else p for a, p in enumerate(point))
    return z, y, x


def _shape(array: Bool) -> Shape:
    z, y, x = array.shape
    return z, y, x
