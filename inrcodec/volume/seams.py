"""Seam energy: whether the error jumps where neighbouring voxels were coded apart.

In: errors of the boxes of flat tissue, and the tiles that a volume was coded in.  Out: one number.
Invariant: 1 where tile faces are like any other place; no knowledge of what the tiles are.

The error is averaged along the face by a Gaussian, which takes noise out of it and leaves what a reader sees
as a line, and over one low-res voxel across it, as up-sampling blurs an edge over that much.  A jump at a
face is held against the jumps one low-res voxel beside it on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from inrcodec.volume.arrays import Bool, Float32
from inrcodec.volume.box import Box, Shape
from inrcodec.volume.flat_tissue import SIGMA, FlatTissue, Region, smoothed
from inrcodec.volume.low_pass import BoxErrors

LEAST = 256  # voxels of faces: fewer say nothing


def seam_energy(errors: BoxErrors, tissue: FlatTissue, tiles: Sequence[Box], step: Shape) -> float | None:
    """Mean absolute jump of the error across tile faces, over that beside them.

    Parameters
    ----------
    tiles : boxes of the volume, full-res, that were coded apart.
    step : full-res voxels of a low-res one along (z, y, x).

    Returns
    -------
    float or None
        None where no face crosses flat tissue, or nothing is off there.
    """
    at, beside, count = 0.0, 0.0, 0
    for region, values in zip(tissue.regions, errors.whole(), strict=True):
        for axis in range(3):
            faces = list(_faces(region, tiles, axis, step[axis]))
            if not faces:
                continue
            sigmas = [0.0 if a == axis else SIGMA for a in range(3)]
            along = np.moveaxis(smoothed(values, sigmas), axis, 0)
            for place, window, flat in faces:
                jumps = _jumps(along, place, step[axis], window)
                at += float(jumps[1][flat].sum())
                beside += float((jumps[0] + jumps[2])[flat].sum()) / 2
                count += int(flat.sum())
    return at / beside if count >= LEAST and beside > 0 else None


def _faces(
    region: Region, tiles: Sequence[Box], axis: int, step: int
) -> Iterator[tuple[int, tuple[slice, ...], Bool]]:
    """The lower faces of tiles in a region: place along the axis, place along the others, and flat voxels."""
    box, core = region.box, region.core
    for tile in tiles:
        place = tile.low[axis]
        inside = place - 2 * step >= box.low[axis] and place + 2 * step <= box.high[axis]
        if not inside or not core.low[axis] < place < core.high[axis]:
            continue
        if not tile.meets(core):
            continue
        both = tile & core
        flat = np.take(region.flat, place - core.low[axis], axis)
        others = [a for a in range(3) if a != axis]
        part = tuple(both.slices_in(core)[a] for a in others)
        yield place - box.low[axis], tuple(both.slices_in(box)[a] for a in others), flat[part]


def _jumps(along: Float32, place: int, step: int, window: tuple[slice, ...]) -> list[Float32]:
    """Differences of neighbouring low-res voxels, the axis first: before a place, at it, and after it."""
    first = place - 2 * step
    cells = [along[first + k * step : first + (k + 1) * step][:, *window].mean(0) for k in range(4)]
    return [np.abs(b - a) for a, b in pairwise(cells)]
