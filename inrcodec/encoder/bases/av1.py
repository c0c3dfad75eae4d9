"""AV1 as the coder of the low-res volume.

In: a plan.  Out: `Av1Coding`.
Invariant: a quality is taken for what it gave, at the effort of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from inrcodec.encoder.bases.av1_slices import Encoder, effort_for, flat_codes
from inrcodec.encoder.bases.streamed import StreamedCoding
from inrcodec.encoder.bases.streams import TRIES
from inrcodec.layers.base.av1 import codec
from inrcodec.layers.base.companding import Nodes
from inrcodec.parallel import thread_count

if TYPE_CHECKING:
    from inrcodec.encoder.lowres import Lowres
    from inrcodec.encoder.options import ResolvedOptions
    from inrcodec.encoder.plan import Plan

SLOWEST = 4.0  # microseconds for a voxel at effort 0, about; each following effort takes half


@dataclass(frozen=True, eq=False, kw_only=True)
class Av1Coding(StreamedCoding):
    """AV1 streams of one low-res volume, decided."""

    effort: int

    name = "AV1"
    section = codec.SECTION

    @property
    def fields(self) -> Mapping[str, Any]:
        """See `Coding.fields`."""
        flat = flat_codes(self.lowres, self.curve)
        return {"av1_slices": codec.slices_of(self.lowres.shape), "av1_flat": flat}

    @property
    def about(self) -> Mapping[str, Any]:
        """The effort."""
        return {"effort": self.effort}

    def seconds(self, plan: Plan) -> float:
        """See `Coding.seconds`; a preset's effort is told by its usual speed."""
        each = SLOWEST * 1e-6 * prod(self.lowres.shape) / 2.0**self.effort
        return (1 + TRIES / 2) * each

    def encoder_of(self, low: Lowres) -> Encoder:
        """See `StreamedCoding.encoder_of`."""
        return Encoder(low.target, low.active, self.curve, self.effort, self.threads)


def coding(plan: Plan) -> Av1Coding:
    """Streams for a plan's low-res volume."""
    return _coding(plan.lowres, plan.options, plan.curve)


def smallest(lowres: Lowres, options: ResolvedOptions) -> Av1Coding:
    """Streams of a low-res volume, of as few bytes as can be."""
    return _coding(lowres, options, (), least=True)


def _coding(lowres: Lowres, options: ResolvedOptions, curve: Nodes, *, least: bool = False) -> Av1Coding:
    effort = effort_for(options.effort, prod(lowres.shape))
    threads = thread_count(options.threads)
    return Av1Coding(lowres=lowres, curve=curve, threads=threads, least=least, effort=effort)
