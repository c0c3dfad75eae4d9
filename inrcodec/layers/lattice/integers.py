"""Stored values to non-negative integers and back.

In: stored values of a range.  Out: integers below 2^32 that the refinement codes.
Invariant: the way back is the same on every machine: integers, or one rounded product and sum.

Integers are counted from the lowest value; floats likewise in the order of their bit patterns, which is
exact, or as multiples of a unit above the lowest, which is off by up to half a unit. Of float64 the upper 32
bits have an order; the lower ones are coded apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from inrcodec.errors import InputError
from inrcodec.volume.arrays import Array, Ints

MOST = (1 << 32) - 1
PATTERNS = {2: np.int16, 4: np.int32}  # integers as wide as floats, by bytes


@dataclass(frozen=True)
class Scale:
    """The map between stored values and integers.

    Attributes
    ----------
    dtype : of the stored values.
    low, high : smallest and largest of them.
    unit : stored units per integer; 1 for integer types, 0 for the bit patterns of floats.
    """

    dtype: np.dtype[Any]
    low: float
    high: float
    unit: float = 1.0

    @property
    def most(self) -> int:
        """The largest integer."""
        if self.unit == 0:
            first, last = self._ends
            return last - first
        return int(np.rint((self.high - self.low) / self.unit))

    @property
    def has_lower_halves(self) -> bool:
        """Whether integers are those of the upper halves of float64."""
        return self.dtype == np.float64 and self.unit == 0

    def check(self) -> None:
        """Refuse more than 2^32 values; raises `InputError`."""
        span = (self.high - self.low) / self.unit if self.unit else 0.0
        if span > MOST:
            raise InputError(
                f"values from {self.low:g} to {self.high:g} are more than 2^32 steps of {self.unit:g} apart, "
                "which is what a refinement supports; allow a larger error",
                value=span,
            )

    def of(self, stored: Array) -> Array:
        """Integers of stored values, int32 or int64; values beyond the range are clipped."""
        if self.dtype.kind != "f":
            largest = max(abs(self.low), abs(self.high), *map(abs, _limits(self.dtype)))
            integers: Array = stored.astype(np.int32 if largest < 1 << 30 else np.int64)
            integers -= int(self.low)
            return np.clip(integers, 0, int(self.high - self.low), out=integers)
        if self.unit == 0:
            first, last = self._ends
            return self._order(stored).clip(first, last) - first
        values = stored.astype(np.float64).clip(self.low, self.high)
        return np.rint((values - self.low) / self.unit).astype(np.int64)

    def stored(self, integers: Array) -> Array:
        """Stored values of integers."""
        if self.dtype.kind != "f":
            wide = integers if max(abs(self.low), abs(self.high)) < 1 << 30 else integers.astype(np.int64)
            return (wide + int(self.low)).astype(self.dtype)
        if self.unit == 0:
            return self._floats(integers.astype(np.int64) + self._ends[0])
        return (self.low + integers * self.unit).clip(self.low, self.high).astype(self.dtype)

    @property
    def _ends(self) -> tuple[int, int]:
        """Ranks of the lowest and the highest value; of zeros the outer one."""
        ends = [-0.0 if self.low == 0 else self.low, 0.0 if self.high == 0 else self.high]
        first, last = self._order(np.array(ends, self.dtype))
        return int(first), int(last)

    def _order(self, stored: Array) -> Ints:
        """Ranks of floats: their bit patterns, those of negative values in reverse."""
        if self.dtype.itemsize == 8:
            bits = stored.view(np.int64) >> 32
        else:
            bits = stored.view(PATTERNS[self.dtype.itemsize]).astype(np.int64)
        return np.where(bits < 0, -(bits & self._largest) - 1, bits)

    def _floats(self, places: Ints) -> Array:
        bits = np.where(places < 0, (-places - 1) | ~self._largest, places)
        if self.dtype.itemsize == 8:
            return (bits << 32).view(self.dtype)
        return bits.astype(PATTERNS[self.dtype.itemsize]).view(self.dtype)

    @property
    def _largest(self) -> int:
        return (1 << 8 * min(self.dtype.itemsize, 4) - 1) - 1


def _limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)
