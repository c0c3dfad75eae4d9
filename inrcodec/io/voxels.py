"""The voxels of a file that is a header and one array in Fortran order, plain or in a gzip stream.

In: a path, and what the header says of type, shape and place.  Out: stored values, (z, y, x) or (y, x).
Invariant: no memory is asked for that the file could not fill, and a gzip stream is read to its end, where
its checksum is.
"""

from __future__ import annotations

import gzip
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import InputError, InrvError, reason, system_error
from inrcodec.io.choice import chosen_volume
from inrcodec.io.large import is_large, spooled
from inrcodec.volume.checks import checked_array
from inrcodec.volume.lazy import RawArray

MOST_INFLATED = 1032
"""Bytes that a byte of a deflate stream can stand for: 258 for two bits."""

_GZIP = b"\x1f\x8b"
_BLOCK = 1 << 18  # bytes that are read at a time
_GZIP_LEVEL = 3  # a 60 Mvoxel CT in 2 s instead of 9 s at level 6, for 5 % more bytes


@contextmanager
def opened(path: Path, kind: str) -> Iterator[BinaryIO]:
    """The bytes of a file, inflated if they are a gzip stream, whatever the file's name.

    Raises
    ------
    InputError
        Whatever a parser of foreign bytes raises; ``kind`` is what the file should have been.
    """
    with refused(path, kind), path.open("rb") as file:
        if file.peek(2)[:2] != _GZIP:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as stream:
            yield cast(BinaryIO, stream)


@contextmanager
def refused(path: Path, kind: str) -> Iterator[None]:
    """Turn what the parser of a format raises, which may be anything, into an `InputError`."""
    try:
        yield
    except InrvError:
        raise
    except Exception as error:
        if (system := system_error(error)) is not None:
            raise InputError(f"cannot read {path}: {reason(system)}", value=str(path)) from error
        raise InputError(f"{path} is not a valid {kind} file: {reason(error)}", value=str(path)) from error


@contextmanager
def compressed(stream: BinaryIO) -> Iterator[BinaryIO]:
    """A gzip stream into another stream; without name and time, so that equal volumes give equal files."""
    with gzip.GzipFile("", "wb", _GZIP_LEVEL, stream, mtime=0) as packed:
        yield cast(BinaryIO, packed)


def read_array(
    stream: BinaryIO,
    path: Path,
    *,
    dtype: np.dtype[Any],
    shape: Sequence[int],
    offset: int,
    volume: int | None,
) -> NDArray[Any]:
    """One volume of a stream's array, a `LazyArray` if it is large; the others are passed over.

    Parameters
    ----------
    shape : (x, y), (x, y, z), or more
        The dimensions beyond the third together count volumes.
    volume : int, optional
        As for `inrcodec.io.choice.chosen_volume`.

    Raises
    ------
    InputError
        Colour, several volumes and none chosen, other than 2 or 3 dimensions of a volume, or a file that is
        shorter than its header says.
    """
    if dtype.names is not None:
        raise InputError(f"{path} is a colour image ({', '.join(dtype.names)}), pass a grey one", value=dtype)
    shape = tuple(int(n) for n in shape)
    sides, count = shape[:3], math.prod(shape[3:])
    if len(sides) < 2 or min(sides) < 1 or count < 1:
        raise InputError(f"{path} is {len(shape)}-D {shape}, pass an image or a volume", value=shape)
    index = chosen_volume(volume, count, path)
    length = math.prod(sides) * dtype.itemsize
    end, size = offset + count * length, os.path.getsize(path)
    if end > (MOST_INFLATED * size if isinstance(stream, gzip.GzipFile) else size):
        cause = f"{path} of {size} bytes cannot hold {dtype} voxels of shape {shape}, get it again"
        raise InputError(cause, value=shape)
    start = offset + index * length
    if len(sides) == 3 and is_large(length):
        x, y, z = sides
        if not isinstance(stream, gzip.GzipFile):
            return checked_array(RawArray(path, start, (z, y, x), dtype), str(path))
        stream.seek(start)
        array: Any = spooled(partial(_copy, stream, length, path), (z, y, x), dtype, str(path))
    else:
        array = np.empty(sides[::-1], dtype)
        stream.seek(start)
        _fill(stream, array.reshape(-1).view(np.uint8).data, path)
    reached = stream.tell()
    while block := stream.read(_BLOCK):
        reached += len(block)
    if reached < end:
        raise InputError(f"{path} ends before its {count} volumes do, get it again", value=reached)
    return checked_array(array, str(path))


def _copy(stream: BinaryIO, length: int, path: Path, target: BinaryIO) -> None:
    while length:
        block = stream.read(min(_BLOCK, length))
        if not block:
            raise InputError(f"{path} ends before its voxels do, get it again", value=str(path))
        target.write(block)
        length -= len(block)


def _fill(stream: BinaryIO, view: memoryview, path: Path) -> None:
    while view:
        taken = cast(Any, stream).readinto(view[:_BLOCK])
        if not taken:
            raise InputError(f"{path} ends before its voxels do, get it again", value=str(path))
        view = view[taken:]
