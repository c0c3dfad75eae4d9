"""Charts of a page, as SVG.

In: a comparison.  Out: SVG elements.
Invariant: the same file gives the same page; Matplotlib draws without a date and with fixed identifiers.
"""

from __future__ import annotations

from importlib import import_module
from io import StringIO
from typing import Any

import numpy as np

from inrcodec.report import plots
from inrcodec.volume.comparison import Comparison

SIZE = (6.0, 3.0)  # inches
INK = "#33567f"
SALT = "inrcodec"  # of the identifiers in the SVG, which are random without one


def histogram(errors: Comparison, unit: str) -> str:
    """Histogram: voxels by their error, on a logarithmic scale."""
    figure, axes = _figure()
    edges = np.array(errors.edges)
    axes.stairs(np.maximum(errors.counts, 0.5), edges, fill=True, color=INK, baseline=0.5)
    axes.set(yscale="log", xlabel=f"decoded − source{f' ({unit})' if unit else ''}", ylabel="voxels")
    axes.xaxis.label.set_parse_math(False)  # a unit is text, whatever stands in it
    axes.set_xlim(edges[0], edges[-1])
    return _svg(figure)


def by_slice(errors: Comparison) -> str:
    """PSNR along the first axis; slices that are identical leave a gap."""
    figure, axes = _figure()
    values = np.where(np.isfinite(errors.by_slice), errors.by_slice, np.nan)
    axes.plot(np.arange(len(values)), values, color=INK, linewidth=1.2, marker="." if len(values) < 3 else "")
    if np.isfinite(errors.psnr):
        axes.axhline(errors.psnr, color="grey", linewidth=0.8, linestyle="--", label="all voxels")
        axes.legend(fontsize="small", frameon=False)
    axes.set(xlabel="slice", ylabel=f"PSNR (dB, peak {errors.peak:g})")
    axes.set_xlim(0, max(len(values) - 1, 1))
    return _svg(figure)


def _figure() -> tuple[Any, Any]:
    figure = plots.figure(*SIZE)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def _svg(figure: Any) -> str:
    with import_module("matplotlib").rc_context({"svg.hashsalt": SALT, "svg.fonttype": "none"}):
        stream = StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = stream.getvalue()
    return text[text.index("<svg") :]
