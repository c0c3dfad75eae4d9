"""What a coder of streams gives on a grid, measured at some of its settings.

In: facts of a volume, and a grid.  Out: a `MeasuredForecast`.
Invariant: the low-res error is interpolated between settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from math import exp, inf, log, prod
from typing import Any

import numpy as np

from inrcodec.encoder import forecast
from inrcodec.encoder.bases.streams import USUAL, Outcome
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.forecast import Forecast
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.parallel import one_blas_thread
from inrcodec.volume.box import Shape

LEAST = 1e-12  # error: what is exact has no logarithm


@dataclass(frozen=True, eq=False)
class MeasuredForecast(Forecast):
    """A forecast whose low-res error was measured at some numbers of bytes."""

    measured: Mapping[float, float]  # bytes of the whole volume -> mean squared error
    amplitude: float  # of the low-res values
    least: float = 0.0  # error that more bytes do not go below
    settings: Mapping[int, Outcome] = field(default_factory=dict)  # the same by the coder's settings

    def coding(self, size: float) -> float:
        """See `Forecast.coding`; by the logarithms, which hardly bend."""
        if size == inf:
            return self.least
        sizes = sorted(self.measured)
        at = min(max(int(np.searchsorted(sizes, size)), 1), len(sizes) - 1)
        (a, b), x = sizes[at - 1 : at + 1], log(max(size, 1.0))
        low, high = (log(max(self.measured[n], LEAST)) for n in (a, b))
        slope = (high - low) / (log(b) - log(a)) if b > a else 0.0
        return max(exp(min(low + slope * (x - log(a)), 10.0)), self.least)

    def bytes_for(self, error: float) -> float:
        """Bytes that leave a low-res error, within what was measured."""
        sizes = sorted(self.measured, reverse=True)
        errors = [log(max(self.measured[size], LEAST)) for size in sizes]
        return exp(float(np.interp(log(error), errors, [log(size) for size in sizes])))


def remembered(
    facts: Facts,
    coder: str,
    factor: Shape,
    lift: float,
    measure: Callable[[Shape, float], MeasuredForecast],
) -> MeasuredForecast:
    """A forecast that is made once for a volume; arguments as for `forecast.forecast`."""
    key = coder, factor, lift
    if key not in facts.forecasts:
        facts.forecasts[key] = measure(factor, lift)
    found = facts.forecasts[key]
    assert isinstance(found, MeasuredForecast)
    return found


def by_sample(facts: Facts, factor: Shape, lift: float) -> dict[str, Any]:
    """All of a forecast but what is measured."""
    with one_blas_thread():  # many small products
        found = forecast.forecast(facts.sample, factor, lift)
    known = {f.name: getattr(found, f.name) for f in fields(Forecast)}
    if prod(factor) == 1:  # a model takes off the error of the coder, and nothing else
        known["seen"] = 10 ** (-lift / 10)
    return known


def usual(options: ResolvedOptions, found: Forecast | None, voxels: int) -> float:
    """Bytes of a grid at the usual error; of one without a forecast, as of noise."""
    if not isinstance(found, MeasuredForecast):
        return voxels / 8
    return found.bytes_for((USUAL * found.amplitude) ** 2 * found.active / prod(found.lowres_shape))
