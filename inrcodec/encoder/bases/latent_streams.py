"""A low-res volume as streams of latents, at any rate.

In: a low-res volume, and a model.  Out: its streams.
Invariant: where nothing but background is decoded there is the background's value, as a reader has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

import numpy as np

from inrcodec.encoder.bases import streams
from inrcodec.encoder.bases.latent_values import Way
from inrcodec.encoder.bases.streams import Outcome
from inrcodec.encoder.lowres import Lowres
from inrcodec.layers.base import activity
from inrcodec.layers.base.latent import codec
from inrcodec.layers.base.latent.model import EDGE, RATES
from inrcodec.layers.base.latent.stream import values_of, write_stream
from inrcodec.layers.base.streams import flat_cells
from inrcodec.volume.arrays import Float
from inrcodec.volume.value_range import amplitude

MANY, SOME = 1 << 21, 1 << 20  # voxels above which a rate is sought by a part first, and of that


# Times the tolerance of a mask within which decoded values may be background: at a coarse rate the level of
# air is off by more than that itself. A head had 0.9 dB less at one rate than at the rates beside it.
TIMES = (1.0, 1.5, 2.5)


class Encoder(streams.Encoder):
    """What one low-res volume is encoded to.

    Parameters
    ----------
    expected : what some rates give, about.
    """

    def __init__(
        self, low: Lowres, way: Way, threads: int, expected: Mapping[int, Outcome] | None = None
    ) -> None:
        step = codec.slices_of(low.shape) or low.shape[0]
        part = _middle(low) if low.target.size > MANY else None
        super().__init__(
            low.target,
            low.active,
            range(RATES),
            step,
            quickly=int(part is not None),
            part=part,
            expected=expected,
        )
        self.way, self.threads = way, threads
        self.background, self.least = low.background, tolerance_of(low)
        self.tolerances: dict[tuple[int, int], float] = {}  # by effort and rate

    def stream(self, part: slice, setting: int, effort: int) -> tuple[bytes, Iterable[Float]]:
        """See `streams.Encoder.stream`."""
        model, ends, curve = self.way.model, self.way.ends, self.way.curve
        wanted = np.where(self.active[part], self.target[part], self.background)
        values = codec.from_unit(wanted, ends, curve)
        stream, integers = write_stream(model, setting, values, threads=self.threads)
        unit = codec.to_unit(values_of(model, setting, integers), ends, curve)
        if self.least is not None:
            self._flatten(unit, self.target[part], (effort, setting))
        return stream, unit

    def fields(self, setting: int, effort: int) -> Mapping[str, Any]:
        """The rate, and what background differs from its value by."""
        tolerance = self.tolerances.get((effort, setting))
        return {"latent_rate": setting} | ({} if tolerance is None else {"latent_flat": tolerance})

    def _flatten(self, unit: Float, target: Float, key: tuple[int, int]) -> None:
        """Make background of what is near, by the tolerance that leaves the first stream the least error."""
        assert self.least is not None
        away = np.abs(unit - self.background)
        ways = [self.tolerances[key]] if key in self.tolerances else [self.least * times for times in TIMES]
        flats = {tolerance: flat_cells(away <= tolerance) for tolerance in ways}
        more = np.square(self.background - target) - np.square(unit - target)
        self.tolerances[key] = min(ways, key=lambda tolerance: float(more[flats[tolerance]].sum()))
        unit[flats[self.tolerances[key]]] = self.background

    def sections_of(self, streams: list[bytes]) -> Mapping[str, bytes]:
        """See `streams.Encoder.sections_of`."""
        return codec.sections_of(streams)


def _middle(low: Lowres) -> slice:
    """Slices that a rate is sought by first."""
    depth, *plane = low.shape
    count = min(depth, max(EDGE, SOME // prod(plane) // EDGE * EDGE))
    first = (depth - count) // 2
    return slice(first, first + count)


def tolerance_of(low: Lowres) -> float | None:
    """What background differs from its value by at most in a mask; ``None`` where every voxel is active."""
    return None if low.cells is None else activity.TOLERANCE * amplitude(low.values)
