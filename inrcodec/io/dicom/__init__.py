"""DICOM: a folder, file or DICOMDIR to a volume, and a volume to a series.

Invariant: a series is read completely and in its own order, or refused with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from inrcodec.errors import UsageError
from inrcodec.io.atomic import Location
from inrcodec.io.dicom.facts import description_of, unit_of
from inrcodec.io.dicom.files import Found, Image, find_images
from inrcodec.io.dicom.frames import Frame, frames_of, understood
from inrcodec.io.dicom.geometry import grid_of, in_order, part_of
from inrcodec.io.dicom.pixels import read_pixels
from inrcodec.io.dicom.segmentation import is_segmentation, one_segment, segment_rescale
from inrcodec.io.dicom.series import choose_series
from inrcodec.io.dicom.volumes import one_volume
from inrcodec.io.dicom.write import check_target, write
from inrcodec.volume.volume import Volume

__all__ = ["check_target", "read", "write"]


def read(
    source: Location | Sequence[Location],
    *,
    spacing: Sequence[float] | None = None,
    series: str | None = None,
    volume: int | None = None,
    slices: slice | None = None,
) -> Volume:
    """Volume of a DICOM series, as `inrcodec.io.read`.

    Of several files those are read, and no others. `slices` counts the planes in their order in space; what
    is left out need not be evenly spaced or whole.
    `spacing` is for images that state none.
    """
    files = None if isinstance(source, str | PathLike) else [Path(file) for file in source]
    path = files[0].parent if files else Path(source)  # type: ignore[arg-type]
    found = find_images(files or path)
    images, left_out = choose_series(found, series)
    every_frame = frames_of(images, spacing)
    notices = (*_choices(path, found, images), *found.notices, *left_out)
    if is_segmentation(every_frame):
        return _segment(every_frame, volume, slices, path, notices)
    with understood(every_frame[0].path):
        stack, line = one_volume(in_order(every_frame), volume, path)
    frames = part_of(stack, slices)
    affine = grid_of(frames, stack)
    edges = np.linalg.norm(affine[:3, :3], axis=0)[::-1]
    if spacing is not None and not np.allclose(spacing, edges[-len(spacing) :], rtol=1e-3):
        cause = f"{tuple(spacing)} is not what the positions of the slices say: {edges[0]:g} mm along z"
        raise UsageError(cause, value=spacing, option="spacing")
    with understood(frames[0].path):
        unit, description = unit_of(frames[0].header), description_of(frames, affine)
        array, rescale, padding = read_pixels(frames, str(source))
    return Volume(
        array=array,
        affine=affine,
        slice_rescale=np.array(rescale),
        modality=str(frames[0].header.get("Modality") or ""),
        padding=padding,
        ndim=2 if len(stack) == 1 else 3,
        unit=unit,
        source_bytes=_bytes(every_frame, frames),
        description=description,
        notices=(*notices, *filter(None, [line, *_assumptions(stack)])),
    )


def _segment(
    every_frame: list[Frame],
    requested: int | None,
    slices: slice | None,
    path: Path,
    notices: tuple[str, ...],
) -> Volume:
    """Volume of a segmentation: of one segment, with the slices that it leaves out, or of all labels."""
    with understood(every_frame[0].path):
        frames, places, depth, affine, line = one_segment(every_frame, requested, path)
        rescale, description = segment_rescale(frames[0].header), description_of(frames, affine)
        planes, _, _ = read_pixels(frames, str(path))
    array = np.zeros((depth, *planes.shape[1:]), planes.dtype)
    array[places] = planes
    volume = Volume(
        array=array,
        affine=affine,
        rescale=rescale,
        modality=str(frames[0].header.Modality),
        ndim=2 if depth == 1 else 3,
        source_bytes=_bytes(every_frame, frames),
        description=description,
        notices=(*notices, *filter(None, [line])),
    )
    return volume if slices is None else volume.part(slices)


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
