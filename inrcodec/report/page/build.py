"""The page itself: parts in their places.

Invariant: every text from a file is escaped, and the page may load nothing, its policy forbids it: nothing
but the super-resolution models of the one server that its maker named.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from math import isclose, isfinite
from typing import Any
from urllib.parse import urlsplit

from inrcodec.errors import UsageError
from inrcodec.report.page import charts
from inrcodec.report.text import decibels, value_text
from inrcodec.volume.comparison import Comparison
from inrcodec.volume.windows import WINDOWS

FOLDER = files("inrcodec.report.page")
TEMPLATE = FOLDER / "template.html"
SCRIPTS = FOLDER / "scripts"  # bundles of js/, which "make js" builds
PARTS = ("header", "mask", "padding", "special", "base", "refinement", "container")

EXACT = "Every voxel is that of the source, bit for bit."
BOUND = "No voxel is off by more than {bound:g}{unit}: the file promises it."
WINDOWED = (
    "PSNR weighs air and bone as much as what a reader looks at: see the mean errors in the windows, and "
    "look at the slices."
)
FROM_BASE = (
    "This file is lossy. Do not diagnose from a volume that was brought back from a smaller one.",
    "Fine texture and noise that the low-res grid does not hold are smoothed away.",
    WINDOWED,
)
QUANTISED = (
    "This file is lossy: its voxels are quantised, without a promised bound. Do not diagnose from it.",
    WINDOWED,
)
CARRIED = "This page carries the file, and so every voxel of the patient: keep it as you keep the volume."
ABSENT = "This page does not carry the file, which is large: it asks for it."
EQUAL = "When this page was written, inrcodec decoded every voxel as the encoder did (digest)."
DIFFERS = (
    "When this page was written, inrcodec did not decode quite as the encoder did: another machine or "
    "version may differ by a stored unit in single voxels (the digest differs)."
)
OTHER = (
    "The reference is not the volume that was encoded: the encoder measured other errors. Differences and "
    "charts below are against the reference that was passed."
)
_ORIGIN = re.compile(r"[A-Za-z0-9.\-\[\]:]+")  # what may stand in the page's policy
ROUNDING = 1e-6  # of PSNR in dB and, relative, of the largest error: two ways to sum


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a page is about."""

    name: str  # of the file, for the title
    facts: Mapping[str, Any]  # what the file says of itself (`inrcodec.format.summary.facts`)
    planes: Sequence[Mapping[str, Any]]  # of `views.planes`
    data: bytes | None = None  # the file, where the page carries it
    reference: bytes | None = None  # a lossless file of what was encoded
    preview: bytes | None = None  # PNG, for a browser that cannot decode the file
    errors: Comparison | None = None  # of the reference
    is_equal: bool | None = None  # the decoded voxels have the digest that the file states; None: not decoded
    has_base: bool = True  # in the file
    from_base: bool = True  # the decoded volume came from them, not from a refinement of every voxel
    latents: bytes | None = None  # the model of the latents, where the page decodes them
    superres: str = ""  # address of a folder with models, "" for none: the page may load from there
    guess: str = ""  # what a super-resolution model may invent, "" if none took part


