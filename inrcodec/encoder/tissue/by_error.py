"""Flat tissue that can be trusted, by a coder of seconds: the low-res volume tells what the next file needs.

In: the first file of a plan without a target.  Out: the smallest found whose flat tissue is within the aim.
Invariant: what is returned was decoded and measured; what is not reached is told.

Where no bytes serve on a grid, because it has lost what the Gaussian keeps or because the coder has no finer
setting, the next one is half as coarse.
"""

from __future__ import annotations

from dataclasses import replace

from inrcodec.encoder import fitted, grid_search, measure, planner
from inrcodec.encoder.fitted import Fitted
from inrcodec.encoder.measured import Measured
from inrcodec.encoder.plan import Plan
from inrcodec.encoder.tissue import aim as tissue_aim
from inrcodec.encoder.tissue import low_frequencies, steering
from inrcodec.encoder.tissue.aim import best, error_of
from inrcodec.encoder.tissue.steering import Steered
from inrcodec.errors import TargetNotReached
from inrcodec.progress import Progress

ATTEMPTS = 4  # files at most
SPARE = 0.97  # of the aim: where the coder is steered to
LEAST = 0.85  # of the aim: a file whose error is smaller may be larger than it need be
# Of the error of a file, what the low-res volume tells of it at least: of less, the grid is what is seen.
TOLD = 0.6


def coded(plan: Plan, progress: Progress | None) -> Fitted:
    """Project a plan and code it, as the aim wants it if there is one and the coder can be steered to it."""
    plan = low_frequencies.project(plan, progress)
    wanted = tissue_aim.steered(plan.facts, plan.options)
    if wanted is None:
        return fitted.fit(plan, progress)
    return steering.fit(plan, SPARE * wanted, steering.most_bytes(plan), progress).coded


def trusted(first: Measured, base: Fitted, wanted: float, progress: Progress | None) -> Measured:
    """The smallest file found whose flat tissue is within the aim; else that with the smallest error."""
    most, attempts = steering.most_bytes(base.plan), [first]
    steered = steering.seen(base)
    while len(attempts) < ATTEMPTS:
        error = error_of(attempts[-1])
        if error <= wanted and (steered.is_usual or error >= LEAST * wanted):
            break
        try:
            following = _following(steered, error, wanted, most, progress)
        except TargetNotReached:  # what was found must do
            break
        if following is None:
            break
        steered = following
        attempts.append(measure.base(steered.coded, progress))
    return best(attempts, wanted)


def _following(
    steered: Steered, error: float, wanted: float, most: float, progress: Progress | None
) -> Steered | None:
    """The next coding, by what the last came to; on a finer grid where none serves on this one."""
    if error <= wanted or steered.error >= TOLD * error:
        goal = steered.error * SPARE * wanted / error
        other = steering.within(steered, goal, most, progress)
        if other.coded.sections != steered.coded.sections:
            return other
    if error <= wanted or steered.coded.plan.size is not None:
        return None
    plan = _finer(steered.coded.plan, progress)
    return None if plan is None else steering.fit(plan, SPARE * wanted, most, progress)


def _finer(plan: Plan, progress: Progress | None) -> Plan | None:
    """The plan for a grid that is half as coarse; ``None`` where there is none."""
    facts, options = plan.facts, plan.options
    if grid_search.is_fixed(options) or max(plan.lowres.factor) == 1:
        return None
    z, y, x = (max(1, f // 2) for f in plan.lowres.factor)
    coarse = grid_search.across(plan.lowres.factor)
    reason = f"finer than {coarse}, which leaves more of an error of flat tissue than is aimed at"
    rows = [replace(row, chosen=row.factor == (z, y, x)) for row in plan.grid.considered]
    choice = replace(plan.grid, factor=(z, y, x), reason=reason, considered=rows, size=None)
    return low_frequencies.project(planner.on_grid(facts, options, choice, progress), progress)
