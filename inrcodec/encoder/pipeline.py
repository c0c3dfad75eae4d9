"""One encoding, from a volume to a file: facts, plan, fit, measure.

In: a volume and resolved options.  Out: what writes the file, and its report.
Invariant: each step is its own module's; here they only follow each other.
"""

from __future__ import annotations

from collections.abc import Callable

from inrcodec.encoder import base_choice, base_file, bounded, ledger, measure, planner, target_search
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.measured import Measured, Writable
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.progress import Progress, Stages
from inrcodec.volume.volume import Volume


def encode(
    volume: Volume, stated: str | None, options: ResolvedOptions, stages: Stages
) -> tuple[Callable[[Writable], None], ledger.EncodeReport]:
    """Encode a volume; ``stated`` is its modality, where the source does not say it."""
    found = _measured(Facts.admitted(volume, stated, options), options, stages)
    found.check()
    return found.write, ledger.report(found, stages.seconds)


def _measured(facts: Facts, options: ResolvedOptions, progress: Progress) -> Measured:
    if options.psnr is not None:
        return base_choice.encoded(facts, options, progress, target_search.smallest)
    if options.max_error is None:
        return base_choice.encoded(facts, options, progress, base_file.encoded)
    tissue = None if options.max_error == 0 else facts.flat_tissue
    layer = bounded.guaranteed(facts.volume, facts.span, options, progress, tissue)
    if not options.base:
        return measure.refinement(planner.without_base(facts, options), layer, progress=progress)
    base = base_choice.encoded(facts, options, progress, base_file.encoded)
    return measure.refinement(base.plan, layer, base, progress)
