"""A tile's weights as integers, steps and bytes: ``weight = integer * 2**((code - 192) / 8)``, in float64.

In: the int32 integers of each tensor and a step code each.  Out: a tile's stream; or its tensors, (in, out).
Invariant: exact on every machine; a tile is read from its own bytes, so a region costs what its tiles cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import numpy as np

from inrcodec.entropy import laplace
from inrcodec.errors import CorruptFile
from inrcodec.layers.base.siren.siren import Layout
from inrcodec.volume.arrays import Float, Int32

CODES = 256  # of a step: one byte
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


def write_tile(codes: Sequence[int], integers: Sequence[Int32]) -> bytes:
    """Step code and spread of each tensor, then all integers under one range coder."""
    spreads = [laplace.best_spread(q) for q in integers]
    pairs = bytes(value for pair in zip(codes, spreads, strict=True) for value in pair)
    return pairs + laplace.encode_weights(integers, spreads)


def read_tile(stream: bytes, sizes: Sequence[int]) -> tuple[list[int], list[Int32]]:
    """Step codes and integers of tensors of the given sizes; raises `CorruptFile`."""
    heads = 2 * len(sizes)
    if len(stream) < heads:
        raise CorruptFile(
            f"a tile's stream has {len(stream)} bytes, not the {heads} of its steps", value=len(stream)
        )
    codes, spreads = list(stream[0:heads:2]), list(stream[1:heads:2])
    return codes, laplace.decode_weights(stream[heads:], sizes, spreads)
