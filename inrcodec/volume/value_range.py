"""Stored values to floats in [-1, 1] and back, and the padding that is no signal.

In: slices of a volume as stored.  Out: unit floats, and stored values of the same dtype again.
The one law: exactly invertible for every integer that float64 holds; padding never enters the floats.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import InputError
from inrcodec.volume.volume import Volume

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]


SAMPLE = 1 << 21  # values from which on not all are looked at; then at least half as many are
SMALLEST = 1e-4  # of [-1, 1]: an amplitude below it is that of a constant
HEADROOM = 1.25  # of a window above what all but a thousandth of the values reach
NARROWEST = 0.02  # of [-1, 1]: a window below it would be that of background alone
THIN_SLICES = 32  # slices that a window is found on


@dataclass(frozen=True)
class Range:
    """The smallest and largest stored value that is signal; they map to -1 and +1."""

    low: float
    high: float

    @classmethod
    def of(cls, volume: Volume) -> "Range":
        """The range of a volume's unpadded values; a slice at a time, so that no copy is made."""
        lows, highs = [], []
        for z in range(volume.shape[0]):
            plane = volume.array[z]
            valid = plane if volume.padding is None else plane[plane != volume.padding]
            if valid.size:
                lows.append(valid.min().item())
                highs.append(valid.max().item())
        if not lows:  # nothing but padding: the padding is all there is to say
            return cls(float(volume.padding or 0), float(volume.padding or 0))
        found = cls(float(min(lows)), float(max(highs)))
        span = found.high - found.low
        if not np.isfinite(span) or (span and not np.isfinite(2 / span)):
            raise InputError(
                f"values from {found.low:g} to {found.high:g} span more or less than float64 can scale; "
                "scale them to a usual range first",
                value=span,
            )
        return found

    def to_unit(self, stored: NDArray[np.generic]) -> Float:
        """Stored values to float64 in [-1, 1]; a constant volume is -1 everywhere."""
        span = self.high - self.low
        unit = stored.astype(np.float64)
        unit -= self.low
        unit *= 2 / span if span else 0.0
        unit -= 1.0
        return unit

    def to_stored(self, unit: Float, dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
        """Unit floats to the source's dtype: clipped to its range, rounded half to even for integers."""
        values = unit + 1.0
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


def sampled(values: Float) -> Float:
    """All values in one row, or evenly spread ones where there are many: for statistics that need no more."""
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


def window_of(volume: Volume, span: Range) -> tuple[float, float]:
    """Physical values that a network of no absolute unit is to see as -1 and 1: MR has no Hounsfield scale.

    From the lowest value to a quarter above the 99.9th percentile, where a bright vessel is not all there is;
    the same for a volume and for a part of it that holds the same tissue.
    """
    slope, intercept = volume.rescale
    values = sampled(unit_part(volume, span, (slice(None, None, -(-volume.shape[0] // THIN_SLICES)),)))
    values = values if slope > 0 else -values  # from the lowest physical value up
    reach = min(2.0, HEADROOM * (float(np.percentile(values, 99.9)) + 1))
    lowest, highest = sorted(end * slope + intercept for end in (span.low, span.high))
    return lowest, lowest + (highest - lowest) * (reach if reach > NARROWEST else 2.0) / 2


def unit_rows(volume: Volume, span: Range, z: int, rows: slice = slice(None)) -> Float:
    """Rows of slice ``z`` in [-1, 1], with padding filled by the lowest physical value (air, in CT)."""
    return unit_part(volume, span, (z, rows))


def unit_part(volume: Volume, span: Range, place: tuple[int | slice, ...]) -> Float:
    """A part of a volume in [-1, 1], with padding filled by the lowest physical value (air, in CT)."""
    stored = volume.array[place]
    unit = span.to_unit(stored)
    if volume.padding is not None:
        unit[stored == volume.padding] = -1.0 if volume.rescale[0] > 0 else 1.0
    return unit
