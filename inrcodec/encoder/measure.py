"""What a file gives back, found out by decoding it before it is written.

In: sections that are about to be written, and the plan that they follow.  Out: `Measured`, with the final
header.
Invariant: the decoder that is measured here is the decoder that the user gets (paper, equation 2, for PSNR).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from inrcodec.encoder import model_choice
from inrcodec.encoder.bounded import Layer
from inrcodec.encoder.fitted import Fitted
from inrcodec.encoder.measured import Measured, Outcome, lowres_errors, squared_error
from inrcodec.encoder.plan import Plan
from inrcodec.errors import TargetNotReached
from inrcodec.file import InrvFile
from inrcodec.format.header import LANCZOS, Header
from inrcodec.layers.decode_options import DecodeOptions
from inrcodec.layers.upsample import Padding, Upsampling, with_noise
from inrcodec.progress import Progress
from inrcodec.volume.arrays import Float


def networks(fitted: Fitted, progress: Progress | None = None) -> Measured:
    """Decode fitted networks, with the plan's model and without, and keep the better way.

    On the CPU, wherever it was fitted: that is the reference decode, whose digest the file states.
    """
    plan, sections = fitted.plan, fitted.sections
    lowres = InrvFile.from_sections(plan.header, sections).lowres(threads=plan.options.threads)
    header, lanczos, model = _upsampled(plan, sections, lowres, progress)
    result, notices = lanczos, fitted.notices
    if model is not None and model.errors.mse < lanczos.errors.mse:
        result, header = model, replace(header, psnr_lanczos=lanczos.errors.psnr)
    else:
        if model is not None:
            notices = (*notices, model_left_out(header.sr, model, lanczos))
        header = replace(header, **model_choice.PLAIN)
    header, below = _stating(header, result), lowres_errors(plan, lowres)
    return Measured(plan, header, sections, result, lanczos, model, below, notices)


def ceiling(plan: Plan) -> float:
    """PSNR of the plan's grid without any error of the networks, in dB."""
    _, lanczos, model = _upsampled(plan, plan.masks, plan.lowres.target)
    return max(outcome.errors.psnr for outcome in (lanczos, model) if outcome is not None)


def refinement(
    plan: Plan, layer: Layer, base: Measured | None = None, progress: Progress | None = None
) -> Measured:
    """Decode a file with a refinement, with the networks of a base in front of it or with none."""
    header = replace(plan.header if base is None else base.header, psnr_lanczos=None, **layer.fields)
    sections = {**({} if base is None else base.sections), **layer.sections}
    result = Outcome(plan, header)
    report = None if progress is None else lambda _, done: progress("verify", done)
    how = DecodeOptions(threads=plan.options.threads)
    for slab in InrvFile.from_sections(header, sections).slabs(options=how, progress=report):
        result.add(slab.start, slab.stop, slab.stored)
    largest, bound = result.errors.largest * abs(header.rescale[0]), header.bound
    if bound is not None and largest > bound:  # an error of this program
        raise TargetNotReached(
            f"a voxel is off by {largest:g}, {bound:g} was promised: nothing is written, please report it",
            value=largest,
        )
    header = _stating(header, result)
    if base is None:
        return Measured(plan, header, sections, result, result, None, None, plan.notices)
    return replace(base, header=header, sections=sections, result=result, lanczos=result)


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
    header = with_noise(plan.header, squared_error(lowres, plan.lowres.target, active))
    lanczos, model = Outcome(plan, header), None if header.sr == LANCZOS else Outcome(plan, header)
    how = DecodeOptions(threads=plan.options.threads)
    upsampling = Upsampling(
        header, active, Padding.of(header, InrvFile.from_sections(header, sections).sections)
    )
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
