"""How far a decoded volume is from its source.

In: slabs of source and decoded values.  Out: PSNR with its peak, largest and mean error.
The one law: the peak is always stated.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, inf, log2, log10

import numpy as np
from numpy.typing import NDArray


def peak_of(low: float, high: float, dtype: np.dtype[np.generic]) -> float:
    """The peak that PSNR is taken against: ``2**bits - 1`` of the fewest bits, at least 8, that hold the
    range.

    4095 for 12-bit CT, 255 for 8-bit images (the paper's I, section 3.5); for floats the range itself.
    """
    span = high - low
    if dtype.kind == "f":
        return span
    return float(2 ** max(8, ceil(log2(span + 1))) - 1)


def psnr(mse: float) -> float:
    """``-10 log10(mse)`` in dB, of errors relative to the peak (paper, equation 2); infinite without any."""
    return inf if mse == 0 else -10 * log10(mse)


@dataclass
class Errors:
    """Running error statistics over slabs, in stored units, against a peak."""

    peak: float
    count: int = 0
    squares: float = 0.0  # of errors relative to the peak: those of float64 volumes could overflow
    largest: float = 0.0

    def add(self, source: NDArray[np.generic], decoded: NDArray[np.generic]) -> None:
        """Take in a slab; arrays of equal shape and any real dtype."""
        difference = source.astype(np.float64) - decoded.astype(np.float64)
        self.count += difference.size
        self.squares += float(np.square(difference / (self.peak or 1.0)).sum())
        self.largest = max(self.largest, float(np.abs(difference).max(initial=0.0)))

    @property
    def mse(self) -> float:
        """Mean squared error, relative to the peak."""
        return self.squares / max(1, self.count)

    @property
    def psnr(self) -> float:
        """In dB, against the peak."""
        return psnr(self.mse)


@dataclass
class WindowErrors:
    """Running mean absolute errors of the voxels whose source lies in a window, in stored units.

    PSNR weighs air and metal as much as what people look at; these do not.

    Parameters
    ----------
    windows : (low, high) in stored units, both included, by name.
    """

    windows: Mapping[str, tuple[float, float]]
    counts: dict[str, int] = field(default_factory=dict)
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, source: NDArray[np.generic], decoded: NDArray[np.generic]) -> None:
        """Take in a slab, a slice at a time: what is held beside it is a few slices of float64."""
        for plane, other in zip(source, decoded, strict=True) if self.windows else ():
            values = plane.astype(np.float64)
            errors = np.abs(values - other)
            for name, (low, high) in self.windows.items():
                inside = (values >= low) & (values <= high)
                self.counts[name] = self.counts.get(name, 0) + int(np.count_nonzero(inside))
                self.sums[name] = self.sums.get(name, 0.0) + float(errors[inside].sum())

    @property
    def means(self) -> dict[str, float]:
        """Mean absolute error of every window that the source has voxels in."""
        return {name: self.sums[name] / count for name, count in self.counts.items() if count}
