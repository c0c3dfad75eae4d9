"""napari: a reader, a writer and a sample, found by the entry point `napari.manifest`.

In: paths, layers.  Out: layers, paths.
Invariant: a layer has physical values, and its affine leads to (S, P, L) millimetres in the order z, y, x.

napari takes the levels of a pyramid to begin at the same voxel.  Lattices of a refinement do; the low-res
volume, whose voxels are means, does not, and comes as a layer of its own, hidden at first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inrcodec import api
from inrcodec.errors import MissingExtra
from inrcodec.file import InrvFile
from inrcodec.plugins.geometry import zyx
from inrcodec.plugins.physical import physical
from inrcodec.volume.affine import Affine
from inrcodec.volume.volume import Volume
from inrcodec.volume.windows import WINDOWS

Layer = tuple[Any, dict[str, Any], str]
SAMPLE = Path(__file__).with_name("sample.inrv")  # a head of the Visible Human, courtesy of the NLM
WINDOW = WINDOWS["soft-tissue"]
_PLACE = ("scale", "translate", "rotate", "shear")


def reader_of(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[Layer]] | None:
    """What reads a path, or a list of paths; nothing for other files."""
    paths = [path] if isinstance(path, str | os.PathLike) else path
    return read if all(os.fspath(one).lower().endswith(".inrv") for one in paths) else None


def read(path: str | Sequence[str]) -> list[Layer]:
    """The layers of a path, or of several; voxels are decoded when they are shown."""
    paths = [path] if isinstance(path, str | os.PathLike) else path
    return [layer for one in paths for layer in _layers(one)]


def write_image(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Save a layer without loss: its finest level, placed by its scale, rotation, shear and affine."""
    array = np.asarray(data[0] if attributes.get("multiscale") else data)
    volume = Volume.from_array(array, affine=_affine_of(attributes, array.ndim))
    modality = str(attributes.get("metadata", {}).get("modality", ""))
    volume = volume.relabelled(modality=modality, unit="HU" if modality == "CT" else "")
    api.encode_file(volume, path, force=True, lossless=True)
    return [path]


def sample() -> list[Layer]:
    """A head CT in ten kilobytes."""
    return read(os.fspath(SAMPLE))


def _layers(path: str) -> list[Layer]:
    """One layer, with the lattices as its levels; and one of the low-res volume, where there is one."""
    file, name = api.open(path), Path(path).stem
    kinds = [level.kind for level in file.levels]
    aligned = [number for number, kind in enumerate(kinds) if kind != "lowres"]
    layers = [_layer(file, aligned, name)]
    if "lowres" in kinds:
        layers.append(_layer(file, [kinds.index("lowres")], f"{name} (low-res)", visible=False))
    return layers


def _layer(file: InrvFile, levels: Sequence[int], name: str, *, visible: bool = True) -> Layer:
    volumes = [physical(file, level, half=False) for level in levels]
    first = volumes[0]
    slope, intercept = file.header.rescale
    ends = sorted(value * slope + intercept for value in (file.header.low, file.header.high))
    window = WINDOW if first.modality == "CT" else (ends[0], max(ends[1], ends[0] + 1))
    about = {
        "name": name,
        "affine": zyx(first.affine),
        "units": ("mm",) * 3,
        "axis_labels": tuple("zyx"),
        "contrast_limits": window,
        "metadata": {"modality": first.modality, "unit": first.unit},
        "visible": visible,
    }
    if len(volumes) > 1:
        return [volume.array for volume in volumes], {**about, "multiscale": True}, "image"
    return first.array, about, "image"


def _affine_of(attributes: dict[str, Any], ndim: int) -> Affine:
    """Voxel index (x, y, z, 1) to (L, P, S), of what napari says of a layer (z, y, x) or (y, x)."""
    try:
        from napari.utils.transforms import Affine as Transform
    except ImportError as error:
        raise MissingExtra("napari is not installed", extra="napari") from error
    named = {name: attributes[name] for name in _PLACE if name in attributes}
    world = np.eye(ndim + 1) if attributes.get("affine") is None else np.asarray(attributes["affine"])
    whole = np.eye(4)
    whole[3 - ndim :, 3 - ndim :] = world @ Transform(**named, ndim=ndim).affine_matrix
    return zyx(whole)
