"""NRRD, read through SimpleITK: `.nrrd`, and `.nhdr`, whose voxels are in other files.

In: a path.  Out: a volume, and `.nrrd` again.
Invariant: ITK is handed nothing that lies outside the header's folder, is too short for its shape, or does
not inflate to just its voxels, as it compares no checksum itself; its axes are LPS, whatever the header's.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import InputError
from inrcodec.io.atomic import Location, atomic_write
from inrcodec.io.detached import MILLIMETRES, files_of, inflated
from inrcodec.io.itk import chosen, placed, simpleitk
from inrcodec.io.large import is_large, spooled
from inrcodec.io.provenance import Provenance
from inrcodec.io.voxels import MOST_INFLATED, compressed, refused
from inrcodec.volume.checks import checked_array
from inrcodec.volume.lazy import RawArray
from inrcodec.volume.volume import Volume

_TYPES = {"float32": "float", "float64": "double"}  # integers have NumPy's names
_PACKINGS = {"raw": "raw", "gzip": "deflate", "gz": "deflate"}
_LONGEST = 1 << 20  # bytes of a header


@dataclass(frozen=True)
class _Header:
    """What matters before ITK reads it."""

    files: tuple[Path, ...]  # where the voxels are
    offset: int  # of the voxels in the only file; 0 if they are detached
    packing: str  # "raw", "deflate", or "other": text, or voxels after bytes that are skipped
    millimetres: float  # of the header's unit, which ITK takes for millimetres
    order: str  # of bytes, "<" or ">"; "" if it is not known
    skips: bool  # whether lines or bytes in front of the voxels are skipped

    @property
    def is_plain(self) -> bool:
        """Whether the voxels are one run of bytes, or deflated ones, that need no ITK."""
        return len(self.files) == 1 and not self.skips and self.packing != "other"


def read(source: Location, *, volume: int | None = None) -> Volume:
    """Volume of a `.nrrd` or `.nhdr` file.

    Parameters
    ----------
    volume : int, optional
        Which one along the fourth dimension, or which component of a vector image, from 0.

    Raises
    ------
    InputError
        Not such a file, colour or complex, several volumes and none chosen, voxels outside the header's
        folder, NaN or infinite values; as `MissingExtra` SimpleITK is not installed.
    """
    itk, path = simpleitk(), Path(source)
    with refused(path, "NRRD"):
        header = _header_of(path)
        reader = itk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.SetImageIO("NrrdImageIO")
        reader.ReadImageInformation()
        kind, size = itk.GetPixelIDValueAsString(reader.GetPixelID()), reader.GetSize()
        components = reader.GetNumberOfComponents()
        index = chosen(kind, size, components, str(path), volume)
        bits = re.search(r"(\d+)-bit", kind)
        needed = math.prod(size) * components * (int(bits[1]) if bits else 8) // 8
        _check(path, header, needed)
        if len(size) == 3 and components == 1 and is_large(needed) and header.is_plain:
            found = placed(_late(path, header, size, kind), reader, str(path))
        else:
            if len(size) == 4:
                reader.SetExtractSize([*size[:3], 0])
                reader.SetExtractIndex([0, 0, 0, index])
            image = reader.Execute()
            if components > 1:
                image = itk.VectorIndexSelectionCast(image, index)
            found = placed(itk.GetArrayFromImage(image), reader, str(path))
    affine = np.diag([*[header.millimetres] * 3, 1.0]) @ found.affine
    size_on_disk = sum(file.stat().st_size for file in {path, *header.files})
    return replace(found, affine=affine, source_bytes=size_on_disk if volume is None else None)


def write(
    volume: Volume, path: Location, *, force: bool = False, provenance: Provenance | None = None
) -> None:
    """Write physical values, compressed, in the patient's axes L, P and S; float16 as float32."""
    values = volume.values()
    fields = {
        "type": _TYPES.get(values.dtype.name, values.dtype.name),
        "dimension": "3",
        "space": "left-posterior-superior",
        "sizes": " ".join(map(str, volume.shape[::-1])),
        "space directions": " ".join(map(_vector, volume.affine[:3, :3].T)),
        "kinds": "domain domain domain",
        "endian": "little",
        "encoding": "gzip",
        "space origin": _vector(volume.affine[:3, 3]),
    }
    comment = "" if provenance is None else f"Comment:={provenance.summary}\n"
    header = "".join(f"{name}: {value}\n" for name, value in fields.items())

    def fill(stream: BinaryIO) -> None:
        stream.write(f"NRRD0004\n{header}{comment}\n".encode("ascii"))
        with compressed(stream) as packed:
            for plane in values:
                packed.write(np.ascontiguousarray(plane, values.dtype.newbyteorder("<")).data)

    atomic_write(path, fill, force)


