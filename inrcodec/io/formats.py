"""The table of foreign formats, and what follows from it: reading, writing, refusing.

In: a path, an array or a volume.  Out: a `Volume`, or a file of the kind that the path's ending names.
Invariant: a format is one row here and one module beside it, imported when it is needed.
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
from inrcodec.io.atomic import check_file
from inrcodec.io.provenance import Provenance
from inrcodec.volume.volume import Volume

Source = str | os.PathLike[str] | NDArray[Any] | Volume


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Parameters
    ----------
    module : str
        Beside this one; it has ``read(path, **options)``, and ``write(volume, path, **options)`` for a sink.
    endings : tuple of str
        Lower case; none: a folder.
    read_options, write_options : tuple of str
        Keywords of `read` and `write` that mean something for this format.
    """

    name: str
    module: str
    endings: tuple[str, ...] = ()
    sink: bool = True
    read_options: tuple[str, ...] = ()
    write_options: tuple[str, ...] = ()

    def load(self) -> Any:
        """The format's module."""
        return import_module(f"inrcodec.io.{self.module}")


DICOM = Format("DICOM", "dicom", read_options=("series",), write_options=("template", "modality"))
FORMATS = (
    DICOM,
    Format("NIfTI", "nifti", (".nii", ".nii.gz")),
    Format("NumPy", "npy", (".npy",), read_options=("spacing",)),
    Format("NumPy archive", "npy", (".npz",), sink=False, read_options=("spacing",)),
)
ENDINGS = {ending: form for form in FORMATS for ending in form.endings}
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
    options = {"spacing": spacing, "series": series}
    if isinstance(source, Volume):
        _accepted(options, (), "a Volume")
        return source
    if isinstance(source, (str, os.PathLike)):
        form = _source_format(Path(source))
        options = _accepted(options, form.read_options, form.name)
        volume: Volume = form.load().read(Path(source), **options)
        return volume
    from inrcodec.io.npy import from_array

    _accepted(options, ("spacing",), "an array")
    return from_array(source, spacing=spacing)


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
    form = _sink_format(path)
    options = _accepted({"template": template}, form.write_options, form.name)
    form.load().write(volume, path, force=force, provenance=provenance, **options)


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
        The template is not a single study of DICOM images.
    """
    form = _sink_format(path)
    _accepted({"template": template}, form.write_options, form.name)
    if form is DICOM:
        form.load().check_target(path, force, template=template, modality=modality)
    else:
        check_file(path, force)


def refuse_modality(path: str | os.PathLike[str], modality: str | None) -> None:
    """Refuse a modality for a target that has no place for it; raises `UsageError`."""
    form = _sink_format(path)
    _accepted({"modality": modality}, form.write_options, form.name)


def refuse_other_ending(path: str | os.PathLike[str]) -> None:
    """Refuse a name for an `.inrv` file with the ending of another format; raises `UsageError`."""
    name = Path(path).name
    for ending in sorted([*ENDINGS, ".dcm", ".gz", ".zip"], key=len, reverse=True):
        if name.lower().endswith(ending):
            better = Path(path).with_name(name[: -len(ending)] + ".inrv")
            raise UsageError(
                f"{path} would be an .inrv file, its ending says {ending}; did you mean {better}?", value=name
            )


def _source_format(path: Path) -> Format:
    if not path.exists():
        raise InputError(f"{path} does not exist, check the path", value=str(path))
    if path.is_dir():
        return DICOM
    if path.suffix.lower() == ".inrv":
        raise InputError(f"{path} is compressed already, did you mean to decode it?", value=str(path))
    # Anything else is tried as DICOM, whose files have any name or none.
    return _by_ending(path) or DICOM


def _sink_format(path: str | os.PathLike[str]) -> Format:
    target = Path(path)
    form = _by_ending(target)
    if form is not None and form.sink and not target.is_dir():
        return form
    if str(path).endswith(("/", os.sep)) or target.is_dir() or not target.suffix:
        return DICOM
    remedy = (
        "DICOM is a folder, name it without an ending" if target.suffix.lower() == ".dcm" else f"use {_SINKS}"
    )
    raise UsageError(f"cannot tell what to write from the ending of {target}: {remedy}", value=target.suffix)


def _by_ending(path: Path) -> Format | None:
    name = path.name.lower()
    return next((form for ending, form in ENDINGS.items() if name.endswith(ending)), None)


def _accepted(options: dict[str, Any], accepted: tuple[str, ...], what: str) -> dict[str, Any]:
    """The options that mean something for a format; another that was given is refused."""
    for name, value in options.items():
        if value is not None and name not in accepted:
            remedy = "leave it out" + (", or name a folder for DICOM" if name in DICOM.write_options else "")
            raise UsageError(f"has no meaning for {what}: {remedy}", value=value, option=name)
    return {name: value for name, value in options.items() if name in accepted}
