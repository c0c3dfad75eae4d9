"""Low-pass error: what is left of the error after a Gaussian, in flat tissue.

In: decoded voxels beside their source, part by part; flat tissue.  Out: `LowPass`.
Invariant: the same whichever parts the voxels came in, and only the voxels of a few boxes are kept.

Noise averages out of it and false structure does not, so that it tells what PSNR cannot: whether flat tissue
has blotches that a reader might take for a finding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf, sqrt

import numpy as np

from inrcodec.volume.arrays import Array, Float32
from inrcodec.volume.box import Box
from inrcodec.volume.flat_tissue import SIGMA, FlatTissue, Region, smoothed


@dataclass(frozen=True)
class LowPass:
    """Errors in flat tissue after a Gaussian, in physical units."""

    error: float  # root mean square, after one of `flat_tissue.SIGMA`
    error_mm: float  # the same after one of `flat_tissue.WIDTH`
    tolerance: float  # that a reader might take for a finding
    off: float  # share of the voxels that are then off by more than it, 0 to 1
    voxels: int  # of flat tissue


@dataclass
class BoxErrors:
    """Decoded minus source, as shares of a peak, in some boxes of a volume.

    Parameters
    ----------
    boxes : that are wanted.
    """

    boxes: tuple[Box, ...] = ()
    parts: list[tuple[int, Box, Float32]] = field(default_factory=list)  # box, its part, errors

    def add(self, at: Box, source: Array, decoded: Array, peak: float) -> None:
        """Add what a part of the volume, (z, y, x), has of the boxes.

        Parameters
        ----------
        at : the voxels of the part.
        """
        for number, box in enumerate(self.boxes):
            if not at.meets(box):
                continue
            both = at & box
            place = both.slices_in(at)
            errors = decoded[place].astype(np.float64)
            errors -= source[place]
            errors /= peak or 1.0
            self.parts.append((number, both, errors.astype(np.float32)))

    def __add__(self, other: BoxErrors) -> BoxErrors:
        """Of the voxels of both."""
        return BoxErrors(self.boxes, self.parts + other.parts)

    def whole(self) -> Iterator[Float32]:
        """The errors of each box."""
        for number, box in enumerate(self.boxes):
            errors = np.zeros(box.shape, np.float32)
            for part in (part for part in self.parts if part[0] == number):
                errors[part[1].slices_in(box)] = part[2]
            yield errors


def low_pass(errors: BoxErrors, tissue: FlatTissue, peak: float) -> LowPass | None:
    """The errors of flat tissue; ``None`` where there is none.

    Parameters
    ----------
    errors : of the boxes of the tissue.
    peak : physical units of an error of 1.
    """
    if not errors.boxes:
        return None
    squares, off = np.zeros(2), 0
    tolerated = tissue.tolerance / peak if peak else inf
    for region, values in zip(tissue.regions, errors.whole(), strict=True):
        near, wide = (_after(values, region, sigmas) for sigmas in ((SIGMA,) * 3, tissue.sigmas))
        squares += [float(np.square(a, dtype=np.float64).sum()) for a in (near, wide)]
        off += int(np.count_nonzero(np.abs(wide) > tolerated))
    error, error_mm = (sqrt(total / tissue.voxels) * peak for total in squares)
    return LowPass(error, error_mm, tissue.tolerance, off / tissue.voxels, tissue.voxels)


def _after(errors: Float32, region: Region, sigmas: tuple[float, ...]) -> Float32:
    """Errors of the flat tissue of a box after a Gaussian."""
    return smoothed(errors, sigmas)[region.core.slices_in(region.box)][region.flat]
