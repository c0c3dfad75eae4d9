"""Pairs of `.hdr` and `.img`: Analyze 7.5, SPM's kinds of it, and NIfTI in two files.

Invariant: Analyze does not say which side is left; it is read as nibabel reads it, and the user is told.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from inrcodec.errors import InputError
from inrcodec.io.atomic import Location
from inrcodec.io.nifti import placed
from inrcodec.io.voxels import opened, read_array, refused
from inrcodec.volume.volume import Volume

_ORIENTATION = "Analyze does not say which side is left: taken to be stored from the patient's right to left"


def read(source: Location, *, volume: int | None = None) -> Volume:
    """Volume of a pair, by the name of either.

    Parameters
    ----------
    volume : int, optional
        Which one of a series in time, from 0.

    Raises
    ------
    InputError
        One of the pair is missing, not such a pair, several volumes and none chosen, NaN or infinite values.
    """
    path = Path(source)
    header_path, voxels_path = _pair(path)
    with refused(path, "Analyze or NIfTI"):
        import nibabel
        from nibabel.nifti1 import Nifti1Pair

        image: object = nibabel.load(header_path, mmap=False)
        header = image.header  # type: ignore[attr-defined]
    with opened(voxels_path, "Analyze or NIfTI") as stream:
        array = read_array(
            stream,
            voxels_path,
            dtype=header.get_data_dtype(),
            shape=header.get_data_shape(),
            offset=header.get_data_offset(),
            volume=volume,
        )
        slope, intercept = image.dataobj.slope, image.dataobj.inter  # type: ignore[attr-defined]
        found = placed(array, header, image.affine, (slope, intercept))  # type: ignore[attr-defined]
    if not isinstance(image, Nifti1Pair):
        found = replace(found, description={"nifti_sform": 0, "nifti_qform": 0}, notices=(_ORIENTATION,))
    size = header_path.stat().st_size + voxels_path.stat().st_size
    return found if volume is not None else replace(found, source_bytes=size)


def parts(path: Path) -> tuple[Path, ...]:
    """The files of a volume; raises `InputError` where one is missing."""
    return _pair(path)


def _pair(path: Path) -> tuple[Path, Path]:
    endings = (".hdr", ".img") if path.suffix.islower() else (".HDR", ".IMG")
    header, voxels = (path.with_suffix(ending) for ending in endings)
    for half in (header, voxels):
        if not half.is_file():
            raise InputError(f"{path} is one of a pair, and {half} is missing", value=str(half))
    return header, voxels
