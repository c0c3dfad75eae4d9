"""Windows of physical values, by name or by their ends.

Invariant: a window that means nothing for the volume is refused, with the remedy.
Imports neither torch nor NumPy: options are checked before either is needed.
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

Window: TypeAlias = tuple[float, float]
Focus: TypeAlias = str | Window

ALL = "all"
WINDOWS: Mapping[str, Window] = MappingProxyType(
    {
        "brain": (0.0, 80.0),  # width 80, level 40
        "soft-tissue": (-160.0, 240.0),  # 400 / 40
        "lung": (-1000.0, -200.0),  # 800 / -600: parenchyma; the usual 1500 / -600 shows soft tissue as well
        "bone": (-450.0, 1050.0),  # 1500 / 300
    }
)
"""Windows of CT in Hounsfield units, lower and upper end: to focus on, to report errors in, to show."""

NARROWEST = 2**-13  # of [-1, 1], between the ends of a window: half a unit of a 12-bit scan


def parse_focus(value: object) -> Focus:
    """A focus in its plain form: "all", a window's name, or two ascending floats.

    Parameters
    ----------
    value : "all", a name of `WINDOWS`, "LO:HI" or (LO, HI) in physical units.

    Raises
    ------
    UsageError
        Anything else; the message says what was probably meant.
    """
    if isinstance(value, str) and (value == ALL or value in WINDOWS):
        return value
    parts = value.split(":") if isinstance(value, str) else value
    ends = _floats(parts) if isinstance(parts, Sequence) and len(parts) == 2 else []
    if not ends:
        near = did_you_mean(value, [ALL, *WINDOWS]) if isinstance(value, str) else ""
        hint = near or f", allowed: {ALL}, {', '.join(WINDOWS)} or LO:HI"
        raise _refusal(f"{value!r} is not a window{hint}", value)
    low, high = ends
    if not low < high:
        hint = f"did you mean {format_focus((high, low))}?" if low > high else "give a lower and an upper end"
        raise _refusal(f"{format_focus((low, high))} is an empty window, {hint}", value)
    return low, high


def _refusal(message: str, focus: object) -> UsageError:
    return UsageError(message, value=focus, option="focus")


def format_focus(focus: Focus) -> str:
    """A focus as text that `parse_focus` reads."""
    return focus if isinstance(focus, str) else f"{focus[0]:.10g}:{focus[1]:.10g}"


def unit_window(focus: Focus, volume: Volume, span: Range) -> tuple[Window | None, list[str]]:
    """A focus in unit values, and notices for the user.

    Returns
    -------
    window : (low, high) or None
        Ascending, within [-1, 1]; None for "all" and for a window that holds every value.
    notices : list of str

    Raises
    ------
    UsageError
        A window in Hounsfield units for another modality than CT; one outside the volume's values, or too
        narrow.
    """
    if focus == ALL or span.low == span.high:
        return None, []
    notices = _of_modality(focus, volume, span)
    values = format_focus(span.physical(volume.rescale))
    low, high = sorted(span.window(_window(focus), volume.rescale))
    if low >= 1 or high <= -1:
        cause = f"{_named(focus)} is outside the volume's values, {values}"
        raise _refusal(f"{cause}; choose a window among them", focus)
    low, high = max(low, -1.0), min(high, 1.0)
    if (low, high) == (-1.0, 1.0):
        return None, [*notices, f"focus {_named(focus)} holds all values of the volume: as without focus"]
    if high - low < NARROWEST:
        raise _refusal(f"{_named(focus)} is too narrow for values of {values}; choose a wider window", focus)
    return (low, high), notices


def error_windows(focus: Focus, volume: Volume, span: Range) -> dict[str, Window]:
    """Windows whose mean errors are reported, in stored units: for CT all of `WINDOWS`, and the focus."""
    windows = dict(WINDOWS) if is_hounsfield(volume, span) else {}
    if focus != ALL:
        windows[format_focus(focus)] = _window(focus)
    slope, intercept = volume.rescale
    stored = {name: sorted((v - intercept) / slope for v in ends) for name, ends in windows.items()}
    return {name: (low, high) for name, (low, high) in stored.items()}


def is_hounsfield(volume: Volume, span: Range) -> bool:
    """Whether windows of CT mean something for a volume."""
    return volume.modality == "CT" or (not volume.modality and looks_like_ct(span, volume))


def looks_like_ct(span: Range, volume: Volume) -> bool:
    """Whether values look like Hounsfield units: air near -1000, and something denser than soft tissue."""
    low, high = span.physical(volume.rescale)
    return -1100 <= low <= -900 and high > 200


def _of_modality(focus: Focus, volume: Volume, span: Range) -> list[str]:
    """A named window needs a CT; where the modality is unknown, it is taken in the volume's units."""
    if not isinstance(focus, str) or volume.modality == "CT":
        return []
    if volume.modality:
        raise _refusal(
            f"{_named(focus)} is a window of CT, the volume is {volume.modality} with values of "
            f"{format_focus(span.physical(volume.rescale))}; did you mean a window LO:HI among them?",
            focus,
        )
    if looks_like_ct(span, volume):
        return []
    return [f"the modality is unknown: focus {_named(focus)} is taken in the volume's units"]


def _window(focus: Focus) -> Window:
    return WINDOWS[focus] if isinstance(focus, str) else focus


def _named(focus: Focus) -> str:
    return f"{focus} ({format_focus(_window(focus))})" if isinstance(focus, str) else format_focus(focus)


def _floats(parts: Sequence[object]) -> list[float]:
    """All parts as finite floats, or none."""
    try:
        ends = [float(part) for part in parts if not isinstance(part, bool)]  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return []
    return ends if len(ends) == 2 and all(map(isfinite, ends)) else []
