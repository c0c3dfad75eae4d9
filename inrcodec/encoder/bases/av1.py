"""AV1 as the coder of the low-res volume: the quality for a size, for an error, or by default.

In: a plan.  Out: `Av1Coding`, and `CodedSlices`.
Invariant: a quality is taken for what it gave, at the effort of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

from inrcodec.encoder.bases.av1_slices import (
    TRIES,
    Encoder,
    Slices,
    effort_for,
    flat_codes,
    usual_error,
)
from inrcodec.encoder.bases.coding import Coded
from inrcodec.errors import TargetNotReached
from inrcodec.layers.base.av1 import codec
from inrcodec.layers.base.companding import Nodes
from inrcodec.parallel import thread_count
from inrcodec.progress import Progress

if TYPE_CHECKING:
    from inrcodec.encoder.lowres import Lowres
    from inrcodec.encoder.options import ResolvedOptions
    from inrcodec.encoder.plan import Plan

LEAST = 16  # bytes of a stream at least; what is possible of a volume is found out
SLOWEST = 4.0  # microseconds for a voxel at effort 0, about; each following effort takes half


@dataclass(frozen=True, eq=False)
class CodedSlices:
    """Slices of a low-res volume as AV1 streams."""

    slices: Slices
    encoder: Encoder
    notices: tuple[str, ...] = ()

    @property
    def sections(self) -> Mapping[str, bytes]:
        """The streams, and their index if there are several."""
        return self.slices.sections


@dataclass(frozen=True, eq=False)
class Av1Coding:
    """AV1 streams of one low-res volume, decided; their index is one of the contents."""

    lowres: Lowres
    curve: Nodes
    effort: int
    threads: int
    least: bool = False  # whether it stands for the fewest bytes, of which nothing is known yet

    @property
    def fields(self) -> Mapping[str, Any]:
        """See `Coding.fields`."""
        flat = flat_codes(self.lowres, self.curve)
        return {"av1_slices": codec.slices_of(self.lowres.shape), "av1_flat": flat}

    @property
    def known(self) -> Mapping[str, bytes]:
        """See `Coding.known`."""
        return {}

    @property
    def empty(self) -> Mapping[str, bytes]:
        """See `Coding.empty`."""
        return {codec.SECTION: b""}

    def index_bytes(self, contents: int) -> int:
        """See `Coding.index_bytes`."""
        return 0

    @cached_property
    def bytes(self) -> int:
        """Of the contents where nothing is requested, about."""
        if self.least:
            return LEAST
        return self._encoder.quick(None, usual_error(self.lowres)).bytes

    @property
    def about(self) -> Mapping[str, Any]:
        """The effort."""
        return {"effort": self.effort}

    def expected_error(self, plan: Plan) -> float:
        """See `Coding.expected_error`."""
        error = usual_error(self.lowres) if plan.error is None else plan.error
        return self._encoder.quick(plan.budget, error).active

    def seconds(self, plan: Plan) -> float:
        """See `Coding.seconds`; a preset's effort is told by its usual speed."""
        each = SLOWEST * 1e-6 * prod(self.lowres.shape) / 2.0**self.effort
        return (1 + TRIES / 2) * each

    def fit(self, plan: Plan, progress: Progress | None = None, start: Coded | None = None) -> CodedSlices:
        """Encode at the quality that the plan's size, error or neither asks for.

        Raises
        ------
        TargetNotReached
            The coarsest quality takes more bytes.
        """
        encoder = self._encoder if plan.lowres.target is self.lowres.target else None
        if isinstance(start, CodedSlices) and start.encoder.target is plan.lowres.target:
            encoder = start.encoder
        encoder = encoder or self._encoder_of(plan.lowres)
        error = usual_error(self.lowres) if plan.error is None else plan.error
        found = encoder.best(plan.budget, error)
        if plan.budget is not None and found.bytes > plan.budget:
            coarser = "" if plan.options.factor is None else ", or a larger factor"
            raise TargetNotReached(
                f"{max(plan.budget, 0)} bytes are left for the low-res volume, {found.bytes} are the fewest "
                f"that AV1 takes for it: request {plan.options.more_bytes}{coarser}",
                value=plan.budget,
                option=plan.options.limits_bytes,
            )
        if progress is not None:
            progress("fit", 1.0)
        return CodedSlices(found, encoder)

    @cached_property
    def _encoder(self) -> Encoder:
        return self._encoder_of(self.lowres)

    def _encoder_of(self, low: Lowres) -> Encoder:
        return Encoder(low.target, low.active, self.curve, self.effort, self.threads)


def coding(plan: Plan) -> Av1Coding:
    """Streams for a plan's low-res volume."""
    return _coding(plan.lowres, plan.options, plan.curve)


def smallest(lowres: Lowres, options: ResolvedOptions) -> Av1Coding:
    """Streams of a low-res volume, of as few bytes as can be."""
    return _coding(lowres, options, (), least=True)


def _coding(lowres: Lowres, options: ResolvedOptions, curve: Nodes, *, least: bool = False) -> Av1Coding:
    effort = effort_for(options.effort, prod(lowres.shape))
    return Av1Coding(lowres, curve, effort, thread_count(options.threads), least)
