"""Matplotlib, on demand.

In: a size.  Out: an empty figure, or the error that names the extra.
The one law: nothing is imported before a figure is wanted, and no window is ever opened.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from inrcodec.errors import MissingExtra


def require() -> None:
    """Refuse to go on where Matplotlib is not there.

    Raises
    ------
    MissingExtra
    """
    try:
        import_module("matplotlib")
    except ImportError as error:
        raise MissingExtra("Matplotlib, which draws the charts, is not installed", extra="plots") from error


def figure(width: float, height: float) -> Any:
    """An empty figure of so many inches.

    Raises
    ------
    MissingExtra
    """
    require()
    return import_module("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")
