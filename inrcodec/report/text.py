"""Reports as text: where every byte went, and what it bought.

Invariant: all bytes are counted, nothing is rounded up; ratios say against what, PSNR says its peak, errors
say their unit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

from inrcodec.format.header import AV1, LATENT, SIREN
from inrcodec.validate.rows import Option
from inrcodec.volume.windows import ALL

if TYPE_CHECKING:
    from inrcodec.encoder.ledger import EncodeReport

__all__ = ["facts", "grid_lines", "plan_text", "report_text", "shortest", "value_text"]

Row = tuple[str, str]

ALONG_AXES = ("shape", "spacing", "factor", "lowres_shape", "tiles")  # facts with a number for each axis


def report_text(report: EncodeReport, target: str, *, verbose: bool = False) -> str:
    """Return the report of one encoding.

    Parameters
    ----------
    report : EncodeReport
    target : str
        Name of the file that was written.
    verbose : bool
        Add why this grid was chosen, and which others were considered.
    """
    rows = [*_bytes(report), *_against(report), *_quality(report), *_made_with(report)]
    lines = [target, *(f"  {label:<16} {value}" for label, value in rows)]
    if verbose:
        lines += [f"  grid: {line}" for line in [report.reason, *grid_lines(report.considered)]]
    lines += [f"  note: {notice}" for notice in report.notices]
    return "\n".join(lines)


def facts(result: Mapping[str, Any]) -> str:
    """Return a nested mapping as aligned lines, for `inrv-info`, `inrv-dec` and ``--dry-run``."""
    return "\n".join(_nested(result, depth=0))


def plan_text(plan: Mapping[str, Any], rows: Mapping[str, Option]) -> str:
    """Return a plan as aligned lines, with time and bytes as estimates and the units of the options given."""
    words = dict(plan) | {"considered": grid_lines(plan["considered"])}
    size, seconds = words.pop("predicted_bytes"), words.pop("seconds", None)
    words["predicted size"] = "only known in the end" if size is None else f"about {size:,} bytes"
    if seconds is not None:
        words["predicted time"] = f"about {duration(seconds)}"
    options = words.pop("options", {})
    words["options"] = {
        name: f"{value_text(value)} {rows[name].unit}".strip() for name, value in options.items()
    }
    return facts({name: value for name, value in words.items() if value not in ([], "", (), {})})


def duration(seconds: float) -> str:
    """Return a time as text: "8 s", "3 min", "2.5 h"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def grid_lines(considered: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each grid that was considered (`grid_search.Considered` as a mapping)."""
    lines = []
    for grid in considered:
        ceiling = "no ceiling" if grid["ceiling"] is None else f"ceiling {grid['ceiling']:.2f} dB"
        expected = "out of reach"
        if grid["bytes"] is not None:
            expected = f"forecast {grid['psnr']:.2f} dB in {grid['bytes']:,} bytes"
        factor, shape = _across(grid["factor"]), _across(grid["lowres_shape"])
        taken = ", chosen" if grid["chosen"] else ""
        lines.append(f"{factor}: low-res {shape}, {ceiling}, {expected}{taken}")
    return lines


def _bytes(report: EncodeReport) -> list[Row]:
    """Parts that take bytes; what a file without a base has in place of them counts as its container."""
    parts, total = {name: size for name, size in report.sections.items() if size}, report.file_bytes
    if not _has_networks(report):
        parts["container"] += parts.pop("base", 0) + parts.pop("mask", 0)
    rows = [(name, f"{size:>12,} bytes {share(size, total):>7}") for name, size in parts.items()]
    return [*rows, ("file", f"{total:>12,} bytes")]


def _has_networks(report: EncodeReport) -> bool:
    return report.psnr_lowres is not None


def _against(report: EncodeReport) -> list[Row]:
    kind = f"{_across(report.shape)} {report.dtype}"
    rows = [("voxels", f"{report.voxel_bytes:>12,} bytes ({kind}), {report.ratio:,.1f} : 1")]
    if report.source_bytes is not None:
        ratio = report.source_bytes / report.file_bytes
        rows.append(("source on disk", f"{report.source_bytes:>12,} bytes, {ratio:,.1f} : 1"))
    return [*rows, ("bits per voxel", f"{report.bpv:.5f}"), ("modality", report.modality or "unknown")]


def _quality(report: EncodeReport) -> list[Row]:
    unit = f" {report.unit}" if report.unit else ""
    rows = [("PSNR", f"{decibels(report.psnr)} (peak {report.peak:g})")]
    if report.psnr_lanczos != report.psnr:
        rows.append(("  by Lanczos", f"{decibels(report.psnr_lanczos)} (model left out)"))
    if report.psnr_lowres is not None:
        fit = "fitted for the full-res volume" if report.through_sr else "the fit alone"
        rows.append(("  of low-res", f"{decibels(report.psnr_lowres)} ({fit})"))
    promise = "" if report.bound is None else f" (promised: at most {shortest(report.bound)})"
    rows.append(("largest error", f"{report.max_error:g}{unit}{promise}"))
    if report.mean_errors:
        means = ", ".join(f"{name} {mean:.3g}" for name, mean in report.mean_errors.items())
        rows.append(("mean error in", means + unit))
    return [*rows, *_in_flat_tissue(report, unit)]


def _in_flat_tissue(report: EncodeReport, unit: str) -> list[Row]:
    """Errors that look like findings."""
    if report.low_pass_error is None or report.low_pass_off is None:
        return [] if report.bound == 0 else [("low-pass error", "no flat tissue to measure it in")]
    where = f"{report.low_pass_window}{unit}: {report.low_pass_voxels:,} voxels"
    after = (
        f"{report.low_pass_error_mm:.3g}{unit}, "
        f"{100 * report.low_pass_off:.1f} % of it off by more than {report.low_pass_tolerance:.3g}{unit}"
        f"{'' if report.low_pass_aim is None else f'; {report.low_pass_aim:.3g}{unit} were aimed at'}"
    )
    rows = [("low-pass error", f"{report.low_pass_error:.3g}{unit} ({where})"), ("  after 5 mm", after)]
    if report.seam_energy is not None:
        rows.append(("  at seams", f"{report.seam_energy:.2f} times that beside them"))
    return rows


def _made_with(report: EncodeReport) -> list[Row]:
    rows = []
    if _has_networks(report):
        mean = "" if report.ensemble == 1 else f", mean of {report.ensemble} images"
        rows = [
            ("factor", f"{_across(report.factor)} (z, y, x)"),
            ("coder", _base(report)),
            ("model", f"{report.sr}{mean}"),
        ]
    if report.focus != ALL:
        rows.append(("focus", report.focus))
    stages = ", ".join(f"{name} {spent:.1f}" for name, spent in report.seconds.items())
    return [*rows, ("seconds", f"{sum(report.seconds.values()):.1f} ({stages})")]


def _base(report: EncodeReport) -> str:
    if report.base != SIREN:
        return {AV1: "AV1", LATENT: "latents of a trained model"}.get(report.base, report.base)
    each = f"each of {report.layers} layers of {report.width} units"
    return f"{math.prod(report.tiles)} networks ({_across(report.tiles)}), {each}, seed {report.seed}"


def shortest(value: float) -> str:
    """Return a number as text that is neither more nor less."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def decibels(value: float) -> str:
    """Return a PSNR as text; identical volumes have an infinite one."""
    return f"{value:.2f} dB" if math.isfinite(value) else "identical"


def share(part: int, total: int) -> str:
    """Return a part of the whole in per cent."""
    return f"{100 * part / total:.1f} %" if total else "-"


def _across(axes: Sequence[int]) -> str:
    return " x ".join(map(str, axes))


def _nested(result: Mapping[str, Any], depth: int) -> list[str]:
    lines = []
    width = max((len(str(key)) for key, item in result.items() if not isinstance(item, Mapping)), default=0)
    for key, item in result.items():
        label = f"{'':{2 * depth}}{str(key).replace('_', ' ')}"
        if isinstance(item, Mapping):
            lines += [label, *_nested(item, depth + 1)] if item else [f"{label}  -"]
            continue
        texts = [f"{value_text(item)}{_axes(key, item)}"]
        if _is_lines(item):
            texts = list(item)
        elif _is_matrix(item):
            texts = [value_text(row) for row in item[:3]]  # the last row of an affine is always 0, 0, 0, 1
        starts = [label, *[""] * (len(texts) - 1)]
        lines += [f"{s:<{2 * depth + width}}  {t}".rstrip() for s, t in zip(starts, texts, strict=True)]
    return lines


def _is_lines(item: object) -> TypeGuard[Sequence[str]]:
    """Whether these are sentences, such as notices."""
    return isinstance(item, list | tuple) and bool(item) and isinstance(item[0], str)


def _is_matrix(item: object) -> TypeGuard[Sequence[Any]]:
    """Whether this is an affine."""
    return isinstance(item, list | tuple) and len(item) == 4 and isinstance(item[0], list | tuple)


def _axes(key: str, item: object) -> str:
    """The order of the axes, where it is not plain."""
    if key not in ALONG_AXES or not isinstance(item, list | tuple):
        return ""
    return {2: " (y, x)", 3: " (z, y, x)"}.get(len(item), "")


def value_text(item: object) -> str:
    """A fact as text: commas between thousands and in sequences, semicolons between rows of a matrix.

    Examples
    --------
    >>> value_text([0.123456789, 12345, True]), value_text(None), value_text([[1, 0], [0, 1]])
    ('0.123457, 12,345, yes', '-', '1, 0; 0, 1')
    """
    if item is None or item == "":
        return "-"
    if isinstance(item, bool):
        return "yes" if item else "no"
    if isinstance(item, int):
        return f"{item:,}"
    if isinstance(item, float):
        return f"{item:.6g}"
    if isinstance(item, list | tuple):
        nested = bool(item) and isinstance(item[0], list | tuple)
        return ("; " if nested else ", ").join(map(value_text, item)) or "-"
    return str(item)
