"""Planes in space, in order, as one grid.

Invariant: order comes from positions, never from names or numbers; a gap is refused with its place.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import IncompleteSeries, InputError
from inrcodec.format.limits import AXIS, check
from inrcodec.io.dicom.frames import Frame
from inrcodec.volume.box import run_of

SAME_PLACE = 1e-3  # mm; positions are written with at least that precision
GAP = 1.5  # times the usual distance between slices: half way to one missing slice
# Of a voxel's edge. Scanners round positions to 0.1 mm, which is 8 % of slices 0.6 mm apart.
JITTER = 0.1
_ROUNDING = 0.1  # mm between two distances that are meant to be equal
_LISTED = 3


def in_order(frames: list[Frame]) -> list[Frame]:
    """Planes ascending along row direction x column direction.

    Raises `IncompleteSeries` for planes without a position, `InputError` without an orientation.
    """
    if len(frames) == 1:
        return frames
    places = _places(frames)
    if frames[0].orientation is None:
        raise InputError(
            "the images have no orientation (0020,0037), slices cannot be put in order: convert the series "
            "to NIfTI or an array of known geometry",
            value=str(frames[0].path),
        )
    heights = places @ _normal(frames)
    return [frames[i] for i in np.argsort(heights, kind="stable")]


def levels_of(frames: list[Frame]) -> NDArray[np.int64]:
    """Number of the position of each plane, from 0, for planes in order; those at one place have one."""
    if len(frames) == 1:
        return np.zeros(1, np.int64)
    steps = np.diff(_places(frames) @ _normal(frames), prepend=-np.inf) > SAME_PLACE
    return np.cumsum(steps, dtype=np.int64) - 1


def part_of(frames: list[Frame], slices: slice | None) -> list[Frame]:
    """A run of the planes in order; raises `UsageError` where it leaves nothing, or has a step."""
    kept = run_of(slices, len(frames))
    return frames[kept.start : kept.stop]


def grid_of(frames: list[Frame], stack: list[Frame]) -> NDArray[np.float64]:
    """The grid that planes in order lie on, a part of a stack.

    The affine (4, 4) is voxel index (x, y, z, 1) to LPS mm. With a tilted gantry its z column is not along
    the normal. Of a single plane it is the step to its neighbour in the stack. Raises `IncompleteSeries` for
    missing, duplicate or irregularly placed slices, with their positions.
    """
    if len(frames) == 1:
        return _affine(frames[0], frames[0].position, _step_beside(frames[0], stack))
    places = _places(frames)
    heights = places @ _normal(frames)
    _check_duplicates(frames, heights)
    step = (places[-1] - places[0]) / (len(places) - 1)
    edge = max(float(np.linalg.norm(step)), *(frames[0].spacing or (0.0, 0.0)))
    off = np.linalg.norm(places - (places[0] + np.arange(len(places))[:, np.newaxis] * step), axis=1)
    _check_gaps(heights, irregular=bool(off.max() > JITTER * edge))
    if (worst := float(off.max())) > JITTER * edge:
        place = ", ".join(f"{v:.3f}" for v in places[off.argmax()])
        raise IncompleteSeries(
            f"irregular slices: the one at ({place}) mm is {worst:.3f} mm off the grid, more than "
            f"{JITTER:.0%} of a voxel: resample the series or pass an evenly spaced part",
            value=worst,
        )
    return _affine(frames[0], places[0], step)


def sparse_grid(frames: list[Frame], spacing: float | None) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The slice that each plane in order is, from 0, where slices are left out, and the affine of the grid.

    Parameters
    ----------
    spacing : between slices in mm, if that is known; else what all distances are multiples of.

    Raises `IncompleteSeries` for planes that are not on one grid.
    """
    if len(frames) == 1:
        return np.zeros(1, np.int64), _affine(frames[0], frames[0].position, None)
    places = _places(frames)
    heights = places @ _normal(frames)
    gaps = np.diff(heights)
    gaps = gaps[gaps > SAME_PLACE]
    if not len(gaps):
        return np.zeros(len(frames), np.int64), _affine(frames[0], places[0], None)
    for distance in filter(None, (spacing, _usual(gaps))):
        levels = np.rint((heights - heights[0]) / distance)
        step = (places[-1] - places[0]) / levels[-1] if levels[-1] else np.zeros(3)
        off = np.linalg.norm(places - places[0] - levels[:, np.newaxis] * step, axis=1)
        if levels[-1] and off.max() <= JITTER * distance:
            check("longest axis", int(levels[-1]) + 1, AXIS)
            return levels.astype(np.int64), _affine(frames[0], places[0], step)
    place = f"({', '.join(f'{v:.3f}' for v in places[off.argmax()])})"
    raise IncompleteSeries(
        f"irregular slices: the one at {place} mm is {off.max():.3f} mm off the grid of slices "
        f"{distance:.3f} mm apart: resample the series",
        value=float(off.max()),
    )


