"""What a file gives back, found out by decoding it before it is written.

In: sections that are about to be written, and the plan that they follow.  Out: `Measured`, with the final
header.
Invariant: the decoder that is measured here is the decoder that the user gets (paper, equation 2, for PSNR).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from inrcodec.encoder import model_choice
from inrcodec.encoder.bounded import Layer
from inrcodec.encoder.fitted import Fitted
from inrcodec.encoder.plan import Plan
from inrcodec.errors import TargetNotReached
from inrcodec.file import InrvFile
from inrcodec.format import container
from inrcodec.format.digest import Digest
from inrcodec.format.header import Header
from inrcodec.layers.decode_options import DecodeOptions
from inrcodec.layers.superres import registry
from inrcodec.layers.superres.conditioning import telling
from inrcodec.layers.upsample import Upsampling, padding_of
from inrcodec.progress import Progress
from inrcodec.volume import metrics, windows
from inrcodec.volume.metrics import Errors, WindowErrors

Float = NDArray[np.float64]


class Outcome:
    """Errors and digest of one way to decode a file, slab by slab."""

    def __init__(self, plan: Plan) -> None:
        facts = plan.facts
        self.source = facts.volume.array
        self.errors = Errors(facts.peak)
        self.windows = WindowErrors(windows.error_windows(plan.options.focus, facts.volume, facts.span))
        self._digest = Digest()

    def add(self, start: int, stop: int, stored: NDArray[np.generic]) -> None:
        """Take in the decoded slices ``[start, stop)``."""
        self.errors.add(self.source[start:stop], stored)
        self.windows.add(self.source[start:stop], stored)
        self._digest.add(stored)

    @property
    def digest(self) -> bytes:
        """BLAKE2b-128 of the decoded volume."""
        return self._digest.value


@dataclass(frozen=True)
class LowresErrors:
    """What the networks leave of the low-res volume.

    Attributes
    ----------
    psnr : against plain down-sampling, in dB at the peak of the volume.
    psnr_target : against what was fitted to.
    windows : mean errors by window, against plain down-sampling.
    """

    psnr: float
    psnr_target: float
    windows: WindowErrors


@dataclass(frozen=True, eq=False)
class Measured:
    """A file that is ready to be written.

    Attributes
    ----------
    plan : that it follows.
    header : final: it states what was measured.
    sections : bodies of all other sections.
    result : what the decoder gives.
    lanczos : the same without the super-resolution model; ``result`` itself where there is none.
    model : with the model that was tried, whether it is used or not; ``None`` without any.
    lowres : of the networks; ``None`` without any.
    notices : what the user should know.
    """

    plan: Plan
    header: Header
    sections: Mapping[str, bytes]
    result: Outcome
    lanczos: Outcome
    model: Outcome | None
    lowres: LowresErrors | None
    notices: tuple[str, ...]

    @cached_property
    def blob(self) -> bytes:
        """The file."""
        return container.pack(list({"HEAD": self.header.to_bytes(), **self.sections}.items()))

    @property
    def psnr(self) -> float:
        """PSNR of the decoded volume, in dB."""
        return self.result.errors.psnr

    @property
    def gain(self) -> float:
        """What the model that was tried brings over Lanczos, in dB; 0 without any."""
        return 0.0 if self.model is None else self.model.errors.psnr - self.lanczos.errors.psnr


def networks(fitted: Fitted, progress: Progress | None = None) -> Measured:
    """Decode fitted networks, with the plan's model and without, and keep the better way.

    On the CPU, wherever it was fitted: that is the reference decode, whose digest the file states.
    """
    plan, sections = fitted.plan, fitted.sections
    lowres = InrvFile.from_sections(plan.header, sections).lowres(threads=plan.options.threads)
    header, lanczos, model = _upsampled(plan, sections, lowres, progress)
    helped = model is not None and model.errors.mse < lanczos.errors.mse
    result = model if model is not None and helped else lanczos
    notices: tuple[str, ...] = ()
    fields = {"sr_noise": header.sr_noise} if helped else model_choice.PLAIN
    if model is not None and not helped:
        notices = (model_left_out(header.sr, model, lanczos),)
    return Measured(
        plan,
        replace(
            _stating(replace(header, **fields), result),
            psnr_lanczos=lanczos.errors.psnr if helped else None,
        ),
        sections,
        result,
        lanczos,
        model,
        _lowres_errors(plan, lowres),
        (*fitted.notices, *notices),
    )


def ceiling(plan: Plan) -> float:
    """PSNR of the plan's grid without any error of the networks, in dB."""
    _, lanczos, model = _upsampled(plan, plan.masks, plan.lowres.target)
    return max(outcome.errors.psnr for outcome in (lanczos, model) if outcome is not None)


