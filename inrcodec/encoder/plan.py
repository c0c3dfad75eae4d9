"""All that is decided before anything is coded: grid, low-res volume, model, coding, byte budget.

In: what `planner` decided.  Out: the header, and what the base may spend.
Invariant: a plan is never changed; another size, or another model, is another plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from inrcodec._version import __version__
from inrcodec.encoder.bases.coding import Coding
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.grid_search import Choice
from inrcodec.encoder.lowres import Lowres
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.format import container, header_checks, limits
from inrcodec.format.header import LANCZOS, NO_CODER, NOISE_STEPS, Header
from inrcodec.layers.base import companding
from inrcodec.volume.arrays import Float

LONGEST_FILTER = (header_checks.WEIGHTS[1],) * header_checks.WIENER
SMALLEST_FILTERED = 3000  # bytes of a file: the filter takes a hundredth, and gains as much at factor 4
# What the header says of the volume as the volume itself says it.
FROM_VOLUME = ("shape", "affine", "rescale", "modality", "unit", "padding", "description")


@dataclass(frozen=True, eq=False)
class Plan:
    """One encoding, decided."""

    facts: Facts
    options: ResolvedOptions
    grid: Choice  # the factor, and why
    lowres: Lowres
    curve: companding.Nodes  # see `curves`
    model: Mapping[str, Any]  # header fields of the super-resolution model
    coding: Coding | None  # how the low-res volume is coded; ``None`` of a file without one
    size: int | None = None  # bytes that the file may have at most, where that is requested
    error: float | None = None  # mean squared, of the low-res volume in unit values, where that is sought
    # Mean squared, of the volume in unit values, that is left by the grid, where back-projection has seen it.
    grid_error: float | None = None
    notices: tuple[str, ...] = ()  # what the user should know about the choices

    @cached_property
    def header(self) -> Header:
        """The file's header, without its quality."""
        volume, span = self.facts.volume, self.facts.span
        scales = volume.slice_rescale
        return Header(
            dtype=volume.array.dtype.name,
            axes="zyx"[3 - volume.ndim :],
            low=span.low,
            high=span.high,
            slice_rescale=() if scales is None else tuple(map(tuple, scales.tolist())),
            version=__version__,
            seed=self.options.seed,
            **{name: getattr(volume, name) for name in FROM_VOLUME},
            **self._lowres,
        )

    @property
    def _lowres(self) -> dict[str, Any]:
        """Header fields of the low-res volume."""
        if self.coding is None:
            return {"coder": NO_CODER}
        bricks = self.facts.bricks
        return {
            "brick": () if len(bricks) == 1 else bricks.edges,
            "coder": self.options.coder,
            "factor": self.lowres.factor,
            "companding": self.curve,
            **self.coding.fields,
            **self.model,
        }

    @cached_property
    def known(self) -> Mapping[str, bytes]:
        """Sections that are known before anything is coded: masks."""
        return {**({} if self.coding is None else self.coding.known), **self.facts.padding}

    @cached_property
    def overhead(self) -> int:
        """Bytes of the file but for the contents of the base, and what its index grows by with them.

        The header is as long as its quality can make it.
        """
        facts = self.facts
        slope = abs(facts.volume.rescale[0])
        whole = facts.volume.array.dtype.kind in "iu" and slope % 1 == 0  # then errors take few bytes
        extent = float(facts.span.high - facts.span.low) * slope if whole else 0.1
        digest = bytes([1] * 16)
        longest = replace(self.header, psnr=0.1, peak=facts.peak, max_error=extent, digest=digest)
        if self.may_filter:
            longest = replace(longest, wiener=LONGEST_FILTER)
        if self.header.sr != LANCZOS:
            longest = replace(longest, psnr_lanczos=0.1, sr_noise=NOISE_STEPS)
        assert self.coding is not None
        sections = {"HEAD": longest.to_bytes(), **self.known, **self.coding.empty}
        return container.size(list(sections.items()))

    @property
    def may_filter(self) -> bool:
        """Whether the file may have a filter: it is large enough, and not of one value."""
        return not self.facts.is_constant and (self.size is None or self.size >= SMALLEST_FILTERED)

    @property
    def budget(self) -> int | None:
        """Bytes for the contents of the base, where a size is requested."""
        if self.size is None:
            return None
        assert self.coding is not None
        most = self.size - self.overhead
        return most - self.coding.index_bytes(most)

    @property
    def predicted_least(self) -> int:
        """Bytes of the file with this coding, estimated beforehand."""
        assert self.coding is not None
        contents = self.coding.bytes
        return self.overhead + contents + self.coding.index_bytes(contents)

    @property
    def predicted(self) -> int:
        """Bytes of the file: the size that is requested, if there is one."""
        return self.size or self.predicted_least

    def targets(self, places: Any) -> Float:
        """What is coded at some low-res voxels, (n,), companded."""
        return companding.compress(self.curve, self.lowres.target[places])

    def check(self) -> None:
        """Refuse what no reader would take."""
        header_checks.check(self.header)
        limits.check_header(self.header, "MASK" in self.known)
