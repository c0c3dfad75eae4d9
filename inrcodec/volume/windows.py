"""Windows of physical values, by name or by their ends.

In: a window as the user gives it, a volume and the range of its values.  Out: the window in unit values, and
the windows whose errors are reported.
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

__all__ = ["ALL", "WINDOWS", "Focus", "Window", "error_windows", "format_focus", "looks_like_ct"]
__all__ += ["parse_focus", "unit_window"]

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
        raise UsageError(f"{value!r} is not a window{hint}", value=value, option="focus")
    low, high = ends
    if not low < high:
        meant = (
            f"did you mean {format_focus((high, low))}?" if low > high else "give a lower and an upper end"
        )
        raise UsageError(
            f"{format_focus((low, high))} is an empty window, {meant}", value=value, option="focus"
        )
    return low, high


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
    window = _window(focus)
    low, high = sorted((v - span.low) * (2 / (span.high - span.low)) - 1 for v in _stored(window, volume))
    if low >= 1 or high <= -1:
        raise UsageError(
            f"{_named(focus)} is outside the volume's values, {format_focus(_physical(span, volume))}; "
            "choose a window among them",
            value=focus,
            option="focus",
        )
    low, high = max(low, -1.0), min(high, 1.0)
    if (low, high) == (-1.0, 1.0):
        return None, [*notices, f"focus {_named(focus)} holds all values of the volume: as without focus"]
    if high - low < NARROWEST:
        raise UsageError(
            f"{_named(focus)} is too narrow for values of {format_focus(_physical(span, volume))}; "
            "choose a wider window",
            value=focus,
            option="focus",
        )
    return (low, high), notices


def error_windows(focus: Focus, volume: Volume, span: Range) -> dict[str, Window]:
    """Windows whose mean errors are reported, in stored units: for CT all of `WINDOWS`, and the focus."""
    hounsfield = volume.modality == "CT" or (not volume.modality and looks_like_ct(span, volume))
    windows = dict(WINDOWS) if hounsfield else {}
    if focus != ALL:
        windows[format_focus(focus)] = _window(focus)
    stored = {name: sorted(_stored(window, volume)) for name, window in windows.items()}
    return {name: (low, high) for name, (low, high) in stored.items()}


def looks_like_ct(span: Range, volume: Volume) -> bool:
    """Whether values look like Hounsfield units: air near -1000, and something denser than soft tissue."""
    low, high = _physical(span, volume)
    return -1100 <= low <= -900 and high > 200


def _of_modality(focus: Focus, volume: Volume, span: Range) -> list[str]:
    """A named window needs a CT; where the modality is unknown, it is taken in the volume's units."""
    if not isinstance(focus, str) or volume.modality == "CT":
        return []
    low, high = _physical(span, volume)
    if volume.modality:
        raise UsageError(
            f"{_named(focus)} is a window of CT, the volume is {volume.modality} with values of "
            f"{format_focus((low, high))}; did you mean a window LO:HI among them?",
            value=focus,
            option="focus",
        )
    if looks_like_ct(span, volume):
        return []
    return [f"the modality is unknown: focus {_named(focus)} is taken in the volume's units"]


def _window(focus: Focus) -> Window:
    return WINDOWS[focus] if isinstance(focus, str) else focus


def _named(focus: Focus) -> str:
    return f"{focus} ({format_focus(_window(focus))})" if isinstance(focus, str) else format_focus(focus)


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
        ends = [float(part) for part in parts if not isinstance(part, bool)]  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return []
    return ends if len(ends) == 2 and all(map(isfinite, ends)) else []
