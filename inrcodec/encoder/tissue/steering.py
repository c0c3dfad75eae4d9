"""A coder of seconds, steered to an error of flat tissue by what it leaves of the low-res volume.

In: a plan, and that error.  Out: `Steered`, coded as coarsely as it allows.
Invariant: little coarser than where nothing is requested, and at most `LARGEST` times those bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, log

import numpy as np

from inrcodec.encoder import curves, fitted, planner
from inrcodec.encoder.bases.streams import usual_error
from inrcodec.encoder.fitted import Fitted
from inrcodec.encoder.plan import Plan
from inrcodec.encoder.tissue import error as tissue_error
from inrcodec.file import InrvFile
from inrcodec.progress import Progress

LARGEST = 8.0  # times the bytes where nothing is requested
TRIES = 5  # codings beside the first
NEAR = 0.05  # share of the goal that an error may be below it
LARGEST_STEP = 8.0  # times that the low-res error falls or grows from one coding to the next
# Of the mean squared low-res error that the error of flat tissue grows with, until codings have told.
POWER, STEEPEST = 1.0, 4.0


@dataclass(frozen=True, eq=False)
class Steered:
    """A coded low-res volume, and the error of flat tissue that it leaves, in physical units."""

    coded: Fitted
    error: float
    squares: float  # mean squared low-res error, in unit values

    @property
    def bytes(self) -> int:
        """Of the base."""
        return sum(map(len, self.coded.sections.values()))

    @property
    def is_usual(self) -> bool:
        """Whether it is as coarse as may be."""
        return self.coded.plan.error == coarsest(self.coded.plan)


def seen(coded: Fitted) -> Steered:
    """What a coding leaves."""
    plan = coded.plan
    header = replace(plan.header, **coded.coded.fields)
    decoder = InrvFile.from_sections(header, coded.sections).decoder.require_base()
    lowres = decoder.read(threads=plan.options.threads)
    squares = float(np.square(lowres - plan.lowres.target).mean())
    return Steered(coded, tissue_error.of_lowres(plan, lowres), squares)


def coarsest(plan: Plan) -> float:
    """Mean squared low-res error that is taken at most: the usual one, more of it where a curve is steeper.

    What is no tissue is coded as much coarser, and would else decide on the bytes.
    """
    steeper = curves.AIMED[plan.options.coder] / max(curves.SLOPES) if plan.curve else 1.0
    return usual_error(plan.lowres) * steeper


def most_bytes(plan: Plan) -> float:
    """Bytes that the base may take."""
    assert plan.coding is not None
    return LARGEST * plan.coding.bytes


def fit(plan: Plan, goal: float, most: float, progress: Progress | None = None) -> Steered:
    """Code a plan; see `within`."""
    coded = fitted.fit(replace(plan, error=coarsest(plan)), progress)
    return within(_limited(coded, most, progress), goal, most, progress)


def within(before: Steered, goal: float, most: float, progress: Progress | None = None) -> Steered:
    """The coarsest coding found whose error is within a goal; else that with the least error.

    Raises
    ------
    TargetNotReached
        No coding is as small as it may be.
    """
    found = [before]
    for _ in range(TRIES):
        enough = [one for one in found if one.error <= goal]
        if any(one.is_usual or one.error >= goal * (1 - NEAR) for one in enough):
            break
        following = _following(found, goal, most, progress)
        if following is None or any(one.coded.sections == following.coded.sections for one in found):
            break
        found.append(following)
        if following.coded.plan.size is not None:
            break
    enough = [one for one in found if one.error <= goal]
    return min(enough, key=lambda one: one.bytes) if enough else min(found, key=lambda one: one.error)


def _following(found: list[Steered], goal: float, most: float, progress: Progress | None) -> Steered | None:
    """The next coding, by what those before came to; ``None`` where none serves."""
    last = found[-1]
    plan = last.coded.plan
    if plan.error is None:  # of a size, the largest
        return None
    error = min(_sought(found, goal), coarsest(plan))
    return _limited(fitted.fit(replace(plan, error=error), progress, last.coded), most, progress)


def _limited(coded: Fitted, most: float, progress: Progress | None) -> Steered:
    """A coding, or where it takes too many bytes one of that size."""
    found, plan = seen(coded), coded.plan
    if found.bytes <= most:
        return found
    sized = planner.resized(replace(plan, error=None), round(most) + plan.overhead)
    return seen(fitted.fit(replace(sized, notices=plan.notices), progress, coded))


def _sought(found: list[Steered], goal: float) -> float:
    """The low-res error that leaves a goal: the logarithms are on a line through the two nearest codings."""
    near = sorted(found, key=lambda one: abs(log(one.error / goal)) if one.error else inf)[:2]
    at, power = near[0], POWER
    if len(near) > 1 and near[1].error and near[1].squares and near[1].squares != at.squares:
        power = log(near[1].error / at.error) / log(near[1].squares / at.squares)
        power = min(max(power, 1 / STEEPEST), STEEPEST)
    less = (goal / at.error) ** (1 / power) if at.error else 1.0
    return at.squares * min(max(less, 1 / LARGEST_STEP), LARGEST_STEP)
