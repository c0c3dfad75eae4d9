"""Before, after and difference of one slice, side by side, as a PNG.

In: the source volume, the decoded volume, the picture's name. Out: the central axial slice of both through a
brain window (CT; else the slice's own range), and their difference, grey where equal; cropped to what is not
air. The one law: both slices go through the same window.

    python demo/before_after.py tests/data/vhf-head.nii.gz demo/out/head.nii.gz demo/out/before_after.png
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from inrcodec import io
from inrcodec.report.png import png_bytes

BRAIN = (-60.0, 140.0)  # HU; shows what a reader looks at, and is merciless to errors of 10 HU


def main(source: str, decoded: str, picture: str) -> None:
    """Write the picture and say how far the two slices are apart."""
    before, after = io.read(source), io.read(decoded)
    if before.shape != after.shape:
        raise SystemExit(f"shapes differ: {before.shape} and {after.shape}")
    z = before.shape[0] // 2
    old, new = (volume.physical()[z].astype(np.float64) for volume in (before, after))
    low, high = BRAIN if old.min() < -500 else (float(old.min()), float(old.max()))
    box = content(old > low)
    panels = [
        grey(old[box], low, high),
        grey(new[box], low, high),
        grey((new - old)[box], low - high, high - low),
    ]
    io.atomic_write(picture, png_bytes(np.hstack(panels)), force=True)
    gap = np.abs(new - old)
    print(f"slice {z}: mean difference {gap.mean():.1f}, largest {gap.max():.0f}; {picture}")


def content(inside: NDArray[np.bool_], margin: int = 12) -> tuple[slice, slice]:
    """Return the box of all that is inside, and a margin."""
    edges = [np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0)]
    y, x = (slice(max(0, at[0] - margin), at[-1] + margin + 1) if len(at) else slice(None) for at in edges)
    return y, x


def grey(image: NDArray[np.float64], low: float, high: float) -> NDArray[np.uint8]:
    """Return `image` as uint8: `low` black, `high` white."""
    scaled = (image - low) * (255 / max(high - low, 1e-9))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main(*sys.argv[1:])
