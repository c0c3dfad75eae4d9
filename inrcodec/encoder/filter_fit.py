"""What the filter of a refinement (`layers.lattice.filter`) can do for a brick, by some of its voxels.

In: the integers of a brick, and what its streams decode to.  Out: the equations that weights solve.
Invariant: blocks all over the volume, as many voxels however large it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from itertools import product
from operator import add

import numpy as np

from inrcodec.encoder.normal_equations import Equations, Halves
from inrcodec.format.header_checks import REFINE_FILTER
from inrcodec.layers.lattice import filter as filters
from inrcodec.layers.lattice.bricks import Coding
from inrcodec.layers.lattice.filter import Part
from inrcodec.volume.arrays import Array
from inrcodec.volume.box import Shape

VOXELS = 1 << 20  # of a volume that weights are fitted to, about
BLOCK = (4, 32, 32)  # voxels that are looked at together


def halves(coding: Coding, values: Array, decoded: Array, share: float) -> Halves:
    """Equations of some blocks of a brick.

    Parameters
    ----------
    values : (z, y, x), stored ones of the source.
    decoded : (z, y, x), integers before the filter.
    share : of the voxels that are looked at.
    """
    parts: list[list[Equations]] = [[], []]
    for number, block in enumerate(blocks(decoded.shape, share)):
        parts[number % 2].append(_equations(coding, values, decoded, block))
    nothing = Equations.nothing(REFINE_FILTER)
    return Halves(*(reduce(add, half, nothing) for half in parts))


def blocks(shape: Shape, share: float) -> Iterator[Part]:
    """Blocks of a brick, every so many along each axis."""
    every = max(1, round(1 / share))
    counts = [-(-n // edge) for n, edge in zip(shape, BLOCK, strict=True)]
    for z, y, x in product(*map(range, counts)):
        if (x + 3 * y + 7 * z) % every == every // 2:
            low = [k * edge for k, edge in zip((z, y, x), BLOCK, strict=True)]
            spans = [slice(a, min(a + edge, n)) for a, edge, n in zip(low, BLOCK, shape, strict=True)]
            yield spans[0], spans[1], spans[2]


def _equations(coding: Coding, values: Array, decoded: Array, block: Part) -> Equations:
    """Of a block, but for voxels that are stored apart."""
    stored = values[block]
    counts = np.isfinite(stored) if stored.dtype.kind == "f" else np.ones(stored.shape, np.bool_)
    if coding.padding is not None:
        counts &= stored != coding.padding
    sought = coding.scale.of(np.where(counts, stored, stored.dtype.type(coding.scale.low))) - decoded[block]
    limits = filters.limits_of(coding.lattice.steps[-1], coding.lattice.most)
    differences = filters.differences(filters.bordered(decoded, block), limits)
    return Equations.of([difference[counts] for difference in differences], sought[counts])
