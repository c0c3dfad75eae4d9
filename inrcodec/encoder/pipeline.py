"""One encoding, from a volume to a file: facts, plan, fit, measure.

In: a volume and resolved options.  Out: what writes the file, and its report.
Invariant: each step is its own module's; here they only follow each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from inrcodec.encoder import back_projection, bounded, fitted, ledger, measure, planner, target_search
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.measured import Measured, Writable
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.progress import Progress, Stages
from inrcodec.volume.volume import Volume

# dB: a fit through a model that gains less may be behind one through Lanczos: of 22 volumes that no model
# was made for, by 0.67 dB at a gain of 0.77.
NARROW = 1.0


def encode(
    volume: Volume, stated: str | None, options: ResolvedOptions, stages: Stages
) -> tuple[Callable[[Writable], None], ledger.EncodeReport]:
    """Encode a volume; ``stated`` is its modality, where the source does not say it."""
    found = _measured(Facts.admitted(volume, stated, options), options, stages)
    found.check()
    return found.write, ledger.report(found, stages.seconds)


def _measured(facts: Facts, options: ResolvedOptions, progress: Progress) -> Measured:
    if options.max_error is None and not options.base:
        if options.psnr is not None:
            return target_search.smallest(facts, options, progress)
        return _networks(facts, options, progress)
    refine = bounded.with_psnr if options.max_error is None else bounded.guaranteed
    layer = refine(facts.volume, facts.span, options, progress)
    if not options.base:
        return measure.refinement(planner.without_base(facts, options), layer, progress=progress)
    base = _networks(facts, replace(options, psnr=None), progress)
    return measure.refinement(base.plan, layer, base, progress)


def _networks(facts: Facts, options: ResolvedOptions, progress: Progress) -> Measured:
    """Networks; where their model is a loss or a narrow gain, held against networks without it.

    What was fitted through the model, or left bytes for it, would be worse and smaller than it need be.
    """
    here = back_projection.project(planner.make(facts, options, progress), progress)
    found = measure.base(fitted.fit(here, progress), progress)
    if found.model is None or not is_doubtful(found):
        return found
    plain = back_projection.project(planner.rival(here), progress)
    other = measure.base(fitted.fit(plain, progress), progress)
    if found.result.errors.mse < other.result.errors.mse:
        return found
    left_out = measure.model_left_out(here.header.sr, found.model, other.result)
    return replace(other, notices=(*here.notices, left_out))


def is_doubtful(found: Measured) -> bool:
    """Whether networks without the model might do better than these with it.

    A time budget leaves no time to find out.
    """
    options = found.plan.options
    if found.model is None or options.time_budget is not None:
        return False
    if found.gain <= 0:
        return options.through_sr or found.plan.size is not None
    return options.through_sr and found.gain < NARROW
