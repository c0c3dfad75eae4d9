"""How far a decoded volume is from its source.

Invariant: the peak is always stated.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import ceil, inf, log2, log10
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.volume import windows

if TYPE_CHECKING:
    from inrcodec.volume.value_range import Range
    from inrcodec.volume.volume import Volume

CT_PEAK = 4095.0  # HU
PIECE = 1 << 15  # voxels that are compared at a time: their floats stay in a core's cache


def peak_of(low: float, high: float, dtype: np.dtype[np.generic]) -> float:
    """The peak of a PSNR, in stored units.

    For integers ``2**bits - 1`` of the fewest bits, at least 8, that hold the range: 4095 for 12-bit CT, 255
    for 8-bit images (the paper's I, section 3.5). For floats the range itself.
    """
    span = high - low
    if dtype.kind == "f":
        return span
    return float(2 ** max(8, ceil(log2(span + 1))) - 1)


def peak_for(volume: "Volume", span: "Range") -> float:
    """The peak of a volume's PSNR, in stored units: as `peak_of`, but of a CT never more than 12 bits.

    So metal, or a pad far below air, leaves PSNRs comparable.
    """
    peak = peak_of(float(span.low), float(span.high), volume.array.dtype)
    return min(peak, CT_PEAK / abs(volume.rescale[0])) if windows.is_hounsfield(volume, span) else peak


def psnr(mse: float) -> float:
    """``-10 log10(mse)`` in dB, of errors relative to the peak (paper, equation 2); infinite for 0."""
    return inf if mse == 0 else -10 * log10(mse)


# Of the peak, 245 HU of a CT: what an error counts for at most where there are values beyond the peak. Voxels
# at the rim of metal are off by thousands whichever way.
CAP = 0.06


def cap_for(volume: "Volume", span: "Range") -> float:
    """What an error counts for at most, of the peak, where ways are held against each other."""
    return CAP if span.high - span.low > peak_for(volume, span) else inf


@dataclass
class Errors:
    """Running error statistics over slabs, in stored units, against a peak."""

    peak: float
    cap: float = inf  # of the peak
    count: int = 0
    squares: float = 0.0  # of errors relative to the peak: those of float64 volumes could overflow
    capped: float = 0.0  # the same, where no error counts for more than the cap
    largest: float = 0.0

    def add(self, source: NDArray[Any], decoded: NDArray[Any]) -> None:
        """Add a slab: arrays of equal shape and any real dtype."""
        for values, others in _pieces(source, decoded):
            difference = values.astype(np.float64)
            difference -= others
            np.nan_to_num(difference, copy=False, nan=np.inf, posinf=np.inf)  # NaN beside a number
            self.count += difference.size
            np.abs(difference, out=difference)
            largest = float(difference.max(initial=0.0))
            self.largest = max(self.largest, largest)
            difference /= self.peak or 1.0
            squares = float(np.square(difference, out=difference).sum())
            self.squares += squares
            if largest > self.cap * (self.peak or 1.0):
                squares = float(np.minimum(difference, self.cap**2, out=difference).sum())
            self.capped += squares

    def __add__(self, other: "Errors") -> "Errors":
        """Of the voxels of both, against one peak."""
        sums = self.squares + other.squares, self.capped + other.capped
        return Errors(self.peak, self.cap, self.count + other.count, *sums, max(self.largest, other.largest))

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

    PSNR weighs air and metal as much as tissue; these do not.

    Parameters
    ----------
    windows : (low, high) in stored units, both included, by name.
    """

    windows: Mapping[str, tuple[float, float]]
    counts: dict[str, int] = field(default_factory=dict)
    sums: dict[str, float] = field(default_factory=dict)  # in widths of the window: no overflow

    def add(self, source: NDArray[Any], decoded: NDArray[Any]) -> None:
        """Add a slab: arrays of equal shape and any real dtype."""
        for piece, others in _pieces(source, decoded) if self.windows else ():
            values = piece.astype(np.float64)
            errors = np.abs(values - others)
            for name, (low, high) in self.windows.items():
                inside = (values >= low) & (values <= high)
                self.counts[name] = self.counts.get(name, 0) + int(np.count_nonzero(inside))
                relative = errors[inside] / (high - low)
                self.sums[name] = self.sums.get(name, 0.0) + float(relative.sum())

    def __add__(self, other: "WindowErrors") -> "WindowErrors":
        """Of the voxels of both, in the same windows."""
        counts = {n: self.counts.get(n, 0) + other.counts.get(n, 0) for n in self.windows}
        sums = {n: self.sums.get(n, 0.0) + other.sums.get(n, 0.0) for n in self.windows}
        return WindowErrors(self.windows, counts, sums)

    @property
    def means(self) -> dict[str, float]:
        """Mean absolute error of every window that the source has voxels in."""
        widths = {name: high - low for name, (low, high) in self.windows.items()}
        return {n: self.sums[n] / count * widths[n] for n, count in self.counts.items() if count}


def without_special(source: NDArray[Any], decoded: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Two arrays of one shape with 0 for both where both are NaN, or one infinity."""
    if source.dtype.kind != "f" or np.isfinite(source).all():
        return source, decoded
    same = ~np.isfinite(source) & ((source == decoded) | (np.isnan(source) & np.isnan(decoded)))
    return np.where(same, 0, source), np.where(same, 0, decoded)


def _pieces(source: NDArray[Any], decoded: NDArray[Any]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """The same voxels of both arrays, `PIECE` at a time."""
    before, after = (np.asarray(array).reshape(-1) for array in (source, decoded))
    for start in range(0, before.size, PIECE):
        piece = slice(start, start + PIECE)
        yield without_special(before[piece], after[piece])
