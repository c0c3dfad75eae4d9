"""Volumes that are too large to be read at once.

In: voxels that cannot be read from anywhere, such as a compressed stream.  Out: a `LazyArray` of them.
Invariant: a temporary file is gone when its array is, and belongs to the process that made it.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from math import prod
from typing import Any, BinaryIO
from weakref import finalize

import numpy as np

from inrcodec.errors import WriteError, is_disk_full, reason
from inrcodec.volume.arrays import Array
from inrcodec.volume.box import Shape
from inrcodec.volume.lazy import LazyArray, RawArray

LARGE = 1 << 28
"""Bytes of voxels from which a volume is read when it is needed: smaller ones are quicker whole."""


def is_large(nbytes: int) -> bool:
    """Whether so many bytes of voxels are not read at once."""
    return nbytes >= LARGE


def spooled(
    fill: Callable[[BinaryIO], object],
    shape: Shape,
    dtype: np.dtype[Any],
    name: str,
    strides: Shape | None = None,
    offset: int = 0,
) -> RawArray:
    """Voxels in a temporary file, which lives as long as the array.

    It is in the system's folder for temporary files (environment variable ``TMPDIR``).

    Parameters
    ----------
    fill : writes the voxels to the open file that it is given.
    strides, offset : where they are in it, as for `RawArray`.
    name : of the source, for messages.

    Raises
    ------
    WriteError
        There is no room for them.
    """
    try:
        handle, path = tempfile.mkstemp(".raw", "inrcodec-")
    except OSError as error:
        raise _no_room(shape, dtype, name, error) from error
    try:
        with open(handle, "wb") as stream:
            fill(stream)
    except BaseException as error:
        os.unlink(path)
        if is_disk_full(error) or getattr(error, "errno", None) == errno.EFBIG:
            raise _no_room(shape, dtype, name, error) from error
        raise
    array = RawArray(path, offset, shape, dtype, strides, name)
    finalize(array, _remove, path, os.getpid())
    return array


def in_order(array: RawArray) -> LazyArray:
    """The same voxels, plane after plane: where they are in another order, a copy in a temporary file."""
    _, rows, columns = array.shape
    if array.strides[0] >= rows * columns * array.stored.itemsize:
        return array
    together = max(1, LARGE // (rows * columns * array.stored.itemsize))

    def fill(stream: BinaryIO) -> None:
        for z in range(0, len(array), together):
            stream.write(array[z : z + together].data)

    return spooled(fill, array.shape, array.dtype, array.name)


def blocks(planes: Iterable[Array], depth: int) -> Iterator[Array]:
    """Planes (y, x) as blocks (z, y, x) of ``depth`` planes, the last of fewer."""
    waiting = iter(planes)
    while (first := next(waiting, None)) is not None:
        block = np.empty((depth, *first.shape), first.dtype)
        block[0], count = first, 1
        for plane in islice(waiting, depth - 1):
            block[count], count = plane, count + 1
        yield block[:count]


def _no_room(shape: Shape, dtype: np.dtype[Any], name: str, error: BaseException) -> WriteError:
    cause = f"{name} needs {prod(shape) * dtype.itemsize} bytes in a temporary file: {reason(error)}"
    remedy = "free some space, or name another folder in the environment variable TMPDIR"
    return WriteError(f"{cause}, {remedy}", value=name)


def _remove(path: str, owner: int) -> None:
    """Remove the file of an array, unless this process is a fork of the one that made it."""
    if os.getpid() == owner:
        with suppress(OSError):
            os.unlink(path)
