"""Whether a volume lies where a series of images does.

In: the planes of a series, and the grid of a volume.  Out: why the volume cannot be of that series, if so.
Invariant: a volume that was cut from the series along z, or has coarser voxels, is not told apart from it.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from inrcodec.io.dicom.frames import Frame
from inrcodec.volume.affine import Grid

Float = NDArray[np.float64]


def misfit(frames: list[Frame], grid: Grid) -> str:
    """Where the planes lie and where the volume, if that is not the same place; else "".

    In plane the two have the same ends, up to a voxel; along the normal one is within the other.
    """
    first = frames[0]
    rows = np.eye(3)[:2] if first.orientation is None else first.orientation
    directions = np.vstack([rows, np.cross(*rows)])  # along a row, along a column, across the planes
    places = np.stack([np.zeros(3) if f.position is None else f.position for f in frames]) @ directions.T
    edges = np.array([*(first.spacing or (1.0, 1.0))[::-1], first.thickness or 0.0])
    height, width = first.shape
    span = np.array([width - 1, height - 1, 0]) * edges
    low, high = places.min(axis=0), places.max(axis=0) + span
    corners = _corners(grid) @ directions.T
    least, most = corners.min(axis=0), corners.max(axis=0)
    voxel = np.abs(directions @ grid.affine[:3, :3]).sum(axis=1)
    # A tilted stack is shifted in plane from slice to slice, and a part of it less than the whole.
    allowed = np.maximum(voxel, edges) + np.append(np.ptp(places[:, :2], axis=0), 0.0)
    same = (abs(least - low) <= allowed) & (abs(most - high) <= allowed)
    within = (least >= low - allowed) & (most <= high + allowed)
    around = (least <= low + allowed) & (most >= high - allowed)
    if same[:2].all() and (within[2] or around[2]):
        return ""
    return f"the images from {_text(low @ directions, high @ directions)}, the volume from {_ends(grid)}"


def _corners(grid: Grid) -> Float:
    z, y, x = grid.shape
    ends = np.array([(*index, 1) for index in product((0, x - 1), (0, y - 1), (0, z - 1))], np.float64)
    corners: Float = (ends @ grid.affine.T)[:, :3]
    return corners


def _ends(grid: Grid) -> str:
    corners = _corners(grid)
    return _text(corners[0], corners[-1])


def _text(start: Float, end: Float) -> str:
    words = [f"({', '.join(f'{v:.0f}' for v in place)})" for place in (start, end)]
    return f"{words[0]} to {words[1]} mm"
