"""omega_0, the frequency of the sine layers, from the content of the tiles.

In: low-res values and the tiles that they are cut into.  Out: omega_0.
Invariant: it follows from the voxels alone, and is a whole number that the header holds in a byte.

The values of a tile have a root-mean-square frequency, ``rms(gradient) / std``.  The best omega_0 is about
twice it, in radians a unit of the tile's coordinates: 15 for a head (7.0), 18 for an abdomen (9.2), 25 for a
head without the air around it (11.8), at 1 500 and 6 000 steps.  SIREN's 30 costs 1 dB on the first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from inrcodec.layers.base.siren.tiles import Tile
from inrcodec.volume.arrays import Float

RATIO = 2.1  # of omega to the frequency
LEAST, MOST = 6.0, 40.0
SAMPLED = 1 << 16  # voxels of a tile that are looked at


def omega_for(values: Callable[[Any], Float], shape: Sequence[int], tiles: Sequence[Tile]) -> float:
    """omega_0 for the networks of some tiles, from ``LEAST``, where nothing changes, to ``MOST``.

    Parameters
    ----------
    values : gives the targets, (n,), in [-1, 1], at indices (z, y, x), three (n,).
    shape : of the low-res volume.
    tiles : with at least one voxel each.
    """
    total, count = 0.0, 0
    for tile in tiles:
        index = tile.index[:: 1 + len(tile.index) // SAMPLED].astype(np.int64)
        here = values(tuple(index.T))
        spread = float(here.std())
        if not spread:
            continue
        squares = 0.0
        for axis in range(3):
            beside = index.copy()
            beside[:, axis] = np.minimum(beside[:, axis] + 1, shape[axis] - 1)
            step = float(np.square(values(tuple(beside.T)) - here).mean())
            squares += step * (tile.extent[axis] / 2) ** 2 / 3
        total += len(tile.index) * squares**0.5 / spread
        count += len(tile.index)
    return float(round(min(max(RATIO * total / count, LEAST), MOST))) if count else LEAST
