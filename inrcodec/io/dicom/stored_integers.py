"""Stored values of a volume as the integers that DICOM can hold.

Invariant: integers stay exactly what they are; only floats that are not whole are rounded, to 65 535 steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import WriteError
from inrcodec.io.dicom.pet import PET
from inrcodec.volume.volume import Volume

_STEPS = 65535
_MOST_OF_PET = 32767  # the largest integer of a slice of a PET, whose scale is its own


@dataclass(frozen=True)
class Coding:
    """How stored values of a volume are written.

    written = rint((stored - low) / step); physical = written * slope + intercept, of each slice in turn.
    """

    dtype: np.dtype[Any]  # of the written integers
    bits: int  # Bits Stored
    rescale: list[tuple[float, float]]  # slope and intercept of each slice
    low: float = 0.0
    steps: tuple[float, ...] = ()  # of each slice; none: integers stay as they are

    @property
    def signed(self) -> bool:
        """Pixel Representation."""
        return self.dtype.kind == "i"

    def integers(self, stored: NDArray[Any], z: int) -> NDArray[Any]:
        """Integers of the values of slice `z`, little-endian."""
        if self.steps:
            stored = np.rint((stored.astype(np.float64) - self.low) / self.steps[z])
        return np.ascontiguousarray(stored, dtype=self.dtype.newbyteorder("<"))


def coding_of(volume: Volume) -> Coding:
    """Narrowest coding that holds all values; `WriteError` for what DICOM does not hold."""
    array, pairs = volume.array, volume.slice_rescale
    rescale = [volume.rescale] * len(array) if pairs is None else [(a, b) for a, b in pairs.tolist()]
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind != "f" and size == 1:  # in 16 bits as CT and MR images must be, but saying that 8 are used
        return Coding(np.dtype(f"{kind}2"), 16 if volume.modality == PET else 8, rescale)
    if kind != "f" and size == 2:
        return Coding(array.dtype, 16, rescale)
    ends, whole = [], True
    for plane in array:
        if kind == "f" and not np.isfinite(plane).all():
            raise WriteError("NaN and infinities are no integers, as DICOM has them: write .npy or .nii.gz")
        ends.append((float(plane.min()), float(plane.max())))
        whole = whole and (kind != "f" or np.array_equal(plane, np.rint(plane)))
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    if not whole and volume.modality == PET and not any(b for _, b in rescale):  # PET has no intercepts
        steps = tuple(max(abs(least), abs(most)) / _MOST_OF_PET or 1.0 for least, most in ends)
        scales = [(a * step, 0.0) for (a, _), step in zip(rescale, steps, strict=True)]
        return Coding(np.dtype(np.int16), 16, scales, 0.0, steps)
    if not whole:
        step = (high - low) / _STEPS or 1.0  # a constant needs no steps, but a slope must not be 0
        scales = [(a * step, a * low + b) for a, b in rescale]
        return Coding(np.dtype(np.uint16), 16, scales, low, (step,) * len(array))
    for dtype in (np.int16, np.uint16, np.int32, np.uint32):
        limits = np.iinfo(dtype)
        if low >= limits.min and high <= limits.max:
            return Coding(np.dtype(dtype), limits.bits, rescale)
    raise WriteError(
        f"values from {low:g} to {high:g} do not fit in the 32 bits of DICOM, write .npy or .nii.gz",
        value=(low, high),
    )
