"""Matplotlib, on demand.

In: a size.  Out: an empty figure, or the error that names the extra.
Invariant: Matplotlib is imported with the first figure, and no window is ever opened.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from inrcodec.errors import MissingExtra


def require() -> None:
    """Check that Matplotlib is installed.

    Raises
    ------
    MissingExtra
    """
    try:
        import_module("matplotlib")
    except ImportError as error:
        raise MissingExtra("Matplotlib, which draws the charts, is not installed", extra="plots") from error


def figure(width: float, height: float) -> Any:
    """An empty figure of a width and height in inches.

    Raises
    ------
    MissingExtra
    """
    require()
    return import_module("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")
