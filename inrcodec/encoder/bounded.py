"""Refinements that keep a promise: a bound of the error, nothing lost, or a PSNR.

In: a volume and the promise.  Out: a layer.
Invariant: a bound was found by decoding; a PSNR is that of the encoder, until `measure` decodes.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import floor, log10, nextafter, sqrt
from sys import float_info
from typing import NamedTuple

from inrcodec.encoder.all_bricks import BrickTasks
from inrcodec.encoder.exact_unit import exact_unit
from inrcodec.encoder.layer import Layer as Layer
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.encoder.outcome import Outcome
from inrcodec.encoder.refiner import Refiner
from inrcodec.errors import TargetNotReached, UsageError
from inrcodec.progress import Progress
from inrcodec.volume import metrics
from inrcodec.volume.flat_tissue import FlatTissue
from inrcodec.volume.value_range import Range
from inrcodec.volume.volume import Volume

UNITS = (2.0, 1.998, 1.9)  # of a bound of floats, tried in turn: products and the type round
SMALLEST = 1e-300  # bound of floats that are all equal, in stored units

ATTEMPTS = 6  # layers coded for a PSNR, at most
FAR = 20.0  # dB beyond the target that a step is corrected for, at most
CLOSE = 0.1  # dB above the target that ends the search
SLOPE = 0.7  # dB of PSNR per dB of the step, at first
SLOPES = (0.3, 1.2)  # its limits
INWARD = 0.1  # share of the way between two steps that the next is away from either, at least
COARSER = 4  # levels with steps of their own
DECAY = 1.7  # ratio of a level's step to the next coarser one's
TRADE = 8  # what a bit is worth, in 1 / 256 of a squared step
# What a bit is worth more, by the share that a step is above a whole one and by its square: on an MR a step
# that is all but one larger then comes to the PSNR of that one, for steps of 3 as for steps of 7.
SPREAD = (90, 600)
NEAR = 1 / 64  # share that a step may be below a whole one, and stand for it
LEAST_TRADE = 4  # where a step is below the whole one
LEAST_QUANTISED = 1.5  # a step that is not taken for 1, which loses nothing
LIKELY = 4  # times the step of a uniform error: where a search begins, whatever a part of the volume says
LEVELS = 1 << 20  # integers that the range of floats is divided into


def guaranteed(
    volume: Volume,
    span: Range,
    options: ResolvedOptions,
    progress: Progress | None = None,
    tissue: FlatTissue | None = None,
) -> Layer:
    """The layer that keeps ``options.max_error``, in physical units; 0 loses nothing."""
    assert options.max_error is not None
    refiner = _refiner(volume, span, options, tissue)
    layer = _within(refiner, stored_bound(volume, span, options.max_error), progress)
    return replace(layer, fields={**layer.fields, "bound": options.max_error})


def _refiner(volume: Volume, span: Range, options: ResolvedOptions, tissue: FlatTissue | None) -> Refiner:
    nothing = Outcome.nothing(volume, span, options.focus, tissue)
    return Refiner(BrickTasks.of(volume, options, nothing), span, options.scratch)


def stored_bound(volume: Volume, span: Range, bound: float) -> float:
    """A physical bound in stored units, rounded such that its product with the slope does not exceed it.

    Whole for integer types.  Never more than the values are apart, where nothing more can go wrong.
    """
    floats, slope = volume.array.dtype.kind == "f", abs(volume.rescale[0])
    largest = max(span.high - span.low, SMALLEST if floats else 0.0)
    if bound == 0:
        return 0.0
    if largest * slope <= bound:
        return largest
    quotient = bound / slope  # rounded once, so that it or a neighbour is the answer
    if floats:
        candidates = [quotient, nextafter(quotient, 0.0)]
    else:
        candidates = [floor(quotient) + 1.0, float(floor(quotient)), floor(quotient) - 1.0]
    return max(c for c in candidates if c * slope <= bound)


def _within(refiner: Refiner, bound: float, progress: Progress | None) -> Layer:
    """A layer whose error is at most ``bound``, in stored units."""
    dtype = refiner.volume.array.dtype
    if dtype.kind != "f":
        return refiner.code(1.0, [2 * floor(bound) + 1], progress=progress)
    if bound == 0:
        unit = exact_unit(refiner.volume, refiner.span)
        return refiner.code(unit, [1], progress=progress, is_exact=True)
    for share in UNITS:
        layer = refiner.code(min(share * bound, float_info.max), [1], progress=progress)
        if layer.outcome.errors.largest <= bound:
            return layer
    most = max(abs(refiner.span.low), abs(refiner.span.high))
    raise UsageError(
        f"values of {dtype.name} up to {most:g} are further apart than an error of {bound:g}; request a "
        "larger one, or lossless",
        value=bound,
        option="max_error",
    )


class Start(NamedTuple):
    """Where a search for a PSNR begins."""

    step: float
    weights: tuple[int, ...] = ()  # of the filter

    @classmethod
    def of(cls, layer: Layer) -> Start:
        """By what a part of the volume came to."""
        return cls(layer.fields["refine_steps"][-1], layer.next_filter)


def with_psnr(
    volume: Volume,
    span: Range,
    options: ResolvedOptions,
    progress: Progress | None = None,
    tissue: FlatTissue | None = None,
    start: Start | None = None,
) -> Layer:
    """The smallest of a few layers that reach ``options.psnr``, in dB; it was not decoded yet."""
    assert options.psnr is not None
    psnr, floats = options.psnr, volume.array.dtype.kind == "f"
    refiner = _refiner(volume, span, options, tissue)
    peak = metrics.peak_for(volume, span) or 1.0
    unit = ((span.high - span.low) / LEVELS or 1.0) if floats else 1.0
    uniform = max(1.0, sqrt(12) * peak / 10 ** (psnr / 20) / unit)  # its error would have the PSNR
    step, weights = start or Start(uniform)  # the filter is fitted to the attempt before
    step = min(max(step, uniform / LIKELY), uniform * LIKELY)
    best, tried = None, list[tuple[float, float]]()  # dB of a step, and of the PSNR that it reaches
    for _ in range(ATTEMPTS):
        steps, trade = _quantised(step)
        layer = refiner.code(unit, steps, trade, progress, weights=weights, trial=True)
        reached = layer.outcome.errors.psnr
        if reached >= psnr and (best is None or layer.size < best.size):
            best = layer
        had, weights = weights, layer.next_filter
        if not had:  # the next one has the filter, and should reach it by this step
            reached += layer.gain_of(weights)
        if (psnr <= reached <= psnr + CLOSE and (had or not weights)) or layer.is_exact:
            break
        reached = min(reached, psnr + FAR)
        tried.append((20 * log10(step), reached))
        step = max(1.0, 10 ** (_following(tried, psnr + CLOSE / 2) / 20))
    if best is None and floats:
        raise TargetNotReached(
            f"{psnr:g} dB is more than a refinement of floats supports; bound the error instead, with "
            "max_error",
            value=psnr,
            option="psnr",
        )
    if best is None:
        best = _within(refiner, 0.0, progress)
    return replace(best, fields={**best.fields, "bound": 0.0}) if best.is_exact and not floats else best


def _quantised(step: float) -> tuple[list[float], int]:
    """Steps of the levels, the finest whole, and what a bit is worth: together they act like a step between.

    An MR of 8 bits has steps of 3 or 4 at 46 dB, which are 3 dB apart.
    """
    finest = max(floor(step * (1 + NEAR)), 2 if step >= LEAST_QUANTISED else 1)
    above = step / finest - 1
    trade = max(round(TRADE + SPREAD[0] * above + SPREAD[1] * above**2), LEAST_TRADE)
    return [finest, *(step / DECAY**k for k in range(1, COARSER))], trade


def _following(tried: list[tuple[float, float]], psnr: float) -> float:
    """dB of the next step: between the nearest of those above and below a PSNR, or beyond the last."""
    above = max((trial for trial in tried if trial[1] >= psnr), default=None)
    below = min((trial for trial in tried if trial[1] < psnr), default=None)
    if above is not None and below is not None and above[0] < below[0]:
        (finer, better), (coarser, worse) = above, below
        share = (better - psnr) / (better - worse)
        return finer + min(max(share, INWARD), 1 - INWARD) * (coarser - finer)
    step, reached = tried[-1]
    return step + (reached - psnr) / _slope(tried)


def _slope(tried: list[tuple[float, float]]) -> float:
    """dB of PSNR lost per dB of step, from the last two trials."""
    slope = SLOPE
    for (finer, better), (coarser, worse) in pairwise(tried):
        if abs(coarser - finer) > 0.1:
            slope = (better - worse) / (coarser - finer)
    return min(max(slope, SLOPES[0]), SLOPES[1])
