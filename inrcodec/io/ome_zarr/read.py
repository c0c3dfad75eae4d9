"""Zarr arrays and OME-Zarr images to volumes.

In: a folder or ZIP file.  Out: a volume, read late if it is large.
Invariant: a codec that may do anything else than make numbers of bytes is refused before a chunk is read.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import InputError, UsageError
from inrcodec.io.atomic import Location
from inrcodec.io.choice import chosen_volume
from inrcodec.io.detached import MILLIMETRES
from inrcodec.io.fetched import volume_of
from inrcodec.io.ome_zarr.package import IMAGES, METADATA, OME, zarr_package
from inrcodec.io.voxels import refused
from inrcodec.volume.description import LABELS
from inrcodec.volume.padding import find_padding
from inrcodec.volume.volume import Volume

_AXES = "tczyx"  # of versions before 0.4, which do not say them, from the last one back
_LENGTHS = {"meter": "m", "centimeter": "cm", "millimeter": "mm", "micrometer": "um", "nanometer": "nm"}
_METADATA = 1 << 26  # bytes of a file of metadata
_MOST_VOLUMES = 100_000  # in one array
_NO_UNIT = "the OME-Zarr does not say the unit of its lengths, millimetres are taken"
_NO_SIDES = "OME-Zarr does not say which side is left: axes x, y and z are taken to be L, P and S"
# What may decode a chunk: codecs that make numbers of bytes, and none of objects, such as "pickle".
_CODECS = frozenset(
    """bytes transpose sharding_indexed blosc zstd zlib gzip bz2 lzma lz4 shuffle delta fixedscaleoffset
    quantize bitround packbits astype crc32 crc32c adler32 fletcher32 jenkins_lookup3 inrv""".split()
)


@dataclass(frozen=True)
class _Grid:
    """What is known of the axes of an array."""

    leading: tuple[str, ...]  # names of the axes before (z, y, x) or (y, x)
    affine: NDArray[np.float64] | None  # in mm; `None` where nothing is said of voxel edges
    notices: tuple[str, ...] = ()


def read(source: Location, *, spacing: Sequence[float] | None = None, volume: int | None = None) -> Volume:
    """Volume of a Zarr array, or of the full resolution of an OME-Zarr image; read late if it is large.

    Parameters
    ----------
    spacing : sequence of float, mm, optional
        (z, y, x) or (y, x), for arrays that do not say it.
    volume : int, optional
        Which one along the axes before z, y and x together (time, channel), from 0.

    Raises
    ------
    InputError
        Not such a folder or file, several arrays or images, axes in another order, a codec that is not known;
        as `MissingExtra` zarr is not installed.
    UsageError
        `spacing` for an image that has its own.
    """
    zarr, path = zarr_package(), Path(source)
    with refused(path, "Zarr"):
        from inrcodec.io.ome_zarr.guarded import GuardedStore  # needs zarr

        kinds = zarr.storage
        if path.is_file():
            _check_archive(path)
        store = GuardedStore(
            kinds.ZipStore(path, mode="r") if path.is_file() else kinds.LocalStore(path, read_only=True)
        )
        array, about = _image(zarr.open(store, mode="r"), path)
        grid = _plain(array) if about is None else _described(array, about, path)
        _check_codecs(array, path)
        store.guard(array, path)
        if path.is_file():
            _check_archive(path, 2 * store.most + _METADATA)
        place = _place(array, grid, volume, path)
    if grid.affine is not None and spacing is not None:
        cause = "has no meaning for an OME-Zarr image, which says it: leave it out"
        raise UsageError(cause, value=spacing, option="spacing")
    found = volume_of(array, place, str(path))
    made = Volume.from_array(found, spacing=spacing, affine=grid.affine)
    unplaced = {} if grid.affine is None else {"nifti_sform": 0, "nifti_qform": 0}
    labels = {LABELS: 1} if about is not None and "image-label" in about else {}
    return replace(
        made,
        padding=find_padding(made.array),
        source_bytes=_bytes(path, array) if volume is None else None,
        description={**labels, **unplaced},
        notices=grid.notices,
    )


def _image(node: Any, path: Path) -> tuple[Any, Mapping[str, Any] | None]:
    """The array that is meant, and the metadata of OME-Zarr, if it has them."""
    if hasattr(node, "shape"):
        return node, None
    about = _ome(node)
    if "bioformats2raw.layout" in about and IMAGES not in about:  # images in groups by their numbers
        images = sorted(name for name in node.group_keys() if name.isdecimal())
        if len(images) != 1:
            cause = f"{path} holds {len(images)} images ({', '.join(images)}), pass the folder of one"
            raise InputError(cause, value=images)
        node = node[images[0]]
        about = _ome(node)
    if IMAGES in about:
        return node[about[IMAGES][0]["datasets"][0]["path"]], about
    names = sorted(node.array_keys())
    if len(names) != 1:
        cause = f"{path} holds {len(names)} arrays ({', '.join(names) or 'none'}), pass the folder of one"
        raise InputError(cause, value=names)
    return node[names[0]], None


def _ome(node: Any) -> Mapping[str, Any]:
    """Metadata of OME-Zarr: since 0.5 under a name of their own."""
    attributes = dict(node.attrs)
    about = attributes.get(OME, attributes)
    return about if isinstance(about, Mapping) else {}


def _plain(array: Any) -> _Grid:
    """An array of which nothing is said: its last three axes are z, y and x."""
    if not 2 <= array.ndim <= 4:
        raise InputError(f"an array of shape {array.shape} is not a volume (z, y, x)", value=array.shape)
    return _Grid(tuple(map(str, range(array.ndim - 3))), None)


def _place(array: Any, grid: _Grid, volume: int | None, path: Path) -> tuple[int, ...]:
    """Indices along the axes before z, y and x of the volume that is meant."""
    sides = array.shape[: len(grid.leading)]
    places = list(np.ndindex(*sides)) if math.prod(sides) <= _MOST_VOLUMES else []
    if not places:
        raise InputError(f"{path} holds {math.prod(sides)} volumes, pass fewer", value=sides)
    lines = [", ".join(f"{n} {k}" for n, k in zip(grid.leading, at, strict=True)) for at in places]
    return places[chosen_volume(volume, len(places), path, lines)]


def _described(array: Any, about: Mapping[str, Any], path: Path) -> _Grid:
    image = about[IMAGES][0]
    axes = [axis if isinstance(axis, Mapping) else {"name": axis} for axis in image.get("axes") or ()]
    axes = axes or [{"name": name} for name in _AXES[-array.ndim :]]
    names = [str(axis["name"]).lower() for axis in axes]
    used = 3 if names[-3:] == list("zyx") else 2
    if len(axes) != array.ndim or names[-2:] != ["y", "x"] or set(names[:-used]) & set("zyx"):
        cause = (
            f"{path} has axes {', '.join(names)} for an array of shape {array.shape}: z, y, x are the last"
        )
        raise InputError(cause, value=names)
    units = [str(axis.get("unit") or "") for axis in axes[-used:]]
    lengths = [MILLIMETRES.get(_LENGTHS.get(unit, unit).replace("µ", "u") or "mm") for unit in units]
    if None in lengths:
        cause = f"{path} has lengths in {', '.join(units)}: convert it to mm"
        raise InputError(cause, value=units)
    scale, origin = np.ones(array.ndim), np.zeros(array.ndim)
    for holder in (image["datasets"][0], image):
        for transform in holder.get("coordinateTransformations") or ():
            scale, origin = _transformed(scale, origin, transform, path)
    edges = [scale[-k] * lengths[-k] for k in range(1, used + 1)]
    place = [origin[-k] * lengths[-k] for k in range(1, used + 1)]
    affine = np.diag([*edges, *[1.0] * (4 - used)])
    affine[:used, 3] = place
    return _Grid(tuple(names[:-used]), affine, (_NO_SIDES,) if all(units) else (_NO_SIDES, _NO_UNIT))


def _transformed(
    scale: NDArray[np.float64], origin: NDArray[np.float64], transform: Mapping[str, Any], path: Path
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale and origin of a grid after one more transformation."""
    kind = transform.get("type")
    numbers = np.array(transform.get(str(kind), np.ones(len(scale))), np.float64)
    if (
        kind not in ("identity", "scale", "translation")
        or numbers.shape != scale.shape
        or "path" in transform
    ):
        raise InputError(f"{path} has a coordinate transformation {kind!r} that is not supported", value=kind)
    if kind == "scale":
        return scale * numbers, origin * numbers
    return scale, origin + numbers if kind == "translation" else origin


