"""Planes in space, in order, as one grid.

In: the planes of a series in any order.  Out: the same planes sorted along the slice normal, and the affine.
Invariant: order comes from positions, never from names or numbers, and a grid with a gap is refused with the
place of the gap.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import IncompleteSeries, InputError
from inrcodec.io.dicom.frames import Frame

SAME_PLACE = 1e-3  # mm; positions are written with at least that precision
GAP = 1.5  # times the usual distance between slices: half way to one missing slice
# Of a voxel's edge. Scanners round positions to 0.1 mm, which is 8 % of slices 0.6 mm apart.
JITTER = 0.1
_LISTED = 3

# Attributes that may differ between images at the same position, for the message.
_FOURTH_AXIS = (
    *("AcquisitionNumber", "TemporalPositionIdentifier", "TriggerTime", "EchoTime", "EchoNumbers"),
    *("DiffusionBValue", "ImageType", "AcquisitionTime"),
)


def arrange(frames: list[Frame]) -> tuple[list[Frame], NDArray[np.float64]]:
    """Sort planes along their normal and find the grid that they lie on.

    Parameters
    ----------
    frames : list of Frame
        Alike in orientation and spacing.

    Returns
    -------
    frames : list of Frame
        Ascending along row direction × column direction.
    affine : ndarray, (4, 4)
        Voxel index (x, y, z, 1) to LPS mm. With a tilted gantry its z column is not along the normal.

    Raises
    ------
    IncompleteSeries
        Missing, duplicate or irregularly placed slices, with their positions.
    InputError
        No positions, or several images at every position (4-D).
    """
    if len(frames) == 1:
        return frames, _affine(frames[0], frames[0].position, None)
    places = _places(frames)
    if frames[0].orientation is None:
        raise InputError(
            "the images have no orientation (0020,0037), slices cannot be put in order: convert the series "
            "to NIfTI or an array of known geometry",
            value=str(frames[0].path),
        )
    normal = np.cross(*frames[0].orientation)
    heights = places @ normal
    order = np.argsort(heights, kind="stable")
    frames, places, heights = [frames[i] for i in order], places[order], heights[order]
    _check_duplicates(frames, heights)
    _check_gaps(heights)
    step = (places[-1] - places[0]) / (len(places) - 1)
    _check_regular(places, step, max(float(np.linalg.norm(step)), *(frames[0].spacing or (0.0, 0.0))))
    return frames, _affine(frames[0], places[0], step)


def _places(frames: list[Frame]) -> NDArray[np.float64]:
    unplaced = [frame for frame in frames if frame.position is None]
    if unplaced:
        raise IncompleteSeries(
            f"{len(unplaced)} of {len(frames)} images have no position (0020,0032), "
            f"such as {unplaced[0].path}: slices cannot be put in order, export the series again or pass an "
            "array",
            value=str(unplaced[0].path),
        )
    return np.stack([frame.position for frame in frames if frame.position is not None])


def _check_duplicates(frames: list[Frame], heights: NDArray[np.float64]) -> None:
    starts = np.flatnonzero(np.diff(heights, prepend=-np.inf) > SAME_PLACE)
    if len(starts) == len(frames):
        return
    counts = np.diff([*starts, len(frames)])
    if counts.min() > 1 and counts.min() == counts.max():
        group = frames[: counts[0]]
        differing = [word for word in _FOURTH_AXIS if len({str(f.header.get(word)) for f in group}) > 1]
        what = f" that differ in {', '.join(differing)}" if differing else ""
        raise InputError(
            f"4-D series: {counts[0]} images at each of {len(starts)} positions{what}, "
            "pass one volume at a time in a folder of its own",
            value=int(counts[0]),
        )
    twice = [int(starts[i]) for i in np.flatnonzero(counts > 1)]
    listed = "; ".join(
        f"{heights[i]:.3f} mm ({frames[i].path.name} and {frames[i + 1].path.name})" for i in twice[:_LISTED]
    )
    more = f" and {len(twice) - _LISTED} more" if len(twice) > _LISTED else ""
    raise IncompleteSeries(
        f"duplicate slices at {listed}{more}: remove all but one of each",
        value=[float(heights[i]) for i in twice],
    )


def _check_gaps(heights: NDArray[np.float64]) -> None:
    gaps = np.diff(heights)
    usual = _usual(gaps)
    wide = np.flatnonzero(gaps > GAP * usual)
    if not len(wide):
        return
    listed = "; ".join(
        f"between {heights[i]:.3f} and {heights[i + 1]:.3f} mm (about {max(1, round(gaps[i] / usual) - 1)})"
        for i in wide[:_LISTED]
    )
    more = f" and {len(wide) - _LISTED} more gaps" if len(wide) > _LISTED else ""
    raise IncompleteSeries(
        f"missing slices {listed}{more}, where slices are {usual:.3f} mm apart: find the missing files, "
        "or pass one evenly spaced part in a folder of its own",
        value=[(float(heights[i]), float(heights[i + 1])) for i in wide],
    )


def _usual(gaps: NDArray[np.float64]) -> float:
    """Distance between slices where none is missing: what all gaps are multiples of, else the median."""
    small = float(
        np.quantile(gaps, 0.25, method="lower")
    )  # with every other slice lost, half of the gaps are wide
    multiples = gaps / small
    regular = np.abs(multiples - np.rint(multiples)).max() <= JITTER
    return small if regular else float(np.median(gaps))


def _check_regular(places: NDArray[np.float64], step: NDArray[np.float64], edge: float) -> None:
    grid = places[0] + np.arange(len(places))[:, np.newaxis] * step
    off = np.linalg.norm(places - grid, axis=1)
    worst = int(np.argmax(off))
    if off[worst] > JITTER * edge:
        place = ", ".join(f"{v:.3f}" for v in places[worst])
        raise IncompleteSeries(
            f"irregular slices: the one at ({place}) mm is {off[worst]:.3f} mm off the grid, more than "
            f"{JITTER:.0%} of a voxel: resample the series or pass an evenly spaced part",
            value=float(off[worst]),
        )


def _affine(
    first: Frame, place: NDArray[np.float64] | None, step: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Affine of the grid; a single image without spacing, orientation or position has 1 mm, LPS and 0."""
    directions = np.eye(3)[:2] if first.orientation is None else first.orientation
    between_rows, between_columns = first.spacing or (1.0, 1.0)
    affine = np.eye(4)
    affine[:3, 0] = directions[0] * between_columns
    affine[:3, 1] = directions[1] * between_rows
    affine[:3, 2] = np.cross(*directions) * first.thickness if step is None else step
    affine[:3, 3] = 0.0 if place is None else place
    return affine
