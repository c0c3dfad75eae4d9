"""Low-pass error: what is left of the error after a Gaussian, in soft tissue away from edges.

In: physical values of a source and of what was decoded. Out: one number in their unit. Invariant: noise
averages out of it and false structure does not, so that it tells what PSNR cannot: whether flat tissue has
blotches.

    python benchmarks/low_pass.py SOURCE DECODED

Examples
--------
>>> import numpy as np
>>> flat = np.zeros((24, 24, 24), np.float32)
>>> noise = np.random.default_rng(0).normal(0, 10, flat.shape)
>>> low_pass_error(flat, flat + noise) < 1.0
True
>>> float(round(low_pass_error(flat, flat + 5), 6))
5.0
"""

from __future__ import annotations

import math
import sys

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

SIGMA = 3.0  # voxels: noise of a voxel falls to a thirteenth, a blotch of a centimetre stays
FROM_EDGES = 6.0  # voxels: two sigmas, so that a blurred edge is no false structure
SOFT_TISSUE = (-160.0, 240.0)  # HU
DENOISED = 1.0  # voxels: the tissue is found on a source that is smoothed this much


def low_pass_error(source: NDArray[np.floating], decoded: NDArray[np.floating]) -> float:
    """Return the RMS of the smoothed error in soft tissue.

    Parameters
    ----------
    source, decoded : ndarray, (z, y, x), in HU

    Returns
    -------
    float
        In HU; NaN where no soft tissue is `FROM_EDGES` away from other tissue.
    """
    smooth = gaussian_filter(source.astype(np.float32), DENOISED)
    tissue = (smooth > SOFT_TISSUE[0]) & (smooth < SOFT_TISSUE[1])
    inside = np.ones_like(tissue) if tissue.all() else distance_transform_edt(tissue) > FROM_EDGES
    if not inside.any():
        return math.nan
    error = gaussian_filter(decoded.astype(np.float32) - source.astype(np.float32), SIGMA)
    return float(np.sqrt(np.square(error[inside], dtype=np.float64).mean()))


if __name__ == "__main__":
    from inrcodec import io

    source, decoded = (io.read(path).physical() for path in sys.argv[1:3])
    print(f"low-pass error {low_pass_error(source, decoded):.1f} HU")
