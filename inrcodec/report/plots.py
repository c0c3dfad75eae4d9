"""Matplotlib, on demand: imported with the first figure; no window is ever opened."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from inrcodec.errors import MissingExtra


def require() -> None:
    """Check that Matplotlib is installed; raises `MissingExtra`."""
    try:
        import_module("matplotlib")
    except ImportError as error:
        raise MissingExtra("Matplotlib, which draws the charts, is not installed", extra="plots") from error


def figure(width: float, height: float) -> Any:
    """An empty figure of a width and height in inches; raises `MissingExtra`."""
    require()
    return import_module("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")
