"""Low-pass error: what is left of the error after a Gaussian, in flat tissue.

    python benchmarks/low_pass.py SOURCE DECODED

In: a source and what was decoded.  Out: the figures of `inrcodec.volume.low_pass`, of all flat tissue and not
of the few boxes that an encoding looks at.  Invariant: one definition for the package and all benchmarks.

Examples
--------
>>> import numpy as np
>>> flat = np.zeros((24, 24, 24), np.float32)
>>> flat[0, 0, 0] = 1
>>> noise = np.random.default_rng(0).normal(0, 10, flat.shape)
>>> low_pass_error(flat, flat + noise) < 1.0
True
>>> float(round(low_pass_error(flat, flat + 5), 4))
5.0
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inrcodec import Volume, io
from inrcodec.volume.box import Box
from inrcodec.volume.flat_tissue import BOXES, FlatTissue
from inrcodec.volume.low_pass import BoxErrors, LowPass, low_pass


def low_pass_error(
    source: NDArray[np.floating], decoded: NDArray[np.floating], spacing: Sequence[float] = (1, 1, 1)
) -> float:
    """Return the RMS of the smoothed error in the soft tissue of a CT.

    Parameters
    ----------
    source, decoded : ndarray, (z, y, x), in HU

    Returns
    -------
    float
        In HU; NaN where there is no flat soft tissue.
    """
    volume = Volume.from_array(np.asarray(source, np.float32), spacing=spacing, modality="CT")
    found = figures(volume, np.asarray(decoded, np.float32), None)
    return math.nan if found is None else found.error


def figures(volume: Volume, decoded: NDArray, most: int | None = BOXES) -> LowPass | None:
    """Return all figures of stored values, physical ones; of so many boxes, with None of all tissue."""
    tissue = FlatTissue.of(volume, volume.value_range, most)
    errors = BoxErrors(tissue.boxes)
    for z in range(0, len(decoded), 16):
        at = Box((0, 0, 0), volume.shape).run(z, min(z + 16, len(decoded)))
        errors.add(at, volume.array[at.slices], decoded[at.slices], 1.0)
    return low_pass(errors, tissue, abs(volume.rescale[0]))


def main() -> None:
    source, decoded = (io.read(path) for path in sys.argv[1:3])
    found = figures(source, decoded.array, None)
    if found is None:
        print("no flat tissue")
        return
    unit = source.unit
    print(
        f"low-pass error {found.error:.2f} {unit}; after 5 mm {found.error_mm:.2f} {unit}, "
        f"{100 * found.off:.2f} % off by more than {found.tolerance:.3g}; {found.voxels:,} voxels"
    )


if __name__ == "__main__":
    main()
