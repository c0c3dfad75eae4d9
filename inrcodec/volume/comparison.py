"""A decoded volume beside its source: errors over all voxels, by slice, by value, and in flat tissue.

Invariant: every voxel counts and nothing is sampled, but for flat tissue, which a few boxes stand for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import InputError
from inrcodec.volume.box import Box, Shape
from inrcodec.volume.flat_tissue import FlatTissue
from inrcodec.volume.low_pass import BoxErrors, LowPass, low_pass
from inrcodec.volume.metrics import Errors, WindowErrors, peak_for, without_special
from inrcodec.volume.modality import with_modality
from inrcodec.volume.seams import seam_energy
from inrcodec.volume.volume import Volume
from inrcodec.volume.windows import ALL, error_windows

BINS = 101  # of the histogram: an odd number, so that one is about zero
RARE = 1e-3  # part of a slice's voxels with larger errors than the histogram's ends


@dataclass(frozen=True)
class Comparison:
    """Decoded minus source, in physical units unless said otherwise."""

    psnr: float  # dB, infinite where nothing differs
    peak: float  # of the PSNR, in stored units
    mean_error: float  # of the absolute errors
    bias: float  # mean of the errors
    max_error: float  # largest absolute error
    equal: float  # part of the voxels without an error, 0 to 1
    by_slice: list[float]  # PSNR of each slice along the first axis
    counts: list[int]  # histogram of the errors; the outermost bins hold what lies beyond
    edges: list[float]  # of its bins
    windows: dict[str, float]  # by name: mean absolute error of the voxels whose source lies in a window
    tissue: str = ""  # what flat tissue is, "" where there is none
    low_pass: LowPass | None = None  # the error of flat tissue
    seam_energy: float | None = None  # see `volume.seams`


def compare(
    source: Volume, decoded: Volume, coded_apart: tuple[Sequence[Box], Shape] | None = None
) -> Comparison:
    """Compare two volumes on the same grid; a source that does not state its modality has the decoded one's.

    Where slices have scales of their own, the stored values that are compared are physical ones.

    Parameters
    ----------
    coded_apart : boxes that were coded apart and the low-res grid's steps, as `seams.seam_energy` wants them.

    Raises
    ------
    InputError
        Shapes, modalities or values that are not finite differ: this is not the source of that file.
    """
    remedy = "pass the volume that was encoded"
    if source.modality and decoded.modality and source.modality != decoded.modality:
        cause = f"the reference is {source.modality}, the file {decoded.modality}"
        raise InputError(f"{cause}: {remedy}", value=source.modality)
    if source.shape != decoded.shape:
        cause = f"the reference has {_across(source)} voxels, the file {_across(decoded)}"
        raise InputError(f"{cause}: {remedy}", value=source.shape)
    source, decoded = source.uniform(), decoded.uniform()
    source, _ = with_modality(source, decoded.modality or None)
    span, slope = source.value_range, source.rescale[0]
    peak = peak_for(source, span)
    whole, windows = Errors(peak), WindowErrors(error_windows(ALL, source, span))
    tissue = FlatTissue.of(source, span)
    flat = BoxErrors(tissue.boxes)
    by_slice, total, absolute, equal, reach = [], 0.0, 0.0, 0, 0.0
    for z, (before, after) in enumerate(_slices(source, decoded)):
        flat.add(Box((0, 0, 0), source.shape).run(z, z + 1), before[None], after[None], peak)
        single = Errors(peak)
        single.add(before, after)
        whole.add(before, after)
        windows.add(before, after)
        by_slice.append(single.psnr)
        difference = after.astype(np.float64) - before
        total, absolute = total + float(difference.sum()), absolute + float(np.abs(difference).sum())
        equal += int(np.count_nonzero(difference == 0))
        reach = max(reach, float(np.quantile(np.abs(difference), 1 - RARE)))
    counts, edges = _histogram(source, decoded, reach)
    errors = low_pass(flat, tissue, peak * abs(slope))
    return Comparison(
        psnr=whole.psnr,
        peak=peak,
        mean_error=absolute / source.array.size * abs(slope),
        bias=total / source.array.size * slope,
        max_error=whole.largest * abs(slope),
        equal=equal / source.array.size,
        by_slice=by_slice,
        counts=counts,
        edges=edges,
        windows={name: mean * abs(slope) for name, mean in windows.means.items()},
        tissue="" if errors is None else tissue.label,
        low_pass=errors,
        seam_energy=None if coded_apart is None else seam_energy(flat, tissue, *coded_apart),
    )


def _histogram(source: Volume, decoded: Volume, reach: float) -> tuple[list[int], list[float]]:
    """Counts and edges of errors in physical units; `reach` is the end of the histogram in stored units."""
    width = 2 * reach / BINS
    if source.array.dtype.kind in "iu":
        width = float(ceil(width) | 1)  # an odd number of stored units: the middle bin is even about zero
    edges = (np.arange(BINS + 1) - BINS / 2) * (width or 1.0)
    counts = np.zeros(BINS, np.int64)
    sign = 1 if source.rescale[0] > 0 else -1
    for before, after in _slices(source, decoded):
        difference = sign * (after.astype(np.float64) - before)
        counts += np.histogram(difference.clip(edges[0], edges[-1]), edges)[0]
    return counts.tolist(), (edges * abs(source.rescale[0])).tolist()


def _slices(source: Volume, decoded: Volume) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Slices of both in the source's stored units, which are the file's unless it was rescaled since."""
    (slope, intercept), (a, b) = source.rescale, decoded.rescale
    for before, after in zip(source.array, decoded.array, strict=True):
        same = source.rescale == decoded.rescale
        values = after if same else (after.astype(np.float64) * a + (b - intercept)) / slope
        before, values = without_special(before, values)
        if before.dtype.kind == "f" and not (np.isfinite(before) & np.isfinite(values)).all():
            cause = "NaN or infinities of one are not those of the other"
            raise InputError(f"{cause}: pass the volume that was encoded")
        yield before, values


def _across(volume: Volume) -> str:
    return " x ".join(map(str, volume.shape))
