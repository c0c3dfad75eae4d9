"""Values between voxels, by the nearest one, linearly or by cubic convolution.

In: an array and positions on its grid.  Out: values, and their derivatives.
Invariant: a value depends on the few voxels around it and on nothing else, so that any part of a volume gives
it alike; a cubic spline would depend on all voxels.

Cubic convolution: Keys, IEEE Trans. ASSP 29 (1981), with a = -1/2.  Beyond the edge its voxel is repeated.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from inrcodec.volume.arrays import Bool, Float, Ints

REACH = {0: (0, 1), 1: (0, 2), 3: (-1, 3)}
"""By order, the first voxel that counts, from that below a position on, and the one behind the last."""

Taps = list[tuple[Ints, Float, Float]]  # along an axis: places, weights, and their derivatives


def below(index: Float, order: int) -> Ints:
    """The voxel below each position, from which its neighbours are counted; of order 0 the nearest."""
    cells: Ints = np.floor(index + 0.5 if order == 0 else index).astype(np.int64)
    return cells


def interpolate(
    values: Float, ignored: Bool | None, index: Float, order: int, *, slopes: bool = False
) -> tuple[Float, Float]:
    """Values at positions, (n,), and their derivatives along (z, y, x) per voxel, (n, 3), if requested.

    Parameters
    ----------
    values : ndarray, (z, y, x), float64
    ignored : ndarray, (z, y, x), or ``None``
        Voxels without a signal: next to one, a position has the value of the nearest voxel.
    index : ndarray, (n, 3), positions (z, y, x) in voxels, 0 the centre of the first.
    """
    axes = [_taps(index[:, axis], order, values.shape[axis]) for axis in range(3)]
    out, grown = np.zeros(len(index)), np.zeros((len(index), 3 if slopes else 0))
    touched = np.zeros(len(index), np.bool_)
    for (z, wz, dz), (y, wy, dy), (x, wx, dx) in product(*axes):
        here = values[z, y, x]
        out += wz * wy * wx * here
        if slopes:
            grown += np.stack([dz * wy * wx, wz * dy * wx, wz * wy * dx], 1) * here[:, None]
        if ignored is not None:
            touched |= ignored[z, y, x] & (wz * wy * wx != 0)
    if touched.any():
        near = below(index[touched], 0).clip(0, np.array(values.shape) - 1)
        out[touched] = values[tuple(near.T)]
        grown[touched] = 0
    return out, grown


def _taps(places: Float, order: int, length: int) -> Taps:
    cells = below(places, order)
    t = places - cells
    return [((cells + k).clip(0, length - 1), *_weights(t - k, order)) for k in range(*REACH[order])]


def _weights(t: Float, order: int) -> tuple[Float, Float]:
    """The kernel at distances, and its derivative."""
    if order == 0:
        return np.ones_like(t), np.zeros_like(t)
    d, sign = np.abs(t), np.sign(t)
    if order == 1:
        return 1 - d, np.where(t >= 0, -1.0, 1.0)  # of the cell above, also on a voxel
    near = d <= 1
    weights = np.where(near, (1.5 * d - 2.5) * d * d + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2)
    return weights, sign * np.where(near, (4.5 * d - 5) * d, (-1.5 * d + 5) * d - 4)
