"""What a file gives back, found out by decoding it before it is written.

In: what is about to be written, and the plan that it follows.  Out: `Measured`, with the final
header.
Invariant: the decoder that is measured here is the decoder that the user gets (paper, equation 2, for PSNR).
"""

from __future__ import annotations

from dataclasses import replace

from inrcodec.encoder import model_choice, upsampled
from inrcodec.encoder.bounded import Layer
from inrcodec.encoder.fitted import Fitted
from inrcodec.encoder.measured import Measured, lowres_errors
from inrcodec.encoder.outcome import Outcome, Sum
from inrcodec.encoder.plan import Plan
from inrcodec.errors import TargetNotReached
from inrcodec.file import InrvFile
from inrcodec.format.header import LANCZOS, Header
from inrcodec.layers import padding
from inrcodec.progress import Progress


def base(fitted: Fitted, progress: Progress | None = None) -> Measured:
    """Decode a base, with the plan's model and without, and keep the better way.

    On the CPU, wherever it was fitted: that is the reference decode, whose digest the file states.
    """
    plan, sections, decided = fitted.plan, fitted.sections, fitted.coded.fields
    decoder = InrvFile.from_sections(replace(plan.header, **decided), sections).decoder.require_base()
    lowres = decoder.read(threads=plan.options.threads)
    header, plain, by_model = upsampled.both_ways(plan, lowres, decoder.active[:], progress)
    lanczos, model = plain.outcome, None if by_model is None else by_model.outcome
    result, notices = plain, fitted.notices
    if by_model is not None and by_model.outcome.is_nearer(lanczos, plan.options):
        result, header = by_model, replace(header, psnr_lanczos=lanczos.errors.psnr)
    else:
        if model is not None:
            notices = (*notices, model_left_out(header.sr, model, lanczos))
        if header.sr != LANCZOS:  # its filter is for what the model gives
            header = replace(header, wiener=(), **model_choice.PLAIN)
    header, below = replace(_stating(header, result), **decided), lowres_errors(plan, lowres)
    return Measured(plan, header, sections, result.outcome, lanczos, model, below, notices)


def ceiling(plan: Plan) -> float:
    """PSNR of the plan's grid without any error of the base, in dB."""
    _, lanczos, model = upsampled.both_ways(plan, plan.lowres.target, plan.lowres.active)
    return max(way.outcome.errors.psnr for way in (lanczos, model) if way is not None)


def refinement(
    plan: Plan, layer: Layer, base: Measured | None = None, progress: Progress | None = None
) -> Measured:
    """Decode a file with a refinement, with a base in front of it or with none."""
    layer = layer.checked(progress)
    if progress:
        progress("verify", 1.0)
    header = replace(plan.header if base is None else base.header, psnr_lanczos=None, **layer.fields)
    before = {} if base is None else base.sections
    kept = {name: body for name, body in before.items() if name not in padding.SECTIONS}
    sections = {**kept, **layer.sections}
    result = layer.outcome
    largest, bound = result.errors.largest * abs(header.rescale[0]), header.bound
    if bound is not None and largest > bound:  # an error of this program
        raise TargetNotReached(
            f"a voxel is off by {largest:g}, {bound:g} was promised: nothing is written, please report it",
            value=largest,
        )
    header = _stating(header, layer.found)
    if base is None:
        return Measured(plan, header, sections, result, result, None, None, plan.notices)
    return replace(base, header=header, sections=sections, result=result, lanczos=result)


def model_left_out(name: str, model: Outcome, lanczos: Outcome) -> str:
    """The notice that Lanczos serves better than a model."""
    return (
        f"model {name!r} reaches {model.errors.psnr:.2f} dB on this volume, Lanczos "
        f"{lanczos.errors.psnr:.2f} dB: Lanczos is used"
    )


def _stating(header: Header, result: Sum) -> Header:
    """The header with what was measured."""
    errors = result.outcome.errors
    return replace(
        header,
        psnr=errors.psnr,
        peak=errors.peak,
        max_error=errors.largest * abs(header.rescale[0]),
        digest=result.digest,
    )
