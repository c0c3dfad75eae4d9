"""Streams as the coding of a low-res volume: the setting for a size, for an error, or by default.

In: a plan.  Out: `StreamedCoding`, and `CodedSlices`.
Invariant: a setting is taken for what it gave.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from inrcodec.encoder.bases.coding import Coded
from inrcodec.encoder.bases.streams import Encoder, Slices, usual_error
from inrcodec.errors import TargetNotReached
from inrcodec.layers.base.companding import Nodes
from inrcodec.progress import Progress

if TYPE_CHECKING:
    from inrcodec.encoder.lowres import Lowres
    from inrcodec.encoder.plan import Plan

LEAST = 16  # bytes of a stream at least; what is possible of a volume is found out


@dataclass(frozen=True, eq=False)
class CodedSlices:
    """Slices of a low-res volume as streams."""

    slices: Slices
    encoder: Encoder
    notices: tuple[str, ...] = ()

    @property
    def sections(self) -> Mapping[str, bytes]:
        """The streams, and their index if there are several."""
        return self.slices.sections

    @property
    def fields(self) -> Mapping[str, Any]:
        """What the setting decides."""
        return self.slices.fields


@dataclass(frozen=True, eq=False, kw_only=True)
class StreamedCoding(ABC):
    """Streams of one low-res volume, decided; their index is one of the contents."""

    lowres: Lowres
    curve: Nodes
    threads: int
    least: bool = False  # whether it stands for the fewest bytes, of which nothing is known yet

    name: ClassVar[str]  # in messages
    section: ClassVar[str]

    @abstractmethod
    def encoder_of(self, low: Lowres) -> Encoder:
        """What makes streams of a low-res volume."""

    @property
    def known(self) -> Mapping[str, bytes]:
        """See `Coding.known`."""
        return {}

    @property
    def empty(self) -> Mapping[str, bytes]:
        """See `Coding.empty`."""
        return {self.section: b""}

    def index_bytes(self, contents: int) -> int:
        """See `Coding.index_bytes`."""
        return 0

    @cached_property
    def bytes(self) -> int:
        """Of the contents where nothing is requested, about."""
        if self.least:
            return LEAST
        return self._encoder.quick(None, usual_error(self.lowres)).bytes

    def expected_error(self, plan: Plan) -> float:
        """See `Coding.expected_error`."""
        error = usual_error(self.lowres) if plan.error is None else plan.error
        return self._encoder.quick(plan.budget, error).active

    def fit(self, plan: Plan, progress: Progress | None = None, start: Coded | None = None) -> CodedSlices:
        """Encode at the setting that the plan's size, error or neither asks for.

        Raises
        ------
        TargetNotReached
            The coarsest setting takes more bytes.
        """
        encoder = self._encoder if plan.lowres.target is self.lowres.target else None
        if isinstance(start, CodedSlices) and start.encoder.target is plan.lowres.target:
            encoder = start.encoder
        encoder = encoder or self.encoder_of(plan.lowres)
        error = usual_error(self.lowres) if plan.error is None else plan.error
        found = encoder.best(plan.budget, error)
        if plan.budget is not None and found.bytes > plan.budget:
            coarser = "" if plan.options.factor is None else ", or a larger factor"
            raise TargetNotReached(
                f"{max(plan.budget, 0)} bytes are left for the low-res volume, {found.bytes} are the fewest "
                f"that {self.name} takes for it: request {plan.options.more_bytes}{coarser}",
                value=plan.budget,
                option=plan.options.limits_bytes,
            )
        if progress is not None:
            progress("fit", 1.0)
        return CodedSlices(found, encoder)

    @cached_property
    def _encoder(self) -> Encoder:
        return self.encoder_of(self.lowres)
