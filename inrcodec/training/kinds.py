"""What kinds of values the options of a training take.

In: what Python or the command line gives.  Out: checked values, of the types that options have.
Invariant: imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from inrcodec import validate
from inrcodec.errors import UsageError
from inrcodec.format import limits
from inrcodec.layers.base.av1.video import QUALITIES
from inrcodec.layers.base.latent.model import RATES
from inrcodec.validate import Kind
from inrcodec.volume.box import Shape

MOST_PATCH = 512  # low-res voxels along an axis of a patch


def _paths(name: str, value: Any) -> tuple[Path, ...]:
    found = (value,) if isinstance(value, str | Path) else value
    return tuple(Path(validate.path(name, path)) for path in found)


def _three(name: str, value: object, high: int) -> Shape:
    """One whole number for all axes, or three."""
    if not isinstance(value, Iterable):
        n = validate.integer(name, value, 1, high)
        return n, n, n
    return validate.triple(name, value, high)


def _several(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,)


def _widths(name: str, value: Any) -> tuple[int, ...]:
    return tuple(validate.integer(name, width, 2, limits.WIDTH) for width in _several(value) if width != 0)


def _qualities(name: str, value: Any) -> tuple[int, ...]:
    first, last = QUALITIES[0], QUALITIES[-1]
    return tuple(validate.integer(name, quality, first, last) for quality in _several(value) if quality != 0)


def _rates(name: str, value: Any) -> tuple[int, ...]:
    return tuple(validate.integer(name, rate, 0, RATES - 1) for rate in _several(value))


def _pairs(name: str, value: Any) -> dict[str, Any]:
    """A mapping, or words NAME=VALUE."""
    if isinstance(value, Mapping):
        return dict(value)
    pairs = {}
    for word in value:
        key, sign, text = word.partition("=")
        validate.require(bool(key and sign and text), name, word, "NAME=VALUE")
        pairs[key] = text
    return pairs


def _offsets(name: str, value: Any) -> dict[str, float]:
    found = {}
    for key, offset in _pairs(name, value).items():
        try:
            found[key] = float(offset)
        except ValueError:
            raise UsageError(f"{offset!r} is not a number of HU", value=offset, option=name) from None
    return found


def _threes(high: int) -> Kind:
    return Kind(f"1 to {high}", lambda name, value: _three(name, value, high), validate.parse_ints, "N|Z,Y,X")


FACTOR, PATCH = _threes(limits.FACTOR), _threes(MOST_PATCH)
OFFSETS = Kind("", _offsets, metavar="NAME=HU", many=True)
LICENCES = Kind("", _pairs, metavar="NAME=TEXT", many=True)
VOLUMES = Kind("", _paths, metavar="VOLUME", many=True)
WIDTHS = Kind(f"2 to {limits.WIDTH:,}, or 0 for none", _widths, validate.parse_ints, "W,W,…")
LATENT = Kind(f"0 to {RATES - 1}", _rates, validate.parse_ints, "R,R,…")
AV1 = Kind(f"{QUALITIES[0]} to {QUALITIES[-1]}, or 0 for none", _qualities, validate.parse_ints, "Q,Q,…")
