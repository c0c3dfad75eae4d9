"""The first look at the values of a volume that is not in memory: part by part, by whoever computes parts.

In: a volume.  Out: the range of its values, which the volume then keeps.
Invariant: neither the parts nor their order change it; values that no file can hold are refused.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import repeat
from math import prod

from inrcodec.encoder.tasks import HERE, Tasks
from inrcodec.progress import Report
from inrcodec.volume.arrays import Array
from inrcodec.volume.box import Box
from inrcodec.volume.checks import ValueCheck, value_check
from inrcodec.volume.lazy import LazyArray
from inrcodec.volume.value_range import Ends, Range, ends_of
from inrcodec.volume.volume import Volume

PART = 1 << 24  # voxels that are looked at in one go


def value_range(volume: Volume, tasks: Tasks | None = None) -> Range:
    """The smallest and largest stored value that is not padding; errors are those of `Range.of`."""
    array = volume.array
    if isinstance(array, LazyArray) and "value_range" not in vars(volume):
        depth, height, width = volume.shape
        # Slices that are stored together are read together.
        count = max(PART // (prod(volume.shape[1:]) * array.thickness), 1) * array.thickness
        boxes = [Box((z, 0, 0), (min(z + count, depth), height, width)) for z in range(0, depth, count)]
        given = repeat((volume.padding, value_check(array)))
        parts = (tasks or HERE).map(_ends, array, boxes, given)
        vars(volume)["value_range"] = Range.of_parts(parts, volume.padding)
    return volume.value_range


def _ends(
    values: Array, given: tuple[float | None, ValueCheck | None], _threads: int, _report: Report | None
) -> Ends:
    padding, check = given
    return ends_of(values, padding, None if check is None else replace(check, special=0, ends=[]))
