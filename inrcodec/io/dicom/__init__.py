"""DICOM: a folder, file or DICOMDIR to a volume, and a volume to a series.

Invariant: a series is read completely and in its own order, or refused with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from inrcodec.errors import UsageError
from inrcodec.io.atomic import Location
from inrcodec.io.dicom.files import Found, Image, find_images
from inrcodec.io.dicom.frames import Frame, frames_of
from inrcodec.io.dicom.geometry import grid_of, in_order, part_of
from inrcodec.io.dicom.lossy import code, lossy_facts
from inrcodec.io.dicom.pet import PET, pet_facts
from inrcodec.io.dicom.pixels import read_pixels
from inrcodec.io.dicom.series import choose_series
from inrcodec.io.dicom.volumes import one_volume
from inrcodec.io.dicom.write import check_target, write
from inrcodec.volume.volume import Fact, Volume, checked_array

__all__ = ["check_target", "read", "write"]


def read(
    source: Location,
    *,
    spacing: Sequence[float] | None = None,
    series: str | None = None,
    volume: int | None = None,
    slices: slice | None = None,
) -> Volume:
    """Volume of a DICOM series, as `inrcodec.io.read`.

    `slices` counts the planes in their order in space; what is left out need not be evenly spaced or whole.
    `spacing` is for images that state none.
    """
    path = Path(source)
    found = find_images(path)
    images, left_out = choose_series(found, series)
    every_frame = frames_of(images, spacing)
    stack, line = one_volume(in_order(every_frame), volume, path)
    frames = part_of(stack, slices)
    affine = grid_of(frames, stack)
    edges = np.linalg.norm(affine[:3, :3], axis=0)[::-1]
    if spacing is not None and not np.allclose(spacing, edges[-len(spacing) :], rtol=1e-3):
        cause = f"{tuple(spacing)} is not what the positions of the slices say: {edges[0]:g} mm along z"
        raise UsageError(cause, value=spacing, option="spacing")
    array, rescale, padding = read_pixels(frames)
    return Volume(
        array=checked_array(array, str(source)),
        affine=affine,
        slice_rescale=np.array(rescale),
        modality=str(frames[0].header.get("Modality") or ""),
        padding=padding,
        ndim=2 if len(stack) == 1 else 3,
        unit=_unit(frames[0].header),
        source_bytes=_bytes(every_frame, frames),
        description=_description(frames, affine),
        notices=(
            *_choices(path, found, images),
            *found.notices,
            *left_out,
            *filter(None, [line, *_assumptions(stack)]),
        ),
    )


def _bytes(every_frame: list[Frame], frames: list[Frame]) -> int | None:
    """Bytes of the files that were read; unknown where other planes are in them too."""
    paths, chosen = {frame.path for frame in frames}, set(frames)
    if any(frame.path in paths and frame not in chosen for frame in every_frame):
        return None
    return sum(path.stat().st_size for path in paths)


def _choices(source: Path, found: Found, images: list[Image]) -> tuple[str, ...]:
    """Notices of what was chosen on the way from a folder to the series that was read."""
    if not source.is_dir():
        return ()
    folders = sorted({str(image.path.parent.relative_to(source)) for image in images} - {"."})
    others = len({image.series for image in found.images}) - 1
    notices = []
    if folders:
        more = f" and {len(folders) - 1} more" if len(folders) > 1 else ""
        notices.append(f"the images are in the subfolder {folders[0]}{more} of {source}")
    if others:
        notices.append(
            f"{others} other series in {source} left out, choose by the UID or number of the series"
        )
    return tuple(notices)


def _assumptions(stack: list[Frame]) -> list[str]:
    """Notices of a size that the header does not state."""
    only = stack[0]
    thin = len(stack) == 1 and only.thickness is None and only.position is not None
    return [only.assumed, "the slice thickness is not in the header, 1 mm is assumed" if thin else ""]


def _unit(header: Dataset) -> str:
    if header.get("Modality") == PET:
        return code(header.get("Units") or "")
    kind = str(header.get("RescaleType") or "HU")
    # Enhanced images have slope and type in the frames' groups; a CT without any slope is not in HU.
    scaled = "RescaleSlope" in header or "PerFrameFunctionalGroupsSequence" in header
    return "HU" if header.get("Modality") == "CT" and kind == "HU" and scaled else ""


def _description(frames: list[Frame], affine: NDArray[np.float64]) -> dict[str, Fact]:
    """Facts that a DICOM sink needs beyond the volume, where they are not the default."""
    header, thickness = frames[0].header, frames[0].thickness
    facts: dict[str, Fact] = {}
    if header.get("PhotometricInterpretation") == "MONOCHROME1":  # small values are shown bright
        facts["photometric"] = "MONOCHROME1"
    if thickness is not None and thickness != round(float(np.linalg.norm(affine[:3, 2])), 6):
        facts["thickness"] = thickness
    if header.get("PatientPosition"):
        facts["position"] = code(header.PatientPosition)
    if header.get("Modality") == PET:
        facts |= pet_facts([frame.header for frame in frames])
    return facts | lossy_facts(header)