def build(page: Contents) -> str:
    """The whole page as one HTML text."""
    unit, placed = page.facts["volume"]["unit"], bool(page.facts["volume"]["plane"])
    data = {
        "planes": page.planes,
        "placed": placed,
        "unit": unit,
        "presets": _presets(page.facts["volume"]["modality"]),
        "bytes": page.facts["bytes"]["file"],
        "superres": page.superres,
    }
    text = TEMPLATE.read_text(encoding="utf-8")
    origin = _origin(page.superres)
    compiled = bool(origin) or page.latents is not None
    parts = {
        "title": escape(page.name),
        "summary": _summary(page),
        "warning": _warning(page),
        "errors": "" if page.errors is None else _errors(page.errors, unit),
        "bytes": _bytes(page.facts["bytes"]),
        "coding": _table(_coding(page.facts, page.has_base)),
        "volume": _table(page.facts["volume"]),
        "limitations": "".join(f"<li>{escape(line)}</li>" for line in _limitations(page)),
        "preview": "" if page.preview is None else _preview(page.preview),
        "data": json.dumps(data, allow_nan=False).replace("<", "\\u003c"),
        "file": _carried("file", page.data),
        "reference": _carried("reference", page.reference),
        "latents": _carried("latents", page.latents),
        "decoder": _script("decoder"),
        "viewer": _script("viewer"),
        "scripts": (f" {origin}" if origin else "") + (" 'wasm-unsafe-eval'" if compiled else ""),
        "models": f"; connect-src {origin}" if origin else "",
    }
    for key, value in parts.items():
        text = text.replace(f"<!--{key}-->", value)
    return text


def _origin(address: str) -> str:
    """Where a page may load a model from: nowhere, or from one server alone."""
    if not address:
        return ""
    found = urlsplit(address)
    if not found.netloc:
        return "'self'"
    if found.scheme not in ("http", "https") or _ORIGIN.fullmatch(found.netloc) is None:
        raise UsageError(
            f"superres {address!r} is not an address: name a folder of a server",
            value=address,
            option="superres",
        )
    return f"{found.scheme}://{found.netloc}"


def _script(name: str) -> str:
    return (SCRIPTS / f"{name}.js").read_text(encoding="utf-8").partition("\n")[2].strip()


def _carried(name: str, data: bytes | None) -> str:
    """Bytes as a script that is none: the page's program reads it."""
    if data is None:
        return ""
    return f"<script type='application/octet-stream' id='{name}'>{b64encode(data).decode('ascii')}</script>"


def _preview(png: bytes) -> str:
    picture = (
        f"<img alt='central low-res slice' src='data:image/png;base64,{b64encode(png).decode('ascii')}'>"
    )
    caption = "The central low-res slice, decoded when the page was written."
    return f"<figure id='preview' hidden>{picture}<figcaption>{caption}</figcaption></figure>"


def _presets(modality: str) -> dict[str, tuple[float, float]]:
    """Windows by name, (low, high) in physical units; the first is shown first."""
    presets = {}
    if modality == "CT":
        for name in ("soft-tissue", *WINDOWS):
            low, high = WINDOWS[name]
            presets[f"{name} ({high - low:g} / {(low + high) / 2:g})"] = (low, high)  # width / level
    return presets


def _warning(page: Contents) -> str:
    """Where the reference cannot be what was encoded: the encoder measured another error."""
    if page.errors is None or not page.is_equal:
        return ""
    stated = page.facts["quality"]
    same_psnr = isclose(page.errors.psnr, stated["psnr"], abs_tol=ROUNDING)
    if same_psnr and page.errors.max_error <= stated["max_error"] * (1 + ROUNDING):
        return ""
    return f"<p id='warning' role='alert'>{escape(OTHER)}</p>"


def _summary(page: Contents) -> str:
    facts, volume, quality = page.facts, page.facts["volume"], page.facts["quality"]
    shape = " × ".join(map(str, volume["shape"]))
    largest = f"largest error {quality['max_error']:g} {volume['unit']}".rstrip()
    plane = f"{volume['plane']} slices" if volume["plane"] else "slices of unknown orientation"
    lines = [
        f"{volume['modality'] or 'volume'}, {shape}, {volume['dtype']}, {plane}",
        f"{facts['bytes']['file']:,} bytes, {facts['ratio']:,.0f} : 1, {facts['bpv']:.4f} bits per voxel",
        f"{decibels(quality['psnr'])} (peak {quality['peak']:g}), {largest}, as the encoder measured",
    ]
    if page.is_equal is not None:
        lines.append(EQUAL if page.is_equal else DIFFERS)
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


