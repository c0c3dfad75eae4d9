"""Axes of other projects: RAS in place of LPS, (x, y, z) in place of (z, y, x), and axes with a direction.

In: arrays and affines as this package has them, or as others do.  Out: the other.
Invariant: nothing is copied or resampled, and each conversion has its inverse here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from inrcodec.volume.affine import LPS_RAS, Affine
from inrcodec.volume.arrays import Array, Float

_ZYX = np.eye(4)[[2, 1, 0, 3]]  # from (x, y, z, 1) to (z, y, x, 1), and back


def ras(affine_lps: ArrayLike) -> Affine:
    """Voxel index (x, y, z, 1) to RAS mm, of an affine to LPS mm; its own inverse, see `lps`."""
    return np.asarray(LPS_RAS @ np.asarray(affine_lps, np.float64))


def lps(affine_ras: ArrayLike) -> Affine:
    """Voxel index (x, y, z, 1) to LPS mm, of an affine to RAS mm."""
    return ras(affine_ras)


def xyz(array: Array) -> Array:
    """A view (x, y, z) of an array (z, y, x), and the other way round."""
    return array.T


def zyx(affine: ArrayLike) -> Affine:
    """Index (z, y, x, 1) to (S, P, L) mm, of an affine from (x, y, z, 1) to (L, P, S); its own inverse.

    Examples
    --------
    >>> zyx(np.diag([0.5, 0.6, 3.0, 1.0])).diagonal().tolist()
    [3.0, 0.6, 0.5, 1.0]
    """
    return np.asarray(_ZYX @ np.asarray(affine, np.float64) @ _ZYX)


def along_axes(affine: Affine) -> tuple[Float, Float, Float]:
    """An affine as positions along directions: first position, step and direction of each voxel axis.

    Returns
    -------
    first, step : (x, y, z), mm
        A voxel lies at ``first + step * index`` along the directions.
    direction : (3, 3)
        Its columns are unit vectors, LPS, of the axes x, y and z; the identity where axes are the patient's.
        Positions then are LPS coordinates, and steps may be negative.

    See Also
    --------
    from_axes : the inverse.
    """
    axes = affine[:3, :3]
    straight = np.count_nonzero(axes - np.diag(np.diag(axes))) == 0
    step: Float = np.diag(axes).copy() if straight else np.linalg.norm(axes, axis=0)
    direction: Float = np.eye(3) if straight else axes / step
    first: Float = np.asarray(np.linalg.solve(direction, affine[:3, 3]), np.float64)
    return first, step, direction


def from_axes(first: ArrayLike, step: ArrayLike, direction: ArrayLike) -> Affine:
    """The affine of positions along directions, see `along_axes`."""
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(direction, np.float64) * np.asarray(step, np.float64)
    affine[:3, 3] = np.asarray(direction, np.float64) @ np.asarray(first, np.float64)
    return affine
