"""The README's pictures of one encoding: what happens to a volume, and what comes of it.

    python benchmarks/pictures.py HEAD [--size 16000] [--slice Z] [--out docs/figures]

``pipeline.png``: a slice on its way down (source, low-res, tiles) and back (decoded low-res, full-res), with
the bytes.  ``before-after.png``: the slice through a soft-tissue window: source, up-sampled by Lanczos, by
the model, and what the last differs by.  All from one file, encoded here.  Needs Matplotlib (extra
``plots``).
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from shared import lowres_of, parser_of, psnr_of, skipped, twelve_bits

from inrcodec import Volume, api, io
from inrcodec.file import InrvFile
from inrcodec.volume.windows import WINDOWS

try:
    from matplotlib import patches
    from matplotlib.figure import Figure
except ImportError:
    sys.exit("Matplotlib is missing, which draws the pictures: pip install 'inrcodec[plots]'")

SHOWN = (-1024.0, 1500.0)  # HU, of the pipeline: all of a head
MARGIN = 12  # voxels around what is no air
AIR = -500  # HU
EDGE = "#e8a33d"


def box_of(plane: np.ndarray) -> tuple[slice, slice]:
    """Around what is no air."""
    spans = []
    for axis in (1, 0):
        inside = np.flatnonzero((plane > AIR).any(axis=axis))
        spans.append(slice(max(inside[0] - MARGIN, 0), inside[-1] + MARGIN))
    return spans[0], spans[1]


def panel(axis: Any, image: np.ndarray, window: tuple[float, float], title: str) -> None:
    axis.imshow(image, cmap="gray", vmin=window[0], vmax=window[1], interpolation="nearest")
    axis.set_title(title, fontsize=9)
    axis.set_axis_off()


def pipeline(volume: Volume, decoder: InrvFile, decoded: np.ndarray, z: int, size: int) -> Figure:
    """Five panels: down and back."""
    header, factor = decoder.header, decoder.header.factor
    clean = lowres_of(volume, factor)
    fitted, low_z = decoder.lowres(), z // factor[0]
    to_hu = lambda unit: header.low + (unit + 1) / 2 * (header.high - header.low)  # noqa: E731
    rows, columns = box_of(volume.array[z])
    small = tuple(
        slice(s.start // f, -(-s.stop // f)) for s, f in zip((rows, columns), factor[1:], strict=True)
    )
    figure = Figure(figsize=(12, 3.1), layout="constrained")
    axes = figure.subplots(1, 5)
    shape, low_shape = (" × ".join(map(str, s)) for s in (volume.shape, decoder.lowres_shape))
    panel(axes[0], volume.array[z][rows, columns], SHOWN, f"source\n{shape}")
    panel(axes[1], to_hu(clean[low_z])[small], SHOWN, f"→ low-res (Lanczos)\n{low_shape}")
    tiles = f"{len(decoder.decoder.base.boxes)} SIRENs of {header.layers} × {header.width}"
    panel(axes[2], to_hu(clean[low_z])[small], SHOWN, f"→ {tiles}\nthe file: {size:,} bytes")
    for box in decoder.decoder.base.boxes:
        if box.low[0] <= low_z < box.high[0]:
            corner = (box.low[2] - small[1].start - 0.5, box.low[1] - small[0].start - 0.5)
            sides = (box.high[2] - box.low[2], box.high[1] - box.low[1])
            axes[2].add_patch(patches.Rectangle(corner, *sides, fill=False, edgecolor=EDGE, linewidth=1.5))
    panel(axes[3], to_hu(fitted[low_z])[small], SHOWN, f"→ decoded low-res\n{low_shape}")
    panel(axes[4], decoded[z][rows, columns], SHOWN, f"→ full-res ({header.sr})\n{shape}")
    return figure


def before_after(
    volume: Volume, plain: np.ndarray, decoded: np.ndarray, z: int, captions: list[str]
) -> Figure:
    """Four panels through a soft-tissue window."""
    window = WINDOWS["soft-tissue"]
    place = box_of(volume.array[z])
    before, lanczos, after = (array[z][place].astype(float) for array in (volume.array, plain, decoded))
    figure = Figure(figsize=(12, 3.9), layout="constrained")
    axes = figure.subplots(1, 4)
    for axis, image, title in zip(axes, (before, lanczos, after), captions, strict=False):
        panel(axis, image, window, title)
    panel(axes[3], after - before, (-200.0, 200.0), "difference, ± 200 HU")
    return figure


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("--size", type=int, default=16_000)
    parser.add_argument("--slice", type=int, default=150)
    parser.add_argument("--out", type=Path, default=Path("docs/figures"))
    args = parser.parse_args()
    if skipped(args.source):
        return
    args.out.mkdir(parents=True, exist_ok=True)
    volume = replace(twelve_bits(io.read(args.source)), modality="CT")
    blob = api.encode(volume, size=args.size)
    decoder, decoded, plain = api.open(blob), api.decode(blob), api.decode(blob, sr="lanczos")
    quality = [f"{psnr_of(volume, array):.2f} dB" for array in (plain, decoded)]
    captions = [
        "source",
        f"Lanczos alone: {quality[0]}",
        f"{decoder.header.sr}: {quality[1]}, {len(blob):,} bytes",
    ]
    print(", ".join(captions))
    pictures = {
        "pipeline": pipeline(volume, decoder, decoded, args.slice, len(blob)),
        "before-after": before_after(volume, plain, decoded, args.slice, captions),
    }
    for name, figure in pictures.items():
        figure.savefig(args.out / f"{name}.png", dpi=90, bbox_inches="tight")
        print(args.out / f"{name}.png")


if __name__ == "__main__":
    main()
