"""The table of foreign formats, and what follows from it: reading, writing, refusing.

Invariant: a format is one row here and one module beside it, imported when it is needed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

from numpy.typing import NDArray

from inrcodec.errors import InputError, UsageError
from inrcodec.format.source import refuse_url
from inrcodec.io import memory
from inrcodec.io.atomic import Location, check_file
from inrcodec.io.memory import Shaped, SimpleITKImage
from inrcodec.io.provenance import Provenance
from inrcodec.volume.volume import Volume

Source: TypeAlias = Location | NDArray[Any] | Volume | Shaped | SimpleITKImage


@dataclass(frozen=True)
class Format:
    """A kind of file; its module has ``read(path, ...)`` and, for a sink, ``write(volume, path, ...)``."""

    name: str
    module: str  # beside this one
    endings: tuple[str, ...] = ()  # lower case; none: a folder
    sink: bool = True
    read_options: tuple[str, ...] = ()  # keywords of `read` that mean something for this format
    write_options: tuple[str, ...] = ()  # and of `write`
    extra: str = ""  # that installs what its module needs

    def load(self) -> Any:
        """The format's module."""
        return import_module(f"inrcodec.io.{self.module}")


DICOM = Format(
    "DICOM", "dicom", read_options=("series", "volume", "slices"), write_options=("template", "modality")
)
_ARRAYS, _SEVERAL = ("spacing", "volume"), ("volume",)
FORMATS = (
    DICOM,
    Format("NIfTI", "nifti", (".nii", ".nii.gz"), read_options=_SEVERAL),
    Format("NumPy", "npy", (".npy",), read_options=_ARRAYS),
    Format("NumPy archive", "npy", (".npz",), sink=False, read_options=_ARRAYS),
    Format("NRRD", "nrrd", (".nrrd",), read_options=_SEVERAL, extra="itk"),
    Format("NRRD in two files", "nrrd", (".nhdr",), sink=False, read_options=_SEVERAL, extra="itk"),
    Format("MetaImage", "metaimage", (".mha",), read_options=_SEVERAL),
    Format("MetaImage in two files", "metaimage", (".mhd",), sink=False, read_options=_SEVERAL),
    Format("FreeSurfer", "mgh", (".mgz", ".mgh"), read_options=_SEVERAL),
    Format("Analyze", "analyze", (".hdr", ".img"), sink=False, read_options=_SEVERAL),
    Format("TIFF", "tiff", (".tif", ".tiff"), read_options=_ARRAYS, extra="tiff"),
)
ENDINGS = {ending: form for form in FORMATS for ending in form.endings}


def read(
    source: Source,
    *,
    spacing: Sequence[float] | None = None,
    series: str | None = None,
    volume: int | None = None,
    slices: slice | None = None,
) -> Volume:
    """Volume of a DICOM folder or file, `.nii`, `.nii.gz`, `.npy`, `.npz`, an array, an image or a volume.

    Parameters
    ----------
    source : path, array, image or Volume
        Images of SimpleITK, nibabel and xarray have their geometry with them; arrays are NumPy's, torch's,
        dask's, or anything that NumPy can make one of. Of DICOM a folder (its subfolders included), a
        DICOMDIR, or one file: an enhanced multi-frame image is a volume, another a 2-D image.
    spacing : sequence of float, mm, optional
        For arrays, `.npy` and `.npz` only, in the order of their axes; 1 mm without it.
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
    options = {"spacing": spacing, "series": series, "volume": volume}
    if isinstance(source, (str, os.PathLike)):
        form = _source_format(Path(source))
        options = _accepted(options, form.read_options, form.name)
        if "slices" in form.read_options:  # where what is left out may be what could not be read
            found: Volume = form.load().read(Path(source), **options, slices=slices)
            return found
        whole: Volume = form.load().read(Path(source), **options)
    elif isinstance(source, Volume):
        _accepted(options, (), "a Volume")
        whole = source
    else:
        kind = memory.kind_of(source)
        whole = kind.convert(source, **_accepted(options, kind.options, kind.name))
    return whole if slices is None else whole.part(slices)


def write(
    volume: Volume,
    path: Location,
    *,
    template: Location | None = None,
    force: bool = False,
    provenance: Provenance | None = None,
) -> None:
    """Write a volume; the path's ending says how: `.npy`, `.nii`, `.nii.gz`, or a folder for DICOM.

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
    form.load().write(volume, path, force=force, provenance=provenance, **options)


def check_sink(
    path: Location, force: bool = False, *, template: Location | None = None, modality: str = ""
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


def refuse_modality(path: Location, modality: str | None) -> None:
    """Refuse a modality for a target that has no place for it; raises `UsageError`."""
    form = _sink_format(path)
    _accepted({"modality": modality}, form.write_options, form.name)


def refuse_other_ending(path: Location) -> None:
    """Refuse a name for an `.inrv` file with the ending of another format; raises `UsageError`."""
    name = Path(path).name
    for ending in sorted([*ENDINGS, ".dcm", ".gz", ".zip"], key=len, reverse=True):
        if name.lower().endswith(ending):
            better = Path(path).with_name(name[: -len(ending)] + ".inrv")
            cause = f"{path} would be an .inrv file, its ending says {ending}; did you mean {better}?"
            raise UsageError(cause, value=name)


def _source_format(path: Path) -> Format:
    refuse_url(str(path))
    if not path.exists():
        raise InputError(f"{path} does not exist, check the path", value=str(path))
    if path.is_dir():
        return DICOM
    if path.suffix.lower() == ".inrv":
        raise InputError(f"{path} is compressed already, did you mean to decode it?", value=str(path))
    # Anything else is tried as DICOM, whose files have any name or none.
    return _by_ending(path) or DICOM


def _sink_format(path: Location) -> Format:
    target = Path(path)
    form = _by_ending(target)
    if form is not None and form.sink and not target.is_dir():
        return form
    if str(path).endswith(("/", os.sep)) or target.is_dir() or not target.suffix:
        return DICOM
    sinks = [ending for ending, form in ENDINGS.items() if form.sink]
    remedy = f"use a folder (DICOM), {', '.join(sinks[:-1])} or {sinks[-1]}"
    if target.suffix.lower() == ".dcm":
        remedy = "DICOM is a folder, name it without an ending"
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
