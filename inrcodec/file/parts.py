"""A part of a volume as a volume of its own: where it lies, and what is still true of it.

In: a header, stored values, and the voxels of a level that they are.  Out: a `Volume`.
Invariant: every voxel keeps its place in the patient, its unit and its meaning.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from inrcodec.errors import UsageError
from inrcodec.file.levels import Level
from inrcodec.format.header import Header
from inrcodec.volume.affine import Affine, Grid, box_around, spread
from inrcodec.volume.arrays import Array
from inrcodec.volume.box import Box, BoxLike, Ranges, ranges_of
from inrcodec.volume.description import facts_from, facts_of_any_grid
from inrcodec.volume.volume import Volume


def voxels_of(box: BoxLike, level: Level) -> Ranges:
    """The voxels of a level that a box names; raises `UsageError` where it names none."""
    ranges = ranges_of(box, level.shape)
    if not all(ranges):
        raise UsageError(f"{box!r} holds no voxel of {level.shape}", value=box, option="box")
    return ranges


def box_mm(level: Level, low: ArrayLike, high: ArrayLike) -> Box:
    """The smallest box of a level around a cuboid in LPS mm; raises `UsageError` where it lies outside."""
    return box_around(level.affine, level.shape, low, high)


def grid_of(level: Level, ranges: Ranges) -> Grid:
    """Where some voxels of a level lie."""
    z, y, x = map(len, ranges)
    return Grid(_affine_of(level.affine, ranges), (z, y, x))


def volume_of(header: Header, array: Array, level: Level, ranges: Ranges) -> Volume:
    """Stored values, (z, y, x), of some voxels of a level, with their geometry and units."""
    volume = Volume(
        array,
        _affine_of(level.affine, ranges),
        rescale=header.rescale,
        slice_rescale=_scales_of(header, level, ranges[0]),
        modality=header.modality,
        padding=header.padding,
        ndim=header.ndim,
        unit=header.unit,
        description=header.description,
    )
    if level.kind == "lowres":
        return volume.of_any_grid()
    if level.kind == "lattice" or ranges[0].step != 1:
        return replace(volume, description=facts_of_any_grid(header.description))
    return replace(volume, description=facts_from(header.description, ranges[0].start, ranges[0].stop))


def _affine_of(affine: Affine, ranges: Ranges) -> Affine:
    """The affine of every so many voxels from the first of each range on."""
    z, y, x = ranges
    moved = spread(affine, (z.step, y.step, x.step))
    moved[:3, 3] += affine[:3, :3] @ (x.start, y.start, z.start)
    return moved


def _scales_of(header: Header, level: Level, slices: range) -> Array | None:
    """Slope and intercept of each slice, where they have their own."""
    if not header.slice_rescale:
        return None
    scales: Array = np.array(header.slice_rescale)[np.asarray(slices) * level.factor[0]]
    return scales
