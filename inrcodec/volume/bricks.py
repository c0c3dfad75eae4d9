"""Bricks: boxes of one shape that fill a grid from its first voxel; the last along an axis may be smaller.

In: a shape and the bricks' edges.  Out: their boxes, in raster order.  Invariant: every voxel is in one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod

from inrcodec.volume.box import Box, Shape

USUAL = (64, 256, 256)
"""Edges of a brick, in voxels: decoded in a second, and a lossless head is 0.3 % larger than as one."""


@dataclass(frozen=True)
class Bricks:
    """The bricks of a grid.

    Attributes
    ----------
    shape : voxels of the grid along (z, y, x).
    edges : voxels of a brick along (z, y, x), none longer than the grid.
    """

    shape: Shape
    edges: Shape

    @classmethod
    def of(cls, shape: Shape, edges: Shape | None = None) -> Bricks:
        """The bricks of a volume, with edges cut to its own; without any, of about `USUAL`."""
        z, y, x = map(min, usual_edges(shape) if edges is None else edges, shape)
        return cls(shape, (z, y, x))

    @property
    def counts(self) -> Shape:
        """Bricks along each axis."""
        z, y, x = (-(-n // edge) for n, edge in zip(self.shape, self.edges, strict=True))
        return z, y, x

    def __len__(self) -> int:
        return prod(self.counts)

    def __getitem__(self, index: int) -> Box:
        """The voxels of a brick."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        _, rows, columns = self.counts
        place = index // (rows * columns), index // columns % rows, index % columns
        z, y, x = (k * edge for k, edge in zip(place, self.edges, strict=True))
        zz, yy, xx = (min(a + e, n) for a, e, n in zip((z, y, x), self.edges, self.shape, strict=True))
        return Box((z, y, x), (zz, yy, xx))

    def __iter__(self) -> Iterator[Box]:
        return map(self.__getitem__, range(len(self)))

    def meeting(self, box: Box) -> list[int]:
        """The bricks that hold some of a box's voxels."""
        _, rows, columns = self.counts
        spans = [range(a // e, -(-b // e)) for a, b, e in zip(box.low, box.high, self.edges, strict=True)]
        return [(z * rows + y) * columns + x for z, y, x in product(*spans)]

    def parts(self, most: int) -> Iterator[Box]:
        """Boxes of whole bricks, in the order of these: all of them, or where a layer has more than so many
        bricks, some of its rows at a time."""
        depth, height, width = self.shape
        _, rows, columns = self.counts
        if rows * columns <= most:
            yield Box((0, 0, 0), self.shape)
            return
        high = self.edges[1] * max(1, most // columns)
        for z, y in product(range(0, depth, self.edges[0]), range(0, height, high)):
            yield Box((z, y, 0), (min(z + self.edges[0], depth), min(y + high, height), width))

    def rows(self, box: Box, least: int = 1) -> Iterator[Box]:
        """A box in parts along z: rows of bricks, as many together as hold ``least`` bricks."""
        (z, *low), (stop, *high) = box.low, box.high
        across = (-(-b // e) - a // e for a, b, e in zip(low, high, self.edges[1:], strict=True))
        depth = self.edges[0] * -(-least // max(1, prod(across)))
        while z < stop:
            end = min((z // depth + 1) * depth, stop)
            yield Box((z, low[0], low[1]), (end, high[0], high[1]))
            z = end


def usual_edges(shape: Shape) -> Shape:
    """Edges for a volume: about `USUAL`, longer where an axis would end in a sliver or the volume is thin."""
    edges = [n if 2 * n <= 3 * usual else usual for n, usual in zip(shape, USUAL, strict=True)]
    for axis in (2, 1, 0) * 16:
        if edges[axis] < shape[axis] and 2 * prod(edges) <= prod(USUAL):
            edges[axis] = min(2 * edges[axis], shape[axis])
    z, y, x = edges
    return z, y, x
