"""Which stored value means "no signal here".

Invariant: padding is a region of one exact value, never a value that the scanner measured.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

# HU; below air by the definition of the scale: nothing that was measured lies there in all corners.
AIR_FLOOR = -1024.0
# Mean run along x of a declared padding value. Rows outside a scan circle have runs of tens of voxels; zeros
# in the noise of MR air, which some scanners declare as padding too, have runs of one to three.
SHORTEST_RUN = 4.0

Bool = NDArray[np.bool_]


def find_padding(array: NDArray[Any], rescale: tuple[float, float] = (1.0, 0.0)) -> float | None:
    """The value outside the scan circle of a CT that does not declare one (-2000, -3024 ...).

    It is the smallest stored value of the array (z, y, x), if it is below -1024 Hounsfield units and fills at
    least half of the corners of the slices.
    """
    slope, intercept = rescale
    corners = np.stack([array[:, y, x] for y in (0, -1) for x in (0, -1)])
    candidate = corners.min() if slope > 0 else corners.max()
    below_air = float(candidate) * slope + intercept < AIR_FLOOR
    if not below_air or not isfinite(candidate) or 2 * np.count_nonzero(corners == candidate) < corners.size:
        return None
    beyond = (plane.min() < candidate if slope > 0 else plane.max() > candidate for plane in array)
    return None if any(beyond) else float(candidate)


def confirm_padding(
    array: NDArray[Any], declared: float, rescale: tuple[float, float] = (1.0, 0.0)
) -> float | None:
    """The declared stored value, if it fills a region of the array (z, y, x), not single voxels in noise."""
    voxels = runs = 0
    for plane in array:
        here = plane == declared
        voxels += int(np.count_nonzero(here))
        runs += int(np.count_nonzero(here[:, 0]) + np.count_nonzero(here[:, 1:] & ~here[:, :-1]))
    if not voxels:
        return None
    below_air = declared * rescale[0] + rescale[1] < AIR_FLOOR
    return float(declared) if below_air or voxels >= SHORTEST_RUN * runs else None
