"""Where voxels lie in the patient.

An affine is (4, 4) float64, from the voxel index (x, y, z, 1) to millimetres along the patient's axes L, P
and S (LPS: DICOM's and ITK's).
Invariant: an affine that passed the check can be inverted, whatever the unit of its lengths.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inrcodec.errors import InputError, UsageError
from inrcodec.volume.box import Box, Shape

Affine = NDArray[np.float64]

LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From LPS to RAS (NIfTI's axes) and back: it is its own inverse."""

PARALLEL = 1e-6
"""Determinant of the unit vectors along the voxel axes below which they count as parallel (specification,
field `volume.affine`): far below any gantry tilt, far above the rounding of a float32 affine."""

FARTHEST, FINEST = 1e12, 1e-12
"""Millimetres beyond which no number of an affine may be, and that each voxel axis has in some direction: far
beyond any scanner, and far below any microscope, so that whatever is computed of positions is finite."""

PLANES = ("sagittal", "coronal", "axial")
"""Planes by the patient's axis that they are across: L, P, S."""


class Grid(NamedTuple):
    """Where the voxels of a volume are."""

    affine: Affine  # (4, 4), voxel index (x, y, z, 1) to LPS mm
    shape: Shape  # voxels along (z, y, x)


def is_singular(axes: Affine) -> bool:
    """Whether voxel axes, the columns of a (3, 3) matrix in mm, are parallel, or one is below `FINEST`.

    Relative to their lengths: micrometre voxels are not singular.  For axes that are not `is_beyond`.
    """
    if np.abs(axes).max(0).min() < FINEST:
        return True
    return bool(abs(np.linalg.det(axes / np.linalg.norm(axes, axis=0))) < PARALLEL)


def is_beyond(rows: Affine) -> bool:
    """Whether a number of an affine, (3, 4), is beyond `FARTHEST`."""
    return bool(np.abs(rows).max() > FARTHEST)


def checked_affine(affine: ArrayLike) -> Affine:
    """Read-only (4, 4) float64 copy of an affine, without a negative zero: equal affines have equal bytes.

    Raises
    ------
    InputError
        Wrong shape, not finite, `is_beyond`, singular, or a last row that is not (0, 0, 0, 1).
    """
    matrix = np.array(affine, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not np.array_equal(matrix[3], (0, 0, 0, 1)):
        raise InputError(f"not an affine of 4 x 4 finite numbers: {matrix.tolist()}", value=matrix)
    if is_beyond(matrix[:3]):
        raise InputError(f"the affine has numbers beyond {FARTHEST:g} mm: {matrix.tolist()}", value=matrix)
    if is_singular(matrix[:3, :3]):
        raise InputError(f"the affine is singular: {matrix.tolist()}", value=matrix)
    matrix += 0.0
    matrix.setflags(write=False)
    return matrix


def spacing_of(affine: Affine) -> tuple[float, float, float]:
    """Distance between neighbouring voxels along (z, y, x) in mm; along z with the slant of a gantry."""
    x, y, z = (float(v) for v in np.linalg.norm(affine[:3, :3], axis=0))
    return z, y, x


def coarser(affine: Affine, factor: tuple[float, float, float]) -> Affine:
    """The affine of the low-res grid: voxels larger by `factor` (z, y, x), centred on what they cover."""
    z, y, x = factor
    scale = np.diag([x, y, z, 1.0])
    scale[:3, 3] = [(x - 1) / 2, (y - 1) / 2, (z - 1) / 2]
    return np.asarray(affine @ scale)


def spread(affine: Affine, step: Shape) -> Affine:
    """The affine of every ``step``-th voxel along (z, y, x), from the first on: the origin stays."""
    z, y, x = step
    return np.asarray(affine @ np.diag([x, y, z, 1.0]))


def moved(points: Affine, affine: NDArray[np.floating[Any]]) -> Affine:
    """Points, (n, 3), through an affine, each to the same bits alone and among others."""
    x, y, z = points.T
    columns = [row[0] * x + row[1] * y + row[2] * z + row[3] for row in affine[:3]]
    return np.stack(columns, 1)


def box_around(affine: Affine, shape: Shape, low: ArrayLike, high: ArrayLike) -> Box:
    """The smallest box of a grid around a cuboid in millimetres, of which the grid's edge cuts off the rest.

    Parameters
    ----------
    affine : ndarray, (4, 4), voxel index (x, y, z, 1) to LPS mm.
    shape : voxels of the grid along (z, y, x).
    low, high : array_like, (3,), LPS mm
        Two opposite corners of the cuboid.

    Raises
    ------
    UsageError
        The cuboid lies outside the grid, or corners are not three finite numbers.
    """
    try:
        corners = np.stack([np.asarray(corner, np.float64) for corner in (low, high)])
    except (TypeError, ValueError):
        corners = np.empty(0)
    if corners.shape != (2, 3) or not np.isfinite(corners).all():
        cause = f"{low!r} and {high!r} are not corners: pass three finite numbers (L, P, S) each, in mm"
        raise UsageError(cause, value=(low, high), option="box")
    eight = np.array(list(product(*corners.T)))
    index = (np.linalg.inv(affine) @ np.column_stack([eight, np.ones(8)]).T)[2::-1]  # z, y, x
    # A voxel reaches half a step around its centre; rounding must not add one that is only touched.
    edges = np.array([index.min(1), index.max(1)]).round(6) + 0.5
    first, stop = np.floor(edges[0]), np.ceil(edges[1])
    stop = np.maximum(stop, first + 1)
    if (stop <= 0).any() or (first >= shape).any():
        cause = f"from {corners[0].tolist()} to {corners[1].tolist()} mm is outside the volume"
        raise UsageError(cause, value=(low, high), option="box")
    first, stop = np.maximum(first, 0), np.minimum(stop, shape)
    (z, y, x), (zz, yy, xx) = first.astype(int).tolist(), stop.astype(int).tolist()
    return Box((z, y, x), (zz, yy, xx))


def is_placed(affine: Affine, description: Mapping[str, object] = MappingProxyType({})) -> bool:
    """Whether an affine says how a volume lies in the patient.

    Arrays lie along the axes at the origin; NIfTI files without a form say so in the volume's description.
    """
    if description.get("nifti_sform") == description.get("nifti_qform") == 0:
        return False
    return not np.array_equal(affine, np.diag(np.abs(np.diag(affine))))


def plane_of(affine: Affine, description: Mapping[str, object] = MappingProxyType({})) -> str:
    """Which of `PLANES` the slices along z are nearest to; "" where that is unknown (`is_placed`).

    Examples
    --------
    >>> plane_of(np.array([[0, 0, 3.0, -40], [0.5, 0, 0, -90], [0, -0.5, 0, 120], [0, 0, 0, 1]]))
    'sagittal'
    >>> plane_of(np.diag([0.5, 0.5, 3.0, 1.0]))
    ''
    """
    if not is_placed(affine, description):
        return ""
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    return PLANES[int(np.argmax(np.abs(normal)))]
