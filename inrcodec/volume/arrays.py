"""Names of the array types that most modules use, and arrays of a size that a file or a user states."""

import os
from collections.abc import Sequence
from contextlib import suppress
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from inrcodec.errors import LimitExceeded

Array = NDArray[Any]
Bool = NDArray[np.bool_]
Bytes = NDArray[np.uint8]
Float = NDArray[np.float64]
Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]
Ints = NDArray[np.int64]


class Active(Protocol):
    """Which voxels of a low-res grid are coded: all in an array, or found out for some slices on request."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels of the grid, (z, y, x)."""

    def __len__(self) -> int:
        """Slices of the grid."""

    def __getitem__(self, slices: slice, /) -> Bool:
        """Those of some slices, one after the other."""


def empty(shape: Sequence[int], dtype: DTypeLike) -> Array:
    """`numpy.empty`, for what the machine has memory for.

    Raises
    ------
    LimitExceeded
        It has not: the system would end the process while it fills the array.
    """
    count = prod(shape) * np.dtype(dtype).itemsize
    with suppress(ValueError, OSError, AttributeError):  # a system that does not say how much it has
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if count > memory:
            raise LimitExceeded(
                f"{tuple(shape)} voxels take {count / 2**30:.0f} GiB and this machine has "
                f"{memory / 2**30:.0f}: read smaller boxes, or decode to a file",
                value=count,
            )
    return np.empty(shape, dtype)
