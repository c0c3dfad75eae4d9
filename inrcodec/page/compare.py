"""A decoded volume beside its source: errors over all voxels, by slice, by value.

In: two volumes of one shape.  Out: plain numbers, for tables and charts.
The one law: every voxel counts; nothing is sampled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inrcodec import focus
from inrcodec.errors import InputError
from inrcodec.metrics import Errors, WindowErrors, peak_of
from inrcodec.normalize import Range
from inrcodec.volume import Volume

BINS = 101  # of the histogram: an odd number, so that one is about zero


@dataclass(frozen=True)
class Comparison:
    """Decoded minus source, in physical units; PSNR in dB against ``peak``, which is in stored units.

    Attributes
    ----------
    by_slice : PSNR of each slice along the first axis; infinite where nothing differs.
    counts, edges : histogram; what lies beyond its ends is in the outermost bins.
    windows : mean absolute error of the voxels whose source lies in a window.
    """

    psnr: float
    peak: float
    mean_error: float
    bias: float
    max_error: float
    equal: float
    by_slice: list[float]
    counts: list[int]
    edges: list[float]
    windows: dict[str, float]


def compared(source: Volume, decoded: Volume) -> Comparison:
    """Of two volumes with the same grid.

    Raises
    ------
    InputError
        The shapes differ: this is not the source of that file.
    """
    if source.shape != decoded.shape:
        raise InputError(
            f"the reference has {_across(source)} voxels, the file {_across(decoded)}: pass the volume that "
            "was encoded",
            value=source.shape,
        )
    span, scale = Range.of(source), abs(source.rescale[0])
    peak = peak_of(span.low, span.high, source.array.dtype)
    whole, windows = Errors(peak), WindowErrors(focus.told(focus.ALL, source, span))
    by_slice, total, absolute, equal, reach = [], 0.0, 0.0, 0, 0.0
    for before, after in zip(source.array, _on_scale_of(source, decoded), strict=True):
        single = Errors(peak)
        for errors in (whole, single):
            errors.add(before, after)
        windows.add(before, after)
        by_slice.append(single.psnr)
        difference = after.astype(np.float64) - before
        total, absolute = total + float(difference.sum()), absolute + float(np.abs(difference).sum())
        equal += int(np.count_nonzero(difference == 0))
        reach = max(reach, float(np.quantile(np.abs(difference), 0.999)))
    counts, edges = _histogram(source, decoded, reach)
    count = max(source.array.size, 1)
    return Comparison(
        psnr=whole.psnr,
        peak=peak,
        mean_error=absolute / count * scale,
        bias=total / count * scale,
        max_error=whole.largest * scale,
        equal=equal / count,
        by_slice=by_slice,
        counts=counts,
        edges=[edge * scale for edge in edges],
        windows={name: mean * scale for name, mean in windows.means.items()},
    )


def _histogram(source: Volume, decoded: Volume, reach: float) -> tuple[list[int], list[float]]:
    """Of the differences in stored units, up to what one in a thousand voxels of any slice exceeds."""
    whole = source.array.dtype.kind in "iu"
    width = max(np.ceil(2 * reach / BINS), 1.0) if whole else max(2 * reach / BINS, 1e-30)
    edges = (np.arange(BINS + 1) - BINS / 2) * width
    counts = np.zeros(BINS, np.int64)
    for before, after in zip(source.array, _on_scale_of(source, decoded), strict=True):
        difference = (after.astype(np.float64) - before).clip(edges[0], edges[-1])
        counts += np.histogram(difference, edges)[0]
    return counts.tolist(), edges.tolist()


def _on_scale_of(source: Volume, decoded: Volume) -> NDArray[np.generic]:
    """Decoded values in the source's stored units: the same, unless the source was rescaled since."""
    if source.rescale == decoded.rescale:
        return decoded.array
    (slope, intercept), (a, b) = source.rescale, decoded.rescale
    converted: NDArray[np.generic] = (decoded.array.astype(np.float64) * a + (b - intercept)) / slope
    return converted


def _across(volume: Volume) -> str:
    return " x ".join(map(str, volume.shape))
