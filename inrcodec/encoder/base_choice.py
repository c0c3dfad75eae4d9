"""Which coder takes the low-res volume: the one that is requested, or the best of all that are there.

In: facts of a volume, options, and how one coder serves them.  Out: `Measured`, of the better one.
Invariant: a coder is preferred for what its file gave, and the notice says what the others gave.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import log

from inrcodec.encoder.facts import Facts
from inrcodec.encoder.measured import Measured
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.encoder.presets import AUTO
from inrcodec.errors import MissingExtra, TargetNotReached
from inrcodec.format.header import AV1, NO_CODER, SIREN
from inrcodec.layers.base.av1 import video
from inrcodec.progress import Progress

Encode = Callable[[Facts, ResolvedOptions, Progress | None], Measured]
"""An encoding by the base that the options name."""

LEVEL, LEVEL_BYTES = 0.2, 0.03  # dB, and share of the bytes, within which the low-pass error decides


def encoded(facts: Facts, options: ResolvedOptions, progress: Progress | None, encode: Encode) -> Measured:
    """The encoding by the base that is requested, or by the better one."""
    if options.base == AUTO:
        return _best(facts, options, progress, encode)
    return encode(facts, options, progress)


def planned(options: ResolvedOptions) -> ResolvedOptions:
    """The options with the base that is tried first."""
    if options.base != AUTO:
        return options
    return replace(options, base=SIREN if without_av1() else AV1)


def without_av1() -> str:
    """Why AV1 cannot be encoded here; empty where it can."""
    try:
        video.check_installed()
    except MissingExtra as error:
        return error.message
    return ""


def _best(facts: Facts, options: ResolvedOptions, progress: Progress | None, encode: Encode) -> Measured:
    """AV1 or networks: of the fewest bytes for a PSNR, else of the highest PSNR in as many bytes."""
    missing = without_av1()
    if missing:
        found = encode(facts, replace(options, base=SIREN), progress)
        return _with_notice(found, f"base {SIREN!r}: {missing}")
    try:
        first = encode(facts, replace(options, base=AV1), progress)
    except TargetNotReached as error:
        return _networks(facts, options, progress, encode, error)
    targets = (options.size, options.ratio, options.psnr)
    size = first.size if targets == (None, None, None) else options.size
    try:
        second = encode(facts, replace(options, base=SIREN, size=size), progress)
    except TargetNotReached as error:
        why = error.message if size == options.size else f"no networks are as small as {size:,} bytes"
        return _with_notice(first, f"base {_told(first)}; {SIREN!r} does not serve here: {why}")
    chosen, other = (second, first) if _is_better(second, first) else (first, second)
    return _with_notice(chosen, f"base {_told(chosen)}; {_told(other)}")


def _networks(
    facts: Facts,
    options: ResolvedOptions,
    progress: Progress | None,
    encode: Encode,
    refusal: TargetNotReached,
) -> Measured:
    """Networks, where AV1 was refused; what either says where both are."""
    try:
        found = encode(facts, replace(options, base=SIREN), progress)
    except TargetNotReached as error:
        both = f"base {AV1!r}: {refusal.message}; base {SIREN!r}: {error.message}"
        raise TargetNotReached(both, value=error.value, option=error.option) from error
    return _with_notice(found, f"base {_told(found)}; {AV1!r} does not serve here: {refusal.message}")


def _is_better(one: Measured, other: Measured) -> bool:
    """Whether a file of as many bytes, or of as high a PSNR, is better; by the low-pass error where level."""
    if one.plan.options.psnr is not None:
        more, level = log(other.size / one.size), LEVEL_BYTES
    else:
        more, level = one.psnr - other.psnr, LEVEL
    errors = [found.low_pass for found in (one, other)]
    if abs(more) >= level or None in errors:
        return more > 0
    here, there = errors
    return here is not None and there is not None and here.error < there.error


def _told(found: Measured) -> str:
    seen, unit = found.low_pass, f" {found.header.unit}".rstrip()
    flat = "" if seen is None else f", low-pass error {seen.error:.3g}{unit}"
    name = "none, a refinement alone" if found.header.coder == NO_CODER else repr(found.header.coder)
    return f"{name}: {found.psnr:.2f} dB in {found.size:,} bytes{flat}"


def _with_notice(found: Measured, notice: str) -> Measured:
    return replace(found, notices=(*found.notices, notice))
