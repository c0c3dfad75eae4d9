"""A file that is ready to be written, and how far it is from its source.

In: decoded slices, and a decoded low-res volume.  Out: errors, digest, and `Measured`.
Invariant: every PSNR states its peak.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from inrcodec.encoder.plan import Plan
from inrcodec.errors import TargetNotReached
from inrcodec.format import container
from inrcodec.format.digest import Digest
from inrcodec.format.header import Header
from inrcodec.volume import metrics, windows
from inrcodec.volume.arrays import Array, Bool, Float
from inrcodec.volume.metrics import Errors, WindowErrors


class Outcome:
    """Errors and digest of one way to decode a file, slab by slab."""

    def __init__(self, plan: Plan, header: Header) -> None:
        facts = plan.facts
        self.source = facts.volume.array
        self.errors = Errors(facts.peak)
        self.windows = WindowErrors(windows.error_windows(plan.options.focus, facts.volume, facts.span))
        self._digest = Digest(header.bricks)

    def add(self, start: int, stop: int, stored: Array) -> None:
        """Take in the decoded slices ``[start, stop)``."""
        self.errors.add(self.source[start:stop], stored)
        self.windows.add(self.source[start:stop], stored)
        self._digest.add(stored)

    @property
    def digest(self) -> bytes:
        """Of the decoded volume."""
        return self._digest.value


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
    sections: Mapping[str, bytes]  # all others
    result: Outcome  # what the decoder gives
    lanczos: Outcome  # the same without the super-resolution model; ``result`` itself where there is none
    model: Outcome | None  # with the model that was tried, whether it is used or not
    lowres: LowresErrors | None  # of the networks
    notices: tuple[str, ...]  # what the user should know

    @cached_property
    def blob(self) -> bytes:
        """The file."""
        found = {"HEAD": self.header.to_bytes(), **self.sections}
        return container.pack([(name, found[name]) for name in container.KNOWN if name in found])

    def check(self) -> None:
        """Refuse a file that is larger than was requested, or that no reader would take."""
        size = self.plan.size
        if size is not None and len(self.blob) > size:
            raise TargetNotReached(
                f"the file has {len(self.blob)} bytes, more than the {size} requested; "
                f"request {self.plan.options.more_bytes}, or allow a larger factor or more steps",
                value=len(self.blob),
                option=self.plan.options.limits_bytes,
            )
        container.read(self.blob)

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
