"""Which coder takes the low-res volume: the one that is requested, or the best of all that are there.

In: facts of a volume, options, and how one coder serves them.  Out: `Measured`, of the best one.
Invariant: a coder is preferred for what its file gave, and the notice says what the others gave, or why they
were left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import log
from types import MappingProxyType

from inrcodec.encoder import grid_search
from inrcodec.encoder.bases.table import BASES
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.measured import Measured
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.encoder.presets import AUTO
from inrcodec.encoder.tissue import aim as tissue_aim
from inrcodec.errors import MissingExtra, ModelNotFound, TargetNotReached
from inrcodec.format.header import AV1, LATENT, NO_CODER, SIREN
from inrcodec.layers.base.av1 import video
from inrcodec.layers.base.latent import models
from inrcodec.progress import Progress

Encode = Callable[[Facts, ResolvedOptions, Progress | None], Measured]
"""An encoding by the base that the options name."""

LEVEL, LEVEL_BYTES = 0.2, 0.03  # dB, and share of the bytes, within which the low-pass error decides
# dB, and times the bytes, by which a forecast of networks must be behind for them not to be fitted: it
# flatters them.
BEHIND, BEHIND_BYTES = 0.5, 1.1


def encoded(facts: Facts, options: ResolvedOptions, progress: Progress | None, encode: Encode) -> Measured:
    """The encoding by the base that is requested, or by the best one."""
    if options.base == AUTO:
        return _best(facts, options, progress, encode)
    return encode(facts, options, progress)


def planned(options: ResolvedOptions) -> ResolvedOptions:
    """The options with the base that is tried first."""
    if options.base != AUTO:
        return options
    return replace(options, base=next(base for base, missing in CODERS.items() if not missing()))


def without_latents() -> str:
    """Why latents cannot be encoded here; empty where they can."""
    try:
        models.usual()
    except ModelNotFound as error:
        return error.message
    return ""


def without_av1() -> str:
    """Why AV1 cannot be encoded here; empty where it can."""
    try:
        video.check_installed()
    except MissingExtra as error:
        return error.message
    return ""


# In the order in which they are tried, those of a few seconds first; and why each cannot be, if so.
CODERS: Mapping[str, Callable[[], str]] = MappingProxyType(
    {LATENT: without_latents, AV1: without_av1, SIREN: str}
)


def _best(facts: Facts, options: ResolvedOptions, progress: Progress | None, encode: Encode) -> Measured:
    """Of all coders the one of the fewest bytes for a PSNR, else of the highest PSNR in as many bytes.

    Without a target those that are steered to an error of flat tissue are held against each other by it.
    """
    found: list[Measured] = []
    left_out: dict[str, str] = {}
    refusals: dict[str, TargetNotReached] = {}
    targets = (options.size, options.ratio, options.psnr)
    size, wanted = options.size, tissue_aim.aim(facts, options)
    for base, missing in CODERS.items():
        is_steered = wanted is not None and base != SIREN
        here = replace(options, base=base, size=None if is_steered else size)
        why = missing() or (_why_behind(facts, here, found) if base == SIREN else "")
        if why:
            left_out[base] = why
            continue
        try:
            found.append(encode(facts, here, progress))
        except TargetNotReached as error:
            requested = here.size == options.size
            less = "" if requested else f"{size:,} bytes are too few for {BASES[base].least}"
            left_out[base], refusals[base] = less or error.message, error
        else:
            size = found[0].size if targets == (None, None, None) else size
    if not found:
        raise _refusal(left_out, refusals)
    chosen = found[0]
    for other in found[1:]:
        chosen = other if _is_better(other, chosen, wanted) else chosen
    told = [_told(chosen), *(_told(other) for other in found if other is not chosen)]
    told += [f"{base!r} does not serve here: {why}" for base, why in left_out.items()]
    return _with_notice(chosen, f"base {'; '.join(told)}")


def _refusal(left_out: Mapping[str, str], refusals: Mapping[str, TargetNotReached]) -> TargetNotReached:
    """What all coders say, of which none serves."""
    last = list(refusals.values())[-1]
    said = "; ".join(f"base {base!r}: {why}" for base, why in left_out.items())
    return TargetNotReached(said, value=last.value, option=last.option)


def _why_behind(facts: Facts, options: ResolvedOptions, found: list[Measured]) -> str:
    """Why networks, which take minutes, are not fitted; empty where they may be the best."""
    if not found:
        return ""
    if options.psnr is not None:
        least = min(one.size for one in found)
        grids = grid_search.in_order(facts, options, options.psnr)
        needed = next((row.bytes for row in grids[0].considered if row.chosen), 0)
        if needed is None:
            return "it is forecast not to reach it"
        return f"it is forecast to take {needed:,} bytes" if needed > least * BEHIND_BYTES else ""
    size = max(one.size for one in found)
    grid = grid_search.choose(facts, options, size)
    reached = next((row.psnr for row in grid.considered if row.chosen), None)
    far = reached is not None and reached < max(one.psnr for one in found) - BEHIND
    return f"{reached:.2f} dB are forecast in {size:,} bytes" if far else ""


def _is_better(one: Measured, other: Measured, wanted: float | None) -> bool:
    """Whether a file of as many bytes, or of as high a PSNR, is better; by the low-pass error where level.

    Where an error of flat tissue is aimed at, the smaller of those within the aim is, else that nearer to it.
    """
    if wanted is not None:
        return _missed(one, wanted) < _missed(other, wanted)
    if one.plan.options.psnr is not None:
        more, level = log(other.size / one.size), LEVEL_BYTES
    else:
        more, level = one.psnr - other.psnr, LEVEL
    errors = [found.low_pass for found in (one, other)]
    if abs(more) >= level or None in errors:
        return more > 0
    here, there = errors
    return here is not None and there is not None and here.error < there.error


def _missed(found: Measured, wanted: float) -> tuple[bool, float]:
    """By what an aim is missed, then the bytes; the less, the better."""
    error = tissue_aim.error_of(found)
    return (True, error) if error > wanted else (False, found.size)


def _told(found: Measured) -> str:
    seen, unit = found.low_pass, f" {found.header.unit}".rstrip()
    flat = "" if seen is None else f", low-pass error {seen.error:.3g}{unit}"
    name = "none, a refinement alone" if found.header.coder == NO_CODER else repr(found.header.coder)
    return f"{name}: {found.psnr:.2f} dB in {found.size:,} bytes{flat}"


def _with_notice(found: Measured, notice: str) -> Measured:
    return replace(found, notices=(*found.notices, notice))
