"""A file that is ready to be written, and how far it is from its source.

In: a plan, sections, and what they decode to.  Out: `Measured`.
Invariant: every PSNR states its peak.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from inrcodec.encoder.outcome import Outcome
from inrcodec.encoder.plan import Plan
from inrcodec.errors import TargetNotReached
from inrcodec.format import container
from inrcodec.format.container import Body
from inrcodec.format.header import Header
from inrcodec.format.sections import Sections
from inrcodec.layers.base.coders import base_of, coded_apart
from inrcodec.volume import metrics, windows
from inrcodec.volume.arrays import Bool, Float
from inrcodec.volume.low_pass import LowPass, low_pass
from inrcodec.volume.metrics import WindowErrors
from inrcodec.volume.seams import seam_energy


class Writable(Protocol):
    """What takes the bytes of a file, such as an open binary file."""

    def write(self, data: bytes, /) -> object: ...


@dataclass(frozen=True)
class LowresErrors:
    """What the networks leave of the low-res volume."""

    psnr: float  # against plain down-sampling, in dB at the peak of the volume
    psnr_target: float  # against what was fitted to
    windows: WindowErrors  # against plain down-sampling


@dataclass(frozen=True, eq=False)
class Measured:
    """A file that is ready to be written."""

    plan: Plan
    header: Header  # final: it states what was measured
    sections: Mapping[str, Body]  # all others
    result: Outcome  # what the decoder gives
    lanczos: Outcome  # the same without the super-resolution model; ``result`` itself where there is none
    model: Outcome | None  # with the model that was tried, whether it is used or not
    lowres: LowresErrors | None  # of the networks
    notices: tuple[str, ...]  # what the user should know

    @cached_property
    def all_sections(self) -> list[tuple[str, Body]]:
        """HEAD and all others, in their order."""
        found: dict[str, Body] = {"HEAD": self.header.to_bytes(), **self.sections}
        return [(name, found[name]) for name in container.KNOWN if name in found]

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return container.size(self.all_sections)

    def write(self, file: Writable) -> None:
        """Write the file, a chunk at a time."""
        for chunk in container.chunks(self.all_sections):
            file.write(chunk)

    def check(self) -> None:
        """Refuse a file that is larger than was requested, or that no reader would take."""
        size = self.plan.size
        if size is not None and self.size > size:
            raise TargetNotReached(
                f"the file has {self.size} bytes, more than the {size} requested; "
                f"request {self.plan.options.more_bytes}, or allow a larger factor or more steps",
                value=self.size,
                option=self.plan.options.limits_bytes,
            )
        container.check(self.all_sections)

    @cached_property
    def low_pass(self) -> LowPass | None:
        """The error of flat tissue; ``None`` where there is none, or nothing was to be lost."""
        peak = self.result.errors.peak * abs(self.header.rescale[0])
        return low_pass(self.result.flat, self.plan.facts.flat_tissue, peak)

    @cached_property
    def seam_energy(self) -> float | None:
        """Whether the error jumps where tiles or bricks meet, see `seams.seam_energy`."""
        if not self.result.flat.boxes:
            return None
        from_base = not self.header.refine_steps
        base = base_of(self.header, Sections(self.sections)) if from_base else None  # type: ignore[arg-type]
        return seam_energy(self.result.flat, self.plan.facts.flat_tissue, *coded_apart(self.header, base))

    @property
    def psnr(self) -> float:
        """PSNR of the decoded volume, in dB."""
        return self.result.errors.psnr

    @property
    def gain(self) -> float:
        """What the model that was tried brings over Lanczos, in dB; 0 without any."""
        return 0.0 if self.model is None else self.model.errors.psnr - self.lanczos.errors.psnr


def lowres_errors(plan: Plan, lowres: Float) -> LowresErrors:
    """Compare a decoded low-res volume, (z, y, x) in [-1, 1], with that of its plan."""
    facts, clean = plan.facts, plan.lowres.values
    low, half = facts.span.low, (facts.span.high - facts.span.low) / 2
    inside = WindowErrors(windows.error_windows(plan.options.focus, facts.volume, facts.span))
    for pair in zip(clean, lowres, strict=True):
        inside.add(*(low + (unit + 1) * half for unit in pair))
    scale = half / (facts.peak or 1.0)
    return LowresErrors(_psnr(lowres, clean, scale), _psnr(lowres, plan.lowres.target, scale), inside)


def squared_error(lowres: Float, target: Float, active: Bool) -> float:
    """Mean squared error of the active low-res voxels, in unit values."""
    squares = [
        float(np.square(a[inside] - b[inside]).sum())
        for a, b, inside in zip(lowres, target, active, strict=True)
    ]
    return sum(squares) / max(int(active.sum()), 1)


def _psnr(lowres: Float, target: Float, scale: float) -> float:
    """Of unit values; ``scale`` turns them into shares of the peak."""
    squares = [float(np.square((a - b) * scale).sum()) for a, b in zip(lowres, target, strict=True)]
    return metrics.psnr(sum(squares) / target.size)
