"""What AV1 gives on a grid: measured on some slices of the volume, at a low effort.

In: facts of a volume, and a grid.  Out: a `MeasuredForecast`.
Invariant: the same slices for all grids, so that grids compare; bytes are scaled to all slices.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import ceil, prod

from inrcodec.encoder import lowres
from inrcodec.encoder.bases.av1_slices import MANY, QUICK, QUICKER, Encoder
from inrcodec.encoder.bases.streamed_forecast import MeasuredForecast, by_sample, remembered
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.format.header import AV1
from inrcodec.parallel import InterruptiblePool, thread_count
from inrcodec.volume.box import Shape
from inrcodec.volume.value_range import amplitude

QUALITIES = (40, 100, 160, 220)
VOXELS = 1 << 24  # full-res, that are looked at, about
FEW = 16  # slices at least


def of(facts: Facts, options: ResolvedOptions, factor: Shape, lift: float = 0.0) -> MeasuredForecast:
    """What a grid gives, once for a volume; arguments as for `forecast.forecast`."""
    return remembered(facts, AV1, factor, lift, partial(_measured, facts, options))


def _measured(facts: Facts, options: ResolvedOptions, factor: Shape, lift: float) -> MeasuredForecast:
    known = by_sample(facts, factor, lift)
    part, share = _some(facts)
    low = lowres.downsample(part, factor, options.tasks)
    effort = QUICK if low.values.size <= MANY // 2 else QUICKER
    encoder = Encoder(low.values, low.active, (), effort, threads=1)
    with InterruptiblePool(thread_count(options.threads)) as pool:
        tried = list(pool.map(encoder.at, QUALITIES))
    measured = {slices.bytes / share: slices.error for slices in tried}
    return MeasuredForecast(**known, measured=measured, amplitude=amplitude(low.values))


def _some(facts: Facts) -> tuple[Facts, float]:
    """Some slices from the middle, and their share of all."""
    volume = facts.volume
    depth, area = volume.shape[0], prod(volume.shape[1:])
    count = min(depth, max(FEW, ceil(VOXELS / area / FEW) * FEW))
    first = (depth - count) // 2
    part = replace(volume, array=volume.array[first : first + count], slice_rescale=None)
    return replace(facts, volume=part), count / depth
