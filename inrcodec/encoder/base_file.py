"""A file of one base alone, for a size or for none.

In: facts of a volume, and options that name the base.  Out: `Measured`.
Invariant: a model is kept for what it gave on this volume.
"""

from __future__ import annotations

from dataclasses import replace

from inrcodec.encoder import back_projection, fitted, measure, planner, tissue_search
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.measured import Measured
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.progress import Progress

# dB: a fit through a model that gains less may be behind one through Lanczos: of 22 volumes that no model
# was made for, by 0.67 dB at a gain of 0.77.
NARROW = 1.0


def encoded(facts: Facts, options: ResolvedOptions, progress: Progress | None) -> Measured:
    """A base; where its model is a loss or a narrow gain, held against one without it.

    What was coded for the model, or left bytes for it, would be worse and smaller than it need be.
    """
    here = back_projection.project(planner.make(facts, options, progress), progress)
    coded = fitted.fit(here, progress)
    found = measure.base(coded, progress)
    if found.model is not None and is_doubtful(found):
        plain = back_projection.project(planner.rival(here), progress)
        coded_plain = fitted.fit(plain, progress)
        other = measure.base(coded_plain, progress)
        if not found.result.errors.mse < other.result.errors.mse:
            left_out = measure.model_left_out(here.header.sr, found.model, other.result)
            found, coded = replace(other, notices=(*here.notices, left_out)), coded_plain
    return tissue_search.trusted(found, coded, progress)


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
