"""Which arrays are volumes' voxels.

In: an array.  Out: the same, or an `InputError`.  Invariant: what passes is held by float64, value by value.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inrcodec.errors import InputError
from inrcodec.volume.arrays import Array
from inrcodec.volume.lazy import LazyArray

DTYPES = frozenset(map(np.dtype, "i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8".split()))
"""Types of stored values; longdouble is left out, its width differs between machines."""

LARGEST_INTEGER = 2**53  # up to which float64, in which everything is computed, holds every integer


def checked_array(array: ArrayLike, name: str = "the array") -> NDArray[Any]:
    """Array of a supported type, native byte order and C order, with values that float64 holds.

    Copied only if byte or memory order require it.  Of a `LazyArray`, which is handed back, values are not
    looked at: that is for the first pass over them.

    Raises
    ------
    InputError
        Unsupported type, masked array, no voxels, integers beyond ±2^53.
    """
    if isinstance(array, np.ma.MaskedArray):
        raise InputError(f"{name} is a masked array, fill it and pass the fill value as padding")
    lazy = isinstance(array, LazyArray)
    values: Array = array if lazy else np.asarray(array)  # type: ignore[assignment]
    if values.dtype.newbyteorder("=") not in DTYPES:
        cause = f"{name} is of type {values.dtype}, convert it to an integer type or float16/32/64"
        raise InputError(cause, value=values.dtype)
    if values.size == 0:
        raise InputError(f"{name} has no voxels: shape {values.shape}", value=values.shape)
    if lazy:
        return values
    values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
    check = ValueCheck(values.dtype, values.size, name)
    if check.needed and values.dtype.kind != "f":
        # Slice by slice: a mask of the whole volume would be a second copy.
        for plane in values if values.ndim > 2 else values[np.newaxis]:
            check.add(plane)
        check.finish()
    return values


def value_check(array: NDArray[Any]) -> ValueCheck | None:
    """What looks at the values of an array that were not looked at yet, where its type needs it."""
    if not isinstance(array, LazyArray) and array.dtype.kind != "f":  # looked at in `checked_array`
        return None
    check = ValueCheck(array.dtype, array.size, _name_of(array))
    return check if check.needed else None


def _name_of(array: NDArray[Any]) -> str:
    return array.name if isinstance(array, LazyArray) else "the array"


@dataclass
class ValueCheck:
    """Whether float64 holds all values that pass by; `finish` raises `InputError` if not.

    NaN and infinities are counted: who cannot take them refuses them, with `refuse_special`.
    """

    dtype: np.dtype[Any]
    size: int  # values in all
    name: str
    special: int = 0  # values that are not finite
    ends: list[int] = field(default_factory=list)  # smallest and largest integers

    @property
    def needed(self) -> bool:
        """Whether values of the type may fail."""
        return self.dtype.kind == "f" or self.dtype.itemsize == 8

    def add(self, plane: Array) -> None:
        """Look at some of the values."""
        if self.dtype.kind == "f":
            self.special += plane.size - int(np.count_nonzero(np.isfinite(plane)))
        elif self.needed:
            self.ends += [int(plane.min()), int(plane.max())]

    def __add__(self, other: ValueCheck) -> ValueCheck:
        """Of the values of both."""
        return replace(self, special=self.special + other.special, ends=self.ends + other.ends)

    def finish(self) -> None:
        """Say what is wrong; raises `InputError`."""
        low, high = min(self.ends, default=0), max(self.ends, default=0)
        if max(-low, high) > LARGEST_INTEGER:
            raise InputError(
                f"{self.name} holds integers from {low} to {high}, float64 has all of them only up to 2^53: "
                "subtract an offset or scale down first",
                value=(low, high),
            )


def refuse_special(array: NDArray[Any], special: int) -> None:
    """Refuse an array with so many values that are not finite, if there are any; raises `InputError`."""
    if special:
        raise InputError(
            f"{_name_of(array)} holds {special} NaN or infinite values of {array.size}: lossless and "
            "max_error keep them as they are, without a base; for all else replace them (for example by "
            "numpy.nan_to_num)",
            value=special,
        )
