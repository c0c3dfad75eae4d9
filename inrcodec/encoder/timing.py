"""How long an encoding will take on this machine: a part of it, timed.

In: a plan, or facts of a volume.  Out: seconds, usually within a factor of two.
Invariant: nothing that is stored depends on a clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from time import perf_counter

from inrcodec.encoder import bounded
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.encoder.plan import Plan
from inrcodec.layers import resample
from inrcodec.layers.superres import registry, upsampler
from inrcodec.parallel import thread_count

PROJECTION = 3  # forward passes that a back-projection takes
TRIALS = 2  # codings of a volume that a PSNR takes


def base(plan: Plan) -> float:
    """Seconds that the base of a plan takes to code, project and verify."""
    options = plan.options
    assert plan.coding is not None
    passes = 1 + PROJECTION * options.through_sr
    return (
        plan.coding.seconds(plan)
        + passes * _superres_seconds(plan)
        + (1 + options.through_sr) * _resample_seconds(plan)
    )


def refinement(facts: Facts, options: ResolvedOptions) -> float:
    """Seconds that a refinement takes to code and verify."""
    depth, some = facts.volume.shape[0], facts.part.shape[0]
    few = max(1, some // 4)
    _coding_seconds(facts, options, 1)  # imports
    once, more = _coding_seconds(facts, options, few), _coding_seconds(facts, options, some)
    each = max(more - once, 0.0) / max(some - few, 1)
    verify = 1 + 1 / TRIALS if options.max_error is None else 1  # what keeps a bound was verified
    return (more + each * (depth - some)) * verify


def _coding_seconds(facts: Facts, options: ResolvedOptions, slices: int) -> float:
    volume = replace(facts.part, array=facts.part.array[:slices])
    code = bounded.with_psnr if options.max_error is None else bounded.guaranteed
    return _seconds(lambda: code(volume, facts.span, options))


def _superres_seconds(plan: Plan) -> float:
    """Seconds that the plan's model takes for the whole volume: of one block, times all of them."""
    import torch

    header, active = plan.header, plan.lowres.active
    if header.sr == registry.LANCZOS:
        return 0.0
    network = upsampler.laid_out(registry.load(header.sr, header.sr_sha256), "cpu")
    blocks = [p for z in upsampler.spans_of(len(active)) for p in upsampler.places_of(active, z)]
    if not blocks:
        return 0.0
    halo = upsampler.halo_of(network)
    shape = [part.stop - part.start + 2 * h for part, h in zip(blocks[0], halo, strict=True)]
    with torch.no_grad():
        upsampler.residual_of(network, torch.zeros(shape), 0.0)
        each = _seconds(lambda: upsampler.residual_of(network, torch.zeros(shape), 0.0))
    return each * len(blocks) * header.sr_ensemble  # torch took all threads for one, as all will together


def _resample_seconds(plan: Plan) -> float:
    """Seconds of Lanczos alone, with the comparison that follows it."""
    shape, middle = plan.header.shape, plan.header.shape[0] // 2
    low, factor = plan.lowres.target, plan.lowres.factor
    each = _seconds(lambda: resample.up(low, factor, shape, middle, middle + 1))
    return 2 * each * shape[0] / thread_count(plan.options.threads)


def _seconds(work: Callable[[], object]) -> float:
    start = perf_counter()
    work()
    return perf_counter() - start
