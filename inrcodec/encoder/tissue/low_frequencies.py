"""Low frequencies back-projected: the decoded volume keeps the level of flat tissue.

In: a plan.  Out: the plan with another low-res volume to code.
Invariant: it is the decoder that up-samples (`layers.upsample`), and what is not coded stays as it is.

What the decoder gives is down-sampled once more.  Where that differs from the plain low-res volume after the
Gaussian of `volume.low_pass`, the difference is added, once (iterative back-projection, see
`back_projection`).  It takes no bytes: of a head at factor 4, without a coder, the error of flat tissue falls
from 1.7 to 0.9 HU, and from 2.4 to 1.3 HU after a whole step of back-projection.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from math import prod

import numpy as np

from inrcodec.encoder import back_projection
from inrcodec.encoder.plan import Plan
from inrcodec.encoder.tissue import aim as tissue_aim
from inrcodec.format.sections import Sections
from inrcodec.layers import resample
from inrcodec.layers.decode_options import DecodeOptions
from inrcodec.layers.upsample import Padding, Slab, Upsampling, with_noise
from inrcodec.progress import Progress
from inrcodec.volume.arrays import Array, Float
from inrcodec.volume.box import Box
from inrcodec.volume.flat_tissue import smoothed
from inrcodec.volume.value_range import filled_unit

# Of a step of `back_projection`: with a whole one the error of a head's crop is 2.1 instead of 1.8 HU in as
# many bytes, for 0.15 dB; without any it is 1.8 HU, and there are 0.4 dB less.
SHARE = 0.5


def project(plan: Plan, progress: Progress | None = None) -> Plan:
    """The plan with a low-res volume that is better after up-sampling, if ``through_sr`` is set.

    Where a coder is steered to an error of flat tissue, that is what it is better for.
    """
    if not plan.options.through_sr or tissue_aim.steered(plan.facts, plan.options) is None:
        return back_projection.project(plan, progress)
    return projected(back_projection.project(plan, progress, share=SHARE), progress)


def projected(plan: Plan, progress: Progress | None = None) -> Plan:
    """The plan with a low-res volume whose decoded volume has the low frequencies of the source."""
    low, facts = plan.lowres, plan.facts
    if facts.is_constant or prod(low.factor) == 1:  # nothing is lost
        return plan
    sigmas = [s / f for s, f in zip(facts.flat_tissue.sigmas, low.factor, strict=True)]
    missing = smoothed(low.values - _down_sampled(plan, progress), sigmas)
    nearer = np.where(low.active, np.clip(low.target + missing, -1, 1), low.target)
    return replace(plan, lowres=replace(low, projected=nearer))


def _down_sampled(plan: Plan, progress: Progress | None) -> Float:
    """What the decoder gives without an error of the coder, down-sampled as the source was."""
    low, facts, span, volume = plan.lowres, plan.facts, plan.facts.span, plan.facts.volume
    assert plan.coding is not None
    header = with_noise(plan.header, plan.coding.expected_error(plan))
    upsampling = Upsampling.of_file(header, low.active, Padding.of(header, Sections(facts.padding)))
    decoded = _Slices(_slabs(upsampling, np.where(low.active, low.target, low.background), plan))

    def rows_at(z: int, rows: slice) -> Float:
        return filled_unit(decoded.at(z)[rows], span, volume.padding, volume.rescale[0])

    report = None if progress is None else partial(progress, "project")
    return resample.down(rows_at, volume.shape, low.factor, progress=report)


def _slabs(upsampling: Upsampling, lowres: Float, plan: Plan) -> Iterator[Slab]:
    options = DecodeOptions(threads=plan.options.threads)
    for part in upsampling.parts(Box((0, 0, 0), plan.facts.volume.shape)):
        yield from upsampling.slabs(lowres, options, box=part)


class _Slices:
    """Decoded slices, which are asked for in order, a few at a time."""

    def __init__(self, slabs: Iterator[Slab]) -> None:
        self.slabs = slabs
        self.held: dict[int, Array] = {}

    def at(self, z: int) -> Array:
        """A slice; those far in front of it are forgotten."""
        while z not in self.held:
            slab = next(self.slabs)
            self.held = {k: kept for k, kept in self.held.items() if k > z - resample.BATCH}
            self.held |= dict(enumerate(slab.stored, slab.start))
        return self.held[z]
