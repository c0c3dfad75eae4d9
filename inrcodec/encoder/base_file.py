"""A file of one base alone, for a size or for none.

In: facts of a volume, and options that name the base.  Out: `Measured`.
Invariant: a model is kept for what it gave on this volume.
"""

from __future__ import annotations

from dataclasses import replace

from inrcodec.encoder import grid_tries, measure, planner
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.fitted import Fitted
from inrcodec.encoder.measured import Measured
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.encoder.plan import Plan
from inrcodec.encoder.tissue import by_error as tissue_by_error
from inrcodec.encoder.tissue import search as tissue_search
from inrcodec.errors import TargetNotReached
from inrcodec.progress import Progress

# dB: a fit through a model that gains less may be behind one through Lanczos: of 22 volumes that no model
# was made for, by 0.67 dB at a gain of 0.77.
NARROW = 1.0


def encoded(facts: Facts, options: ResolvedOptions, progress: Progress | None) -> Measured:
    """A base; of a small volume on the best of several grids, on a coarser one where bytes are few."""
    found, coded = _first(facts, options, progress)
    for plan in grid_tries.rivals(found.plan, progress):
        try:
            other, coded_other = _coded(plan, progress)
        except TargetNotReached:
            continue
        if other.result.is_nearer(found.result, options):
            found, coded = other, coded_other
    return tissue_search.trusted(found, coded, progress)


def _first(facts: Facts, options: ResolvedOptions, progress: Progress | None) -> tuple[Measured, Fitted]:
    """The first plan whose file is as small as was requested."""
    refusal: TargetNotReached | None = None
    for plan in grid_tries.plans(facts, options, progress):
        try:
            return _coded(plan, progress)
        except TargetNotReached as error:
            refusal = error
    assert refusal is not None
    raise refusal


def _coded(plan: Plan, progress: Progress | None) -> tuple[Measured, Fitted]:
    """The file of a plan; where its model is a loss or a narrow gain, held against one without it.

    What was coded for the model, or left bytes for it, would be worse and smaller than it need be.
    """
    coded = tissue_by_error.coded(plan, progress)
    here = coded.plan
    found = measure.base(coded, progress)
    held_against = plan.size is not None and grid_tries.is_small(plan.facts, plan.options)
    if found.model is not None and (held_against or is_doubtful(found)):
        coded_plain = tissue_by_error.coded(planner.rival(here), progress)
        other = measure.base(coded_plain, progress)
        if not found.result.is_nearer(other.result, plan.options):
            left_out = measure.model_left_out(here.header.sr, found.model, other.result)
            return replace(other, notices=(*here.notices, left_out)), coded_plain
    return found, coded


def is_doubtful(found: Measured) -> bool:
    """Whether a base without the model might do better than this one with it.

    A time budget leaves no time to find out.
    """
    options = found.plan.options
    if found.model is None or options.time_budget is not None:
        return False
    if found.gain <= 0:
        return options.through_sr or found.plan.size is not None
    return options.through_sr and found.gain < NARROW
