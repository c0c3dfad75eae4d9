"""What a file of a given size gives back: PSNR, seams between tiles, errors inside a focus."""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

import numpy as np
from shared import FACTOR, PEAK, Encoding, Encodings, Figure, Section, lowres_of

from inrcodec import Volume
from inrcodec.errors import TargetNotReached
from inrcodec.volume.box import Box

# Least PSNR, dB, by bytes of the whole file.
LOWRES_CROP = {4_300: 38.0, 5_600: 39.5, 8_400: 42.5}
LOWRES_HEAD = {10_000: 43.0, 16_000: 46.2}
WHOLE_HEAD = {10_000: 37.8, 17_000: 38.8}
WHOLE_CROP = {5_600: 31.5, 10_000: 33.0, 16_000: 34.5}
SEAM = 1.3  # of the error elsewhere
NEARBY = 4  # voxels from a cut: beyond the seam, but much the same anatomy
WINDOW = "soft-tissue"
LOWER = 35.0  # percent

Bool = np.ndarray[Any, np.dtype[np.bool_]]


def rate(encodings: Encodings, args: Namespace) -> Section:
    """PSNR of the low-res volume and of the whole codec, at file sizes."""
    head, crop = encodings.head, encodings.crop
    figures, reports = [], []
    for name, volume, marks, lowres in (
        ("crop, low-res", crop, LOWRES_CROP, True),
        ("head, low-res", head, LOWRES_HEAD, True),
        ("crop, whole codec", crop, WHOLE_CROP, False),
        ("head, whole codec", head, WHOLE_HEAD, False),
    ):
        if volume is None:
            print(f"  skipped: {name}: the volume {head.shape} does not hold the crop")
            continue
        for size, mark in marks.items():
            figure, report = _psnr(encodings, volume, size, mark, lowres)
            figures.append(figure | {"name": f"{name}, {size} bytes"})
            reports.append(report)
    return Section([Figure(**f) for f in figures], {"reports": reports})


def _psnr(
    encodings: Encodings, volume: Volume, size: int, mark: float, lowres: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The figure of one encoding at a size, and its report."""
    try:
        # The low-res volume alone is judged where it is all that the networks are fitted to.
        options = {"factor": FACTOR, "through_sr": False} if lowres else {}
        made = encodings.of(volume, size=size, **options)
    except TargetNotReached as error:
        return {"value": None, "least": mark, "note": str(error)}, {}
    report = made.report
    words = f"{report.file_bytes} bytes, factor {report.factor}, {report.tiles} tiles of {report.width}"
    if report.peak != PEAK:  # then it is not the volume that the targets are for
        words, mark = f"peak {report.peak:g}: not judged; {words}", 0.0
    value = report.psnr_lowres if lowres else report.psnr
    return {"value": value, "unit": "dB", "least": mark or None, "note": words}, report.to_dict()


def seams(encodings: Encodings, args: Namespace) -> Section:
    """Error of the low-res volume at the faces between tiles, against that elsewhere."""
    made = encodings.of(encodings.head, factor=FACTOR, size=args.size)
    found = seam_errors(made)
    if "at a cut" not in found:
        print(f"  skipped: the file has {made.report.tiles} tiles, and no voxel at a cut")
        return Section([])
    at, beside, rest = (found[name] for name in ("at a cut", "nearby", "elsewhere"))
    figures = [
        Figure(name="low-res PSNR", value=made.report.psnr_lowres, unit="dB", note=f"{len(made.blob)} bytes"),
        Figure(name="voxels at a cut", value=found["share"], unit="%", note=f"{made.report.tiles} tiles"),
        Figure(name="error² at a cut / elsewhere", value=at / rest, most=SEAM),
        Figure(name=f"error² at a cut / within {NEARBY} voxels of it", value=at / beside),
    ]
    return Section(figures, {"errors": found, "report": made.report.to_dict()})


def seam_errors(made: Encoding) -> dict[str, float]:
    """Mean squared errors of active low-res voxels by their distance from the faces between tiles.

    At a cut: the layer of voxels on either side; nearby: the layers after it; elsewhere: all but the first.
    """
    decoder = made.decoder
    squares = np.square(decoder.lowres() - lowres_of(made.volume, made.report.factor))
    rings = rings_of(decoder.decoder.base.boxes, decoder.lowres_shape, decoder.decoder.base.active)
    present = {name: ring for name, ring in rings.items() if ring.any()}
    means = {name: float(squares[ring].mean()) for name, ring in present.items()}
    return means | {"share": 100 * float(rings["at a cut"].sum() / decoder.decoder.base.active.sum())}


def rings_of(boxes: list[Box], shape: tuple[int, int, int], active: Bool) -> Mapping[str, Bool]:
    """The active voxels of each class of :func:`seam_errors`."""
    owner = np.empty(shape, dtype=np.int64)
    for k, box in enumerate(boxes):
        owner[box.slices] = k
    at = np.zeros(shape, dtype=bool)
    for axis in range(3):
        here, there = (np.moveaxis(a, axis, 0) for a in (at, owner))
        differs = there[1:] != there[:-1]
        here[1:] |= differs
        here[:-1] |= differs
    near = at.copy()
    for _ in range(NEARBY - 1):
        grown = near.copy()
        for axis in range(3):
            into, out = (np.moveaxis(a, axis, 0) for a in (grown, near))
            into[1:] |= out[:-1]
            into[:-1] |= out[1:]
        near = grown
    return {"at a cut": at & active, "nearby": near & ~at & active, "elsewhere": ~at & active}


def focus(encodings: Encodings, args: Namespace) -> Section:
    """Mean absolute error inside a window, with a focus on it and without, at equal file size."""
    plain = encodings.of(encodings.head, factor=FACTOR, size=args.size).report
    focused = encodings.of(encodings.head, factor=FACTOR, size=args.size, focus=WINDOW).report
    figures = []
    for name, errors, others, least in (
        ("low-res", plain.mean_errors_lowres, focused.mean_errors_lowres, LOWER),
        ("full-res", plain.mean_errors, focused.mean_errors, None),
    ):
        if WINDOW not in errors:
            print(f"  skipped: no voxel of the volume lies in the window {WINDOW}")
            return Section([])
        without, with_it = errors[WINDOW], others[WINDOW]
        figures += [
            Figure(name=f"{name}: mean error without focus", value=without, unit="HU"),
            Figure(name=f"{name}: mean error with focus", value=with_it, unit="HU"),
            Figure(name=f"{name}: lower by", value=100 * (1 - with_it / without), unit="%", least=least),
        ]
    words = f"{plain.file_bytes} and {focused.file_bytes} bytes"
    figures.append(
        Figure(name="whole codec: PSNR that it costs", value=plain.psnr - focused.psnr, unit="dB", note=words)
    )
    return Section(figures, {"without": plain.to_dict(), "with": focused.to_dict()})
