"""The weights of the filter (`layers.wiener`) that is best for a volume, by least squares.

In: a source, the low-res volume that its file decodes to, and its up-sampling.  Out: weights, or none.
Invariant: deterministic whatever the threads, and a few blocks serve however large the volume is.

The error of each voxel of some blocks of the volume is to be explained by the differences to its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import numpy as np

from inrcodec.encoder.normal_equations import Equations, Halves
from inrcodec.format.header import Header
from inrcodec.format.header_checks import WIENER
from inrcodec.layers import wiener
from inrcodec.layers.superres.blocks import BLOCK, Place, places_of, spans_of
from inrcodec.layers.upsample import Upsampling, span_of
from inrcodec.volume.arrays import Array, Bool, Float
from inrcodec.volume.box import Box
from inrcodec.volume.volume import Volume

VOXELS = 1 << 22  # full-res voxels that weights are fitted to, about
FEWEST = 16  # blocks, where there are so many
MOST = 48
RUN = 4  # slices of a block that are looked at one after the other
REACH = wiener.REACH[0]


def weights(
    volume: Volume, upsampling: Upsampling, lowres: Float, predicted: float, threads: int | None = None
) -> tuple[int, ...]:
    """The weights; none where they would not be worth their bytes.

    Parameters
    ----------
    volume : the source.
    upsampling : of the file, without a filter.
    lowres : (z, y, x), in [-1, 1], of the whole grid.
    predicted : bytes of the file, about.
    """
    header, active = upsampling.header, np.asarray(upsampling.active[:])
    boxes = blocks(header, active)
    step = max(1, round(sum(prod(box.shape) for box in boxes) / VOXELS))
    halves = [Equations.nothing(WIENER), Equations.nothing(WIENER)]
    for number, box in enumerate(boxes):
        chosen, last = _slices(box, step), header.shape[0] - 1
        needed = {z: [min(max(z + k, 0), last) for k in range(-REACH, REACH + 1)] for z in chosen}
        planes = dict(upsampling.unit(lowres, box, {k for near in needed.values() for k in near}, threads))
        windows = ((z, [planes[k] for k in near]) for z, near in needed.items())
        halves[number % 2] += _of_slices(volume, header, box, windows)
    return Halves(*halves).weights(predicted)


def _slices(box: Box, step: int) -> list[int]:
    """One of every ``step`` slices of a box: in runs, which have most of what is around them in common."""
    first, depth = box.low[0], box.shape[0]
    wanted = max(1, round(depth / step))
    runs = -(-wanted // RUN)
    length = min(-(-wanted // runs), depth)
    starts = [first + (2 * k + 1) * depth // (2 * runs) - length // 2 for k in range(runs)]
    return sorted({z for start in starts for z in range(start, start + length) if first <= z < box.high[0]})


def blocks(header: Header, active: Bool) -> list[Box]:
    """Full-res boxes within blocks of super-resolution that have active voxels, spread over the volume.

    What a filter reads around each lies within the same block, so that a model computes no other.
    """
    places = [place for z in spans_of(len(active)) for place in places_of(active, z) if active[place].any()]
    boxes = [box for place in places if prod((box := _within(place, header)).shape) > 0]
    most = min(max(VOXELS // (prod(BLOCK) * prod(header.factor)), FEWEST), MOST, len(boxes))
    return [boxes[(2 * k + 1) * len(boxes) // (2 * most)] for k in range(most)]


def _within(place: Place, header: Header) -> Box:
    """The voxels of a block whose neighbours are in it or beyond the volume."""
    low, high = [], []
    for part, f, n, reach in zip(place, header.factor, header.shape, wiener.REACH, strict=True):
        first, last = part.start * f, part.stop * f
        low.append(first + reach if first > 0 else 0)
        high.append(max(last - reach if last < n else n, low[-1]))
    return Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))


def _of_slices(
    volume: Volume, header: Header, box: Box, windows: Iterable[tuple[int, list[Float]]]
) -> Equations:
    """Of some slices of a box, each with those around it, bordered."""
    depth, rows, columns = wiener.REACH
    found = Equations.nothing(WIENER)
    for z, window in windows:
        middle = window[depth][rows:-rows, columns:-columns]
        error, counts = _error(volume, header, box.run(z, z + 1), middle)
        differences = wiener.differences(window, slice(0, len(middle)))
        found += Equations.of([difference[counts] for difference in differences], error[counts])
    return found


def _error(volume: Volume, header: Header, box: Box, decoded: Float) -> tuple[Float, Bool]:
    """Of one slice, in unit values, and which voxels count."""
    stored: Array = np.asarray(volume.array[box.slices])[0]
    counts = np.ones(stored.shape, np.bool_) if volume.padding is None else stored != volume.padding
    return span_of(header).to_unit(stored) - decoded.clip(-1, 1), np.asarray(counts)
