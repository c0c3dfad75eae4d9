"""Wishes that exclude each other.

In: options, each in its own range.  Out: nothing, or a refusal.
The one law: every refusal says which wish to leave out.  Imports neither torch nor numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inrcodec.encoder.presets import PRESETS
from inrcodec.errors import UsageError
from inrcodec.validate import Triple
from inrcodec.volume import windows as focusing

if TYPE_CHECKING:
    from inrcodec.encoder.options import EncodeOptions

PAPER_LAYERS = (2, 3, 4)  # the three depths that the paper reports
OF_NETWORKS = (
    *("factor", "tiles", "layers", "width", "sr", "ensemble", "through_sr"),
    *("focus", "steps", "time_budget", "resume"),
)


def refuse(options: EncodeOptions, factor: Triple | None) -> None:
    """Refuse wishes that exclude each other, whatever the volume.

    Parameters
    ----------
    factor : (z, y, x), of the options.

    Raises
    ------
    UsageError
        With the one to leave out.
    """
    if options.ratio is not None and options.size is not None:
        raise UsageError(
            f"{options.ratio:g} and {options.size} both set the size of the file, give one of them",
            value=(options.ratio, options.size),
            option=("ratio", "size"),
        )
    if options.psnr is not None and (options.ratio or options.size):
        raise UsageError(
            f"{options.psnr:g} dB set a quality, ratio and size set a number of bytes, give one of them",
            value=options.psnr,
            option="psnr",
        )
    if options.sr == "lanczos" and options.ensemble is not None:
        raise UsageError(
            f"{options.ensemble} images need a model, and sr is 'lanczos'; leave one of them out",
            value=options.ensemble,
            option="ensemble",
        )
    bounded = "lossless" if options.lossless else "max_error" if options.max_error is not None else None
    if bounded is not None:
        for name in ("ratio", "size", "psnr", *(["max_error"] if options.lossless else [])):
            if getattr(options, name) is not None:
                raise UsageError(
                    f"not possible with {bounded}, which takes the bytes that it needs; leave it out",
                    value=getattr(options, name),
                    option=name,
                )
        for name in OF_NETWORKS if not options.base else ():
            if getattr(options, name) not in (None, focusing.ALL):
                raise UsageError(
                    f"needs networks, and a file with {bounded} has none; leave it out, or set base too",
                    value=getattr(options, name),
                    option=name,
                )
    elif options.base and options.psnr is None:
        raise UsageError(
            "puts networks in front of a refinement, and there is none: leave it out, or set "
            "lossless, max_error or psnr",
            value=options.base,
            option="base",
        )
    if options.preset == "paper":
        _refuse_changed_paper(options, factor)


def _refuse_changed_paper(options: EncodeOptions, factor: Triple | None) -> None:
    """The paper's network is fixed; only its depth varies (2, 3 or 4 hidden layers)."""
    paper = PRESETS["paper"]
    fixed: tuple[tuple[str, object, object], ...] = (
        ("factor", factor, paper.factor),
        ("tiles", options.tiles, paper.tiles),
        ("width", options.width, paper.width),
        ("ratio", options.ratio, None),
        ("size", options.size, None),
        ("psnr", options.psnr, None),
        ("through_sr", options.through_sr, paper.through_sr),
        ("ensemble", options.ensemble, 1),
        ("focus", None if options.focus == focusing.ALL else options.focus, None),
    )
    for name, wished, given in fixed:
        if wished is not None and wished != given:
            raise UsageError(
                f"preset 'paper' fixes it{'' if given is None else f' at {given}'}, got {wished}; "
                f"did you mean preset 'balanced'?",
                value=wished,
                option=name,
            )
    if options.layers is not None and options.layers not in PAPER_LAYERS:
        raise UsageError(
            f"preset 'paper' has 2, 3 or 4 hidden layers, got {options.layers}; "
            "did you mean preset 'balanced'?",
            value=options.layers,
            option="layers",
        )
