"""The Wiener filter of a file: it takes back some of what coding and up-sampling did to this volume.

In: full-res values in unit range, before they are rounded.  Out: filtered ones.
Invariant: a voxel is a sum over its neighbours in a fixed order, so it depends on neither box nor thread.

Each weight belongs to two neighbours that lie opposite each other, and counts the differences to them, so
that a flat region stays as it is (adaptive loop filter of video codecs: Tsai et al., IEEE J. Sel. Topics
Signal Process. 7(6), 2013).  The encoder fits the weights to the source.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from inrcodec.layers import resample
from inrcodec.volume.arrays import Float
from inrcodec.volume.box import Box, Shape

# (z, y, x) from a voxel to one of the two neighbours of each weight.
OFFSETS: tuple[Shape, ...] = (
    *((1, 0, 0), (2, 0, 0)),
    *((0, 1, 0), (0, 2, 0), (0, 3, 0)),
    *((0, 0, 1), (0, 0, 2), (0, 0, 3)),
    *((0, 1, 1), (0, 1, -1), (1, 0, 1), (1, 0, -1), (1, 1, 0), (1, -1, 0)),
)
REACH: Shape = (2, 3, 3)
SCALE = 256  # integer of the weight 1


def around(box: Box, shape: Shape) -> Box:
    """A full-res box with the neighbours of its voxels that the volume has."""
    axes = list(zip(box.low, box.high, REACH, shape, strict=True))
    z, y, x = (max(low - reach, 0) for low, _, reach, _ in axes)
    ends = (min(high + reach, n) for _, high, reach, n in axes)
    bottom, right, far = ends
    return Box((z, y, x), (bottom, right, far))


def bordered(plane: Float, box: Box, shape: Shape) -> Float:
    """Rows and columns of ``around(box, shape)``, and those beyond the volume, which repeat its last ones."""
    seen = around(box, shape)
    missing = [
        (reach - (low - first), reach - (last - high))
        for reach, low, high, first, last in zip(REACH, box.low, box.high, seen.low, seen.high, strict=True)
    ]
    return np.pad(plane, missing[1:], "edge") if any(map(any, missing[1:])) else plane


def differences(planes: Sequence[Float], rows: slice) -> Iterator[Float]:
    """For each weight, the sum of its two neighbours less twice the voxel, (y, x).

    Parameters
    ----------
    planes : bordered slices, from ``REACH`` in front of the one that is filtered to as many behind it.
    rows : of that slice, without its border.
    """
    depth, up, left = REACH
    width = planes[depth].shape[1] - 2 * left

    def at(z: int, y: int, x: int) -> Float:
        return planes[depth + z][rows.start + up + y : rows.stop + up + y, left + x : left + x + width]

    twice = 2 * at(0, 0, 0)
    for z, y, x in OFFSETS:
        yield at(z, y, x) + at(-z, -y, -x) - twice


def filtered(planes: Sequence[Float], weights: Sequence[int]) -> Iterator[tuple[slice, Float]]:
    """The middle one of some bordered slices, filtered, a band of rows (y, x) after the other."""
    depth, up, left = REACH
    height, width = planes[depth].shape[0] - 2 * up, planes[depth].shape[1] - 2 * left
    for rows in resample.bands(0, height, width):
        change = np.zeros((rows.stop - rows.start, width))
        for weight, difference in zip(weights, differences(planes, rows), strict=True):
            if weight:
                difference *= weight / SCALE
                change += difference
        change += planes[depth][rows.start + up : rows.stop + up, left : left + width]
        yield rows, change
