"""The kernel of convolutions of maps, which are 16-bit integers; see `convolve.c`.

In: maps with their border, (…, channels), and where positions are in them.
Out: sums modulo 2^32, or maps that are made of them.
Invariant: no position reads beyond the maps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from inrcodec.native.library import Kernels, expect
from inrcodec.volume.arrays import Int32, Ints

BLOCK = 16  # outputs of which weights lie together
ROW = 3  # taps that a run of memory has
SINES = 4096  # of a turn
SUMS, ROUNDED, WAVES = range(3)
Int16 = NDArray[np.int16]


def packed(weight: Int16) -> Int16:
    """Weights as the kernel reads them, (blocks, runs, pairs, 16, 2), zeros where there are none.

    Parameters
    ----------
    weight : (outputs, inputs, taps), of 27 taps or of one; an odd number of inputs is one more.
    """
    outputs, inputs, taps = weight.shape
    runs = taps // ROW if taps > 1 else 1
    full = np.zeros((-(-outputs // BLOCK) * BLOCK, taps, inputs + inputs % 2), np.int16)
    full[:outputs, :, :inputs] = weight.transpose(0, 2, 1)
    blocks = full.reshape(-1, BLOCK, runs, full[0].size // runs // 2, 2)
    return np.ascontiguousarray(blocks.transpose(0, 2, 3, 1, 4))


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums are kept, int32."""

    def of(self, part: slice) -> Sums:
        """For some of the positions."""
        return self


@dataclass(frozen=True, eq=False)
class Rounded:
    """Sums are divided by 2^shift, to the nearest, and clipped to maps from ``least`` on.

    Attributes
    ----------
    base : (n, outputs), int16, added before they are clipped.
    """

    shift: int
    least: int
    base: Int16 | None = None

    def of(self, part: slice) -> Rounded:
        """For some of the positions."""
        return self if self.base is None else replace(self, base=self.base[part])


@dataclass(frozen=True, eq=False)
class Waves:
    """Sums are divided by 2^shift, scaled and moved, and the sine of that is taken; see `Residual`.

    Attributes
    ----------
    gain, offset : (outputs,), int64.
    sines : of a turn, (4096,), int16.
    """

    shift: int
    gain: Ints
    offset: Ints
    sines: Int16

    def of(self, part: slice) -> Waves:
        """For some of the positions."""
        return self


Finish = Sums | Rounded | Waves


def convolve(
    kernels: Kernels, x: Int16, places: Ints, runs: Ints, layer: tuple[Int16, Int32],
    finish: Finish, out: Int32 | Int16,
) -> None:  # fmt: skip
    """Convolve some positions into ``out``, (n, outputs), int32 for sums and int16 for maps.

    Parameters
    ----------
    x : with an even number of channels.
    places : (n,), of the first integer that each position reads, in all of ``x``.
    runs : where each run of memory begins from there.
    layer : weights of `packed` and bias, (outputs,), int32.
    """
    weights, bias = layer
    count, outputs = out.shape
    blocks, run_count, pairs = weights.shape[:3]
    expect(weights.shape[3:] == (BLOCK, 2) and blocks == -(-outputs // BLOCK) and len(runs) == run_count)
    expect(bias.shape == (outputs,) and bias.dtype == np.int32 and len(places) == count)
    expect(x.dtype == weights.dtype == np.int16 and places.dtype == runs.dtype == np.int64)
    expect(out.dtype == (np.int32 if isinstance(finish, Sums) else np.int16))
    if count:
        expect(min(int(places.min()), int(runs.min())) >= 0)
        expect(int(places.max()) + int(runs.max()) + 2 * pairs <= x.size)
        last = _arguments(finish, out.shape)
        kernels.call("convolve", x, places, count, runs, run_count, pairs, weights, outputs, bias, *last, out)


def _arguments(
    finish: Finish, shape: tuple[int, ...]
) -> tuple[int, int, int, Int16 | None, Ints | None, Ints | None, Int16 | None]:
    """As the kernel takes them."""
    if isinstance(finish, Sums):
        return SUMS, 0, 0, None, None, None, None
    expect(isinstance(finish, Rounded) <= finish.shift <= 31)
    if isinstance(finish, Rounded):
        base = finish.base
        expect(base is None or (base.shape == shape and base.dtype == np.int16))
        expect(-(1 << 15) <= finish.least < 1 << 15)
        return ROUNDED, finish.shift, finish.least, base, None, None, None
    gain, offset, sines = finish.gain, finish.offset, finish.sines
    expect(gain.shape == offset.shape == shape[1:] and gain.dtype == offset.dtype == np.int64)
    expect(sines.shape == (SINES,) and sines.dtype == np.int16)
    return WAVES, finish.shift, 0, None, gain, offset, sines
