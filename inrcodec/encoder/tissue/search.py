"""Flat tissue that can be trusted: what an encoding without a target aims at.

In: the first file of a plan without a target.  Out: that file, or a larger one with fewer false structures.
Invariant: what is not reached is told.

A number of voxels for a tile says nothing of what a reader sees. The error of flat tissue after a Gaussian of
5 mm does (`volume.low_pass`): noise averages out of it, blotches do not. Coders of seconds are steered to it
(`tissue.by_error`). Of networks it falls with a power of the bytes down to what the grid costs; the grid for
a size is that of a request for this size. Their fits take minutes, and so there are as few more as the preset
has time for.
"""

from __future__ import annotations

from dataclasses import replace
from math import isfinite, log

from inrcodec.encoder import back_projection, fitted, grid_search, measure, planner
from inrcodec.encoder.fitted import Fitted
from inrcodec.encoder.measured import Measured
from inrcodec.encoder.plan import Plan
from inrcodec.encoder.tissue import aim as tissue_aim
from inrcodec.encoder.tissue import by_error as tissue_by_error
from inrcodec.encoder.tissue.aim import IN_VAIN, error_of
from inrcodec.errors import TargetNotReached
from inrcodec.progress import Progress

LARGEST = 8.0  # times the bytes of the first file
LARGEST_STEP = 4.0  # times the bytes of the attempt before
SPARE = 0.95  # of the aim: where the fits aim
# The logarithm of the error falls by so much of that of the bytes.
SLOPE, GENTLEST, STEEPEST = 0.7, 0.3, 1.2


def trusted(found: Measured, coded: Fitted, progress: Progress | None = None) -> Measured:
    """The smallest file found whose flat tissue is within the aim; else that with the smallest error.

    Parameters
    ----------
    found, coded : the first file, and its base.
    """
    wanted = tissue_aim.aim(found.plan.facts, found.plan.options)
    if not wanted or found.low_pass is None or not isfinite(error_of(found)):
        return found
    if tissue_aim.steered(found.plan.facts, found.plan.options) is not None:
        return tissue_by_error.trusted(found, coded, wanted, progress)
    attempts = [found]
    for _ in range(found.plan.options.tissue_fits or 0):
        size = _next(attempts, wanted)
        if size is None:
            break
        try:
            plan = _plan(coded.plan, size, progress)
            same = plan.grid.factor == coded.plan.grid.factor
            if same and _is_in_vain(attempts):
                break
            coded = fitted.fit(plan, progress, coded if same else None)
        except TargetNotReached:  # what was found must do
            break
        attempts.append(measure.base(coded, progress))
    return tissue_aim.best(attempts, wanted)


def _plan(before: Plan, size: int, progress: Progress | None) -> Plan:
    """The plan for a size, on the grid that serves it best; on the grid of the plan before, like that one."""
    facts, options = before.facts, before.options
    grid = grid_search.choose(facts, options, size)
    if grid.factor == before.grid.factor:
        return replace(planner.resized(before, size), notices=before.notices)
    return back_projection.project(planner.on_grid(facts, options, grid, progress), progress)


def _is_in_vain(attempts: list[Measured]) -> bool:
    """Whether more bytes brought next to nothing: the error is then that of the grid."""
    return len(attempts) > 1 and error_of(attempts[-1]) > IN_VAIN * error_of(attempts[-2])


def _next(attempts: list[Measured], wanted: float) -> int | None:
    """Bytes of the next attempt; ``None`` where it would be no better."""
    last, most = attempts[-1], attempts[0].size * LARGEST
    if error_of(last) <= wanted or last.size >= 0.9 * most:
        return None
    more: float = (error_of(last) / (SPARE * wanted)) ** (1 / _slope(attempts))
    return round(min(last.size * min(more, LARGEST_STEP), most))


def _slope(attempts: list[Measured]) -> float:
    """What the error falls by with the bytes, from the last two attempts."""
    if len(attempts) < 2:
        return SLOPE
    before, last = attempts[-2:]
    decades = log(last.size / before.size)
    if decades < 0.05 or not error_of(last):
        return SLOPE
    return min(max(log(error_of(before) / error_of(last)) / decades, GENTLEST), STEEPEST)
