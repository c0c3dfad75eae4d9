"""What AV1 gives on a grid: measured on some slices of the volume, at a low effort.

In: facts of a volume, and a grid.  Out: a `Forecast` whose low-res error is interpolated between qualities.
Invariant: the same slices for all grids, so that grids compare; bytes are scaled to all slices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from math import ceil, exp, inf, log, prod

import numpy as np

from inrcodec.encoder import forecast, lowres
from inrcodec.encoder.bases.av1_slices import MANY, QUICK, QUICKER, Encoder
from inrcodec.encoder.bases.streams import USUAL
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.forecast import Forecast
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.format.header import AV1
from inrcodec.parallel import InterruptiblePool, one_blas_thread, thread_count
from inrcodec.volume.box import Shape
from inrcodec.volume.value_range import amplitude

QUALITIES = (40, 100, 160, 220)
VOXELS = 1 << 24  # full-res, that are looked at, about
FEW = 16  # slices at least
LEAST = 1e-12  # error: what is exact has no logarithm


@dataclass(frozen=True, eq=False)
class MeasuredForecast(Forecast):
    """A forecast whose low-res error was measured at some numbers of bytes."""

    measured: Mapping[float, float]  # bytes of the whole volume -> mean squared error
    amplitude: float  # of the low-res values

    def coding(self, size: float) -> float:
        """See `Forecast.coding`; by the logarithms, which hardly bend."""
        if size == inf:
            return 0.0
        sizes = sorted(self.measured)
        at = min(max(int(np.searchsorted(sizes, size)), 1), len(sizes) - 1)
        (a, b), x = sizes[at - 1 : at + 1], log(max(size, 1.0))
        low, high = log(self.measured[a]), log(self.measured[b])
        slope = (high - low) / (log(b) - log(a)) if b > a else 0.0
        return exp(min(low + slope * (x - log(a)), 10.0))

    def bytes_for(self, error: float) -> float:
        """Bytes that leave a low-res error, within what was measured."""
        sizes = sorted(self.measured, reverse=True)
        errors = [log(self.measured[size]) for size in sizes]
        return exp(float(np.interp(log(error), errors, [log(size) for size in sizes])))


def of(facts: Facts, options: ResolvedOptions, factor: Shape, lift: float = 0.0) -> MeasuredForecast:
    """What a grid gives, once for a volume; arguments as for `forecast.forecast`."""
    key = AV1, factor, lift
    if key not in facts.forecasts:
        facts.forecasts[key] = _measured(facts, options, factor, lift)
    found = facts.forecasts[key]
    assert isinstance(found, MeasuredForecast)
    return found


def _measured(facts: Facts, options: ResolvedOptions, factor: Shape, lift: float) -> MeasuredForecast:
    with one_blas_thread():  # many small products
        by_sample = forecast.forecast(facts.sample, factor, lift)
    known = {f.name: getattr(by_sample, f.name) for f in fields(Forecast)}
    if prod(factor) == 1:  # a model takes off the error of the coder, and nothing else
        known["seen"] = 10 ** (-lift / 10)
    part, share = _some(facts)
    low = lowres.downsample(part, factor, options.tasks)
    effort = QUICK if low.values.size <= MANY // 2 else QUICKER
    encoder = Encoder(low.values, low.active, (), effort, threads=1)
    with InterruptiblePool(thread_count(options.threads)) as pool:
        tried = list(pool.map(encoder.at, QUALITIES))
    measured = {slices.bytes / share: max(slices.error, LEAST) for slices in tried}
    return MeasuredForecast(**known, measured=measured, amplitude=amplitude(low.values))


def _some(facts: Facts) -> tuple[Facts, float]:
    """Some slices from the middle, and their share of all."""
    volume = facts.volume
    depth, area = volume.shape[0], prod(volume.shape[1:])
    count = min(depth, max(FEW, ceil(VOXELS / area / FEW) * FEW))
    first = (depth - count) // 2
    part = replace(volume, array=volume.array[first : first + count], slice_rescale=None)
    return replace(facts, volume=part), count / depth


def usual(options: ResolvedOptions, found: Forecast | None, voxels: int) -> float:
    """Bytes of a grid at the usual error; of one without a forecast, as of noise."""
    if not isinstance(found, MeasuredForecast):
        return voxels / 8
    return found.bytes_for((USUAL * found.amplitude) ** 2 * found.active / prod(found.lowres_shape))
