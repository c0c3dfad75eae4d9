"""What the encoder asks of a coder of the low-res volume.

In: a plan.  Out: `Coding`, what was decided for its low-res volume; and `Coded`, the sections of it.
Invariant: no other module of the encoder knows which coder it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from inrcodec.progress import Progress

if TYPE_CHECKING:
    from inrcodec.encoder.facts import Facts
    from inrcodec.encoder.forecast import Forecast
    from inrcodec.encoder.lowres import Lowres
    from inrcodec.encoder.options import ResolvedOptions
    from inrcodec.encoder.plan import Plan
    from inrcodec.volume.box import Shape


class Coded(Protocol):
    """A coded low-res volume."""

    @property
    def sections(self) -> Mapping[str, bytes]:
        """All but those that the coding knows beforehand."""

    @property
    def fields(self) -> Mapping[str, Any]:
        """Fields of the header that only coding decides."""

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know."""


class Coding(Protocol):
    """How one low-res volume is coded, decided."""

    @property
    def fields(self) -> Mapping[str, Any]:
        """Fields of the header but the coder's name; what coding decides has its longest value."""

    @property
    def known(self) -> Mapping[str, bytes]:
        """Sections that are known beforehand."""

    @property
    def empty(self) -> Mapping[str, bytes]:
        """The other sections, as long as they are without any contents: an index, and an empty body."""

    @property
    def bytes(self) -> int:
        """Of the contents, estimated."""

    def index_bytes(self, contents: int) -> int:
        """Bytes that the index grows by where there are so many bytes of contents."""

    @property
    def about(self) -> Mapping[str, Any]:
        """What a plan says of it, in plain types."""

    def expected_error(self, plan: Plan) -> float:
        """Mean squared error of the active low-res voxels that is to be expected, in unit values."""

    def seconds(self, plan: Plan) -> float:
        """Seconds that `fit` takes on this machine."""

    def fit(self, plan: Plan, progress: Progress | None = None, start: Coded | None = None) -> Coded:
        """Code the low-res volume of a plan, perhaps from what was coded of it before."""


@dataclass(frozen=True)
class Base:
    """A row of the table of coders.

    Attributes
    ----------
    smallest : the coding with the fewest bytes that the options allow.
    coding : the coding for a plan's low-res volume, options and byte budget.
    forecast : what a grid gives, with a model that takes so many decibels off its error.
    usual : bytes of the contents where nothing is requested, by the forecast of a grid, if there is one, and
        its low-res voxels.
    least : what `smallest` is, as messages name it.
    fixed : bytes of header, table and a mask, about.
    grows : whether a small volume is given more than its usual bytes.
    aims : whether the coding is steered to `Plan.error`, not to a size, where a PSNR is requested.
    worth : times the bytes that are forecast for a refinement, above which the coder is not tried for a PSNR.
    quick : whether a volume is coded in seconds, so that it may be coded again on a finer grid.
    """

    smallest: Callable[[Lowres, ResolvedOptions], Coding]
    coding: Callable[[Plan], Coding]
    forecast: Callable[[Facts, ResolvedOptions, Shape, float], Forecast]
    usual: Callable[[ResolvedOptions, Forecast | None, int], float]
    least: str
    fixed: int
    worth: float
    grows: bool = False
    aims: bool = False
    quick: bool = False
