"""NumPy files: a `Volume` of `.npy`, or `.npz` with one array, and `.npy` again; nothing is unpickled."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import InputError, UsageError
from inrcodec.io.atomic import Location, atomic_write
from inrcodec.io.choice import chosen_volume
from inrcodec.io.large import in_order, is_large, spooled
from inrcodec.io.provenance import Provenance
from inrcodec.io.voxels import refused
from inrcodec.volume.lazy import LazyArray, RawArray
from inrcodec.volume.padding import find_padding
from inrcodec.volume.volume import Volume

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_BLOCK = 1 << 20  # bytes that are inflated at a time


def read(source: Location, *, spacing: Sequence[float] | None = None, volume: int | None = None) -> Volume:
    """Volume of a `.npy` file, or of a `.npz` file that holds one array.

    Parameters
    ----------
    spacing : sequence of float, mm, optional
        In the order of the array's axes, (z, y, x) or (y, x).
    volume : int, optional
        Index along the first axis of an array of four dimensions.

    Raises
    ------
    InputError
        Not a NumPy file, pickled objects, several arrays, or an array that is not a volume.
    """
    path = Path(source)
    with refused(path, "NumPy"):
        array, left = _read(path, volume)
    whole = from_array(array, spacing=spacing, volume=left)
    return replace(whole, source_bytes=path.stat().st_size) if volume is None else whole


def from_array(
    array: NDArray[Any] | LazyArray, *, spacing: Sequence[float] | None = None, volume: int | None = None
) -> Volume:
    """Volume of an array, with the padding value that its corners show, if it is a CT."""
    if array.ndim == 4:
        array = array[chosen_volume(volume, len(array), f"an array of shape {array.shape}")]
    elif volume is not None:
        raise UsageError(
            "has no meaning for an array of one volume: leave it out", value=volume, option="volume"
        )
    found = Volume.from_array(array, spacing=spacing)
    return replace(found, padding=find_padding(found.array))


def write(
    volume: Volume, path: Location, *, force: bool = False, provenance: Provenance | None = None
) -> None:
    """Write the stored values, (z, y, x) or, of an image, (y, x), plane by plane; the rest has no place.

    Of slices that have scales of their own, which would be lost, the physical values.
    """
    del provenance  # there is no place for it
    array = volume.uniform().array
    shape = array.shape[1:] if volume.ndim == 2 else array.shape

    def fill(stream: BinaryIO) -> None:
        _put_header(stream, shape, array.dtype)
        for plane in array:
            stream.write(np.ascontiguousarray(plane).data)

    atomic_write(path, fill, force)


def save(array: NDArray[Any], stream: BinaryIO) -> None:
    """Write an array to a stream; to a file NumPy would not say why a disk does not take it."""
    np.save(SimpleNamespace(write=stream.write), array, allow_pickle=False)


def _put_header(stream: BinaryIO, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """What `numpy.save` begins with."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)


@dataclass(frozen=True)
class _Header:
    """What a NumPy file says of its array."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    length: int  # bytes of the header

    @property
    def size(self) -> int:
        """Bytes of the array."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes from one voxel to the next along each axis."""
        inner = range(len(self.shape)) if self.fortran else reversed(range(len(self.shape)))
        strides, step = [0] * len(self.shape), self.dtype.itemsize
        for axis in inner:
            strides[axis], step = step, step * self.shape[axis]
        return tuple(strides)


def _read(path: Path, volume: int | None) -> tuple[NDArray[Any] | LazyArray, int | None]:
    """The array of a file, or the one volume of four dimensions; and which is still to be chosen of it."""
    header = _header_of(path)
    several = header is not None and len(header.shape) == 4
    if (
        header is None
        or not is_large(header.size)
        or not (several or (len(header.shape), volume) == (3, None))
    ):
        return _load(path), volume
    index = chosen_volume(volume, header.shape[0], f"an array of shape {header.shape}") if several else 0
    start = index * header.strides[0] if several else 0
    (z, y, x), (dz, dy, dx) = header.shape[-3:], header.strides[-3:]
    if _is_archive(path):
        found = spooled(
            partial(_inflate, path, header), (z, y, x), header.dtype, str(path), (dz, dy, dx), start
        )
    else:
        if header.length + header.size > path.stat().st_size:
            raise InputError(f"{path} ends before its voxels do, get it again", value=str(path))
        found = RawArray(path, header.length + start, (z, y, x), header.dtype, (dz, dy, dx))
    return in_order(found), None


def _header_of(path: Path) -> _Header | None:
    """Of a file with one array of numbers; `_load` says what is wrong with another."""
    with suppress(Exception), _array_of(path) as stream:
        read = _HEADERS[np.lib.format.read_magic(stream)]
        shape, fortran, dtype = read(stream)
        wrong = dtype.hasobject or min(shape, default=0) < 0
        return None if wrong else _Header(shape, fortran, dtype, stream.tell())
    return None


@contextmanager
def _array_of(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a `.npy` file, or of the only one in an archive."""
    if not _is_archive(path):
        with path.open("rb") as stream:
            yield stream
        return
    with zipfile.ZipFile(path) as archive:
        (name,) = archive.namelist()
        with archive.open(name) as stream:
            yield stream


def _inflate(path: Path, header: _Header, target: BinaryIO) -> None:
    """Copy an array out of an archive, whose checksum is compared at its end."""
    with _array_of(path) as stream:
        stream.read(header.length)
        left = header.size
        while block := stream.read(_BLOCK):
            target.write(block[:left])
            left -= min(left, len(block))
    if left:
        raise ValueError(f"it ends {left} bytes before its voxels do")


def _load(path: Path) -> NDArray[Any]:
    if not _is_archive(path):
        whole: NDArray[Any] = np.load(path, allow_pickle=False)
        return whole
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
    if len(names) == 1:  # which NumPy would inflate whole, were it no array
        with _array_of(path) as stream:
            only: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
            return only
    raise InputError(
        f"{path} holds {len(names)} arrays ({', '.join(names) or 'none'}), save the right one as .npy",
        value=names,
    )


def _is_archive(path: Path) -> bool:
    """Whether a file is an archive from its first byte on, and no array with an archive behind it."""
    with path.open("rb") as stream:
        return stream.read(2) == b"PK"
