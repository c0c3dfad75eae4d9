"""What latents give on a grid: measured at some rates on a part of the volume.

In: facts of a volume, and a grid.  Out: a `MeasuredForecast`.
Invariant: the same part for all grids, so that grids compare; bytes go with voxels that are no background.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from math import isqrt, prod

import numpy as np

from inrcodec.encoder import lowres
from inrcodec.encoder.bases.latent_streams import Encoder
from inrcodec.encoder.bases.latent_values import Way
from inrcodec.encoder.bases.streamed_forecast import MeasuredForecast, by_sample, remembered
from inrcodec.encoder.bases.streams import Outcome
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.format.header import LATENT
from inrcodec.parallel import InterruptiblePool, thread_count
from inrcodec.volume.box import Shape
from inrcodec.volume.value_range import amplitude, unit_part

RATES = (0, 40, 80, 120)
DEPTH = 64  # slices that are looked at: 16, which a model sees together, at factor 4
VOXELS = 1 << 20  # full-res, that are looked at, about
THIN = 4  # voxels from one to the next that are looked at to tell where something is


def of(facts: Facts, options: ResolvedOptions, factor: Shape, lift: float = 0.0) -> MeasuredForecast:
    """What a grid gives, once for a volume; arguments as for `forecast.forecast`."""
    return remembered(facts, LATENT, factor, lift, partial(_measured, facts, options))


def expected(facts: Facts, factor: Shape) -> Mapping[int, Outcome]:
    """What some rates give on a grid, about, where it was looked at."""
    for (coder, at, _), found in facts.forecasts.items():
        if (coder, at) == (LATENT, factor) and isinstance(found, MeasuredForecast):
            return found.settings
    return {}


def _measured(facts: Facts, options: ResolvedOptions, factor: Shape, lift: float) -> MeasuredForecast:
    known = by_sample(facts, factor, lift)
    low = lowres.downsample(_part(facts), factor)
    encoder = Encoder(low, Way.of(facts, ()), threads=1)
    with InterruptiblePool(thread_count(options.threads)) as pool:
        tried = list(pool.map(encoder.at, RATES))
    far = np.abs(low.values - facts.sample.background) > facts.sample.tolerance
    share = max(int(far.sum()), 1) / max(known["active"], 1.0)
    whole = prod(known["lowres_shape"]) * share / low.values.size
    settings = {s.setting: Outcome(round(s.bytes / share), s.error / whole) for s in tried}
    return MeasuredForecast(
        **known,
        measured={found.bytes: found.error for found in settings.values()},
        amplitude=amplitude(low.values),
        least=min(found.error for found in settings.values()),  # no rate is finer
        settings=settings,
    )


def _part(facts: Facts) -> Facts:
    """A part around the middle of what is not background, over some slices in the middle."""
    volume, sample = facts.volume, facts.sample
    depth, *plane = volume.shape
    count = min(depth, DEPTH)
    first = (depth - count) // 2
    some = slice(first, first + count)
    thin = unit_part(volume, facts.span, (slice(first, first + count, THIN), *[slice(None, None, THIN)] * 2))
    far = np.argwhere(np.abs(thin - sample.background) > sample.tolerance)[:, 1:]
    middle = far.mean(0) * THIN if len(far) else np.array(plane) / 2
    area = VOXELS // count
    edges = [min(n, max(isqrt(area), area // other)) for n, other in zip(plane, plane[::-1], strict=True)]
    starts = [round(min(max(m - e / 2, 0), n - e)) for m, e, n in zip(middle, edges, plane, strict=True)]
    rows, columns = (slice(a, a + e) for a, e in zip(starts, edges, strict=True))
    part = replace(volume, array=volume.array[some, rows, columns], slice_rescale=None)
    return replace(facts, volume=part)
