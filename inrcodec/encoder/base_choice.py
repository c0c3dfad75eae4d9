"""Which coder takes the low-res volume: the one that is requested, or the best of all that are there.

In: facts of a volume, options, and how one coder serves them.  Out: `Measured`, of the better one.
Invariant: a coder is preferred for what its file gave, and the notice says what the others gave.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from math import log

from inrcodec.encoder.facts import Facts
from inrcodec.encoder.measured import Measured
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.encoder.presets import AUTO
from inrcodec.errors import TargetNotReached
from inrcodec.format.header import AV1, SIREN
from inrcodec.progress import Progress

Encode = Callable[[Facts, ResolvedOptions, Progress | None], Measured]
"""An encoding by the base that the options name."""

PACKAGE = "av"  # what AV1 needs
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
    return replace(options, base=AV1 if has_av1() else SIREN)


def has_av1() -> bool:
    """Whether AV1 can be encoded here."""
    return find_spec(PACKAGE) is not None


def _best(facts: Facts, options: ResolvedOptions, progress: Progress | None, encode: Encode) -> Measured:
    """AV1 or networks: of the fewest bytes for a PSNR, else of the highest PSNR in as many bytes."""
    if not has_av1():
        found = encode(facts, replace(options, base=SIREN), progress)
        return _with_notice(found, f"base {SIREN!r}: PyAV, which base {AV1!r} needs, is not installed")
    try:
        first = encode(facts, replace(options, base=AV1), progress)
    except TargetNotReached:
        return encode(facts, replace(options, base=SIREN), progress)
    targets = (options.size, options.ratio, options.psnr)
    size = first.size if targets == (None, None, None) else options.size
    try:
        second = encode(facts, replace(options, base=SIREN, size=size), progress)
    except TargetNotReached as error:
        return _with_notice(first, f"base {AV1!r}: {SIREN!r} does not serve here, {error.args[0]}")
    chosen, other = (second, first) if _is_better(second, first) else (first, second)
    return _with_notice(chosen, f"base {_told(chosen)}; {_told(other)}")


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
    return f"{found.header.coder!r}: {found.psnr:.2f} dB in {found.size:,} bytes{flat}"


def _with_notice(found: Measured, notice: str) -> Measured:
    return replace(found, notices=(*found.notices, notice))
