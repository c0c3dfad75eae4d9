"""DICOM: a folder, file or DICOMDIR to a volume, and a volume to a series.

In: a folder as hospitals hand it out.  Out: a `Volume`, or a folder of slices.
Invariant: a series is read completely and in its own order, or refused with the reason.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inrcodec.io.dicom.frames import Frame, frames_of
from inrcodec.io.dicom.geometry import arrange
from inrcodec.io.dicom.lossy import code, lossy_facts
from inrcodec.io.dicom.pixels import read_pixels
from inrcodec.io.dicom.series import Image, choose_series, find_images
from inrcodec.io.dicom.write import check_target, write
from inrcodec.volume.volume import Volume, checked_array

__all__ = ["check_target", "read", "write"]


def read(source: str | os.PathLike[str], *, series: str | None = None) -> Volume:
    """Volume of a DICOM series.

    Parameters
    ----------
    source : path
        Folder (its subfolders included), one file (enhanced multi-frame: a volume, else a 2-D image), or
        DICOMDIR.
    series : str, optional
        Series Instance UID or series number, where a folder holds several.

    Raises
    ------
    InputError
        No image, several series, colour, 4-D, unsupported or unreadable pixels.
    IncompleteSeries
        Missing, duplicate or inconsistent slices.
    MissingExtra
        A compression whose decoder is not installed.
    """
    every_image = find_images(Path(source))
    images = choose_series(every_image, series)
    frames, affine = arrange(frames_of(images))
    pixels = read_pixels(frames)
    return Volume(
        array=checked_array(pixels.array, str(source)),
        affine=affine,
        rescale=pixels.rescale,
        modality=str(frames[0].header.get("Modality") or ""),
        padding=pixels.padding,
        ndim=2 if len(frames) == 1 else 3,
        unit=_unit(frames[0]),
        source_bytes=sum(image.path.stat().st_size for image in images),
        description=_description(frames[0], affine),
        notices=_choices(Path(source), every_image, images),
    )


def _choices(source: Path, every_image: list[Image], images: list[Image]) -> tuple[str, ...]:
    """Notices of what was chosen on the way from a folder to the series that was read."""
    if not source.is_dir():
        return ()
    folders = sorted({str(image.path.parent.relative_to(source)) for image in images} - {"."})
    others = len({image.series for image in every_image} - {image.series for image in images})
    notices = []
    if folders:
        more = f" and {len(folders) - 1} more" if len(folders) > 1 else ""
        notices.append(f"the images are in the subfolder {folders[0]}{more} of {source}")
    if others:
        notices.append(f"{others} other series in {source} left out, choose by the UID of the series")
    return tuple(notices)


def _unit(frame: Frame) -> str:
    header = frame.header
    kind = str(header.get("RescaleType") or "HU")
    # Enhanced images have slope and type in the frames' groups; a CT without any slope is not in HU.
    scaled = "RescaleSlope" in header or "PerFrameFunctionalGroupsSequence" in header
    return "HU" if header.get("Modality") == "CT" and kind == "HU" and scaled else ""


def _description(frame: Frame, affine: NDArray[np.float64]) -> dict[str, int | float | str]:
    """Facts that a DICOM sink needs beyond the volume, where they are not the default."""
    header = frame.header
    facts: dict[str, int | float | str] = {}
    if header.get("PhotometricInterpretation") == "MONOCHROME1":  # small values are shown bright
        facts["photometric"] = "MONOCHROME1"
    if frame.thickness != round(float(np.linalg.norm(affine[:3, 2])), 6):
        facts["thickness"] = frame.thickness
    if header.get("PatientPosition"):
        facts["position"] = code(header.PatientPosition)
    return facts | lossy_facts(header)
