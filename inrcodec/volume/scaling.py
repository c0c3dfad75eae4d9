"""Stored values to the values that they mean.

In: slices of stored values.  Out: the same slices in another type.
Invariant: a value depends on nothing but its stored value and its slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from inrcodec.volume.arrays import Array, Float


@dataclass(frozen=True, eq=False)
class Scaling:
    """How slices become values of a type, see `lazy.Changed`.

    Attributes
    ----------
    dtype : of the values; of an integer type, slope and intercept are whole numbers.
    rescale : slope and intercept.
    of_slices : (z, 2), slope and intercept of each slice, in their place.
    """

    dtype: np.dtype[Any]
    rescale: tuple[float, float] = (1.0, 0.0)
    of_slices: Float | None = None

    def __call__(self, stored: Array, first: int = 0) -> Array:
        """The values of slices (z, y, x), of which ``first`` is the index of the first."""
        slope, intercept = self.rescale
        if self.dtype.kind != "f":
            return (stored.astype(np.int64) * int(slope) + int(intercept)).astype(self.dtype)
        values = stored.astype(self.dtype)
        if self.of_slices is not None:
            for plane, (slope, intercept) in zip(values, self.of_slices[first:], strict=False):
                plane *= slope
                plane += intercept
            return values
        if slope != 1.0:
            values *= slope
        if intercept != 0.0:
            values += np.asarray(intercept, values.dtype)
        return values
