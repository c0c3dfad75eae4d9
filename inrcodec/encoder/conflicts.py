"""Options that cannot be given together.

In: options, each in its own range, and their rows.  Out: nothing, or a refusal.
Invariant: every refusal says which option to leave out.  Imports neither torch nor NumPy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from inrcodec.encoder.presets import CODERS, PRESETS
from inrcodec.errors import UsageError
from inrcodec.validate.rows import Option

if TYPE_CHECKING:
    from inrcodec.encoder.options import EncodeOptions

OF_STREAMS = CODERS[1:]  # which have nothing to fit


def refuse(options: EncodeOptions, rows: Mapping[str, Option]) -> None:
    """Refuse options that cannot be given together, whatever the volume."""
    given = {name: getattr(options, name) for name in rows if getattr(options, name) != rows[name].default}
    _refuse_second_target(given, rows)
    _refuse_missing(given, rows)
    bounded = given.keys() & {"lossless", "max_error"}
    if bounded and not options.base:
        for name in given:
            if rows[name].for_networks:
                raise UsageError(
                    f"has no meaning with {bounded.pop()}, which has no networks; leave it out, or set base",
                    value=given[name],
                    option=name,
                )
    if options.base in OF_STREAMS:
        for name in given:
            if rows[name].for_fit:
                raise UsageError(
                    f"has no meaning with base {options.base!r}, which has no networks to fit: leave one of "
                    "them out",
                    value=given[name],
                    option=name,
                )
    _refuse_changes(options.preset, given)


def _refuse_second_target(given: Mapping[str, object], rows: Mapping[str, Option]) -> None:
    targets = [name for name in given if rows[name].exclusive]
    if len(targets) > 1:
        raise UsageError(
            "only one of them can be the target, give one of them",
            value=tuple(given[name] for name in targets),
            option=tuple(targets),
        )


def _refuse_missing(given: Mapping[str, object], rows: Mapping[str, Option]) -> None:
    for name, value in given.items():
        needs = rows[name].needs
        if needs and not given.keys() & set(needs):
            *most, last = needs
            raise UsageError(
                f"has no meaning without {', '.join(most)} or {last}: leave it out, or give one of them",
                value=value,
                option=name,
            )


def _refuse_changes(preset: str, given: Mapping[str, object]) -> None:
    """Refuse what a preset fixes at another value."""
    for name, allowed in PRESETS[preset].fixed.items():
        if name in given and given[name] not in allowed:
            fixed = f"fixes it at {' or '.join(map(str, allowed))}" if allowed else "does not take it"
            raise UsageError(
                f"preset {preset!r} {fixed}, got {given[name]}; did you mean preset 'balanced'?",
                value=given[name],
                option=name,
            )
