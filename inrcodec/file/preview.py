"""One grey slice of a file, for a first look.

In: a decoder.  Out: the central slice, (y, x), uint8.  Invariant: neither torch nor scipy is needed.
"""

from __future__ import annotations

from math import gcd

import numpy as np
from numpy.typing import NDArray

from inrcodec.file import decoder as decoding
from inrcodec.volume.arrays import Float
from inrcodec.volume.box import Shape


def preview(decoder: decoding.Decoder) -> NDArray[np.uint8]:
    """The central slice, grey from its 1st to its 99.5th percentile, with the proportions of the volume."""
    plane, spacing = _central(decoder)
    pixel = gcd(*spacing[1:])  # full-res voxels along its edge
    for axis in (0, 1):
        plane = plane.repeat(spacing[1 + axis] // pixel, axis)
    _, height, width = decoder.header.shape
    plane = plane[: -(-height // pixel), : -(-width // pixel)]
    low, high = np.percentile(plane, [1, 99.5])
    grey = np.clip((plane - low) / max(high - low, 1e-9), 0, 1)
    scaled: NDArray[np.uint8] = np.rint(255 * grey).astype(np.uint8)
    return scaled


def _central(decoder: decoding.Decoder) -> tuple[Float, Shape]:
    """A slice of the low-res volume or of a coarse lattice, and its spacing in voxels."""
    if decoder.base is None and decoder.refinement is not None:
        plane, spacing = decoder.refinement.coarse(decoding.PREVIEW_VOXELS, 1)
        return plane.astype(np.float64), spacing
    header = decoder.header
    middle = header.lowres_shape[0] // 2
    return decoder.lowres(slice(middle, middle + 1), threads=1)[0], header.factor
