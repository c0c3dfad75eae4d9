"""The error of flat tissue that a coded low-res volume leaves, before anything is up-sampled.

In: a plan, and its low-res volume, decoded.  Out: an error in physical units.
Invariant: the tissue and the Gaussian are those of `volume.low_pass`.

Of a head at factor 4 the decoded volume is off by 0.92 to 1.1 times as much, so that a coder is steered
without up-sampling.
"""

from __future__ import annotations

from math import sqrt

import numpy as np

from inrcodec.encoder.plan import Plan
from inrcodec.volume.arrays import Float
from inrcodec.volume.flat_tissue import smoothed


def of_lowres(plan: Plan, lowres: Float) -> float:
    """Root mean square of the low-res error after a Gaussian, where flat tissue is."""
    facts, factor = plan.facts, plan.lowres.factor
    tissue, half = facts.flat_tissue, (facts.span.high - facts.span.low) / 2
    sigmas = [s / f for s, f in zip(tissue.sigmas, factor, strict=True)]
    squares = np.square(smoothed(lowres - plan.lowres.target, sigmas))
    total = 0.0
    for region in tissue.regions:
        places = zip(np.nonzero(region.flat), region.core.low, factor, strict=True)
        z, y, x = ((inside + first) // f for inside, first, f in places)
        total += float(squares[z, y, x].sum())
    return sqrt(total / tissue.voxels) * half * abs(facts.volume.rescale[0])
