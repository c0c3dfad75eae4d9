"""MetaImage: `.mha`, and `.mhd`, whose voxels are in other files.

In: a path.  Out: a volume, and `.mha` again.
Invariant: read without ITK, whose parser writes past its memory on broken headers and returns memory that it
did not fill where a compressed stream is broken; places and axes are ITK's.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import InputError
from inrcodec.io.atomic import Location, atomic_write
from inrcodec.io.choice import chosen_volume
from inrcodec.io.detached import files_of, inflated
from inrcodec.io.large import is_large, spooled
from inrcodec.io.provenance import Provenance
from inrcodec.io.voxels import MOST_INFLATED, refused
from inrcodec.volume.checks import checked_array
from inrcodec.volume.lazy import RawArray
from inrcodec.volume.padding import find_padding
from inrcodec.volume.volume import Volume

_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_LONGEST = 1 << 20  # bytes of a header
_BLOCK = 1 << 18  # bytes that are read at a time
_LEVEL = 3  # of deflate: nearly as small as 6, in a fifth of the time


@dataclass(frozen=True)
class _Header:
    fields: dict[str, str]
    files: tuple[Path, ...]
    offset: int  # of the voxels in each file

    @property
    def size(self) -> tuple[int, ...]:
        return tuple(int(n) for n in self.fields["DimSize"].split())

    @property
    def dtype(self) -> np.dtype[Any]:
        name = self.fields["ElementType"].removesuffix("_ARRAY")
        if name not in _TYPES:
            raise ValueError(f"its values are of type {name}")
        order = ">" if self.says("BinaryDataByteOrderMSB", "ElementByteOrderMSB") else "<"
        return np.dtype(f"{order}{_TYPES[name]}")

    def begin(self, length: int, file: Path) -> int:
        """Where so many bytes of voxels begin in a file: a negative offset says that they are its end."""
        return self.offset if self.offset >= 0 else max(file.stat().st_size - length, 0)

    def says(self, *names: str) -> bool:
        """Whether a field is true."""
        return any(self.fields.get(name, "").lower().startswith(("t", "1")) for name in names)

    def numbers(self, count: int, *names: str) -> list[float] | None:
        """The first of several fields that is there."""
        for name in names:
            if name in self.fields:
                values = [float(word) for word in self.fields[name].split()]
                if len(values) != count:
                    raise ValueError(f"{name} has {len(values)} numbers, not {count}")
                return values
        return None


def read(source: Location, *, volume: int | None = None) -> Volume:
    """Volume of a `.mha` or `.mhd` file.

    Parameters
    ----------
    volume : int, optional
        Which one along the fourth dimension, or which channel, from 0.

    Raises
    ------
    InputError
        Not such a file, colour, voxels as text, several volumes and none chosen, voxels outside the header's
        folder or fewer than it says, NaN or infinite values.
    """
    path = Path(source)
    with refused(path, "MetaImage"):
        header = _header_of(path)
        affine = _affine(header)
        array = _voxels(path, header, volume)
    found = checked_array(array, str(path))
    stack = found[np.newaxis] if found.ndim == 2 else found
    size = sum(file.stat().st_size for file in {path, *header.files})
    return Volume(
        array=stack,
        affine=affine,
        padding=find_padding(stack),
        ndim=found.ndim,
        source_bytes=size if volume is None else None,
    )


def write(
    volume: Volume, path: Location, *, force: bool = False, provenance: Provenance | None = None
) -> None:
    """Write physical values, compressed; float16 as float32."""
    values, deflater = volume.values(), zlib.compressobj(_LEVEL)
    little = values.dtype.newbyteorder("<")
    packed = [deflater.compress(np.ascontiguousarray(plane, little).data) for plane in values]
    packed.append(deflater.flush())
    edges = np.array(volume.spacing[::-1])
    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        "CompressedDataSize": str(sum(map(len, packed))),
        "TransformMatrix": _words((volume.affine[:3, :3] / edges).T.ravel()),
        "Offset": _words(volume.affine[:3, 3]),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": _words(edges),
        "DimSize": " ".join(map(str, volume.shape[::-1])),
        **({} if provenance is None else {"Comment": provenance.summary}),
        "ElementType": next(name for name, kind in _TYPES.items() if kind == values.dtype.str[1:]),
        "ElementDataFile": "LOCAL",
    }
    header = "".join(f"{name} = {value}\n" for name, value in fields.items())
    atomic_write(path, lambda stream: stream.writelines([header.encode("latin-1"), *packed]), force)


def _words(values: NDArray[np.float64]) -> str:
    return " ".join(repr(float(value)) for value in values)


def parts(path: Path) -> tuple[Path, ...]:
    """The files of a volume; raises `ValueError`, `OSError` or `InputError` for a header without them."""
    return (path, *(file for file in _header_of(path).files if file != path))


def _header_of(path: Path) -> _Header:
    with path.open("rb") as stream:
        start = stream.read(_LONGEST)
    last = re.search(rb"^[ \t]*ElementDataFile[ \t]*=([^\r\n]*)(?:\r?\n|\Z)", start, re.MULTILINE)
    if last is None:
        raise ValueError("its header does not end")
    text = start[: last.start()].decode("latin-1")
    lines = (line.partition("=") for line in text.split("\n"))
    fields = {name.strip(): value.strip() for name, equals, value in lines if equals}
    if fields.get("ObjectType", "Image") != "Image" or not {"NDims", "DimSize", "ElementType"} <= set(fields):
        raise ValueError("its header is not of an image")
    named = last[1].decode("latin-1").strip()
    if named.lower() == "local":
        return _Header(fields, (path,), last.end())
    listed = named.split()[:1] == ["LIST"]
    files = files_of(path, start[last.end() :].decode("latin-1") if listed else named)
    return _Header(fields, files, int(fields.get("HeaderSize", 0)))


def _affine(header: _Header) -> NDArray[np.float64]:
    count, used = len(header.size), min(len(header.size), 3)
    spacing = header.numbers(count, "ElementSpacing", "ElementSize") or [1.0] * count
    origin = header.numbers(count, "Offset", "Position", "Origin") or [0.0] * count
    axes = header.numbers(count**2, "TransformMatrix", "Rotation", "Orientation")
    directions = np.eye(count) if axes is None else np.reshape(axes, (count, count)).T  # a row an axis
    affine = np.eye(4)
    affine[:used, :used] = directions[:used, :used] * spacing[:used]
    affine[:used, 3] = origin[:used]
    return affine


def _voxels(path: Path, header: _Header, volume: int | None) -> NDArray[Any]:
    """One volume (z, y, x) or image (y, x)."""
    size, dtype = header.size, header.dtype
    channels = int(header.fields.get("ElementNumberOfChannels", 1))
    if int(header.fields["NDims"]) != len(size) or min(*size, channels) < 1:
        raise ValueError(f"its size is {size} with {channels} channels")
    if dtype.itemsize == 1 and channels in (3, 4):
        raise InputError(f"{path} is a colour image of {channels} channels, pass a grey one", value=channels)
    if not 2 <= len(size) <= 4 or (len(size) == 4 and channels > 1):
        raise InputError(
            f"{path} is {len(size)}-D {size} with {channels} channels, pass one volume", value=size
        )
    if not header.says("BinaryData"):
        raise InputError(f"{path} has its voxels as text, convert it", value=str(path))
    index = chosen_volume(volume, size[3] if len(size) == 4 else channels, path)
    needed, packed = math.prod(size) * channels * dtype.itemsize, header.says("CompressedData")
    _check_size(path, header, needed, packed)
    sides = size[:3][::-1]
    length, channel = math.prod(sides) * channels * dtype.itemsize, index if channels > 1 else 0
    start = index * length if len(size) == 4 else 0

    def copy(keep: Callable[[int, bytes], object]) -> None:
        found = _pass(_chunks(header, needed, packed), start, length, keep)
        if found < needed or (packed and found > needed):
            cause = f"{path} needs {needed} bytes of voxels and has {found}, get it again"
            raise InputError(cause, value=found)

    if len(sides) == 3 and is_large(length):
        z, y, x = sides
        step, first = channels * dtype.itemsize, channel * dtype.itemsize
        place = (z, y, x), dtype, (y * x * step, x * step, step)
        if not packed and len(header.files) == 1:
            begin = header.begin(needed, header.files[0]) + start + first
            return checked_array(RawArray(header.files[0], begin, *place, str(path)))
        copied = partial(_spool, copy)
        return checked_array(spooled(copied, *place[:2], str(path), place[2], first))
    array = np.empty((*sides, channels), dtype)
    target = array.reshape(-1).view(np.uint8)

    def keep(at: int, part: bytes) -> None:
        target[at : at + len(part)] = np.frombuffer(part, np.uint8)

    copy(keep)
    return array[..., channel]


def _check_size(path: Path, header: _Header, needed: int, packed: bool) -> None:
    if packed and len(header.files) > 1:
        raise ValueError("its compressed voxels are in several files")
    held = sum(max(file.stat().st_size - max(header.offset, 0), 0) for file in header.files)
    if needed > held * (MOST_INFLATED if packed else 1):
        cause = f"{path} cannot hold its {needed} bytes of voxels in {held} bytes, get it again"
        raise InputError(cause, value=needed)


def _chunks(header: _Header, needed: int, packed: bool) -> Iterator[bytes]:
    for file in header.files:
        with file.open("rb") as stream:
            stream.seek(header.begin(needed // len(header.files), file))
            if packed:
                yield from inflated(stream)
            while chunk := stream.read(_BLOCK):  # of a compressed one nothing is left
                yield chunk


def _pass(chunks: Iterator[bytes], start: int, length: int, keep: Callable[[int, bytes], object]) -> int:
    """Hand on so many bytes from ``start`` on, with their place; returns how many there are in all."""
    at = 0
    for chunk in chunks:
        low, high = max(start - at, 0), min(start + length - at, len(chunk))
        if low < high:
            keep(at + low - start, chunk[low:high])
        at += len(chunk)
    return at


def _spool(copy: Callable[[Callable[[int, bytes], object]], None], stream: BinaryIO) -> None:
    copy(lambda _, part: stream.write(part))
