"""The blocks that a super-resolution model is computed in.

In: which low-res voxels are active, and a box.  Out: places of blocks.
Invariant: the blocks are a function of the active voxels alone, and so are the voxels that come of them.
Imports no torch.

The volume is divided into layers of slices of equal thickness, and the active part of a layer into blocks of
equal size.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from inrcodec.layers.cache import Cache as Cache
from inrcodec.volume.arrays import Active, Bool
from inrcodec.volume.box import Box, Shape

Place = tuple[slice, slice, slice]

# Low-res voxels at most: 26k with the halo, about 40 MB of activations a thread.
BLOCK = (16, 32, 32)
HALO = 2  # voxels: the rim of a patch that the training's loss leaves out
KEPT = 1 << 26  # bytes that are remembered of a volume: a layer of blocks of 512 x 512 voxels
MARGIN = 1  # voxels around active ones that have a residual too: edges ring


def spans_of(slices: int) -> list[slice]:
    """The layers of a low-res volume; the last may reach beyond its end."""
    return _parts(0, slices, BLOCK[0])


def places_of(active: Active, z: slice) -> list[Place]:
    """Blocks that cover a layer's active voxels and their margin; the last may reach beyond the volume."""
    inside: Bool = np.asarray(active[_grown(z)].any(0))
    extents = (_extent(np.asarray(inside.any(1 - k))) for k in (0, 1))
    rows, columns = (_parts(*extent, longest) for extent, longest in zip(extents, BLOCK[1:], strict=True))
    return [(z, y, x) for y, x in product(rows, columns) if inside[_grown(y), _grown(x)].any()]


def places_in(active: Active, z: slice, box: Box | None, factor: Shape) -> list[Place]:
    """The blocks of a layer that a full-res box needs; all without one."""
    places = places_of(active, z)
    if box is None:
        return places
    return [p for p in places if all(meet(p[k], factor[k], box, k) for k in range(3))]


def support(active: Active, box: Box, factor: Shape, taps: Box) -> Box:
    """The low-res voxels that a full-res box, which is not empty, depends on: ``taps``, blocks and halos."""
    low, high = list(taps.low), list(taps.high)
    for z in spans_of(len(active)):
        for place in places_in(active, z, box, factor) if meet(z, factor[0], box, 0) else ():
            low = [max(0, min(a, part.start - HALO)) for a, part in zip(low, place, strict=True)]
            ends = zip(high, place, active.shape, strict=True)
            high = [min(n, max(b, part.stop + HALO)) for b, part, n in ends]
    return Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))


def meet(part: slice, factor: int, box: Box, axis: int) -> bool:
    """Whether a low-res part and a full-res box share voxels along an axis."""
    return bool(part.start * factor < box.high[axis] and box.low[axis] < part.stop * factor)


def _parts(start: int, stop: int, longest: int) -> list[slice]:
    """Equal parts of a range, as few as their length allows; the last may reach beyond."""
    count = -(-(stop - start) // longest)
    length = -(-(stop - start) // max(count, 1))
    return [slice(start + k * length, start + (k + 1) * length) for k in range(count)]


def _grown(part: slice) -> slice:
    return slice(max(0, part.start - MARGIN), part.stop + MARGIN)


def _extent(active: Bool) -> tuple[int, int]:
    """From the first to behind the last index that is set, with a margin; empty where none is."""
    places = np.flatnonzero(active)
    if not len(places):
        return 0, 0
    return max(0, int(places[0]) - MARGIN), min(len(active), int(places[-1]) + 1 + MARGIN)
