"""Decides what an encoding does: grid, mask, model and coding, for a size or for none.

In: facts of a volume, and options.  Out: a `Plan`.
Invariant: deterministic; the same facts and options give the same plan.
"""

from __future__ import annotations

from dataclasses import replace

from inrcodec.encoder import curves, grid_search, lowres, model_choice
from inrcodec.encoder.bases.table import BASES
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.grid_search import Choice
from inrcodec.encoder.lowres import Lowres
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.encoder.plan import Plan
from inrcodec.errors import TargetNotReached
from inrcodec.progress import Progress


def make(
    facts: Facts, options: ResolvedOptions, progress: Progress | None = None, *, known: Lowres | None = None
) -> Plan:
    """Decide on grid, mask, model and coding.

    A ``known`` low-res volume is taken where its factor is the one that is chosen.
    """
    grid = chosen(facts, options, progress)
    if known is not None and known.factor == grid.factor:
        return for_lowres(facts, options, grid, replace(known, projected=None))
    return on_grid(facts, options, grid, progress)


def chosen(facts: Facts, options: ResolvedOptions, progress: Progress | None = None) -> Choice:
    """Decide on a grid."""
    curves.curve_for(facts, options)  # refuses before any work
    grid = grid_search.choose(facts, options, requested_size(facts, options))
    if progress is not None:
        progress("grid", 1.0)
    return grid


def on_grid(facts: Facts, options: ResolvedOptions, grid: Choice, progress: Progress | None = None) -> Plan:
    """Decide on mask, model and coding for a grid."""
    return for_lowres(facts, options, grid, lowres.downsample(facts, grid.factor, options.tasks, progress))


def for_lowres(facts: Facts, options: ResolvedOptions, grid: Choice, low: Lowres) -> Plan:
    """Decide on model and coding for a low-res volume."""
    curve, about_focus = curves.curve_for(facts, options)
    name, about_model = model_choice.model_for(facts, low.factor, options)
    model = model_choice.fields_of(name, facts, options)
    notices = (*about_focus, *about_model)
    base = BASES[options.coder]
    smallest = base.smallest(low, options)
    least = Plan(facts, options, grid, low, curve, model, smallest, grid.size, notices=notices)
    if grid.size is not None and grid.size < least.predicted_least:
        if requested_size(facts, options) is None:  # a default, not a request
            return for_lowres(facts, options, replace(grid, size=None), low)
        raise TargetNotReached(
            f"{grid.size} bytes are too few for this volume: header, masks and {base.least} take about "
            f"{least.predicted_least}; request {options.more_bytes}",
            value=grid.size,
            option=options.limits_bytes,
        )
    found = replace(least, coding=base.coding(least))
    found.check()
    return found


def without_base(facts: Facts, options: ResolvedOptions) -> Plan:
    """The plan of a file that a refinement makes alone."""
    low = lowres.NONE
    return Plan(facts, options, Choice(low.factor, ""), low, (), model_choice.PLAIN, None)


def resized(plan: Plan, size: int | None) -> Plan:
    """The plan for another file size on the same low-res volume."""
    return for_lowres(plan.facts, plan.options, replace(plan.grid, size=size), plan.lowres)


def without_model(plan: Plan) -> Plan:
    """The plan without its super-resolution model, on the same low-res volume."""
    return for_lowres(plan.facts, plain(plan.options), plan.grid, plan.lowres)


def rival(plan: Plan) -> Plan:
    """The plan that there would be if there were no model; its grid may be another."""
    return make(plan.facts, plain(plan.options), known=plan.lowres)


def plain(options: ResolvedOptions) -> ResolvedOptions:
    """The options without a model."""
    return replace(options, sr=model_choice.PLAIN["sr"])


def requested_size(facts: Facts, options: ResolvedOptions) -> int | None:
    """Bytes that the file may have, where a size or a ratio to the voxels' bytes is requested."""
    if options.ratio is not None:
        return int(facts.volume.voxel_bytes / options.ratio)
    return options.size
