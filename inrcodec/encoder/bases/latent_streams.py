"""A low-res volume as streams of latents, at any rate.

In: a low-res volume, and a model.  Out: its streams.
Invariant: where nothing but background is decoded there is the background's value, as a reader has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod

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
        self.background, self.tolerance = low.background, tolerance_of(low)

    def stream(self, part: slice, setting: int, effort: int) -> tuple[bytes, Iterable[Float]]:
        """See `streams.Encoder.stream`."""
        model, ends, curve = self.way.model, self.way.ends, self.way.curve
        wanted = np.where(self.active[part], self.target[part], self.background)
        values = codec.from_unit(wanted, ends, curve)
        stream, integers = write_stream(model, setting, values, threads=self.threads)
        unit = codec.to_unit(values_of(model, setting, integers), ends, curve)
        if self.tolerance is not None:
            unit[flat_cells(np.abs(unit - self.background) <= self.tolerance)] = self.background
        return stream, unit

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
    """What background differs from its value by at most; ``None`` where every voxel is active."""
    return None if low.cells is None else activity.TOLERANCE * amplitude(low.values)
