"""The page itself: parts in their places.

In: a file, and its source where there is one.  Out: HTML.
The one law: every word from a file is escaped, and the page may load nothing: its policy forbids it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from math import isclose, isfinite
from typing import Any

from inrcodec.errors import InputError
from inrcodec.file import InrvFile
from inrcodec.format.digest import digest_of
from inrcodec.format.header import LANCZOS, Header
from inrcodec.layers.decode_options import DecodeOptions
from inrcodec.layers.superres import registry
from inrcodec.report import plots
from inrcodec.report.page import charts, compare, views
from inrcodec.report.text import decibels
from inrcodec.volume.modality import with_modality
from inrcodec.volume.volume import Volume

TEMPLATE = files("inrcodec.report.page") / "template.html"
PARTS = ("header", "mask", "padding", "network", "refinement", "container")

WINDOWED = (
    "PSNR weighs air and bone as much as what a reader looks at: see the mean errors in the windows, and "
    "look at the slices."
)
LOSSY = (
    "This file is lossy. Do not diagnose from a volume that networks brought back.",
    "Fine texture and noise that the low-res grid does not hold are smoothed away.",
    WINDOWED,
)
GUESS = (
    "The detail that the super-resolution model adds is a guess from other patients. It may look sharp and "
    "be wrong; no finding may rest on it."
)
EQUAL = "Decoded here bit for bit as the encoder did (digest)."
DIFFERS = (
    "Decoded here not quite as the encoder did: another machine or version may differ by a stored unit in "
    "single voxels (the digest differs)."
)
OTHER = (
    "The reference is not the volume that was encoded: the encoder measured other errors. Differences and "
    "charts below are against the reference that was passed."
)
LEVEL = 1e-6  # of the largest error: two ways to round
HOUNSFIELD = {  # as they are usually set: width and level
    "soft tissue (400 / 40)": (-160.0, 240.0),
    "brain (80 / 40)": (0.0, 80.0),
    "lung (1500 / -600)": (-1350.0, 150.0),
    "bone (1800 / 400)": (-500.0, 1300.0),
}
BOUND = "No voxel is off by more than {bound:g}{unit}: the file promises it."
EXACT = "Every voxel is that of the source, bit for bit."


def build(
    name: str, facts: Mapping[str, Any], file: InrvFile, source: Volume | None, how: DecodeOptions
) -> str:
    """The whole page.

    Parameters
    ----------
    name : of the file, for the title.
    facts : what the file says of itself (:func:`inrcodec.encoder.ledger.facts`).
    file : whose page it is.
    source : the volume that was encoded, or ``None``: then there are neither differences nor charts.

    Raises
    ------
    MissingExtra
        Matplotlib is not there, and there are charts to draw.
    InputError
        The source has another shape or modality.
    """
    if source is not None:
        plots.require()
    decoded = file.volume(how)
    found = None
    if source is not None:
        source = _same_kind(source, decoded)
        found = compare.compared(source, decoded)
    equal = digest_of(decoded.array) == file.header.digest
    data = views.planes(decoded, source) | {"presets": _presets(decoded), "compared": found is not None}
    text = TEMPLATE.read_text(encoding="utf-8")
    parts = {
        "title": escape(name),
        "summary": _summary(facts, equal),
        "warning": _warning(file.header, found, equal),
        "errors": "" if found is None else _errors(found, decoded.unit),
        "bytes": _bytes(facts),
        "coding": _table(_coding(facts, file.base is not None)),
        "volume": _table(facts["volume"]),
        "limitations": _limitations(file.header, decoded.unit),
        "data": json.dumps(data, allow_nan=False).replace("<", "\\u003c"),
    }
    for key, value in parts.items():
        text = text.replace(f"<!--{key}-->", value)
    return text


def _same_kind(source: Volume, decoded: Volume) -> Volume:
    """The source as the file takes it.

    Raises
    ------
    InputError
        It is of another modality.
    """
    if source.modality and decoded.modality and source.modality != decoded.modality:
        raise InputError(
            f"the reference is {source.modality}, the file {decoded.modality}: pass the volume that was "
            "encoded",
            value=source.modality,
        )
    return with_modality(source, decoded.modality or None)[0]


def _presets(volume: Volume) -> dict[str, tuple[float, float]]:
    """Windows by name, (low, high) in physical units; the first is shown first."""
    own = {"usual values": views.usual_of(volume), "all values": views.ends_of(volume)}
    return {**HOUNSFIELD, **own} if volume.modality == "CT" else own


def _warning(header: Header, found: compare.Comparison | None, equal: bool) -> str:
    """Where the reference cannot be what was encoded: the encoder measured another error."""
    if found is None or not equal:
        return ""
    same = isclose(found.psnr, header.psnr, abs_tol=LEVEL) and found.max_error <= header.max_error * (
        1 + LEVEL
    )
    return "" if same else f"<p id='warning' role='alert'>{escape(OTHER)}</p>"


def _summary(facts: Mapping[str, Any], equal: bool) -> str:
    volume, quality = facts["volume"], facts["quality"]
    shape = " × ".join(map(str, volume["shape"]))
    errs = f"largest error {quality['max_error']:g} {volume['unit']}".rstrip()
    told = [
        f"{volume['modality'] or 'volume'}, {shape}, {volume['dtype']}",
        f"{facts['bytes']['file']:,} bytes, {facts['ratio']:,.0f} : 1, {facts['bpv']:.4f} bits per voxel",
        f"{decibels(quality['psnr'])} (peak {quality['peak']:g}), {errs}, as the encoder measured",
        EQUAL if equal else DIFFERS,
    ]
    return "".join(f"<p>{escape(line)}</p>" for line in told)


def _errors(found: compare.Comparison, unit: str) -> str:
    """Figures of all voxels, and two charts."""
    suffix = f" {unit}" if unit else ""
    rows: dict[str, Any] = {
        "PSNR": f"{decibels(found.psnr)} (peak {found.peak:g})",
        "mean absolute error": f"{found.mean_error:.4g}{suffix}",
        "mean error (bias)": f"{found.bias:+.3g}{suffix}",
        "largest error": f"{found.max_error:g}{suffix}",
        "voxels that are equal": f"{100 * found.equal:.2f} %",
    }
    rows |= {f"mean absolute error, {name}": f"{mean:.4g}{suffix}" for name, mean in found.windows.items()}
    return (
        "<section id='errors'><h2>Errors against the reference</h2>"
        f"{_table(rows)}<div class='charts'>"
        f"<figure id='histogram'>{charts.histogram(found, unit)}"
        "<figcaption>Error of every voxel; the outermost bars hold what lies beyond.</figcaption></figure>"
        f"{_by_slice(found)}</div></section>"
    )


def _by_slice(found: compare.Comparison) -> str:
    if not isfinite(found.psnr):
        return ""  # every slice is identical
    caption = "<figcaption>PSNR of every slice along z; identical ones leave a gap.</figcaption>"
    return f"<figure id='by-slice'>{charts.by_slice(found)}{caption}</figure>"


def _bytes(facts: Mapping[str, Any]) -> str:
    """Where the bytes went: a bar for each part."""
    parts, total = facts["bytes"], facts["bytes"]["file"]
    rows = [
        f"<tr><th>{part}</th><td class='number'>{parts[part]:,}</td>"
        f"<td class='number'>{100 * parts[part] / total:.1f} %</td>"
        f"<td class='bar'><div style='width:{100 * parts[part] / total:.2f}%'></div></td></tr>"
        for part in PARTS
        if parts.get(part)
    ]
    rows.append(f"<tr><th>file</th><td class='number'>{total:,}</td><td></td><td></td></tr>")
    return f"<table class='bytes'>{''.join(rows)}</table>"


def _coding(facts: Mapping[str, Any], networks: bool) -> dict[str, Any]:
    codec, quality, encoder = facts["codec"], facts["quality"], facts["encoder"]
    if not networks:
        codec = {"networks": "none", "refinement_steps": codec["refinement_steps"]}
    return {
        "encoder": f"inrcodec {encoder['version']}, seed {encoder['seed']}",
        **codec,
        "PSNR by Lanczos alone": decibels(quality["psnr_lanczos"]) if quality["psnr_lanczos"] else None,
        "promised bound": quality["bound"],
        "digest of the decoded voxels": quality["digest"],
    }


def _limitations(header: Header, unit: str) -> str:
    told = []
    if header.bound is not None:
        suffix = f" {unit}" if unit else ""
        told.append(EXACT if header.bound == 0 else BOUND.format(bound=header.bound, unit=suffix))
    else:
        told += LOSSY
    if header.sr != LANCZOS:
        known = header.sr in registry.manifests()
        told.append(registry.card(header.sr)["limitation"] if known else GUESS)
    told.append("This page shows some slices, and of large ones some pixels; the tables count every voxel.")
    return "".join(f"<li>{escape(line)}</li>" for line in told)


def _table(rows: Mapping[str, Any]) -> str:
    cells = "".join(
        f"<tr><th>{escape(_label(k))}</th><td>{escape(_word(v))}</td></tr>" for k, v in rows.items()
    )
    return f"<table>{cells}</table>"


def _label(key: str) -> str:
    return key.replace("_", " ")


def _word(value: Any) -> str:
    if value is None or value in ("", []):
        return "–"
    if isinstance(value, list | tuple):
        if value and isinstance(value[0], list | tuple):
            return "; ".join(_word(row) for row in value)
        return ", ".join(map(_word, value))
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
