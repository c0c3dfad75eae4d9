"""TIFF stacks, through tifffile: of ImageJ, OME-TIFF, or plain pages one behind the other.

In: pages of one size and type.  Out: a volume, its slices in the order of the pages; and OME-TIFF again.
Invariant: TIFF knows voxel edges and no place in the patient; nothing is read that lies outside the file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import InputError, MissingExtra, UsageError, WriteError
from inrcodec.io.atomic import Location, atomic_write
from inrcodec.io.choice import chosen_volume
from inrcodec.io.provenance import Provenance
from inrcodec.io.voxels import refused
from inrcodec.volume.checks import checked_array
from inrcodec.volume.padding import find_padding
from inrcodec.volume.volume import Volume

_MILLIMETRES = {"mm": 1.0, "cm": 10.0, "m": 1e3, "micron": 1e-3, "um": 1e-3, "nm": 1e-6, "inch": 25.4}
_UNKNOWN_AXES = "QI"  # of tifffile: pages of which nothing is said
_COLOURS = ("RGB", "PALETTE", "YCBCR", "SEPARATED", "CIELAB", "ICCLAB", "ITULAB")
_CENTIMETRE = 3  # value of the tag ResolutionUnit; inches are for printing
_SIMPLE = (1, 5, 8, 32773, 32946)  # compressions: none, LZW, deflate, PackBits, deflate
# Bytes that one of a file can stand for: 4096 for 3 bytes of LZW, fewer of the others; more of newer ones.
_MOST_INFLATED, _MOST_INFLATED_NEWER = 1366, 100_000
_LARGEST = 2**32 - 2**25  # bytes of voxels, beyond which offsets need 64 bits
_HELD = "u1 i1 u2 i2 u4 i4 f4 f8".split()  # types of OME-TIFF


def read(source: Location, *, spacing: Sequence[float] | None = None, volume: int | None = None) -> Volume:
    """Volume of a `.tif` or `.tiff` file.

    Parameters
    ----------
    spacing : sequence of float, mm, optional
        (z, y, x) or (y, x), for files that do not say it.
    volume : int, optional
        Which one in time and by channel together, from 0.

    Raises
    ------
    InputError
        Not such a file, colour, images of several sizes, several volumes and none chosen, pages that lie
        outside the file, NaN or infinite values; as `MissingExtra` tifffile is not installed.
    UsageError
        `spacing` for a file that has its own.
    """
    path = Path(source)
    with refused(path, "TIFF"), _tifffile().TiffFile(path) as file:
        series = _series(file, path)
        _check_size(series, path)
        array = checked_array(_one(series, path, volume), str(path))
        edges = _edges(file, series.keyframe)
        if edges is not None and not all(0 < edge < math.inf for edge in edges):
            edges = None
        rescale = _calibration(file.imagej_metadata or {})
    if edges is not None and spacing is not None:
        raise UsageError(
            "has no meaning for a TIFF file that says it: leave it out", value=spacing, option="spacing"
        )
    found = Volume.from_array(array, spacing=edges[-array.ndim :] if edges else spacing)
    padding = find_padding(found.array, rescale)
    size = path.stat().st_size if volume is None else None
    return replace(found, rescale=rescale, padding=padding, source_bytes=size)


def write(
    volume: Volume, path: Location, *, force: bool = False, provenance: Provenance | None = None
) -> None:
    """Write physical values as OME-TIFF, with the voxel edges; BigTIFF from 4 GiB on.

    Raises
    ------
    WriteError
        As `inrcodec.io.write`, and for integers of 64 bits.
    """
    tifffile, values = _tifffile(), np.asarray(volume.values())
    if values.dtype.str[1:] not in _HELD:
        raise WriteError(f"OME-TIFF has no values of type {values.dtype}, write .nii.gz", value=values.dtype)
    about: dict[str, Any] = {"axes": "ZYX", "UUID": _uuid(values)}
    for axis, edge in zip("ZYX", volume.spacing, strict=True):
        about |= {f"PhysicalSize{axis}": edge, f"PhysicalSize{axis}Unit": "mm"}
    if provenance is not None:
        about["Description"] = provenance.derivation

    def fill(stream: BinaryIO) -> None:
        tifffile.imwrite(
            tifffile.FileHandle(stream, name=Path(path).name, mode="wb"),
            values,
            ome=True,
            bigtiff=values.nbytes > _LARGEST,
            photometric="minisblack",
            resolution=(10 / volume.spacing[2], 10 / volume.spacing[1]),
            resolutionunit=_CENTIMETRE,
            metadata=about,
        )

    atomic_write(path, fill, force)


def _uuid(values: NDArray[Any]) -> str:
    """Of the values: tifffile's own is made of the time and the machine's address."""
    return str(UUID(bytes=blake2b(np.ascontiguousarray(values).data, digest_size=16).digest(), version=4))


def _series(file: Any, path: Path) -> Any:
    """The one image of a file; refused where there are several, or where it has colours."""
    _refuse_other_files(file, path)
    series = file.series
    if len(series) != 1:
        shapes = ", ".join(str(image.shape) for image in series[:5]) or "none"
        raise InputError(
            f"{path} holds {len(series)} images ({shapes}), pass a file of one", value=len(series)
        )
    if getattr(series[0], "is_multifile", False):  # of microscopes' programs, by the files' names
        raise InputError(f"{path} has pages in other files, join them in one", value=str(path))
    photometric = getattr(series[0].keyframe.photometric, "name", "")
    lookup_table = photometric == "PALETTE" and file.is_imagej  # how a grey image is shown
    if "S" in series[0].axes or (photometric in _COLOURS and not lookup_table):
        raise InputError(f"{path} is a colour image ({photometric}), pass a grey one", value=photometric)
    return series[0]


def _refuse_other_files(file: Any, path: Path) -> None:
    """Refuse OME-XML that places pages in other files, which tifffile would open, wherever they are."""
    if not file.ome_metadata:
        return
    root = ElementTree.fromstring(file.ome_metadata)
    for element in root.iter():
        name = element.get("FileName", path.name)
        if element.tag.endswith("UUID") and element.text != root.get("UUID") and name != path.name:
            raise InputError(f"{path} has pages in other files ({name!r:.80}), join them in one", value=name)


def _check_size(series: Any, path: Path) -> None:
    """Refuse pages that lie outside the file, or more voxels than its bytes can stand for."""
    size, needed = path.stat().st_size, int(series.nbytes)
    if series.dataoffset is not None:  # one run of bytes
        inside, held = series.dataoffset + needed <= size, needed
    else:
        pages = list(series.pages)
        parts = (
            []
            if None in pages
            else [part for page in pages for part in zip(page.dataoffsets, page.databytecounts, strict=True)]
        )
        inside = bool(parts) and all(length > 0 and offset + length <= size for offset, length in parts)
        held = sum(length for _, length in parts)
    compression = int(series.keyframe.compression)
    most = _MOST_INFLATED if compression in _SIMPLE else _MOST_INFLATED_NEWER
    if not inside or needed > held * (1 if compression == 1 else most):
        cause = f"{path} of {size} bytes does not hold its image of shape {series.shape}, get it again"
        raise InputError(cause, value=series.shape)


def _one(series: Any, path: Path, volume: int | None) -> NDArray[Any]:
    """One volume (z, y, x) or image (y, x)."""
    axes, shape = series.axes, series.shape
    depth = "Z" if "Z" in axes else next((axis for axis in axes if axis in _UNKNOWN_AXES), "")
    inner = [axes.index(axis) for axis in (depth, "Y", "X") if axis]
    others = [at for at in range(len(axes)) if at not in inner]
    sides = [shape[at] for at in others]
    index = chosen_volume(volume, math.prod(sides), f"{path}, with axes {axes} {shape},")
    array = np.transpose(series.asarray(), [*others, *inner])
    one: NDArray[Any] = array.reshape(-1, *(shape[at] for at in inner))[index]
    return one


def _edges(file: Any, page: Any) -> tuple[float, ...] | None:
    """Voxel edges (z, y, x) in mm, if the file says them."""
    if file.ome_metadata:
        return _edges_of_ome(file.ome_metadata)
    per_unit = [_ratio(page.tags.get(f"{axis}Resolution")) for axis in "YX"]
    if file.imagej_metadata:
        unit, depth = file.imagej_metadata.get("unit"), file.imagej_metadata.get("spacing", 1.0)
        scale = _millimetres(unit)
    else:
        unit_tag = page.tags.get("ResolutionUnit")
        scale = 10.0 if unit_tag is not None and unit_tag.value == _CENTIMETRE else None
        depth = 0.1  # that is 1 mm: plain pages say nothing of their distance
    if scale is None or None in per_unit:
        return None
    return (abs(float(depth)) * scale, *(scale / float(count or 1) for count in per_unit))


def _edges_of_ome(text: str) -> tuple[float, ...] | None:
    pixels = ElementTree.fromstring(text).find(".//{*}Pixels")
    facts = {} if pixels is None else pixels.attrib
    if not {"PhysicalSizeX", "PhysicalSizeY"} <= set(facts):
        return None
    edges = []
    for axis in "ZYX":
        scale = _millimetres(facts.get(f"PhysicalSize{axis}Unit", "um"))
        if scale is None:
            return None
        size = facts.get(f"PhysicalSize{axis}")
        edges.append(1.0 if size is None else float(size) * scale)
    return tuple(edges)


def _millimetres(unit: object) -> float | None:
    word = str(unit).replace("\\u00B5", "u").replace("µ", "u").replace("μ", "u").lower()
    return _MILLIMETRES.get(word)


def _ratio(tag: Any) -> float | None:
    """The value of a resolution tag, if it is one."""
    if tag is None:
        return None
    above, below = tag.value
    return above / below if above > 0 and below > 0 else None


def _calibration(facts: dict[str, Any]) -> tuple[float, float]:
    """Slope and intercept of ImageJ, which stores signed integers as unsigned ones."""
    if facts.get("cf") == 0 and "c0" in facts and "c1" in facts:  # 0: a straight line
        return float(facts["c1"]), float(facts["c0"])
    return 1.0, 0.0


def _tifffile() -> Any:
    try:
        return import_module("tifffile")
    except ImportError as error:
        raise MissingExtra("tifffile is not installed", extra="tiff") from error
