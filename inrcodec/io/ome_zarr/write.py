"""Volumes to OME-Zarr images of one resolution.

In: a volume.  Out: a folder in version 3 of Zarr, a chunk for each brick.
Invariant: only a folder that this module wrote is ever replaced, and a row of chunks is held at a time.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from inrcodec._version import __version__
from inrcodec.errors import WriteError
from inrcodec.io.atomic import Location, atomic_folder, check_folder
from inrcodec.io.large import blocks
from inrcodec.io.ome_zarr.package import IMAGES, OME, zarr_package
from inrcodec.io.provenance import Provenance
from inrcodec.volume.bricks import usual_edges
from inrcodec.volume.volume import Volume

_OURS, _FULL = "inrcodec", "0"  # attribute of what this package wrote, and path of the full resolution
_CHUNK = re.compile(r"c(/\d+)*|zarr\.json")


def write(
    volume: Volume, path: Location, *, force: bool = False, provenance: Provenance | None = None
) -> None:
    """Write physical values as an OME-Zarr image of one resolution, a row of chunks at a time.

    Raises
    ------
    WriteError
        As `inrcodec.io.write`.
    """
    zarr, values = zarr_package(), volume.values()
    edges, shape, names = usual_edges(volume.shape), volume.shape, "zyx"
    if volume.ndim == 2:
        edges, shape, names = edges[1:], shape[1:], names[1:]  # type: ignore[assignment]
    attributes = {OME: _metadata(volume, names, provenance), _OURS: {"version": __version__}}
    codec = zarr.codecs.BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle")
    with atomic_folder(path, our_files, force) as folder:
        group = zarr.create_group(str(folder), zarr_format=3, attributes=attributes)
        array = group.create_array(
            _FULL,
            shape=shape,
            dtype=values.dtype,
            chunks=edges,
            compressors=codec,
            dimension_names=list(names),
        )
        if volume.ndim == 2:
            array[...] = values[0]
            return
        depth, height, _ = usual_edges(volume.shape)
        for number, block in enumerate(blocks(values, depth)):
            for y in range(0, shape[1], height):  # few chunks at a time, as zarr holds them all
                array[number * depth : number * depth + len(block), y : y + height] = block[:, y : y + height]


def check_target(path: Location, force: bool = False, **_: object) -> None:
    """Refuse a target of `write` before the work is done; raises what it would."""
    check_folder(path, our_files, force)


def our_files(folder: Path) -> list[Path]:
    """Content of a folder that `write` made; raises `WriteError` if anything in it is something else."""
    try:
        ours = _OURS in json.loads((folder / "zarr.json").read_bytes())["attributes"]
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    entries = sorted(folder.iterdir())
    chunks = folder / _FULL
    foreign = [entry for entry in entries if entry.name not in ("zarr.json", _FULL) or entry.is_symlink()]
    for entry in sorted(chunks.rglob("*")) if not foreign else ():
        if not _CHUNK.fullmatch(entry.relative_to(chunks).as_posix()) or entry.is_symlink():
            foreign.append(entry)
    if not ours or foreign:
        what = foreign[0].relative_to(folder) if foreign else "a Zarr array"
        cause = f"{folder} holds {what}, which was not written by inrcodec: name another folder"
        raise WriteError(cause, value=str(folder))
    return entries


def _metadata(volume: Volume, names: str, provenance: Provenance | None) -> dict[str, Any]:
    """Metadata of an image of one resolution."""
    edges = volume.spacing[-len(names) :]
    transforms: list[dict[str, Any]] = [{"type": "scale", "scale": list(edges)}]
    origin = volume.affine[:3, 3][::-1][-len(names) :]
    along = np.diag([*volume.spacing[::-1], 1.0])
    along[:3, 3] = volume.affine[:3, 3]
    if origin.any() and np.array_equal(along, volume.affine):
        transforms.append({"type": "translation", "translation": origin.tolist()})
    about = {} if provenance is None else {"metadata": {"description": provenance.derivation}}
    image = {
        "name": "volume",
        "axes": [{"name": name, "type": "space", "unit": "millimeter"} for name in names],
        "datasets": [{"path": _FULL, "coordinateTransformations": transforms}],
    }
    return {"version": "0.5", IMAGES: [image | about]}
