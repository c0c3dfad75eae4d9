"""What follows from the table of foreign formats: reading, writing, refusing.

In: a source or a target.  Out: a volume, or a file.
Invariant: an option that means nothing for a format is refused before anything is read or written.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from numpy.typing import NDArray

from inrcodec.errors import InputError, MissingExtra, UsageError
from inrcodec.format.source import refuse_url
from inrcodec.io import memory
from inrcodec.io.atomic import Location, check_file
from inrcodec.io.foreign import overheard
from inrcodec.io.memory import Shaped, SimpleITKImage
from inrcodec.io.provenance import Provenance
from inrcodec.io.registry import DICOM, ENDINGS, Format, by_ending
from inrcodec.volume.affine import Grid
from inrcodec.volume.volume import Volume

Source: TypeAlias = Location | NDArray[Any] | Volume | Shaped | SimpleITKImage


@overheard()
def read(
    source: Source,
    *,
    spacing: Sequence[float] | None = None,
    series: str | None = None,
    volume: int | None = None,
    slices: slice | None = None,
) -> Volume:
    """Volume of a DICOM folder or file, a file of another format, an array, an image or a volume.

    Parameters
    ----------
    source : path, array, image or Volume
        Images of SimpleITK, nibabel and xarray have their geometry with them; arrays are NumPy's, torch's,
        dask's, or anything that NumPy can make one of. Of DICOM a folder (its subfolders included), a
        DICOMDIR, or one file: an enhanced multi-frame image is a volume, another a 2-D image.
    spacing : sequence of float, mm, optional
        For arrays, in the order of their axes, and for files that have none (NumPy, some DICOM and TIFF);
        1 mm without it.
    series : str, optional
        Series Instance UID or number, where a DICOM folder holds several.
    volume : int, optional
        Which volume of a source that holds several (in time, by echo, by segment), from 0.
    slices : slice, optional
        The part along z that is taken, in the order of the volume, without a step.

    Raises
    ------
    InputError
        Not found, not a volume (several series, colour, 4-D ...), or of an unsupported kind; as
        `IncompleteSeries` missing, duplicate or inconsistent slices, as `MissingExtra` a compression whose
        decoder is not installed.
    UsageError
        `spacing` for a source that has its own, `series` or `volume` for one that has none; `slices` that
        leave nothing.

    Examples
    --------
    >>> import numpy as np
    >>> read(np.zeros((16, 16), np.uint8), spacing=(0.5, 0.5)).spacing
    (1.0, 0.5, 0.5)
    """
    options: dict[str, Any] = {"spacing": spacing, "series": series, "volume": volume}
    if isinstance(source, (str, os.PathLike)):
        form = _source_format(Path(source))
        options = _accepted(options, form.read_options, form.name)
        if "slices" in form.read_options:  # where what is left out may be what could not be read
            options["slices"], slices = slices, None
        whole = form.call("read", Path(source), **options)
        if not isinstance(whole, Volume):
            cause = f"the plug-in {form.plugin!r} for {form.name} gave {type(whole).__name__}, not a Volume"
            raise InputError(cause, value=form.plugin)
    elif isinstance(source, Volume):
        _accepted(options, (), "a Volume")
        whole = source
    else:
        kind = memory.kind_of(source)
        whole = kind.convert(source, **_accepted(options, kind.options, kind.name))
    return whole if slices is None else whole.part(slices)


@overheard()
def read_series(files: Sequence[Location], *, spacing: Sequence[float] | None = None) -> Volume:
    """Volume of the files of one DICOM series; no others are looked at. Errors are those of `read`."""
    whole: Volume = DICOM.call("read", list(files), spacing=spacing)
    return whole


def parts(path: Path) -> tuple[Path, ...]:
    """All files of the volume that a file of another format than DICOM names; itself if it does not say."""
    form = by_ending(path)
    if form is not None and form.detached:
        with suppress(OSError, ValueError, InputError):
            found: tuple[Path, ...] = form.call("parts", path)
            return found
    if path.is_dir():
        return tuple(sorted(file for file in path.rglob("*") if file.is_file()))
    return (path,)


def format_of(path: Path) -> Format | None:
    """The format by which a file or folder is a volume alone; None for what may be DICOM, or is nothing."""
    form = by_ending(path)
    if form is None or (path.is_dir() and not (form.plugin or form.folder)):
        return None
    return None if ".img" in form.endings and _begins_as_dicom(path) else form


@overheard()
def write(
    volume: Volume,
    path: Location,
    *,
    template: Location | None = None,
    force: bool = False,
    provenance: Provenance | None = None,
) -> None:
    """Write a volume; the path's ending says how, such as `.nii.gz` or `.npy`; a folder is for DICOM.

    The target is complete or not there at all; what was there before stays until then. DICOM is a new series,
    one file a slice: integers as they are (wider types narrowed where the values allow), floats in 65 535
    steps. NIfTI is NIfTI-2 for more than 32 767 voxels along an axis, with float16 as float32.

    Parameters
    ----------
    template : path, optional
        DICOM only: folder of images that patient and study are taken from. Without it: anonymous.
    force : bool
        Replace an existing file, or a DICOM folder that this function wrote. Nothing else is ever replaced.
    provenance : Provenance, optional
        Statement about lossy compression, for formats that have a place for it.

    Raises
    ------
    UsageError
        Unknown ending, a template for another kind than DICOM, or one of another modality.
    InputError
        The template is not a single study of DICOM images.
    WriteError
        The target exists (without `force`) or cannot be written, or the volume has no place in DICOM
        (in-plane shear, 64-bit values).
    """
    form = _sink_format(path)
    options = _accepted({"template": template}, form.write_options, form.name)
    if form.plugin:  # which knows of plain arrays alone
        volume = volume.in_memory()
    form.call("write", volume, path, force=force, provenance=provenance, **options)


@overheard()
def check_sink(
    path: Location,
    force: bool = False,
    *,
    template: Location | None = None,
    modality: str = "",
    grid: Grid | None = None,
) -> None:
    """Refuse a target of `write` before the work is done.

    Parameters
    ----------
    modality : str
        Of the volume that will be written, "" if unknown; a template is then refused.
    grid : Grid, optional
        Of that volume; a template has to lie where it does.

    Raises
    ------
    UsageError, WriteError
        As `write`, for the target's ending and its place, and a template of another modality or place.
    MissingExtra
        A package that the target needs is not installed.
    InputError
        The template is not a single study of DICOM images.
    """
    form = _sink_format(path)
    _accepted({"template": template}, form.write_options, form.name)
    if form.folder:
        form.call("check_target", path, force, template=template, modality=modality, grid=grid)
    else:
        check_file(path, force)
    if form.writer and find_spec(form.writer) is None:
        raise MissingExtra(f"{form.writer} is not installed", extra=form.extra)


def is_dicom(path: Location) -> bool:
    """Whether `write` would write DICOM; raises `UsageError` for an ending that nothing is written for."""
    return _sink_format(path) is DICOM


def is_folder(path: Location) -> bool:
    """Whether `write` would make a folder; raises `UsageError` for an ending that nothing is written for."""
    return _sink_format(path).folder


def refuse_modality(path: Location, modality: str | None) -> None:
    """Refuse a modality for a target that has no place for it; raises `UsageError`."""
    form = _sink_format(path)
    _accepted({"modality": modality}, form.write_options, form.name)


def refuse_other_ending(path: Location) -> None:
    """Refuse a name for an `.inrv` file with another ending; raises `UsageError`."""
    target = Path(path)
    ending = _ending(target)
    if ending in ("", ".inrv"):
        return
    better = target.with_suffix("")
    while better.suffix.lower() in ENDINGS:  # as of .nii.gz
        better = better.with_suffix("")
    cause = f"{path} would be an .inrv file, its ending says {ending}"
    raise UsageError(f"{cause}; did you mean {better.with_name(better.name + '.inrv')}?", value=target.name)


def _source_format(path: Path) -> Format:
    refuse_url(str(path))
    if not path.exists():
        raise InputError(f"{path} does not exist, check the path", value=str(path))
    if path.is_dir():
        form = by_ending(path)
        return form if form is not None and (form.plugin or form.folder) else DICOM
    if path.suffix.lower() == ".inrv":
        raise InputError(f"{path} is compressed already, did you mean to decode it?", value=str(path))
    # Anything else is tried as DICOM, whose files have any name or none: old ones end in .img too.
    form = by_ending(path)
    return DICOM if form is None or (".img" in form.endings and _begins_as_dicom(path)) else form


def _begins_as_dicom(path: Path) -> bool:
    with suppress(OSError), path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"
    return False  # its reader says why it cannot be read


def _sink_format(path: Location) -> Format:
    target, form = Path(path), by_ending(Path(path), sink=True)
    if form is not None and form.folder:
        return form
    if str(path).endswith(("/", os.sep)) or target.is_dir() or (form is None and not _ending(target)):
        return DICOM
    if form is not None and form.sink:
        return form
    endings = ", ".join(ending for ending, known in ENDINGS.items() if known.sink)
    remedy = f"use {endings}, or a folder for DICOM, with a {os.sep} behind its name if that has a dot"
    raise UsageError(f"cannot tell what to write from the ending of {target}: {remedy}", value=target.suffix)


def _ending(path: Path) -> str:
    """The last ending of a name, lower case; numbers behind a dot are none, as in 1.2.840."""
    return "" if path.suffix[1:].isdecimal() else path.suffix.lower()


def _accepted(options: dict[str, Any], accepted: tuple[str, ...], what: str) -> dict[str, Any]:
    """The options that mean something for a format; another that was given is refused."""
    for name, value in options.items():
        if value is not None and name not in accepted:
            remedy = "leave it out" + (", or name a folder for DICOM" if name in DICOM.write_options else "")
            raise UsageError(f"has no meaning for {what}: {remedy}", value=value, option=name)
    return {name: value for name, value in options.items() if name in accepted}
