"""Stored integers to weights: ``weight = integer * 2**((code - 192) / 8)``, exactly, in float64.

In: the int32 integers of each tensor and a step code each.  Out: float64 weights (in, out).
The one law: exact on every machine; steps run from 2**-24 to 2**7.875, 9 % apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import numpy as np
from numpy.typing import NDArray

from inrcodec.layers.base.siren.siren import Layout

Int32 = NDArray[np.int32]
Float = NDArray[np.float64]

CODES = 256


ORIGIN, PER_OCTAVE = 192, 8  # steps from 2**-24 to 2**7.875, 9 % apart


def step_of(code: int) -> float:
    """The step that a code stands for."""
    octave, part = divmod(code - ORIGIN, PER_OCTAVE)
    return float(2.0 ** (part / PER_OCTAVE) * 2.0**octave)


def code_of(log_step: float) -> int:
    """The code whose step is nearest to ``exp(log_step)``."""
    return int(min(max(round(log_step / log(2) * PER_OCTAVE) + ORIGIN, 0), CODES - 1))


def dequantize(layout: Layout, integers: Sequence[Int32], codes: Sequence[int]) -> list[Float]:
    """Integers of each tensor to float64 weights (in, out)."""
    return [
        q.reshape(shape).astype(np.float64) * step_of(code)
        for q, shape, code in zip(integers, layout.shapes, codes, strict=True)
    ]