def _errors(errors: Comparison, unit: str) -> str:
    """Figures of all voxels, and two charts."""
    suffix = f" {unit}" if unit else ""
    rows: dict[str, Any] = {
        "PSNR": f"{decibels(errors.psnr)} (peak {errors.peak:g})",
        "mean absolute error": f"{errors.mean_error:.4g}{suffix}",
        "mean error (bias)": f"{errors.bias:+.3g}{suffix}",
        "largest error": f"{errors.max_error:g}{suffix}",
        "voxels that are equal": f"{100 * errors.equal:.2f} %",
    }
    rows |= {f"mean absolute error, {name}": f"{mean:.4g}{suffix}" for name, mean in errors.windows.items()}
    if errors.low_pass is not None:
        low = errors.low_pass
        rows[f"low-pass error ({errors.tissue}{suffix}, {low.voxels:,} voxels)"] = f"{low.error:.3g}{suffix}"
        off = f"{100 * low.off:.1f} % off by more than {low.tolerance:.3g}{suffix}"
        rows["after a Gaussian of 5 mm"] = f"{low.error_mm:.3g}{suffix}, {off}"
    if errors.seam_energy is not None:
        rows["jumps of the error at seams"] = f"{errors.seam_energy:.2f} times those beside them"
    caption = "Error of every voxel; the outermost bars hold what lies beyond."
    figures = _figure("histogram", charts.histogram(errors, unit), caption)
    if isfinite(errors.psnr):  # else every slice is identical
        caption = "PSNR of every slice along z; identical ones leave a gap."
        figures += _figure("by-slice", charts.by_slice(errors), caption)
    heading = "<h2>Errors against the reference</h2>"
    return f"<section id='errors'>{heading}{_table(rows)}<div class='charts'>{figures}</div></section>"


def _figure(name: str, chart: str, caption: str) -> str:
    return f"<figure id='{name}'>{chart}<figcaption>{caption}</figcaption></figure>"


def _bytes(parts: Mapping[str, int]) -> str:
    """Where the bytes went: a bar for each part."""
    total = parts["file"]
    rows = [
        f"<tr><th>{part}</th><td class='number'>{parts[part]:,}</td>"
        f"<td class='number'>{100 * parts[part] / total:.1f} %</td>"
        f"<td class='bar'><div style='width:{100 * parts[part] / total:.2f}%'></div></td></tr>"
        for part in PARTS
        if parts.get(part)
    ]
    rows.append(f"<tr><th>file</th><td class='number'>{total:,}</td><td></td><td></td></tr>")
    return f"<table class='bytes'>{''.join(rows)}</table>"


def _coding(facts: Mapping[str, Any], has_base: bool) -> dict[str, Any]:
    codec, quality, encoder = facts["codec"], facts["quality"], facts["encoder"]
    if not has_base:
        kept = ("refinement_steps", "refinement_filter", "brick")
        codec = {"base": "none", **{name: codec[name] for name in kept}}
    return {
        "encoder": f"inrcodec {encoder['version']}, seed {encoder['seed']}",
        **codec,
        "PSNR by Lanczos alone": decibels(quality["psnr_lanczos"]) if quality["psnr_lanczos"] else None,
        "promised bound": quality["bound"],
        "digest of the decoded voxels": quality["digest"],
    }


def _limitations(page: Contents) -> list[str]:
    bound, unit = page.facts["quality"]["bound"], page.facts["volume"]["unit"]
    lines: tuple[str, ...] = FROM_BASE if page.from_base else QUANTISED
    if bound is not None:
        lines = (EXACT if bound == 0 else BOUND.format(bound=bound, unit=f" {unit}" if unit else ""),)
    return [*lines, *filter(None, [page.guess]), ABSENT if page.data is None else CARRIED]


def _table(rows: Mapping[str, Any]) -> str:
    cells = "".join(
        f"<tr><th>{escape(key.replace('_', ' '))}</th><td>{escape(value_text(value))}</td></tr>"
        for key, value in rows.items()
    )
    return f"<table>{cells}</table>"
