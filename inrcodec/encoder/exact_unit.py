"""How floats are counted so that nothing is lost: as multiples of a unit where they are, else by their bits.

In: a volume and its range.  Out: stored units of an integer, 0 for the bits.
Invariant: a unit was tried on every voxel; all come back bit for bit, but for the sign of a zero.

Floats are often integers that a program converted: by their bits such a chest takes four times the bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from inrcodec.layers.lattice.integers import MOST, Scale
from inrcodec.volume.arrays import Array
from inrcodec.volume.value_range import Range
from inrcodec.volume.volume import Volume

SAMPLED = 1 << 16  # voxels whose differences suggest a unit
FEWEST = 4  # voxels for each integer of the range, or no unit saves anything
SLAB = 1 << 22  # voxels that are tried at a time


def exact_unit(volume: Volume, span: Range) -> float:
    """The unit, 0 for bits."""
    dtype = volume.array.dtype
    for unit in _candidates(volume, span):
        if _serves(volume, Scale(dtype, span.low, span.high, unit)):
            return unit
    return 0.0


def _candidates(volume: Volume, span: Range) -> Iterator[float]:
    """1, and the smallest difference of some values."""
    extent = span.high - span.low
    if extent <= MOST and extent * FEWEST < max(volume.array.size, SAMPLED):
        yield 1.0
    middle = volume.array[len(volume.array) // 2].reshape(-1)
    part = middle[:: middle.size // SAMPLED + 1].astype(np.float64)
    differences = np.diff(np.unique(part[np.isfinite(part)]))
    if len(differences):
        count = round(extent / float(differences.min()))
        if 0 < count <= MOST and count * FEWEST < max(volume.array.size, SAMPLED) and count != extent:
            yield extent / count


def _serves(volume: Volume, scale: Scale) -> bool:
    """Whether all values that are finite come back, but for the sign of a zero."""
    if not scale.most <= MOST:
        return False
    depth = max(1, SLAB // volume.array[0].size)
    for z in range(0, len(volume.array), depth):
        values: Array = volume.array[z : z + depth]
        signal = np.isfinite(values)
        if volume.padding is not None:
            signal &= values != volume.padding
        found = values[signal]
        if not (scale.stored(scale.of(found)) == found).all():
            return False
    return True
