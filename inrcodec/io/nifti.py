"""NIfTI: `.nii` and `.nii.gz`.

Invariant: stored values, slope and affine are read and written as they are, never applied to each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import InputError, reason
from inrcodec.io.atomic import Location, atomic_write
from inrcodec.io.choice import chosen_volume
from inrcodec.io.provenance import Provenance
from inrcodec.io.voxels import compressed, opened, read_array
from inrcodec.volume.affine import LPS_RAS
from inrcodec.volume.checks import checked_array
from inrcodec.volume.description import LABELS
from inrcodec.volume.padding import find_padding
from inrcodec.volume.volume import Volume

# nibabel is typed in parts only.
Header = Any
Image = Any

_MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 0.001}  # by NIfTI code of m, mm, µm; others count as mm
_LABEL = 1002  # NIfTI intent code "index into a list of labels"
_SCANNER = 1  # NIfTI code "scanner-based coordinates"
_PLACES = range(6)  # NIfTI codes of what a place is relative to, 0 where it is unknown
_LARGEST_SIDE = 32767  # of NIfTI-1; above it NIfTI-2
_CIFTI = range(3000, 3100)  # intent codes of connectivity matrices and of surfaces
_AGREED = 0.1  # of a voxel: closer, sform and qform mean the same
_SIZES = {348: "nifti1", 540: "nifti2"}  # bytes of a header, which it begins with


def read(source: Location, *, volume: int | None = None) -> Volume:
    """Volume of a NIfTI-1 or NIfTI-2 file.

    The affine is nibabel's best (sform, else qform, else spacing) in millimetres; slope and intercept stay
    beside the stored values; trailing dimensions of one are dropped.

    Parameters
    ----------
    volume : int, optional
        Which one of a series in time, or of the other dimensions beyond the third together, from 0.

    Raises
    ------
    InputError
        Not a NIfTI file, colour or complex, several volumes and none chosen, NaN or infinite values.
    """
    path = Path(source)
    with opened(path, "NIfTI") as stream:
        header = _header_of(stream)
        if int(header["intent_code"]) in _CIFTI:
            raise InputError(
                f"{path} is a CIFTI file, of values on a surface: pass a volume", value=str(path)
            )
        array = read_array(
            stream,
            path,
            dtype=header.get_data_dtype(),
            shape=header.get_data_shape(),
            offset=header.get_data_offset() or header.single_vox_offset,
            volume=volume,
        )
        slope, intercept = header.get_slope_inter()
        found = placed(array, header, header.get_best_affine(), (slope or 1.0, intercept or 0.0))
    return found if volume is not None else replace(found, source_bytes=path.stat().st_size)


def placed(
    array: NDArray[Any], header: Header, affine: NDArray[Any], rescale: tuple[float, float] = (1.0, 0.0)
) -> Volume:
    """Volume of stored values, (z, y, x) or (y, x), with any header of nibabel's and an RAS affine."""
    codes: Mapping[str, int | float | str] = {}
    unit = 1.0
    notices: tuple[str, ...] = ()
    if "xyzt_units" in getattr(header, "keys", tuple)():  # of NIfTI; others are in mm and have no codes
        unit = _MILLIMETRES.get(int(header["xyzt_units"]) & 7, 1.0)
        codes = _codes(header)
        notices = _places(header)
    array = array[np.newaxis] if (ndim := array.ndim) == 2 else array
    return Volume(
        array=array,
        affine=LPS_RAS @ np.diag([unit, unit, unit, 1.0]) @ affine,
        rescale=rescale,
        padding=find_padding(array, rescale),
        ndim=ndim,
        description=codes,
        notices=notices,
    )


def write(
    volume: Volume, path: Location, *, force: bool = False, provenance: Provenance | None = None
) -> None:
    """Write a NIfTI-1 file, or NIfTI-2 for long axes, as `inrcodec.io.write`; compressed if it ends in `.gz`.

    float16, which NIfTI does not have, is written as float32, and so are the physical values of slices that
    have scales of their own: NIfTI has one slope. A NIfTI-1 affine is float32.
    """
    volume = volume.uniform()
    header = _header(volume, provenance)
    dtype = header.get_data_dtype()

    def fill(stream: BinaryIO) -> None:
        header.write_to(stream)  # with the four bytes that say that there are no extensions
        for plane in volume.array:  # (z, y, x) in C order is (x, y, z) in Fortran order, NIfTI's
            stream.write(np.ascontiguousarray(plane, dtype=dtype).data)

    def fill_compressed(stream: BinaryIO) -> None:
        with compressed(stream) as packed:
            fill(packed)

    atomic_write(path, fill_compressed if str(path).lower().endswith(".gz") else fill, force)


