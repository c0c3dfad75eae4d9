"""What latents give on a grid: measured at some rates on a part of the volume.

In: facts of a volume, and a grid.  Out: a `MeasuredForecast`.
Invariant: each part is held against its volume, so that grids compare.

A part differs from its volume. What an ideal coder of cosines takes for both (`forecast`) says by how much:
by the voxels that are no background, a chest was forecast to take 1.7 times its bytes, and is 1.1 times so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from math import isqrt, log2, prod

import numpy as np

from inrcodec.encoder import forecast, lowres
from inrcodec.encoder.bases.latent_streams import Encoder
from inrcodec.encoder.bases.latent_values import Way
from inrcodec.encoder.bases.streamed_forecast import MeasuredForecast, by_sample, remembered
from inrcodec.encoder.bases.streams import Outcome
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.forecast import Forecast, Sample
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.format.header import LATENT
from inrcodec.parallel import InterruptiblePool, thread_count
from inrcodec.volume.box import Box, Shape, lowres_shape
from inrcodec.volume.value_range import amplitude

RATES = (0, 60, 120)
DEPTH = 64  # slices that are looked at: 16, which a model sees together, at factor 4
VOXELS = 1 << 20  # full-res, that are looked at, about; half as many of a fine grid, which takes longest
FINE = 4  # voxels of a volume for a low-res one: of fewer a grid is fine
LOWEST = -60.0  # logarithm of an energy


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
    box = _fullest(facts.sample, VOXELS if prod(factor) >= FINE else VOXELS // 2)
    part = replace(facts.volume, array=facts.volume.array[box.slices], slice_rescale=None)
    low = lowres.downsample(replace(facts, volume=part), factor)
    encoder = Encoder(low, Way.of(facts, ()), threads=1)
    with InterruptiblePool(thread_count(options.threads)) as pool:
        tried = list(pool.map(encoder.at, RATES))
    scale = _Scale(facts.sample, forecast.sample(part, facts.span), factor)
    settings = {s.setting: scale(s.bytes, s.error * low.values.size) for s in tried}
    return MeasuredForecast(
        **known,
        measured={found.bytes: found.error for found in settings.values()},
        amplitude=amplitude(low.values),
        least=min(found.error for found in settings.values()),  # no rate is finer
        settings=settings,
    )


class _Scale:
    """What a part gave, for the whole volume: by what an ideal coder of cosines gives for either."""

    def __init__(self, whole: Sample, part: Sample, factor: Shape) -> None:
        self.voxels = prod(lowres_shape(whole.shape, factor))
        self.shapes = prod(whole.shape) / prod(part.shape)
        self.of_whole = _Spectrum(forecast.forecast(whole, factor))
        self.of_part = _Spectrum(forecast.forecast(part, factor)) if part.boxes else None

    def __call__(self, size: int, squares: float) -> Outcome:
        """Of bytes, and a sum of squared errors."""
        if self.of_part is None:
            return Outcome(round(size * self.shapes), squares * self.shapes / self.voxels)
        level = self.of_part.level(squares)
        more = self.of_whole.bits(level) / max(self.of_part.bits(level), 1.0)
        return Outcome(max(round(size * more), 1), self.of_whole.squares(level) / self.voxels)


class _Spectrum:
    """An ideal coder of the energies of a forecast, by the level of its water."""

    def __init__(self, found: Forecast) -> None:
        self.energies, self.voxels = found.energies, found.voxels

    def squares(self, level: float) -> float:
        """Sum of squared errors."""
        return float(np.minimum(self.energies, level).mean()) * self.voxels

    def bits(self, level: float) -> float:
        """Of all energies above the level."""
        return float(np.log2(np.maximum(self.energies / level, 1)).mean()) * self.voxels / 2

    def level(self, squares: float) -> float:
        """Where it leaves a sum of squared errors; the highest where it leaves less at any."""
        low, high = LOWEST, log2(self.energies[-1])
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if self.squares(2**middle) < squares else (low, middle)
        return float(2**low)


def _fullest(sample: Sample, voxels: int) -> Box:
    """A box of so many voxels, about, that holds much of what is no background."""
    depth, *plane = sample.shape
    count = min(depth, DEPTH)
    area = voxels // count
    rows, columns = (min(n, max(isqrt(area), area // m)) for n, m in zip(plane, plane[::-1], strict=True))
    far, low = sample.far, []
    for axis, edge in enumerate((count, rows, columns)):
        step, n = sample.steps[axis], sample.shape[axis]
        along = far.sum(tuple({0, 1, 2} - {axis}))
        inside = np.convolve(along, np.ones(-(-edge // step), np.int64), "valid")
        fullest = np.flatnonzero(inside == inside.max())
        start = min(int(fullest[len(fullest) // 2]) * step, n - edge)
        far = far.take(range(start // step, -(-(start + edge) // step)), axis)
        low.append(start)
    z, y, x = low
    return Box((z, y, x), (z + count, y + rows, x + columns))
