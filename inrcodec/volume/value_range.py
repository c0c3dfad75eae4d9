"""Stored values to floats in [-1, 1] and back.

Invariant: exactly invertible for every integer that float64 holds; padding never enters the floats.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import InputError
from inrcodec.volume.arrays import Array
from inrcodec.volume.checks import ValueCheck, value_check

if TYPE_CHECKING:
    from inrcodec.volume.volume import Volume

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

SAMPLE = 1 << 21  # values; percentiles of more of them are taken of an even sample of at least half as many
SMALLEST = 1e-4  # of [-1, 1]: an amplitude below it is that of a constant
HEADROOM = 1.25  # upper end of a model's window over the 99.9th percentile, from the lowest value
NARROWEST = 0.02  # of [-1, 1]: a narrower window would be that of background alone
WINDOW_SLICES = 32  # slices, evenly spread, that a model's window is measured on
NARROWEST_WINDOW = 1e-6  # of a model, relative to the larger magnitude of its ends


class Ends(NamedTuple):
    """What a look at some values of a volume found."""

    lows: list[float]  # smallest values without the padding, such as those of slices
    highs: list[float]
    check: ValueCheck | None  # where the type needs one


def ends_of(planes: Iterable[Array], padding: float | None, check: ValueCheck | None) -> Ends:
    """The ends of each slice; `check` looks at all values, too."""
    lows, highs = [], []
    for plane in planes:
        valid, special = plane if padding is None else plane[plane != padding], 0
        if check is not None:
            special = check.special
            check.add(plane)
            special = check.special - special
        valid = valid[np.isfinite(valid)] if special else valid
        if valid.size:
            lows.append(valid.min().item())
            highs.append(valid.max().item())
    return Ends(lows, highs, check)


@dataclass(frozen=True)
class Range:
    """The smallest and largest stored value that is not padding; they map to -1 and +1.

    NaN and infinities are no part of it; ``special`` says how many there are.
    """

    low: float
    high: float
    special: int = 0

    @classmethod
    def of(cls, volume: Volume) -> Range:
        """The range of a volume's values without its padding (`Volume.value_range` keeps it).

        A slice at a time, so that no copy is made.

        Raises
        ------
        InputError
            The values span more than float64 can scale to [-1, 1], or less; those of a `LazyArray`, which
            are looked at here first, are beyond ±2^53.
        """
        return cls.of_parts(
            [ends_of(volume.array, volume.padding, value_check(volume.array))], volume.padding
        )

    @classmethod
    def of_parts(cls, parts: Iterable[Ends], padding: float | None) -> Range:
        """The range of a volume whose parts were looked at, in any order; errors are those of `of`."""
        lows, highs = [], []
        checks: list[ValueCheck] = []
        for part in parts:
            lows += part.lows
            highs += part.highs
            checks += [] if part.check is None else [part.check]
        special = 0
        if checks:
            check = reduce(ValueCheck.__add__, checks)
            check.finish()
            special = check.special
        if not lows:  # nothing but padding
            return cls(float(padding or 0), float(padding or 0), special)
        low, high = float(min(lows)), float(max(highs))
        span = high - low
        if not np.isfinite(span) or (span and not np.isfinite(2 / span)):
            cause = f"values from {low:g} to {high:g} cannot be scaled to [-1, 1] in float64"
            raise InputError(f"{cause}; scale them to a usual range first", value=span)
        return cls(low, high, special)

    @property
    def scale(self) -> float:
        """Unit values in a stored unit; 0 for a constant volume."""
        span = self.high - self.low
        return 2 / span if span else 0.0

    def to_unit(self, stored: NDArray[np.generic]) -> Float:
        """Stored values to float64 in [-1, 1]; a constant volume is -1 everywhere."""
        unit = stored.astype(np.float64)
        unit -= self.low
        unit *= self.scale
        unit -= 1.0
        return unit

    def physical(self, rescale: tuple[float, float]) -> tuple[float, float]:
        """The smallest and the largest physical value."""
        slope, intercept = rescale
        low, high = sorted(end * slope + intercept for end in (self.low, self.high))
        return low, high

    def window(self, ends: tuple[float, float], rescale: tuple[float, float]) -> tuple[float, float]:
        """Two physical values in unit values of this range."""
        slope, intercept = rescale
        first, last = (((v - intercept) / slope - self.low) * self.scale - 1 for v in ends)
        return first, last

    def can_see(self, window: tuple[float, float], rescale: tuple[float, float]) -> bool:
        """Whether a model's window of physical values is neither too narrow here nor too far away."""
        return not (is_narrow(*window) or is_narrow(*sorted(self.window(window, rescale))))

    def to_stored(self, unit: Float, dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
        """Unit floats to the source's dtype: clipped to its range, rounded half to even for integers."""
        values = unit + 1.0
        with np.errstate(over="ignore"):  # beyond float64 is beyond the range too
            values *= (self.high - self.low) / 2
            values += self.low
        np.clip(values, self.low, self.high, out=values)
        if dtype.kind == "f":
            return values.astype(dtype)
        limits = np.iinfo(dtype)  # type: ignore[type-var]
        # float64 cannot hold 2**63 - 1 or 2**64 - 1: stay below what would wrap around.
        top = np.nextafter(float(limits.max) + 1, 0) if dtype.itemsize == 8 else float(limits.max)
        np.rint(values, out=values)
        return np.clip(values, float(limits.min), top, out=values).astype(dtype)


def is_narrow(low: float, high: float) -> bool:
    """Whether dividing by the width of a window would overflow, or leave nothing but rounding."""
    width = high - low
    if not (isfinite(width) and width > 0 and isfinite(2 / width)):
        return True
    return width < NARROWEST_WINDOW * max(abs(low), abs(high))


def sampled(values: Array) -> Array:
    """All values, flat, or an even sample where there are many: for percentiles."""
    flat = values.reshape(-1)
    return flat[:: flat.size // SAMPLE | 1]


def amplitude(unit: Float) -> float:
    """Half of what the signal spans, from its 0.1st to its 99.9th percentile.

    A metal clip stretches the range of a scan but not its anatomy: tolerances and rates follow this instead.
    """
    if not unit.size:
        return SMALLEST
    low, high = np.percentile(sampled(unit), [0.1, 99.9])
    return max(float(high - low) / 2, SMALLEST)


def window_of(volume: Volume) -> tuple[float, float]:
    """Physical values that a model for images without an absolute unit (MR) sees as -1 and 1.

    From the lowest value to a quarter above the 99.9th percentile, so that one bright vessel does not set
    it: about the same for a volume and for a part of it that holds the same tissue.
    """
    span = volume.value_range
    stored = sampled(volume.array[:: -(-volume.shape[0] // WINDOW_SLICES)])
    values = filled_unit(stored, span, volume.padding, volume.rescale[0])
    values = values if volume.rescale[0] > 0 else -values  # from the lowest physical value up
    reach = min(2.0, HEADROOM * (float(np.percentile(values, 99.9)) + 1))
    lowest, highest = span.physical(volume.rescale)
    return lowest, lowest + (highest - lowest) * (reach if reach > NARROWEST else 2.0) / 2


def unit_part(volume: Volume, span: Range, place: tuple[int | slice, ...]) -> Float:
    """A part of a volume in [-1, 1], padding filled as in `filled_unit`."""
    return filled_unit(volume.array[place], span, volume.padding, volume.rescale[0])


def filled_unit(stored: NDArray[np.generic], span: Range, padding: float | None, slope: float) -> Float:
    """Stored values in [-1, 1], with padding filled by the lowest physical value (air, in CT)."""
    unit = span.to_unit(stored)
    if padding is not None:
        unit[stored == padding] = -1.0 if slope > 0 else 1.0
    return unit
