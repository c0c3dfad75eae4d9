"""Sources and sinks: whatever holds a volume, found through one table.

In: a path, an array or a volume. Out: a `Volume`, or a file of the kind that the path's ending names. The one
law: a format is one module, imported when it is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from inrcodec.errors import InputError, UsageError
from inrcodec.io.atomic import atomic_write, check_file
from inrcodec.io.provenance import Provenance
from inrcodec.volume.volume import Volume

__all__ = ["FORMATS", "Format", "Provenance", "atomic_write", "check_sink", "check_writable", "read"]
__all__ += ["refuse_modality", "refuse_other_ending", "write"]

Source = str | os.PathLike[str] | NDArray[Any] | Volume


@dataclass(frozen=True)
class Format:
    """A kind of file: its module has `read`, and `write` if it is a sink."""

    name: str
    module: str
    endings: tuple[str, ...]  # lower case; none: a folder
    sink: bool = True


FORMATS = (
    Format("DICOM", "dicom", ()),
    Format("NIfTI", "nifti", (".nii", ".nii.gz")),
    Format("NumPy", "npy", (".npy",)),
    Format("NumPy archive", "npy", (".npz",), sink=False),
)
DICOM = FORMATS[0]
_SINKS = "a folder (DICOM), .nii, .nii.gz or .npy"


def read(source: Source, *, spacing: Sequence[float] | None = None, series: str | None = None) -> Volume:
    """Volume of a DICOM folder or file, `.nii`, `.nii.gz`, `.npy`, `.npz`, an array or a volume.

    Parameters
    ----------
    source : path, ndarray or Volume
    spacing : sequence of float, mm, optional
        For arrays, `.npy` and `.npz` only, in the order of their axes; 1 mm without it.
    series : str, optional
        Series Instance UID or number, where a DICOM folder holds several.

    Raises
    ------
    InputError
        Not found, not a volume, or of an unsupported kind; `IncompleteSeries` for missing or duplicate
        slices.
    UsageError
        `spacing` for a source that has its own, `series` for one that has none.

    Examples
    --------
    >>> import numpy as np
    >>> read(np.zeros((16, 16), np.uint8), spacing=(0.5, 0.5)).spacing
    (1.0, 0.5, 0.5)
    """
    if isinstance(source, Volume):
        _refuse_options("a Volume", spacing=spacing, series=series)
        return source
    if not isinstance(source, (str, os.PathLike)):
        _refuse_options("an array", series=series)
        return _module("npy").from_array(source, spacing=spacing)  # type: ignore[no-any-return]
    path = Path(source)
    found = _source_format(path)
    module = _module(found.module)
    if found.module == "npy":
        _refuse_options(found.name, series=series)
        volume: Volume = module.read(path, spacing=spacing)
    elif found is DICOM:
        _refuse_options("DICOM, which has its own", spacing=spacing)
        volume = module.read(path, series=series)
    else:
        _refuse_options("NIfTI, which has its own", spacing=spacing)
        _refuse_options(found.name, series=series)
        volume = module.read(path)
    return volume


def write(
    volume: Volume,
    path: str | os.PathLike[str],
    *,
    template: str | os.PathLike[str] | None = None,
    force: bool = False,
    provenance: Provenance | None = None,
) -> None:
    """Write a volume; the path's ending says how: `.npy`, `.nii`, `.nii.gz`, or a folder for DICOM.

    The target is complete or not there at all; what was there before stays until then.

    Parameters
    ----------
    template : path, optional
        DICOM only: folder that patient and study are taken from.
    force : bool
        Replace an existing file, or a DICOM folder that this function wrote.
    provenance : Provenance, optional
        Statement about lossy compression, for formats that have a place for it.

    Raises
    ------
    UsageError
        Unknown ending, or a template for another kind than DICOM.
    WriteError
        The target exists (without `force`) or cannot be written.
    """
    found = _sink_format(path)
    if found is DICOM:
        _module("dicom").write(volume, path, template=template, force=force, provenance=provenance)
        return
    _refuse_options(f"{found.name}; name a folder for DICOM", template=template)
    _module(found.module).write(volume, path, force=force, provenance=provenance)


def check_sink(
    path: str | os.PathLike[str],
    force: bool = False,
    *,
    template: str | os.PathLike[str] | None = None,
    modality: str = "",
) -> None:
    """Refuse a target of `write` before the work is done.

    Parameters
    ----------
    modality : str
        Of the volume that will be written, "" if unknown; a template is then refused.

    Raises
    ------
    UsageError, WriteError
        As `write`, for the target's ending and its place, and a template of another modality.
    InputError
        The template is no single study of DICOM images.
    """
    found = _sink_format(path)
    if found is not DICOM:
        _refuse_options(f"{found.name}; name a folder for DICOM", template=template)
        check_file(path, force)
        return
    from inrcodec.io.dicom.write import check_target

    check_target(path, force, template=template, modality=modality)


def refuse_modality(path: str | os.PathLike[str], modality: str | None) -> None:
    """Refuse a modality for a target that has no place for it; raises `UsageError`."""
    found = _sink_format(path)
    if found is not DICOM:
        _refuse_options(f"{found.name}; name a folder for DICOM", modality=modality)


def refuse_other_ending(path: str | os.PathLike[str]) -> None:
    """Refuse a name for an `.inrv` file that promises something else; raises `UsageError`."""
    name = Path(path).name
    endings = [ending for found in FORMATS for ending in found.endings]
    for ending in sorted([*endings, ".dcm", ".gz", ".zip"], key=len, reverse=True):
        if name.lower().endswith(ending):
            meant = Path(path).with_name(name[: -len(ending)] + ".inrv")
            raise UsageError(
                f"{path} is to be an .inrv file, its ending says {ending}; did you mean {meant}?", value=name
            )


def check_writable(path: str | os.PathLike[str], force: bool = False) -> None:
    """Refuse a target file (of any ending) before the work is done; raises `WriteError`."""
    check_file(path, force)


def _source_format(path: Path) -> Format:
    if not path.exists():
        raise InputError(f"{path} does not exist, check the path", value=str(path))
    if path.is_dir():
        return DICOM
    if path.suffix.lower() == ".inrv":
        raise InputError(f"{path} is compressed already, did you mean inrv-dec?", value=str(path))
    # Anything else with another name is tried as DICOM, whose files have any name or none.
    return _by_ending(path) or DICOM


def _sink_format(path: str | os.PathLike[str]) -> Format:
    named = Path(path)
    found = _by_ending(named)
    if found is not None and found.sink and not named.is_dir():
        return found
    if str(path).endswith(("/", os.sep)) or named.is_dir() or not named.suffix:
        return DICOM
    remedy = (
        "DICOM is a folder, name it without an ending" if named.suffix.lower() == ".dcm" else f"use {_SINKS}"
    )
    raise UsageError(f"cannot tell what to write from the ending of {named}: {remedy}", value=named.suffix)


def _by_ending(path: Path) -> Format | None:
    name = path.name.lower()
    return next((found for found in FORMATS if found.endings and name.endswith(found.endings)), None)


def _module(name: str) -> Any:
    return import_module(f"{__name__}.{name}")


def _refuse_options(what: str, **options: object) -> None:
    for name, value in options.items():
        if value is not None:
            raise UsageError(f"has no meaning for {what}: leave it out", value=value, option=name)