def from_nibabel(image: Image, *, volume: int | None = None) -> Volume:
    """Volume of an image of nibabel's, of any kind; of one that is in a file, stored values and slope.

    Parameters
    ----------
    volume : int, optional
        As for `read`.

    Raises
    ------
    InputError
        As `read`; also for what is not on a grid, such as a surface.

    Examples
    --------
    >>> from_nibabel(to_nibabel(Volume.from_array(np.zeros((2, 3, 4), np.int16), spacing=(3, 1, 1)))).spacing
    (3.0, 1.0, 1.0)
    """
    name = f"nibabel.{type(image).__name__}"
    proxy = getattr(image, "dataobj", None)
    if proxy is None or not hasattr(image, "affine"):
        raise InputError(f"{name} is not an image on a grid, pass one", value=type(image))
    affine = image.header.get_best_affine() if image.affine is None else image.affine
    unscaled = hasattr(proxy, "get_unscaled")  # else they are values as they are meant
    rescale = (float(proxy.slope), float(proxy.inter)) if unscaled else (1.0, 0.0)
    shape, more = image.shape[:3], image.shape[3:]
    index = chosen_volume(volume, math.prod(more), f"{name} of shape {image.shape}")
    place = np.unravel_index(index, more, order="F") if more else ()
    try:
        stored = np.asanyarray(proxy.get_unscaled() if unscaled else proxy)[(..., *place)]
    except Exception as error:  # of a file that may be gone or broken by now
        raise InputError(f"cannot read the voxels of {name}: {reason(error)}", value=type(image)) from error
    if len(shape) < 2 or stored.dtype.names is not None:
        raise InputError(f"{name} of {stored.dtype} {shape} is no grey image or volume", value=shape)
    return placed(checked_array(stored.T, name), image.header, affine, rescale)


def to_nibabel(volume: Volume) -> Image:
    """A `nibabel.Nifti1Image` of a volume: physical values, axes (x, y, z), RAS affine in mm.

    Examples
    --------
    >>> to_nibabel(Volume.from_array(np.zeros((2, 3, 4), np.int16))).shape
    (4, 3, 2)
    """
    from nibabel.nifti1 import Nifti1Image

    values = np.asarray(volume.values()).T
    make: Any = Nifti1Image
    image = make(values, LPS_RAS @ volume.affine, dtype=values.dtype)
    image.header.set_xyzt_units("mm")
    return image


def _header_of(stream: BinaryIO) -> Header:
    """The checked header that a stream begins with."""
    start = stream.read(max(_SIZES))
    sizes = {int.from_bytes(start[:4], order) for order in ("little", "big")}
    size = next(iter(sizes & set(_SIZES)), 0)
    if not size:
        raise ValueError(f"it starts {start[:4].hex(' ') or 'nowhere'}")
    version = _SIZES[size]
    make: Any = getattr(import_module(f"nibabel.{version}"), f"{version.capitalize()}Header")
    header = make(start[:size])
    if not header["magic"].item().startswith(b"n+"):
        raise ValueError("its voxels are in another file")
    return header


def _codes(header: Header) -> dict[str, int | float | str]:
    codes = {"nifti_sform": int(header["sform_code"]), "nifti_qform": int(header["qform_code"])}
    labels: dict[str, int | float | str] = {LABELS: 1} if int(header["intent_code"]) == _LABEL else {}
    return labels | {name: code for name, code in codes.items() if code != _SCANNER}


def _place(volume: Volume, form: str) -> int:
    """The code of a form that a description states, if it does and it can be."""
    code = volume.description.get(form)
    return int(code) if isinstance(code, int | float) and code in _PLACES else _SCANNER


def _places(header: Header) -> tuple[str, ...]:
    """What the user should know of the two places that a header has room for."""
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    if not sform and not qform:
        return ("the NIfTI header does not say where left and right are, nor where the volume lies",)
    if not (sform and qform):
        return ()
    distance, mirrored = _distance(header)
    if mirrored:
        return ("sform and qform of the NIfTI header disagree on left and right, the sform is taken",)
    if distance <= _AGREED * min(header.get_zooms()[:3]):
        return ()
    return (f"sform and qform of the NIfTI header disagree by up to {distance:.3g} mm, the sform is taken",)


def _distance(header: Header) -> tuple[float, bool]:
    """How far a corner is apart by sform and by qform, in the header's unit, and whether one is mirrored."""
    try:
        forms = header.get_sform(), header.get_qform()
    except Exception:  # a qform of impossible numbers
        return math.inf, False
    sides = [n - 1 for n in (*header.get_data_shape(), 1, 1)[:3]]
    corners = np.array([[*place, 1] for place in product(*([0, side] for side in sides))]).T
    apart = np.linalg.norm(((forms[0] - forms[1]) @ corners)[:3], axis=0).max()
    signs = [np.linalg.det(form[:3, :3]) > 0 for form in forms]
    return float(apart), signs[0] != signs[1]


def _header(volume: Volume, provenance: Provenance | None) -> Header:
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    make: Any = Nifti2Header if max(volume.shape) > _LARGEST_SIDE else Nifti1Header
    header = make()
    header.set_data_dtype(np.float32 if volume.array.dtype == np.float16 else volume.array.dtype)
    header.set_data_shape(volume.shape[: 0 if volume.ndim == 2 else None : -1])
    affine = LPS_RAS @ volume.affine
    # Without a form of its own a reader falls back to spacings alone, so at least the sform is always there.
    header.set_qform(affine, code=_place(volume, "nifti_qform"), strip_shears=True)
    header.set_sform(affine, code=_place(volume, "nifti_sform") or _SCANNER)
    if _distance(header)[0] > _AGREED * min(volume.spacing):
        header["qform_code"] = 0  # it has no shear: those who prefer it would take another place
    header.set_xyzt_units("mm")
    header["vox_offset"] = header.single_vox_offset
    header.set_slope_inter(*volume.rescale)
    if volume.labels:
        header["intent_code"] = _LABEL
    if provenance is not None:
        header["descrip"] = provenance.summary[:79]
    return header
