"""Values of a file at any position in the patient.

In: a decoder, and positions in millimetres.  Out: physical values, and their gradients.
Invariant: at the centre of a voxel it is the voxel's value: of the low-res volume for the networks, of the
decoded volume for its interpolation.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from inrcodec.errors import UsageError
from inrcodec.file.decoder import Decoder
from inrcodec.format.header import Header
from inrcodec.layers.base.coders import Frame, is_field
from inrcodec.layers.decode_options import DecodeOptions
from inrcodec.layers.interpolate import REACH, below, interpolate
from inrcodec.layers.upsample import span_of
from inrcodec.volume.affine import coarser, moved
from inrcodec.volume.arrays import Array, Bool, Float, Ints
from inrcodec.volume.box import Box, Shape
from inrcodec.volume.bricks import USUAL, Bricks
from inrcodec.volume.description import LABELS

EDGE = 0.5 + 1e-6  # voxels from the centre of the outermost to the edge of the volume, and some rounding


class Samples:
    """Values between the voxels of one file.

    Parameters
    ----------
    order : of the interpolation of decoded voxels, 0, 1 or 3; ``None`` for the networks.
    options : how voxels are decoded; how many threads.
    """

    def __init__(self, decoder: Decoder, order: int | None, options: DecodeOptions) -> None:
        self.decoder, self.header, self.options = decoder, decoder.header, options
        self.order = checked_order(decoder, order)

    def at_points(self, points: ArrayLike, *, gradient: bool) -> Float | tuple[Float, Float]:
        """Physical values at points (..., 3) in LPS mm, (...), and their gradients per mm, (..., 3)."""
        found, affine = positions(points), self.header.affine
        values, slopes = self.at(voxels_of(found.reshape(-1, 3), affine), slopes=gradient)
        shaped = values.reshape(found.shape[:-1])
        return (shaped, per_mm(slopes, affine).reshape(found.shape)) if gradient else shaped

    def at(self, index: Float, *, slopes: bool = False) -> tuple[Float, Float]:
        """Physical values at positions, (n,), and their derivatives per voxel, (n, 3) or (n, 0).

        Parameters
        ----------
        index : ndarray, (n, 3), (z, y, x) in full-res voxels; beyond the volume values are NaN.
        """
        if slopes and self.order == 0:
            raise UsageError("the nearest voxel has no gradient: use order 1 or 3", value=0, option="order")
        self.decoder.sections.check_open()
        values, grown = np.full(len(index), np.nan), np.full((len(index), 3 if slopes else 0), np.nan)
        rows = np.flatnonzero(self.inside(index))
        if len(rows):
            parts = self._of_networks(index[rows], slopes) if self.order is None else None
            values[rows], grown[rows] = parts or self._interpolated(index[rows], self.order or 0, slopes)
        return values, grown

    def inside(self, index: Float) -> Bool:
        """Which positions lie in the volume, up to the outer faces of its voxels."""
        top = np.array(self.header.shape) - 1 + EDGE
        return np.asarray(((index >= -EDGE) & (index <= top)).all(1))

    def cells(self, index: Float, order: int) -> Ints:
        """The voxel that the neighbours of each position are counted from."""
        cells: Ints = below(index, order).clip(0, np.array(self.header.shape) - 1)
        return cells

    def stored(self, box: Box) -> Array:
        """Decoded voxels."""
        return self.decoder.read(box, self.decoder.level(0, self.options), self.options)

    def _of_networks(self, index: Float, slopes: bool) -> tuple[Float, Float]:
        factor = np.array(self.header.factor)
        field, lowres = self.decoder.field, (index + 0.5) / factor - 0.5
        grown = np.empty((len(index), 0))
        if slopes:
            unit, grown = field.values_and_slopes(lowres, self.options.threads)
        else:
            unit = field.values(lowres, self.options.threads)
        scale, offset = physical_of_unit(self.header)
        return unit * scale + offset, grown * scale / factor if slopes else grown

    def _interpolated(self, index: Float, order: int, slopes: bool) -> tuple[Float, Float]:
        """By bricks, so that memory is that of one, and each is decoded once."""
        shape = self.header.shape
        edges = np.minimum(self.header.bricks.edges, USUAL)
        cells = self.cells(index, order)
        values, grown = np.empty(len(index)), np.empty((len(index), 3 if slopes else 0))
        for rows in _groups(cells // edges, shape, edges):
            box = self.around(cells[rows], order)
            values[rows], grown[rows] = self.between(self.stored(box), box, index[rows], order, slopes=slopes)
        return values, grown

    def around(self, cells: Ints, order: int) -> Box:
        """The voxels that positions between these and the next ones are interpolated from."""
        first, stop = REACH[order]
        z, y, x = np.maximum(cells.min(0) + first, 0).tolist()
        zz, yy, xx = np.minimum(cells.max(0) + stop, self.header.shape).tolist()
        return Box((z, y, x), (zz, yy, xx))

    def between(
        self, stored: Array, box: Box, index: Float, order: int, *, slopes: bool = False
    ) -> tuple[Float, Float]:
        """Physical values at positions between the stored values of a box."""
        near, padding = self.around(self.cells(index, order), order), self.header.padding
        stored = stored[near.slices_in(box)]
        ignored = None if padding is None else stored == padding
        values = stored.astype(np.float64)
        for plane, (slope, intercept) in zip(values, self._scales(near), strict=True):
            plane *= slope
            plane += intercept
        return interpolate(values, ignored, index - np.array(near.low), order, slopes=slopes)

    def _scales(self, box: Box) -> list[tuple[float, float]]:
        header = self.header
        return list(header.slice_rescale[box.slices[0]]) or [header.rescale] * box.shape[0]


def checked_order(decoder: Decoder, order: int | None) -> int | None:
    """The order of an interpolation, by default ``None`` for a file with networks, 1 for others, 0 of labels.

    Raises
    ------
    UsageError
        Another order, or values of labels that would be mixed.
    """
    labels = bool(decoder.header.description.get(LABELS))
    if order is None:
        return None if is_field(decoder.base) and not labels else int(not labels)
    if isinstance(order, bool) or order not in REACH:
        cause = f"{order!r} is not possible, allowed: 0 (nearest), 1 (linear), 3 (cubic)"
        raise UsageError(cause, value=order, option="order")
    if labels and order:
        cause = f"{order} would mix numbers of segments, between which nothing lies: use 0"
        raise UsageError(cause, value=order, option="order")
    return int(order)


def physical_of_unit(header: Header) -> tuple[float, float]:
    """What makes physical values of unit ones: a factor, and what is added."""
    span, (slope, intercept) = span_of(header), header.rescale
    half = (span.high - span.low) / 2
    return half * slope, (span.low + half) * slope + intercept


def frame_of(header: Header) -> Frame:
    """Where the networks of a file lie, and what their values mean."""
    factor, (scale, offset) = np.array(header.factor), physical_of_unit(header)
    grid = np.linalg.inv(coarser(header.affine, header.factor))
    flipped = np.eye(4)[[2, 1, 0, 3]]  # (x, y, z) to (z, y, x)
    ends = np.array([np.full(3, -EDGE), np.array(header.shape) - 1 + EDGE])
    low, high = (ends + 0.5) / factor - 0.5
    return Frame(to_index=flipped @ grid, low=low, high=high, scale=scale, offset=offset)


def positions(points: ArrayLike) -> Float:
    """Points (..., 3) as float64; raises `UsageError`."""
    try:
        found = np.asarray(points, np.float64)
    except (TypeError, ValueError):
        found = np.empty(0)
    if found.ndim == 0 or found.shape[-1] != 3:
        cause = f"points of shape {np.shape(points)}: pass (n, 3), LPS mm"
        raise UsageError(cause, value=points, option="points")
    return found


def voxels_of(points: Float, affine: Float) -> Float:
    """LPS mm, (n, 3), to voxels (z, y, x)."""
    return moved(points, np.linalg.inv(affine))[:, ::-1]


def per_mm(slopes: Float, affine: Float) -> Float:
    """Derivatives along (z, y, x) per voxel, (n, 3), to gradients along (L, P, S) per mm."""
    return np.asarray(slopes[:, ::-1] @ np.linalg.inv(affine)[:3, :3])


def _groups(places: Ints, shape: Shape, edges: Ints) -> Iterator[Ints]:
    """Rows of positions that lie in one brick, brick by brick."""
    counts = Bricks(shape, (int(edges[0]), int(edges[1]), int(edges[2]))).counts
    numbers = np.ravel_multi_index(tuple(places.T), counts)
    order = np.argsort(numbers, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)