def _normal(frames: list[Frame]) -> NDArray[np.float64]:
    assert frames[0].orientation is not None  # as `in_order` has made sure
    return np.cross(*frames[0].orientation)


def _step_beside(frame: Frame, stack: list[Frame]) -> NDArray[np.float64] | None:
    place = stack.index(frame)
    pair = stack[max(0, place - 1) :][:2] if place == len(stack) - 1 else stack[place : place + 2]
    if len(pair) < 2:
        return None
    step = np.diff(_places(pair), axis=0)[0]
    return step if np.linalg.norm(step) > SAME_PLACE else None


def _places(frames: list[Frame]) -> NDArray[np.float64]:
    unplaced = [str(frame.path) for frame in frames if frame.position is None]
    if unplaced:
        raise IncompleteSeries(
            f"{len(unplaced)} of {len(frames)} images have no position (0020,0032), such as {unplaced[0]}: "
            "slices cannot be put in order, export the series again or pass an array",
            value=unplaced[0],
        )
    return np.stack([frame.position for frame in frames if frame.position is not None])


def _check_duplicates(frames: list[Frame], heights: NDArray[np.float64]) -> None:
    twice = np.flatnonzero(np.diff(heights) <= SAME_PLACE)
    if len(twice):
        listed = _listed(
            [f"{heights[i]:.3f} mm ({frames[i].path.name} and {frames[i + 1].path.name})" for i in twice]
        )
        cause = f"duplicate slices at {listed}: remove all but one of each"
        raise IncompleteSeries(cause, value=heights[twice].tolist())


def _check_gaps(heights: NDArray[np.float64], *, irregular: bool) -> None:
    gaps = np.diff(heights)
    usual = _usual(gaps)
    wide = np.flatnonzero(gaps > GAP * usual)
    runs = _runs(gaps)
    spacings = [gaps[start : stop - 1].mean() for start, stop in runs]
    if (irregular or len(wide)) and spacings and _differ(min(spacings), max(spacings)):
        each = [f"{gap:.3f} mm apart in {a}:{b}" for gap, (a, b) in zip(spacings, runs, strict=True)]
        raise IncompleteSeries(
            f"variable spacing, {_listed(each)}: choose one of these parts, or resample the series",
            value=runs,
            option="slices",
        )
    if not len(wide):
        return
    around = [(float(heights[i]), float(heights[i + 1])) for i in wide]
    missing = np.maximum(1, np.rint(gaps[wide] / usual) - 1)
    listed = _listed(
        [f"between {a:.3f} and {b:.3f} mm (about {n:.0f})" for (a, b), n in zip(around, missing, strict=True)]
    )
    ends = [0, *(int(i) + 1 for i in wide), len(heights)]
    parts = _listed([f"{a}:{b}" for a, b in pairwise(ends) if b - a > 1])
    raise IncompleteSeries(
        f"missing {listed}, where slices are {usual:.3f} mm apart: find the missing files"
        + (f", or choose a part without a gap: {parts}" if parts else ""),
        value=around,
        option="slices",
    )


def _differ(gap: float, other: float) -> bool:
    return abs(other - gap) > max(JITTER * gap, _ROUNDING)


def _runs(gaps: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Ranges of three slices and more that are evenly spaced, as (first, last + 1)."""
    bounds, start = [0], 0
    for i in range(1, len(gaps)):
        if _differ(gaps[start], gaps[i]):
            bounds.append(i)
            start = i
    bounds.append(len(gaps))
    return [(a, b + 1) for a, b in pairwise(bounds) if b - a > 1]


def _listed(places: list[str]) -> str:
    more = len(places) - _LISTED
    return "; ".join(places[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def _usual(gaps: NDArray[np.float64]) -> float:
    """Distance between slices where none is missing: what all gaps are multiples of, else the median."""
    # With every other slice lost, half of the gaps are wide.
    small = float(np.quantile(gaps, 0.25, method="lower"))
    multiples = gaps / small
    regular = np.abs(multiples - np.rint(multiples)).max() <= JITTER
    return small if regular else float(np.median(gaps))


def _affine(
    first: Frame, place: NDArray[np.float64] | None, step: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Affine of the grid; a single image without spacing, orientation or position has 1 mm, LPS and 0."""
    directions = np.eye(3)[:2] if first.orientation is None else first.orientation
    between_rows, between_columns = first.spacing or (1.0, 1.0)
    affine = np.eye(4)
    affine[:3, 0] = directions[0] * between_columns
    affine[:3, 1] = directions[1] * between_rows
    affine[:3, 2] = np.cross(*directions) * (first.thickness or 1.0) if step is None else step
    affine[:3, 3] = 0.0 if place is None else place
    return affine
