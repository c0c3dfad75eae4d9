"""NIfTI: `.nii` and `.nii.gz`.

Invariant: stored values, slope and affine are read and written as they are, never applied to each other.
"""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import InputError
from inrcodec.io.atomic import Location, atomic_write
from inrcodec.io.choice import chosen_volume
from inrcodec.io.provenance import Provenance
from inrcodec.volume.affine import LPS_RAS
from inrcodec.volume.padding import find_padding
from inrcodec.volume.volume import Volume, checked_array

# nibabel is typed in parts only.
Header = Any
Image = Any

_MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 0.001}  # by NIfTI code of m, mm, µm; others count as mm
_SCANNER = 1  # NIfTI code "scanner-based coordinates"
_LARGEST_SIDE = 32767  # of NIfTI-1; above it NIfTI-2
_GZIP_LEVEL = 3  # a 60 Mvoxel CT in 2 s instead of 9 s at level 6, for 5 % more bytes


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
    image = _open(path)
    array = _stored(image, path, volume)
    header = image.header
    # The header's own slope is cleared on loading; the array proxy has it, 1 and 0 where the file has none.
    rescale = (float(image.dataobj.slope), float(image.dataobj.inter))
    unit = _MILLIMETRES.get(int(header["xyzt_units"]) & 7, 1.0)
    return Volume(
        array=array[np.newaxis] if array.ndim == 2 else array,
        affine=LPS_RAS @ np.diag(np.array([unit, unit, unit, 1.0])) @ image.affine,
        rescale=rescale,
        padding=find_padding(array.reshape(-1, *array.shape[-2:]), rescale),
        ndim=array.ndim,
        source_bytes=path.stat().st_size if volume is None else None,
        description=_codes(header),
    )


def write(
    volume: Volume, path: Location, *, force: bool = False, provenance: Provenance | None = None
) -> None:
    """Write a NIfTI-1 file, or NIfTI-2 for long axes, as `inrcodec.io.write`; compressed if it ends in `.gz`.

    float16, which NIfTI does not have, is written as float32. A NIfTI-1 affine is float32.
    """
    header = _header(volume, provenance)
    dtype = header.get_data_dtype()

    def fill(stream: BinaryIO) -> None:
        header.write_to(stream)  # with the four bytes that say that there are no extensions
        for plane in volume.array:  # (z, y, x) in C order is (x, y, z) in Fortran order, NIfTI's
            stream.write(np.ascontiguousarray(plane, dtype=dtype).data)

    def fill_compressed(stream: BinaryIO) -> None:
        # No name and no time in the gzip header: equal volumes give equal files.
        with gzip.GzipFile("", "wb", _GZIP_LEVEL, stream, mtime=0) as packed:
            fill(cast(BinaryIO, packed))

    atomic_write(path, fill_compressed if str(path).lower().endswith(".gz") else fill, force)


def to_nibabel(volume: Volume) -> Image:
    """A `nibabel.Nifti1Image` of a volume: physical values, axes (x, y, z), RAS affine in mm.

    Examples
    --------
    >>> to_nibabel(Volume.from_array(np.zeros((2, 3, 4), np.int16))).shape
    (4, 3, 2)
    """
    from nibabel.nifti1 import Nifti1Image

    values = volume.values().T
    make: Any = Nifti1Image
    image = make(values, LPS_RAS @ volume.affine, dtype=values.dtype)
    image.header.set_xyzt_units("mm")
    return image


def _open(path: Path) -> Image:
    import nibabel
    from nibabel.nifti1 import Nifti1Image

    try:
        # Not mapped: a file that changes while it is encoded would change the volume.
        image = nibabel.load(path, mmap=False)
    except Exception as error:  # a parser of foreign bytes may raise anything
        raise InputError(f"{path} is not a valid NIfTI file: {error}", value=str(path)) from error
    if not isinstance(image, Nifti1Image):  # NIfTI-2 is a subclass
        raise InputError(f"{path} is {type(image).__name__}, convert it to NIfTI", value=str(path))
    return image


def _stored(image: Image, path: Path, volume: int | None) -> NDArray[Any]:
    """Stored values of one volume, (z, y, x) or (y, x)."""
    dtype = image.get_data_dtype()
    if dtype.names is not None:
        raise InputError(f"{path} is a colour image ({', '.join(dtype.names)}), pass a grey one", value=dtype)
    shape, more = image.shape[:3], image.shape[3:]
    index = chosen_volume(volume, math.prod(more), path)
    if len(shape) < 2:
        raise InputError(f"{path} is {len(shape)}-D {shape}, pass an image or a volume", value=shape)
    try:
        proxy = image.dataobj
        place = (..., *np.unravel_index(index, more, order="F")) if more else ...
        stored = np.asanyarray(proxy.get_unscaled()[place])
    except Exception as error:  # a decompressor may as well
        raise InputError(f"cannot read the voxels of {path}: {error}", value=str(path)) from error
    return checked_array(stored.T, str(path))


def _codes(header: Header) -> dict[str, int | float | str]:
    codes = {"nifti_sform": int(header["sform_code"]), "nifti_qform": int(header["qform_code"])}
    return {name: code for name, code in codes.items() if code != _SCANNER}


def _header(volume: Volume, provenance: Provenance | None) -> Header:
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    make: Any = Nifti2Header if max(volume.shape) > _LARGEST_SIDE else Nifti1Header
    header = make()
    header.set_data_dtype(np.float32 if volume.array.dtype == np.float16 else volume.array.dtype)
    header.set_data_shape(volume.shape[: 0 if volume.ndim == 2 else None : -1])
    affine = LPS_RAS @ volume.affine
    # Without a form of its own a reader falls back to spacings alone, so at least the sform is always there.
    sform = int(volume.description.get("nifti_sform", _SCANNER)) or _SCANNER
    qform = int(volume.description.get("nifti_qform", _SCANNER))
    header.set_qform(affine, code=qform, strip_shears=True)
    header.set_sform(affine, code=sform)
    header.set_xyzt_units("mm")
    header["vox_offset"] = header.single_vox_offset
    header.set_slope_inter(*volume.rescale)
    if provenance is not None:
        header["descrip"] = provenance.summary[:79]
    return header
