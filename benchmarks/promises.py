"""What the encoder promises: presets within their time and bytes, sizes and qualities that are kept."""

import json
import tempfile
from argparse import Namespace
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
from shared import Encodings, Figure, Section, command

from inrcodec.errors import TargetNotReached

# Most seconds and bytes, least dB; the head of the Visible Human Female on two cores.
PRESETS = {"fast": (20.0, 15_000, 37.0), "balanced": (90.0, 17_000, 38.6)}
WITHIN = 0.97  # of the requested size
DEARER = 1.05  # of the smallest file that has the quality


def presets(encodings: Encodings, args: Namespace) -> Section:
    """Each preset as the command line gives it: seconds of the whole process, bytes, PSNR."""
    figures, reports = [], {}
    for preset in args.presets:
        seconds, mib, report = _encoded(args.source, preset, args)
        most_s, most_bytes, least = PRESETS.get(preset, (None, None, None))
        note = f"the fit alone {report['seconds'].get('fit', 0.0):.1f} s, {mib:.0f} MiB"
        figures += [
            Figure(name=f"{preset}: time", value=seconds, unit="s", most=most_s, note=note),
            Figure(name=f"{preset}: file", value=report["file_bytes"], unit="bytes", most=most_bytes),
            Figure(
                name=f"{preset}: PSNR",
                value=report["psnr"],
                unit="dB",
                least=least,
                note=f"low-res {report['psnr_lowres']:.2f} dB, peak {report['peak']:g}",
            ),
        ]
        reports[preset] = report
    return Section(figures, {"reports": reports})


def _encoded(source: Path, preset: str, args: Namespace) -> tuple[float, float, dict[str, Any]]:
    """Seconds, MiB and report of a process of its own."""
    options = ["--preset", preset]
    for name in ("steps", "threads"):
        if getattr(args, name) is not None:
            options += [f"--{name}", str(getattr(args, name))]
    with tempfile.TemporaryDirectory() as folder:
        target = str(Path(folder) / "volume.inrv")
        seconds, mib, report = command("inrv-enc", str(source), target, "--json", "-q", *options)
    return seconds, mib, json.loads(report)


def targets(encodings: Encodings, args: Namespace) -> Section:
    """Sizes that are kept and filled, and qualities that are reached without waste.

    The smallest file of a quality is read off the sizes: the logarithm of their bytes over their PSNR.
    """
    figures, ladder = [], []
    for size in sorted(args.sizes):
        name = f"size {size}: share of the request"
        try:
            report = encodings.of(encodings.head, size=size).report
        except TargetNotReached as error:
            figures.append(Figure(name=name, value=None, least=WITHIN, most=1.0, note=str(error)))
            continue
        ladder.append((report.file_bytes, report.psnr))
        words = f"{report.file_bytes} bytes, {report.psnr:.2f} dB, factor {report.factor}"
        filled = report.file_bytes / size
        figures.append(Figure(name=name, value=filled, least=WITHIN, most=1.0, note=words))
    found: dict[str, Any] = {"sizes": ladder}
    if len(ladder) < 2:
        print("  skipped: qualities: they need at least two sizes to be compared with")
    else:
        found["qualities"] = [_quality(encodings, ladder, k, figures) for k in range(len(ladder) - 1)]
    return Section(figures, found)


def _quality(
    encodings: Encodings, ladder: list[tuple[int, float]], k: int, figures: list[Figure]
) -> dict[str, float]:
    """The quality halfway between two sizes: whether it is reached, and in how many bytes."""
    target = round((ladder[k][1] + ladder[k + 1][1]) / 2, 2)
    name = f"PSNR {target} dB"
    try:
        report = encodings.of(encodings.head, psnr=target).report
    except TargetNotReached as error:
        figures.append(Figure(name=f"{name}: reached", value=None, least=target, note=str(error)))
        return {"target": target}
    smallest = bytes_at(target, ladder)
    words = f"{report.file_bytes} bytes, about {smallest:.0f} by the sizes, factor {report.factor}"
    figures += [
        Figure(name=f"{name}: reached", value=report.psnr, unit="dB", least=target),
        Figure(name=f"{name}: bytes / smallest", value=report.file_bytes / smallest, most=DEARER, note=words),
    ]
    return {"target": target, "psnr": report.psnr, "bytes": report.file_bytes, "smallest": smallest}


def bytes_at(psnr: float, ladder: list[tuple[int, float]]) -> float:
    """Bytes of a PSNR between those of a ladder of (bytes, PSNR)."""
    ordered = sorted(ladder, key=lambda pair: pair[1])
    return exp(float(np.interp(psnr, [p for _, p in ordered], [log(b) for b, _ in ordered])))
