"""Both ways to bring the resolution back, by the plan's model and by Lanczos alone, compared with the source.

In: a plan, a low-res volume, and which of its voxels are coded.  Out: errors and digests.
Invariant: a sum over bricks in their order, whoever decoded which.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial, reduce
from math import prod
from operator import add

import numpy as np

from inrcodec.encoder import wiener_fit
from inrcodec.encoder.decoded_brick import Decoder, Seen, decoded
from inrcodec.encoder.measured import squared_error
from inrcodec.encoder.outcome import Outcome, Sum
from inrcodec.encoder.plan import Plan
from inrcodec.format import digest
from inrcodec.format.header import Header
from inrcodec.layers.superres.blocks import KEPT, Cache
from inrcodec.layers.upsample import Upsampling, with_noise
from inrcodec.progress import Progress, shares
from inrcodec.volume.arrays import Bool, Float
from inrcodec.volume.box import Box


def both_ways(
    plan: Plan, lowres: Float, active: Bool, progress: Progress | None = None
) -> tuple[Header, Sum, Sum | None]:
    """The header that states the low-res error and the filter, and both ways to bring the resolution back.

    The filter belongs to the header's way: where that is a model, Lanczos alone has none.
    """
    facts = plan.facts
    header = with_noise(plan.header, squared_error(lowres, plan.lowres.target, active))
    nothing = Outcome.nothing(facts.volume, facts.span, plan.options.focus, facts.flat_tissue)
    decoder = Decoder(header, np.packbits(active), facts.padding, nothing)
    if plan.may_filter:
        kept = Cache(KEPT)  # what the fit computes, the measurement need not compute again
        upsampling, threads = replace(decoder, kept=kept).upsampling, plan.options.threads
        weights = wiener_fit.weights(facts.volume, upsampling, lowres, plan.predicted, threads)
        kept.seal()
        header = replace(header, wiener=weights)
        decoder = replace(decoder, header=header, kept=kept)
    bricks = list(header.bricks)
    found = plan.options.tasks.map(
        partial(decoded, decoder),
        facts.volume.array,
        bricks,
        _seen(decoder.upsampling, bricks, lowres),
        shares(progress, "verify", [prod(brick.shape) for brick in bricks]),
        at_once=1,
    )
    lanczos, *model = (_sum(nothing, way) for way in zip(*found, strict=True))
    return header, lanczos, model[0] if model else None


def _seen(upsampling: Upsampling, bricks: list[Box], lowres: Float) -> Iterator[Seen]:
    for brick in bricks:
        box = upsampling.support(brick)
        yield Seen(brick, box, lowres[box.slices])


def _sum(nothing: Outcome, parts: Sequence[Sum]) -> Sum:
    """Of all bricks."""
    outcome = reduce(add, (part.outcome for part in parts), nothing)
    return Sum(outcome, digest.combined(part.digest for part in parts))
