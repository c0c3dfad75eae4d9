"""The table of foreign formats: those of this package, and those that others add.

In: the name of a file.  Out: its `Format`, if there is one.
Invariant: a format is a row here, or an entry point of the group `inrcodec.formats`, and a module that is
imported when it is needed; what others add never takes an ending away and never breaks the reading of
another file.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from inrcodec.errors import InputError, InrvError, reason

GROUP = "inrcodec.formats"
_ENDING = re.compile(r"(\.[^\s./\\A-Z]+)+")
_RESERVED = (".inrv", ".dcm")


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Parameters
    ----------
    name : str
        For messages.
    module : str or object
        Path of the module that reads and writes it, imported when it is needed, or an object with the same
        functions: ``read(path, **options)``, which returns a `Volume`, and, of a sink,
        ``write(volume, path, *, force, provenance, **options)``, which writes whole or not at all
        (`inrcodec.io.atomic_write`).
    endings : tuple of str
        Of file names, lower case, with their dot.
    sink : bool
        Whether volumes can be written.
    read_options, write_options : tuple of str
        Keywords of `inrcodec.io.read` and `write` that mean something for it and are passed on when given
        or ``None``: of "spacing", "series", "volume", "slices"; of "template".
    extra : str
        Extra of this package that installs what reading needs.
    writer : str
        Package that writing needs, of the same extra.
    folder : bool
        Whether it is a folder; its module then has ``check_target(path, force, template=…, modality=…,
        grid=…)``, which refuses one that could not be written.
    detached : bool
        Whether voxels may lie in other files; its module lists them by ``parts(path)``.
    plugin : str
        Name of the entry point that added it; set by this package.
    """

    name: str
    module: Any
    endings: tuple[str, ...] = ()
    sink: bool = True
    read_options: tuple[str, ...] = ()
    write_options: tuple[str, ...] = ()
    extra: str = ""
    writer: str = ""
    folder: bool = False
    detached: bool = False
    plugin: str = ""

    def call(self, function: str, *arguments: Any, **options: Any) -> Any:
        """Call a function of the format's module.

        Raises
        ------
        InputError
            A plug-in has no such function, or raised something that is not this package's.
        """
        if not self.plugin:
            return getattr(import_module(self.module), function)(*arguments, **options)
        try:
            module = import_module(self.module) if isinstance(self.module, str) else self.module
            return getattr(module, function)(*arguments, **options)
        except InrvError:
            raise
        except Exception as error:
            cause = f"the plug-in {self.plugin!r} for {self.name} failed: {reason(error)}"
            raise InputError(cause, value=self.plugin) from error


def _own(name: str, module: str, *endings: str, **about: Any) -> Format:
    return Format(name, f"inrcodec.io.{module}", endings, **about)


_ARRAYS, _SEVERAL = ("spacing", "volume"), ("volume",)
DICOM = _own(
    "DICOM",
    "dicom",
    read_options=("spacing", "series", "volume", "slices"),
    write_options=("template", "modality"),
    folder=True,
)
FORMATS = (
    DICOM,  # a folder, or a file of any other name
    _own("NIfTI", "nifti", ".nii", ".nii.gz", read_options=_SEVERAL),
    _own("NumPy", "npy", ".npy", read_options=_ARRAYS),
    _own("NumPy archive", "npy", ".npz", sink=False, read_options=_ARRAYS),
    _own("NRRD", "nrrd", ".nrrd", read_options=_SEVERAL, extra="itk"),
    _own("NRRD in two files", "nrrd", ".nhdr", sink=False, detached=True, read_options=_SEVERAL, extra="itk"),
    _own("MetaImage", "metaimage", ".mha", read_options=_SEVERAL),
    _own("MetaImage in two files", "metaimage", ".mhd", sink=False, detached=True, read_options=_SEVERAL),
    _own("FreeSurfer", "mgh", ".mgz", ".mgh", read_options=_SEVERAL),
    _own("Analyze", "analyze", ".hdr", ".img", sink=False, detached=True, read_options=_SEVERAL),
    _own("TIFF", "tiff", ".tif", ".tiff", read_options=_ARRAYS, extra="tiff", writer="tifffile"),
    _own("Zarr", "ome_zarr", ".zarr", read_options=_ARRAYS, extra="zarr", writer="zarr", folder=True),
    _own(
        "Zarr in a ZIP file", "ome_zarr", ".zarr.zip", ".ozx", sink=False, read_options=_ARRAYS, extra="zarr"
    ),
)
ENDINGS = {ending: form for form in FORMATS for ending in form.endings}


def by_ending(path: Path, *, sink: bool = False) -> Format | None:
    """The format of a file's name; plug-ins are looked for where this package has none."""
    name = path.name.lower()
    own = next((form for ending, form in ENDINGS.items() if name.endswith(ending)), None)
    if own is not None or not path.suffix or name.endswith(_RESERVED):
        return own
    added = (form for form in _plugged_in() if form.sink or not sink)
    return next((form for form in added if name.endswith(form.endings)), None)


def _plugged_in() -> Iterator[Format]:
    """Formats of installed distributions, by name; a bad one is left out with a warning that names it."""
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        try:
            yield _checked(point)
        except Exception as error:  # code of others, which may raise anything
            cause = f"the format plug-in {point.name!r} ({point.value}) is left out: {reason(error)}"
            warnings.warn(cause, RuntimeWarning, stacklevel=2)


def _checked(point: EntryPoint) -> Format:
    form = point.load()
    if not isinstance(form, Format):
        raise TypeError(f"it is {type(form).__name__}, not inrcodec.io.Format")
    if not form.endings or not all(isinstance(e, str) and _ENDING.fullmatch(e) for e in form.endings):
        raise ValueError(f"{form.endings!r} are no endings, such as ('.xyz',)")
    taken = [e for e in form.endings if e.endswith((*ENDINGS, *_RESERVED))]
    if taken:
        raise ValueError(f"{taken[0]} is a format of this package")
    return replace(form, plugin=point.name)