def _vector(values: NDArray[np.float64]) -> str:
    return f"({','.join(repr(float(value)) for value in values)})"


def parts(path: Path) -> tuple[Path, ...]:
    """The files of a volume; raises `ValueError`, `OSError` or `InputError` for a header without them."""
    return (path, *(file for file in _header_of(path).files if file != path))


def _header_of(path: Path) -> _Header:
    with path.open("rb") as stream:
        start = stream.read(_LONGEST)
    if not start.startswith(b"NRRD"):
        raise ValueError(f"it starts {start[:4].hex(' ') or 'nowhere'}")
    end = re.search(rb"\r?\n\r?\n", start)
    lines = start[: end.start() if end else None].decode("latin-1").split("\n")
    fields: dict[str, str] = {}
    for number, line in enumerate(lines):
        name, colon, value = line.partition(":")
        if colon and not line.startswith("#") and not value.startswith("="):
            listed = value.split()[:1] == ["LIST"]
            field = "\n".join(lines[number + 1 :]) if listed else value.strip()
            key = name.strip().lower().replace(" ", "")
            if key in fields:  # ITK might take the other
                raise ValueError(f"its header says {name.strip()!r} twice")
            fields[key] = field
    units = re.findall(r'"(.*?)"', fields.get("spaceunits", "").replace("µ", "u"))
    lengths = {MILLIMETRES.get(unit, 1.0) for unit in units} or {1.0}
    if len(lengths) > 1:
        raise InputError(f"{path} has axes in several units {units}, convert it to mm", value=units)
    named = fields.get("datafile")
    if named is None and end is None:
        raise ValueError("its header does not end")
    packing = _PACKINGS.get(fields.get("encoding", "").lower(), "other")
    skips = any(fields.get(name, "0") not in ("0", "-1") for name in ("lineskip", "byteskip"))
    return _Header(
        files=(path,) if named is None else files_of(path, named),
        offset=end.end() if named is None and end else 0,
        packing="other" if skips and packing == "deflate" else packing,
        millimetres=lengths.pop(),
        order={"little": "<", "big": ">"}.get(fields.get("endian", "").lower(), ""),
        skips=skips,
    )


def _late(path: Path, header: _Header, size: tuple[int, ...], kind: str) -> NDArray[Any]:
    """The voxels of a large file, which are read when they are needed; ``kind`` in SimpleITK's words."""
    (x, y, z), bits = size, re.search(r"(\d+)-bit (unsigned|signed)?", kind)
    if bits is None or (int(bits[1]) > 8 and not header.order):
        raise ValueError(f"its values are {kind}, and their byte order is not said")
    letter = {"unsigned": "u", "signed": "i"}.get(bits[2], "f")
    dtype = np.dtype(f"{header.order or '<'}{letter}{int(bits[1]) // 8}")
    if header.packing == "raw":
        return checked_array(RawArray(header.files[0], header.offset, (z, y, x), dtype, name=str(path)))

    def fill(stream: BinaryIO) -> None:
        with header.files[0].open("rb") as file:
            file.seek(header.offset)
            for part in inflated(file):
                stream.write(part)

    return checked_array(spooled(fill, (z, y, x), dtype, str(path)))


def _check(path: Path, header: _Header, needed: int) -> None:
    """Refuse files that cannot hold, or do not inflate to, so many bytes of voxels."""
    held = sum(file.stat().st_size for file in header.files) - header.offset
    if needed > held * (1 if header.packing == "raw" else MOST_INFLATED):
        cause = f"{path} cannot hold its {needed} bytes of voxels in {held} bytes, get it again"
        raise InputError(cause, value=needed)
    if header.packing == "deflate" and len(header.files) == 1:
        with header.files[0].open("rb") as stream:
            stream.seek(header.offset)
            found = sum(map(len, inflated(stream)))
        if found != needed:
            cause = f"{path} needs {needed} bytes of voxels and inflates to {found}, get it again"
            raise InputError(cause, value=found)
