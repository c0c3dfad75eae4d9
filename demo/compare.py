"""One slice of a volume beside what its files decode to, in two windows, and a table of what each file costs.

In: the source volume, `.inrv` files of it. Out: a PNG file, and a table on stdout. Invariant: all panels of a
row go through the same window, and every figure is of the whole volume.

    python demo/compare.py SOURCE FILE.inrv [FILE.inrv ...] --out PICTURE.png
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import inrcodec
from inrcodec import io

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from low_pass import low_pass_error

WINDOWS = {"bone": (-450.0, 1050.0), "soft-tissue": (-160.0, 240.0), "brain": (0.0, 80.0)}  # HU
PEAK = 4095.0  # of CT of 12 bits
AIR = -500.0  # HU
MARGIN = 4  # voxels around what is not air
INCHES, GAP = 2.4, 0.12  # width of a panel, and what is between two rows


def main(argv: list[str] | None = None) -> None:
    """Write the picture and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--out", required=True)
    parser.add_argument("--slice", type=int, help="of the picture (the central one)")
    args = parser.parse_args(argv)
    volume = io.read(args.source)
    source = volume.physical().astype(np.float32)
    panels = {f"source\n{volume.array.nbytes:,} bytes of voxels": source}
    print(f"{'file':24}{'bytes':>10}{'ratio':>9}{'PSNR':>10}{'largest error':>16}{'low-pass error':>17}")
    for name in args.files:
        decoded = inrcodec.decode_volume(name).physical().astype(np.float32)
        size = Path(name).stat().st_size
        print(row(Path(name).name, size, volume.array.nbytes / size, source, decoded), flush=True)
        title = f"{Path(name).stem.replace('-', ' ')}\n{size:,} bytes, {volume.array.nbytes / size:.0f} : 1"
        panels[title] = decoded
    z = len(source) // 2 if args.slice is None else args.slice
    draw({title: array[z] for title, array in panels.items()}, args.out)


def row(name: str, size: int, ratio: float, source: NDArray[np.float32], decoded: NDArray[np.float32]) -> str:
    """Return a line of the table."""
    error = decoded.astype(np.float64) - source
    rms = float(np.sqrt(np.square(error).mean()))
    psnr = f"{20 * np.log10(PEAK / rms):.2f} dB" if rms else "exact"
    largest = f"{np.abs(error).max():.0f} HU"
    return (
        f"{name:24}{size:10,}{ratio:7.0f}:1{psnr:>10}{largest:>16}{low_pass_error(source, decoded):14.1f} HU"
    )


def draw(panels: dict[str, NDArray[np.float32]], out: str) -> None:
    """Write the panels, a row for each window, cropped to what is not air."""
    box = content(next(iter(panels.values())) > AIR)
    rows, columns = (span.stop - span.start for span in box)
    size = (INCHES * len(panels), (INCHES * rows / columns + GAP) * len(WINDOWS))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(WINDOWS), len(panels), squeeze=False)
    for axes, (window, (low, high)) in zip(grid, WINDOWS.items(), strict=True):
        axes[0].set_ylabel(f"{window}, {low:.0f} to {high:.0f} HU", fontsize=8)
        for axis, plane in zip(axes, panels.values(), strict=True):
            axis.imshow(plane[box], cmap="gray", vmin=low, vmax=high, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
    for axis, title in zip(grid[0], panels, strict=True):
        axis.set_title(title, fontsize=9)
    figure.savefig(out, dpi=110)


def content(inside: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the box (y, x) around all that is inside, with a margin."""
    spans = [np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0)]
    y, x = (slice(max(0, int(span[0]) - MARGIN), int(span[-1]) + MARGIN + 1) for span in spans)
    return y, x


if __name__ == "__main__":
    main()
