"""Stored values of a volume as the integers that DICOM can hold.

In: an array of any type of `Volume`.  Out: how its planes become 16-bit or 32-bit integers, with slope and
intercept.
Invariant: integers stay exactly what they are; only floats that are not whole are rounded, to 65 535 steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import WriteError
from inrcodec.volume.volume import Volume

_STEPS = 65535


@dataclass(frozen=True)
class Coding:
    """How stored values of a volume are written.

    written = rint((stored - low) / step); physical = written * slope + intercept.
    """

    dtype: np.dtype[Any]  # of the written integers
    bits: int  # Bits Stored
    slope: float
    intercept: float
    low: float = 0.0
    step: float = 1.0

    @property
    def signed(self) -> bool:
        """Pixel Representation."""
        return self.dtype.kind == "i"

    def plane(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Integers of one plane, little-endian."""
        if (self.low, self.step) != (0.0, 1.0):
            stored = np.rint((stored.astype(np.float64) - self.low) / self.step)
        return np.ascontiguousarray(stored, dtype=self.dtype.newbyteorder("<"))


def coding_of(volume: Volume) -> Coding:
    """Narrowest coding that holds all values.

    Raises
    ------
    WriteError
        64-bit integers beyond what DICOM holds.
    """
    array = volume.array
    slope, intercept = volume.rescale
    low, high = float(array.min()), float(array.max())
    if array.dtype.kind == "f" and not all(np.array_equal(plane, np.rint(plane)) for plane in array):
        step = (high - low) / _STEPS or 1.0  # a constant needs no steps, but a slope must not be 0
        return Coding(np.dtype(np.uint16), 16, slope * step, slope * low + intercept, low, step)
    if array.dtype.itemsize == 1:  # in 16 bits as CT and MR images must be, but saying that 8 are used
        return Coding(np.dtype(f"{array.dtype.kind}2"), 8, slope, intercept)
    for dtype in (np.uint16 if array.dtype == np.uint16 else np.int16, np.uint16, np.int32, np.uint32):
        limits = np.iinfo(dtype)
        if low >= limits.min and high <= limits.max:
            return Coding(np.dtype(dtype), limits.bits, slope, intercept)
    raise WriteError(
        f"values from {low:g} to {high:g} do not fit in the 32 bits of DICOM, write .npy or .nii.gz",
        value=(low, high),
    )
