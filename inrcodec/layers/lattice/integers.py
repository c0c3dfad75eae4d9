"""Stored values as integers from 0 on, and back.

In: stored values of a range.  Out: integers below 2^32 that the refinement codes.
The one law: the way back is the same on every machine: whole numbers, or one rounded product and sum.

Integers are counted from the lowest; floats likewise in the order of their bits, which loses nothing, or as
multiples of a unit above the lowest, which loses half a unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import InputError

Array = NDArray[Any]
Ints = NDArray[np.int64]

MOST = (1 << 32) - 1
PATTERNS = {2: np.int16, 4: np.int32}  # integers as wide as the floats whose bits can be coded


@dataclass(frozen=True)
class Scale:
    """How a file's stored values are integers.

    Attributes
    ----------
    dtype : of the stored values.
    low, high : smallest and largest of them.
    unit : 1 for integers; for floats what an integer stands for, or 0 for their bits.
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

    def check(self) -> None:
        """Refuse what 32 bits cannot count.

        Raises
        ------
        InputError
        """
        if self.dtype.kind == "f" and self.unit == 0 and self.dtype.itemsize not in PATTERNS:
            raise InputError(
                f"the bits of {self.dtype.name} are not coded: convert the volume to float32, or bound the "
                "error instead (max_error)",
                value=self.dtype.name,
            )
        span = (self.high - self.low) / self.unit if self.unit else 0.0
        if span > MOST:
            raise InputError(
                f"values from {self.low:g} to {self.high:g} in steps of {self.unit:g} are more than 2^32, "
                "which is what a refinement can count; allow a larger error",
                value=span,
            )

    def of(self, stored: Array) -> Array:
        """Integers of stored values, int32 or int64; what is beyond the range goes to its ends."""
        if self.dtype.kind != "f":
            room = max(abs(self.low), abs(self.high), *map(abs, _limits(self.dtype)))
            found: Array = stored.astype(np.int32 if room < 1 << 30 else np.int64)
            found -= int(self.low)
            return np.clip(found, 0, int(self.high - self.low), out=found)
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
        """Places of the lowest and the highest value in the order; of zeros the outer one."""
        ends = [-0.0 if self.low == 0 else self.low, 0.0 if self.high == 0 else self.high]
        first, last = self._order(np.array(ends, self.dtype))
        return int(first), int(last)

    def _order(self, stored: Array) -> Ints:
        """Places of floats in their order: their bits, of negative ones from the other end."""
        bits = stored.view(PATTERNS[self.dtype.itemsize]).astype(np.int64)
        return np.where(bits < 0, -(bits & self._largest) - 1, bits)

    def _floats(self, places: Ints) -> Array:
        bits = np.where(places < 0, (-places - 1) | ~self._largest, places)
        return bits.astype(PATTERNS[self.dtype.itemsize]).view(self.dtype)

    @property
    def _largest(self) -> int:
        return (1 << 8 * self.dtype.itemsize - 1) - 1


def _limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)