def _check_codecs(array: Any, path: Path) -> None:
    """Refuse codecs that may do anything else than make numbers of bytes."""
    stored = array.metadata.to_dict()
    for name in _codecs([stored.get(key) for key in ("codecs", "filters", "compressor")]):
        known = name.removeprefix("numcodecs.")
        if known not in _CODECS and not known.startswith("imagecodecs_"):
            raise InputError(f"{path} is compressed by {name!r}, which is not read", value=name)


def _check_archive(path: Path, chunk: int | None = None) -> None:
    """Refuse a ZIP file of which a part inflates to more than its kind may have, metadata or a chunk."""
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            most = _METADATA if Path(entry.filename).name in METADATA else chunk
            if most is not None and entry.file_size > most:
                cause = f"{path} holds {entry.filename} of {entry.file_size} bytes, more than {most}"
                raise InputError(f"{cause}: do not trust it", value=entry.file_size)


def _codecs(stored: Any) -> Iterator[str]:
    """Names of codecs, and of those within them."""
    if isinstance(stored, Mapping):
        yield str(stored.get("name", stored.get("id")))
        inner = stored.get("configuration") or {}
        yield from _codecs([inner.get(key) for key in ("codecs", "index_codecs")])
    elif isinstance(stored, Sequence) and not isinstance(stored, str):
        for one in stored:
            yield from _codecs(one)


def _bytes(path: Path, array: Any) -> int:
    """Bytes of an array's files."""
    if path.is_file():
        return path.stat().st_size
    folder = path / str(array.path)
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