def refinement(
    plan: Plan, layer: Layer, base: Measured | None = None, progress: Progress | None = None
) -> Measured:
    """Decode a file with a refinement.

    Parameters
    ----------
    plan : of the file; without networks where there is no ``base``.
    base : networks in front of the refinement.

    Raises
    ------
    TargetNotReached
        A voxel is further off than was promised: an error of this program, never a file.
    """
    header = replace(plan.header if base is None else base.header, psnr_lanczos=None, **layer.fields)
    sections = {**(Fitted(plan, None) if base is None else base).sections, **layer.sections}
    result = Outcome(plan)
    report = None if progress is None else lambda _, done: progress("verify", done)
    how = DecodeOptions(threads=plan.options.threads)
    for slab in InrvFile.from_sections(header, sections).slabs(how, progress=report):
        result.add(slab.start, slab.stop, slab.stored)
    largest, bound = result.errors.largest * abs(header.rescale[0]), header.bound
    if bound is not None and largest > bound:
        raise TargetNotReached(
            f"a voxel is off by {largest:g}, {bound:g} was promised: nothing is written, please report it",
            value=largest,
        )
    header = _stating(header, result)
    if base is None:
        return Measured(plan, header, sections, result, result, None, None, plan.notices)
    return replace(base, header=header, sections=sections, result=result, lanczos=result)


def hold_to_size(found: Measured) -> None:
    """Refuse a file that is larger than was requested.

    Raises
    ------
    TargetNotReached
    """
    size = found.plan.size
    if size is not None and len(found.blob) > size:
        raise TargetNotReached(
            f"the file has {len(found.blob)} bytes, {len(found.blob) - size} more than the {size} requested; "
            "request a larger size, or allow a larger factor or more steps",
            value=len(found.blob),
            option="size",
        )


def model_left_out(name: str, model: Outcome, lanczos: Outcome) -> str:
    """The notice that Lanczos serves better than a model."""
    return (
        f"model {name!r} reaches {model.errors.psnr:.2f} dB on this volume, Lanczos "
        f"{lanczos.errors.psnr:.2f} dB: Lanczos is used"
    )


def _upsampled(
    plan: Plan, sections: Mapping[str, bytes], lowres: Float, progress: Progress | None = None
) -> tuple[Header, Outcome, Outcome | None]:
    """The header that states the low-res error, and both ways to bring the resolution back."""
    active = plan.lowres.active
    header = telling(plan.header, _squared_error(lowres, plan.lowres.target, active))
    has_model = header.sr != registry.LANCZOS
    lanczos, model = Outcome(plan), Outcome(plan) if has_model else None
    how = DecodeOptions(threads=plan.options.threads)
    upsampling = Upsampling(header, active, padding_of(header, sections))
    for slab in upsampling.slabs(lowres, how, plain=True):
        lanczos.add(slab.start, slab.stop, slab.plain)
        if model is not None:
            model.add(slab.start, slab.stop, slab.stored)
        if progress:
            progress("verify", slab.stop / header.shape[0])
    return header, lanczos, model


def _stating(header: Header, result: Outcome) -> Header:
    """The header with what was measured."""
    return replace(
        header,
        psnr=result.errors.psnr,
        peak=result.errors.peak,
        max_error=result.errors.largest * abs(header.rescale[0]),
        digest=result.digest,
    )


def _lowres_errors(plan: Plan, lowres: Float) -> LowresErrors:
    facts, clean = plan.facts, plan.lowres.values
    low, half = facts.span.low, (facts.span.high - facts.span.low) / 2
    inside = WindowErrors(windows.error_windows(plan.options.focus, facts.volume, facts.span))
    for pair in zip(clean, lowres, strict=True):
        inside.add(*(low + (unit + 1) * half for unit in pair))
    scale = half / (facts.peak or 1.0)
    return LowresErrors(_psnr(lowres, clean, scale), _psnr(lowres, plan.lowres.target, scale), inside)


def _squared_error(lowres: Float, target: Float, active: NDArray[np.bool_]) -> float:
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
