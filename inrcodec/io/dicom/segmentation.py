"""Segmentations: which segment of several is meant, and where its planes lie.

In: the planes of SEG images.  Out: those of one segment in order, and their places on the grid of all.
Invariant: a plane that a segmentation leaves out is empty, and all segments of a series have one grid.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from inrcodec.errors import InputError
from inrcodec.format import limits
from inrcodec.io.choice import chosen_volume
from inrcodec.io.dicom.frames import Frame
from inrcodec.io.dicom.geometry import in_order, sparse_grid
from inrcodec.io.dicom.special import SEGMENTATION


def is_segmentation(frames: list[Frame]) -> bool:
    """Whether planes are of a segmentation; those of a series are of one modality."""
    return bool(frames[0].header.get("Modality") == SEGMENTATION)


def one_segment(
    frames: list[Frame], requested: int | None, source: Path
) -> tuple[list[Frame], NDArray[np.int64], int, NDArray[np.float64], str]:
    """The planes of the segment that is meant, and the grid of all segments.

    Returns
    -------
    The planes in order; the slice that each is; the number of slices; the affine; and a line on the segment,
    "" where there is only one.

    Raises
    ------
    InputError
        There are several and none was requested, or the one that was is not there.
    IncompleteSeries
        Planes that are not on one grid, or twice at one place.
    """
    ordered = in_order(frames)
    rows, columns = ordered[0].shape
    levels, affine = sparse_grid(ordered, _spacing_between(ordered[0].header))
    limits.check("number of voxels", (int(levels[-1]) + 1) * rows * columns, limits.VOXELS)
    segments: dict[tuple[Path, int], list[int]] = {}
    for i, frame in enumerate(ordered):
        segments.setdefault((frame.path, _number(frame)), []).append(i)
    keys = sorted(segments, key=lambda key: (str(key[0]), key[1]))
    headers = {frame.path: frame.header for frame in ordered}
    lines = [_line(headers[path], number) for path, number in keys]
    index = chosen_volume(requested, len(keys), source, lines)
    planes = segments[keys[index]]
    places = levels[planes]
    if len(set(places.tolist())) < len(planes):
        cause = f"{source} has several planes of one segment at one place, export it again"
        raise InputError(cause, value=str(source))
    said = f"volume {index} of {len(keys)}: {lines[index]}" if len(keys) > 1 else ""
    return [ordered[i] for i in planes], places, int(levels[-1]) + 1, affine, said


def segment_rescale(header: Dataset) -> tuple[float, float]:
    """Slope and intercept of a segmentation: those of FRACTIONAL ones are parts of a largest value."""
    most = header.get("MaximumFractionalValue") if _kind(header) == "FRACTIONAL" else None
    return (1.0 / float(most) if most else 1.0), 0.0


def _kind(header: Dataset) -> str:
    return str(header.get("SegmentationType") or "BINARY")


def _number(frame: Frame) -> int:
    """Number of a plane's segment; 0 where a plane holds all of them."""
    if _kind(frame.header) == "LABELMAP":
        return 0
    own = frame.header.PerFrameFunctionalGroupsSequence[frame.index]
    for groups in (own, *(frame.header.get("SharedFunctionalGroupsSequence") or [])):
        for item in groups.get("SegmentIdentificationSequence") or []:
            if (number := item.get("ReferencedSegmentNumber")) is not None:
                return int(number)
    raise InputError(f"{frame.path} does not say of which segment its planes are", value=str(frame.path))


def _line(header: Dataset, number: int) -> str:
    if number == 0:
        return "labels of all segments"
    for item in header.get("SegmentSequence") or []:
        if item.get("SegmentNumber") == number:
            return f"segment {number}, {item.get('SegmentLabel') or 'without a label'}"
    return f"segment {number}"


def _spacing_between(header: Dataset) -> float | None:
    """Distance between slices in mm, where the segmentation says it."""
    for groups in header.get("SharedFunctionalGroupsSequence") or []:
        for item in groups.get("PixelMeasuresSequence") or []:
            distance = item.get("SpacingBetweenSlices")
            return float(distance) if distance and float(distance) > 0 else None
    return None
