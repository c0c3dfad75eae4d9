"""Boxes, slices and headers against their targets: bytes that are read, and seconds.

    python benchmarks/boxes.py VOLUME [--only lossless networks remote bricks] [--times N]

Sections: ``lossless`` (a box of 64 voxels along each axis, and a slice in each plane, of a lossless file in
bricks of the usual size), ``networks`` (the same box of a file of 16 kB with a model, and of its low-res
volume), ``remote`` (``info`` of a file of 50 MB or more, and a box, from an HTTP server on this machine that
counts what it gives) and ``bricks`` (bytes and seconds of a lossless file in bricks, beside one that is a
single brick).

Seconds are the median of N reads, each of a file that was opened anew in a process that has read one before.
The share of a box is its part of the voxels, times the bytes of the file; a box that lies across faces of
bricks meets up to eight.  Prints the figures beside their targets; writes ``DIR/boxes-SECTION.json``.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from math import prod
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from range_server import RangeServer
from shared import RESULTS, Figure, Section, parser_of, run, skipped, twelve_bits

from inrcodec import Volume, api, io
from inrcodec._version import __version__
from inrcodec.volume.box import Box

EDGE = 64
BESIDE = 16_000  # bytes for header and index
LARGE = 50_000_000  # bytes of the file on the server
FRONT, SECONDS = 64_000, 0.3  # of info
BOX_SECONDS, MODEL_SECONDS, SLICE_SECONDS = 0.15, 0.25, 0.5
SMALL = 16_000  # bytes of the file of networks
MORE = 1.01  # bytes in bricks


class Counted(BytesIO):
    """Bytes, and how many of them were read."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


def read(blob: bytes, ask: Callable[[Any], Any], times: int) -> tuple[int, float]:
    """Bytes of a request, opening included, and its median seconds with the file in memory."""
    stream, seconds = Counted(blob), []
    ask(api.open(stream))
    for _ in range(times):
        file, start = api.open(blob), perf_counter()
        ask(file)
        seconds.append(perf_counter() - start)
    return stream.count, median(seconds)


def middle(shape: tuple[int, ...], edge: int = EDGE) -> Box:
    """A box in the middle, of whole bricks along no axis."""
    low = [max(0, n // 2 - edge // 2) for n in shape]
    z, y, x = low
    zz, yy, xx = (min(a + edge, n) for a, n in zip(low, shape, strict=True))
    return Box((z, y, x), (zz, yy, xx))


def lossless(volume: Volume, args: argparse.Namespace) -> Section:
    """Boxes and slices of a lossless file in usual bricks."""
    blob = api.encode(volume, lossless=True)
    bricks = api.open(blob).header.bricks
    figures = []
    inside = Box((0, 0, 0), tuple(min(EDGE, e) for e in bricks.edges))  # type: ignore[arg-type]
    for name, box in (("box within a brick", inside), ("box in the middle", middle(volume.shape))):
        count, seconds = read(blob, lambda file, box=box: file.read(box), args.times)
        met = bricks.meeting(box)
        share = prod(box.shape) / prod(volume.shape) * len(blob)
        of_bricks = sum(prod(bricks[k].shape) for k in met) / prod(volume.shape)
        note = f"{count:,} bytes; {len(met)} of {len(bricks)} bricks, {of_bricks:.1%} of the voxels"
        ratio = count / (2 * share + BESIDE)
        figures.append(Figure(name=f"{name}: bytes / (2 x share + 16 kB)", value=ratio, most=1, note=note))
        figures.append(Figure(name=f"{name}: seconds", value=seconds, unit="s", most=BOX_SECONDS))
    for axis, plane in enumerate(("axial", "coronal", "sagittal")):
        at = tuple(
            slice(n // 2, n // 2 + 1) if k == axis else slice(None) for k, n in enumerate(volume.shape)
        )
        count, seconds = read(blob, lambda file, at=at: file.read(at), args.times)
        note = f"{count:,} of {len(blob):,} bytes"
        figures.append(
            Figure(name=f"{plane} slice: seconds", value=seconds, unit="s", most=SLICE_SECONDS, note=note)
        )
    return Section(figures)


def networks(volume: Volume, args: argparse.Namespace) -> Section:
    """The same of a small file of networks."""
    blob = api.encode(twelve_bits(volume), size=SMALL, preset=args.preset)
    header, box = api.open(blob).header, middle(volume.shape)
    count, seconds = read(blob, lambda file: file.read(box), args.times)
    figures = [
        Figure(
            name="box: seconds",
            value=seconds,
            unit="s",
            most=MODEL_SECONDS,
            note=f"{count:,} bytes; {header.sr}",
        )
    ]
    low = middle(header.lowres_shape, EDGE // 4)
    count, seconds = read(blob, lambda file: file.lowres(low), args.times)
    share = prod(low.shape) / prod(header.lowres_shape) * len(blob)
    note = f"{count:,} of {len(blob):,} bytes; {seconds:.3f} s"
    most = 2 * share + BESIDE
    return Section(
        [
            *figures,
            Figure(name="low-res box: bytes / (2 x share + 16 kB)", value=count / most, most=1, note=note),
        ]
    )


def remote(volume: Volume, args: argparse.Namespace) -> Section:
    """Header and box of a large file behind a URL."""
    one = len(api.encode(volume, lossless=True))
    array = np.concatenate([np.roll(volume.array, 7 * k, 2) for k in range(-(-LARGE // one))])
    server = RangeServer(api.encode(replace(volume, array=array, slice_rescale=None), lossless=True))
    api.info(server.url)
    seconds, given = [], 0
    for _ in range(args.times):
        server.given.clear()
        start = perf_counter()
        api.info(server.url)
        seconds.append(perf_counter() - start)
        given = sum(server.given)
    server.given.clear()
    start, box = perf_counter(), middle(array.shape)
    api.open(server.url).read(box)
    took, note = perf_counter() - start, f"of {len(server.blob):,}"
    server.shutdown()
    return Section(
        [
            Figure(name="info: bytes", value=given, most=FRONT, note=note),
            Figure(name="info: seconds", value=median(seconds), unit="s", most=SECONDS),
            Figure(name="box in the middle: bytes", value=sum(server.given), note=f"{took:.2f} s"),
        ]
    )


def bricks(volume: Volume, args: argparse.Namespace) -> Section:
    """What bricks cost a lossless file."""
    whole = 1 << (max(volume.shape) - 1).bit_length()
    one, start = {}, perf_counter()
    for name, options in (("one", {"brick": whole}), ("usual", {})):
        blob, encoded = api.encode(volume, lossless=True, **options), perf_counter()
        api.decode(blob)
        one[name] = len(blob), encoded - start, perf_counter() - encoded
        start = perf_counter()
    ratios = [usual / single for usual, single in zip(one["usual"], one["one"], strict=True)]
    note = f"{one['usual'][0]:,} and {one['one'][0]:,} bytes"
    return Section(
        [
            Figure(name="bytes, bricks / one brick", value=ratios[0], most=MORE, note=note),
            Figure(name="encode seconds, bricks / one brick", value=ratios[1]),
            Figure(name="decode seconds, bricks / one brick", value=ratios[2]),
        ]
    )


SECTIONS = {"lossless": lossless, "networks": networks, "remote": remote, "bricks": bricks}


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("volume", type=Path)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--times", type=int, default=9)
    parser.add_argument("--preset", default="fast", help="of the networks")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    if skipped(args.volume):
        return
    volume = io.read(args.volume)
    run(SECTIONS, volume, args, "boxes", {"volume": args.volume.name, "version": __version__})


if __name__ == "__main__":
    main()
