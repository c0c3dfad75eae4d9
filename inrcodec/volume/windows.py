"""Which values matter: a window of physical values, by name or by its ends.

In: the user's word, a volume and the range of its values.  Out: the window in unit values, and the windows
whose errors are worth telling.
The one law: a window that means nothing for the volume is refused, with the way out.

Imports neither torch nor NumPy: options are checked before either is wanted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from inrcodec.errors import UsageError
from inrcodec.validate import did_you_mean

if TYPE_CHECKING:
    from inrcodec.volume.value_range import Range
    from inrcodec.volume.volume import Volume

__all__ = ["ALL", "WINDOWS", "Focus", "Window", "checked", "like_hounsfield", "told", "unit_window", "word"]

Window: TypeAlias = tuple[float, float]
Focus: TypeAlias = str | Window

ALL = "all"
WINDOWS: Mapping[str, Window] = MappingProxyType(
    {
        "brain": (0.0, 80.0),  # as radiologists set it: width 80 about 40
        "soft-tissue": (-160.0, 240.0),  # width 400 about 40
        "lung": (-1000.0, -200.0),  # parenchyma; the window of 1500 about -600 has soft tissue in it as well
        "bone": (-450.0, 1050.0),  # width 1500 about 300
    }
)
"""Hounsfield units, for CT."""

NARROWEST = 2**-13  # of [-1, 1], between the ends of a window: half a unit of a 12-bit scan


def checked(value: object) -> Focus:
    """The wish in its plain form: "all", a window's name, or two floats that ascend.

    Parameters
    ----------
    value : "all", a name of `WINDOWS`, "LO:HI" or (LO, HI) in physical units.

    Raises
    ------
    UsageError
        None of these, with what was probably meant.
    """
    if isinstance(value, str) and (value == ALL or value in WINDOWS):
        return value
    parts = value.split(":") if isinstance(value, str) else value
    ends = _floats(parts) if isinstance(parts, Sequence) and len(parts) == 2 else []
    if not ends:
        near = did_you_mean(value, [ALL, *WINDOWS]) if isinstance(value, str) else ""
        hint = near or f", allowed: {ALL}, {', '.join(WINDOWS)} or LO:HI"
        raise UsageError(f"{value!r} is not a window{hint}", value=value, option="focus")
    low, high = ends
    if not low < high:
        meant = f"did you mean {word((high, low))}?" if low > high else "give it a lower and an upper end"
        raise UsageError(f"{word((low, high))} is an empty window, {meant}", value=value, option="focus")
    return low, high


def word(focus: Focus) -> str:
    """The wish as it is written on the command line."""
    return focus if isinstance(focus, str) else f"{focus[0]:.10g}:{focus[1]:.10g}"


def unit_window(focus: Focus, volume: Volume, span: Range) -> tuple[Window | None, list[str]]:
    """The window in unit values, and what the user should know.

    Returns
    -------
    (low, high), ascending, within [-1, 1]; None for "all", and where the window holds every value.

    Raises
    ------
    UsageError
        A window of Hounsfield units for what is no CT; one outside the volume's values, or too narrow.
    """
    if focus == ALL or span.low == span.high:
        return None, []
    notices = _of_modality(focus, volume, span)
    window = _window(focus)
    low, high = sorted((v - span.low) * (2 / (span.high - span.low)) - 1 for v in _stored(window, volume))
    if low >= 1 or high <= -1:
        raise UsageError(
            f"{_named(focus)} is outside the volume's values, {word(_physical(span, volume))}; "
            "choose a window among them",
            value=focus,
            option="focus",
        )
    low, high = max(low, -1.0), min(high, 1.0)
    if (low, high) == (-1.0, 1.0):
        return None, [*notices, f"focus {_named(focus)} holds all values of the volume: as without focus"]
    if high - low < NARROWEST:
        raise UsageError(
            f"{_named(focus)} is too narrow for values of {word(_physical(span, volume))}; "
            "choose a wider window",
            value=focus,
            option="focus",
        )
    return (low, high), notices


def told(focus: Focus, volume: Volume, span: Range) -> dict[str, Window]:
    """Windows whose errors the ledger tells, in stored units: of CT the usual ones, and the user's own."""
    hounsfield = volume.modality == "CT" or (not volume.modality and like_hounsfield(span, volume))
    windows = dict(WINDOWS) if hounsfield else {}
    if focus != ALL:
        windows[word(focus)] = _window(focus)
    stored = {name: sorted(_stored(window, volume)) for name, window in windows.items()}
    return {name: (low, high) for name, (low, high) in stored.items()}


def like_hounsfield(span: Range, volume: Volume) -> bool:
    """Whether values look like a CT's: air near -1000, and something denser than soft tissue."""
    low, high = _physical(span, volume)
    return -1100 <= low <= -900 and high > 200


def _of_modality(focus: Focus, volume: Volume, span: Range) -> list[str]:
    """A window of Hounsfield units needs a CT; one in a volume that does not say is the user's word."""
    if not isinstance(focus, str) or volume.modality == "CT":
        return []
    low, high = _physical(span, volume)
    if volume.modality:
        raise UsageError(
            f"{_named(focus)} is a window of CT, the volume is {volume.modality} with values of "
            f"{word((low, high))}; did you mean a window LO:HI among them?",
            value=focus,
            option="focus",
        )
    if like_hounsfield(span, volume):
        return []
    return [f"the modality is unknown: focus {_named(focus)} is taken in the volume's units"]


def _window(focus: Focus) -> Window:
    return WINDOWS[focus] if isinstance(focus, str) else focus


def _named(focus: Focus) -> str:
    return f"{focus} ({word(_window(focus))})" if isinstance(focus, str) else word(focus)


def _stored(window: Window, volume: Volume) -> list[float]:
    """Physical values as they are stored."""
    slope, intercept = volume.rescale
    return [(v - intercept) / slope for v in window]


def _physical(span: Range, volume: Volume) -> Window:
    """The volume's smallest and largest physical value."""
    slope, intercept = volume.rescale
    low, high = sorted(v * slope + intercept for v in (span.low, span.high))
    return low, high


def _floats(parts: Sequence[object]) -> list[float]:
    """All parts as finite floats, or none."""
    try:
        found = [float(part) for part in parts if not isinstance(part, bool)]  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return []
    return found if len(found) == 2 and all(map(isfinite, found)) else []
