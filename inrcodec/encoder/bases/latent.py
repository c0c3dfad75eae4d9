"""Latents as the coder of the low-res volume.

In: a plan.  Out: `LatentCoding`.
Invariant: the model is the usual one, and a rate is taken for what it gave.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from time import perf_counter
from typing import TYPE_CHECKING, Any

from inrcodec.encoder.bases import latent_forecast
from inrcodec.encoder.bases.latent_streams import Encoder, tolerance_of
from inrcodec.encoder.bases.latent_values import Way
from inrcodec.encoder.bases.streamed import StreamedCoding
from inrcodec.encoder.bases.streams import TRIES, Outcome
from inrcodec.layers.base.latent import codec
from inrcodec.layers.base.latent.model import RATES
from inrcodec.layers.base.latent.stream import SECTION, write_stream
from inrcodec.parallel import thread_count

if TYPE_CHECKING:
    from inrcodec.encoder.lowres import Lowres
    from inrcodec.encoder.options import ResolvedOptions
    from inrcodec.encoder.plan import Plan

TIMED = 16, 64, 64  # low-res voxels of a part that is timed


@dataclass(frozen=True, eq=False, kw_only=True)
class LatentCoding(StreamedCoding):
    """Streams of latents of one low-res volume, decided."""

    way: Way
    expected: Mapping[int, Outcome] = field(default_factory=dict)

    name = "the latent grid"
    section = SECTION

    @property
    def fields(self) -> Mapping[str, Any]:
        """See `Coding.fields`."""
        low, flat = self.lowres, tolerance_of(self.lowres)
        background = {} if flat is None else {"background": low.background, "latent_flat": flat}
        return {
            "latent_model": self.way.manifest.id,
            "latent_sha256": bytes.fromhex(self.way.manifest.sha256),
            "latent_rate": RATES - 1,
            "latent_ends": self.way.ends,
            "latent_slices": codec.slices_of(low.shape),
            **background,
        }

    @property
    def about(self) -> Mapping[str, Any]:
        """The model."""
        return {"model": self.way.manifest.id}

    def seconds(self, plan: Plan) -> float:
        """See `Coding.seconds`; of a part, times all of them."""
        low = self.lowres
        part = low.target[tuple(slice(n) for n in TIMED)]
        values = codec.from_unit(part, self.way.ends, self.way.curve)
        once = (1, 1, 1)  # what is done once comes first
        write_stream(self.way.model, 0, values[tuple(slice(n) for n in once)])
        start = perf_counter()
        write_stream(self.way.model, RATES // 2, values, threads=self.threads)
        return (1 + TRIES / 2) * (perf_counter() - start) * prod(low.shape) / values.size

    def encoder_of(self, low: Lowres) -> Encoder:
        """See `StreamedCoding.encoder_of`."""
        return Encoder(low, self.way, self.threads, self.expected)


def coding(plan: Plan) -> LatentCoding:
    """Streams for a plan's low-res volume."""
    return LatentCoding(
        lowres=plan.lowres,
        curve=plan.curve,
        threads=thread_count(plan.options.threads),
        way=Way.of(plan.facts, plan.curve),
        expected=latent_forecast.expected(plan.facts, plan.lowres.factor),
    )


def smallest(lowres: Lowres, options: ResolvedOptions) -> LatentCoding:
    """Streams of a low-res volume, of as few bytes as can be."""
    return LatentCoding(lowres=lowres, curve=(), threads=1, least=True, way=Way.plain())
