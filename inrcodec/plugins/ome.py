"""A file as an OME-Zarr pyramid: what its metadata say, and references that make one of it without a copy.

In: a file.  Out: documents of OME-Zarr 0.5 (version 3 of zarr), in plain types.
Invariant: a voxel of a level lies in the middle of what it stands for: a low-res voxel (f - 1)/2 voxels from
the first that it covers, one of a lattice where it was taken.

OME-Zarr has no place for oblique axes: positions are millimetres along the voxel axes, LPS coordinates where
these are the patient's, else from the first voxel on.  The attribute ``inrcodec`` has the whole affine.
"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from inrcodec import api
from inrcodec.errors import UsageError
from inrcodec.file import InrvFile, Level
from inrcodec.format.container import table_size
from inrcodec.plugins.chunk import NAME
from inrcodec.plugins.geometry import along_axes
from inrcodec.plugins.physical import opened, physical
from inrcodec.volume.box import Shape
from inrcodec.volume.windows import WINDOWS

METADATA = "zarr.json"
_AXES = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]


def references(source: api.File | InrvFile, url: str | None = None) -> dict[str, Any]:
    """A virtual OME-Zarr image over one file: the levels are byte ranges of it, from its beginning on.

    Readers need the codec of :mod:`inrcodec.plugins.zarr`; of a coarse level they read the first bytes alone.

    Parameters
    ----------
    source : path, URL, UPath, or an open file.
    url : str, optional
        Where readers find the file; the path that was passed by default.

    Returns
    -------
    dict
        For fsspec's file system ``reference``, as ``fo``; plain types, so that ``json.dump`` writes it.

    Raises
    ------
    UsageError
        Neither a path nor ``url`` says where the file is.
    """
    if url is None:
        if not isinstance(source, str | os.PathLike):
            raise UsageError("bytes and open files have no address: pass url", option="url")
        url = os.fspath(source)
    file = opened(source)
    found: dict[str, Any] = {METADATA: json.dumps(group(file))}
    for number, level in enumerate(file.levels):
        coding: dict[str, Any] = {"level": number} if number else {}
        coding |= {"physical": True} if _is_scaled(file) else {}
        codec = {"name": NAME, "configuration": coding}
        found[f"{number}/{METADATA}"] = json.dumps(array(file, number, level.shape, codec))
        found[f"{number}/c/0/0/0"] = [url, 0, prefix(file, level)] if number else [url]
    return {"version": 1, "refs": found}


def group(file: InrvFile) -> dict[str, Any]:
    """The document of an image with all levels of a file, each at the path of its number."""
    datasets = [
        {"path": str(number), "coordinateTransformations": _place(file, level)}
        for number, level in enumerate(file.levels)
    ]
    low, high = window(file)
    channel = {"window": {"min": low, "max": high, "start": low, "end": high}, "active": True}
    about = {"multiscales": [{"name": "volume", "axes": _AXES, "datasets": datasets}]}
    ome = {"version": "0.5", **about, "omero": {"channels": [channel | {"color": "FFFFFF"}]}}
    geometry = {"affine_lps": file.affine.tolist(), "modality": file.modality}
    return {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome, "inrcodec": geometry}}


def array(file: InrvFile, number: int, chunk: Shape, codec: dict[str, Any]) -> dict[str, Any]:
    """The document of a level, of which each chunk is made by a codec."""
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(file.levels[number].shape),
        "data_type": dtype(file).name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [codec],
        "dimension_names": list("zyx"),
        "attributes": {},
    }


def dtype(file: InrvFile) -> np.dtype[Any]:
    """Of the physical values."""
    return physical(file).array.dtype if _is_scaled(file) else file.dtype


def window(file: InrvFile) -> tuple[float, float]:
    """Physical values between which a level is shown: soft tissue of a CT, else all."""
    if file.modality == "CT":
        return WINDOWS["soft-tissue"]
    slope, intercept = file.header.rescale
    low, high = sorted(value * slope + intercept for value in (file.header.low, file.header.high))
    return low, max(high, low + 1)


def prefix(file: InrvFile, level: Level) -> int:
    """Bytes from the beginning of a file on that a level needs, and no others."""
    lengths = file.sections.lengths
    at = table_size(len(lengths))
    for name, length in lengths.items():
        if name == "LIDX" and level.kind == "lowres":
            break
        if name == "LATT" and level.kind == "lattice":
            last = file.sections.chunks(name)[level.steps * len(file.header.bricks) - 1]
            return at + last.start + last.length
        at += length
    return at


def _is_scaled(file: InrvFile) -> bool:
    return file.header.rescale != (1.0, 0.0) or bool(file.header.slice_rescale)


def _place(file: InrvFile, level: Level) -> list[dict[str, Any]]:
    """Scale and translation of a level."""
    first, step, direction = along_axes(file.affine)
    placed = np.array_equal(direction, np.eye(3)) and (step > 0).all()
    shift = (np.linalg.inv(file.affine) @ level.affine)[:3, 3] * np.abs(step)
    origin = [round(float(v), 9) for v in (shift + first if placed else shift)[::-1]]
    scale = [round(float(v), 9) for v in level.spacing]
    return [{"type": "scale", "scale": scale}, {"type": "translation", "translation": origin}]
