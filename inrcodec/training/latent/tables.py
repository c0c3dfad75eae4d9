"""Tables of frequencies that a latent model ships: logistic distributions of steps.

In: nothing but the number of scales.  Out: `Tables`.
Invariant: no decoder comes here; what is computed in floats is shipped as integers.
"""

from __future__ import annotations

import numpy as np

from inrcodec.entropy.logistic import Tables
from inrcodec.layers.base.latent.contexts import EACH, LOWEST, SCALES
from inrcodec.native.logistic import TABLE
from inrcodec.volume.arrays import Float, Ints

WIDEST = 16.0  # scale of a table; larger ones are halved until they are no wider, and have plain low bits
REACH = 9.0  # scales; what is beyond has a probability of 2^-12


def tables(scales: int = SCALES) -> Tables:
    """Those of ``exp(-3 + index / 8)``."""
    widths = np.exp((np.arange(scales) - LOWEST) / EACH)
    shift = np.ceil(np.log2(np.maximum(widths / WIDEST, 1))).astype(np.uint8)
    reach = np.maximum(1, np.ceil(REACH * widths / (1 << shift.astype(np.int64)))).astype(np.int16)
    parts = [
        frequencies(width, low, most)
        for width, low, most in zip(widths.tolist(), shift.tolist(), reach.tolist(), strict=True)
    ]
    return Tables(shift, reach, np.concatenate(parts).astype(np.uint16))


def frequencies(width: float, shift: int, reach: int) -> Ints:
    """Of steps from ``high * 2^shift`` on, for high from -reach to reach, and of the escape."""
    edges = np.arange(-reach, reach + 2) * 2.0**shift - 0.5
    cumulative: Float = 0.5 * (1 + np.tanh(edges / (2 * width)))
    shares = np.append(np.diff(cumulative), 1 - cumulative[-1] + cumulative[0])
    found: Ints = 1 + np.floor(shares * ((1 << TABLE) - len(shares))).astype(np.int64)
    found[found.argmax()] += (1 << TABLE) - found.sum()
    return found
