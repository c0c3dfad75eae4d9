"""The filter of a refinement: it takes back some of what coarse steps did to this volume.

In: integers of a brick, as its streams give them.  Out: filtered ones.
Invariant: whole numbers alone, and no other brick takes part.

Each weight belongs to two neighbours that lie opposite each other, and to a limit that the differences to
them are clipped to: a small one is an error of quantisation, a large one may be an edge (adaptive loop filter
of VVC: Karczewicz et al., IEEE Trans. Circuits Syst. Video Technol. 31(10), 2021).  The encoder fits the
weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np

from inrcodec.layers.wiener import OFFSETS, REACH
from inrcodec.native.library import kernels
from inrcodec.volume.arrays import Array

Part: TypeAlias = tuple[slice, slice, slice]  # of a brick, (z, y, x)

SHIFT = 8  # binary digits of a weight that are behind the point


def limits_of(step: int, most: int) -> tuple[int, int]:
    """What differences are clipped to, by the step of the last stage; there are weights of no limit too."""
    return min(step // 4, most), min(3 * step // 4, most)


def filtered(integers: Array, planes: slice, weights: Sequence[int], step: int, most: int) -> Array:
    """Some slices of a brick, (z, y, x), filtered.

    Parameters
    ----------
    integers : (z, y, x), int32 or int64, 0 to ``most``, of the whole brick.
    weights : of `wiener.OFFSETS` for the first limit, then for each other, in units of 2^-8.
    step : of the last stage.
    """
    _, height, width = integers.shape
    near = bordered(integers, (planes, slice(0, height), slice(0, width)))
    narrow = 2 * most * sum(map(abs, weights)) + (1 << SHIFT) < 1 << 31
    compiled = kernels()
    if narrow and compiled is not None:
        return compiled.filter(near.astype(np.int32, copy=False), weights, limits_of(step, most), most)
    wide = near.astype(np.int32 if narrow else np.int64, copy=False)
    middle = _moved(wide)
    sums = np.full_like(middle, 1 << SHIFT - 1)
    for weight, difference in zip(weights, differences(wide, limits_of(step, most)), strict=True):
        if weight:
            sums += weight * difference
    sums >>= SHIFT
    sums += middle
    return np.clip(sums, 0, most, out=sums)


def differences(near: Array, limits: tuple[int, int]) -> Iterator[Array]:
    """For each weight, the differences of a bordered part to two neighbours, clipped and added, (z, y, x)."""
    middle = _moved(near)
    pairs = [(_moved(near, z, y, x) - middle, _moved(near, -z, -y, -x) - middle) for z, y, x in OFFSETS]
    for limit in limits:
        for one, other in pairs:
            yield _clipped(one, limit) + _clipped(other, limit)
    for one, other in pairs:
        yield one + other


def _clipped(difference: Array, limit: int) -> Array:
    clipped: Array = np.minimum(np.maximum(difference, -limit), limit)  # faster than np.clip
    return clipped


def bordered(integers: Array, part: Part) -> Array:
    """A part of a brick with what is around it; beyond the brick its outermost voxels repeat."""
    spans, missing = [], []
    for span, reach, n in zip(part, REACH, integers.shape, strict=True):
        low, high = max(span.start - reach, 0), min(span.stop + reach, n)
        spans.append(slice(low, high))
        missing.append((reach - (span.start - low), reach - (high - span.stop)))
    return np.pad(integers[tuple(spans)], missing, "edge")


def _moved(near: Array, z: int = 0, y: int = 0, x: int = 0) -> Array:
    """A bordered part without its border, moved by so many voxels."""
    moves = zip((z, y, x), REACH, near.shape, strict=True)
    return near[tuple(slice(reach + move, n - reach + move) for move, reach, n in moves)]
