"""Analysis: low-res values to the latents that an encoder wants.

In: network values.  Out: latents and hyper-latents, in quantisation steps.
Invariant: nothing of it is needed to decode; floats, whose last bits may differ from machine to machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import cos, pi, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inrcodec.volume.arrays import Float, Float32

LARGEST = 40.0  # logarithm of a gain or a step, or modulation: exp() of two is a float32


class Wanted(NamedTuple):
    """Latents in steps, before they are decided on."""

    latents: Float  # (z, y, x, 64)
    hyper: Float  # (z / 2, y / 2, x / 2, channels), of which the first is the mean level
    hyper_gains: Float  # (channels,), of the hyper-latents less their level


@dataclass(frozen=True, eq=False)
class Analysis:
    """The networks of the analysis: weights, (taps, inputs, outputs), and biases, (outputs,).

    Attributes
    ----------
    modulation : (2, 2, maps), gain less 1 and offset of hidden maps, by the rate and by its square.
    gains, hyper_gains : (2, channels), logarithms of gains: constant, and by the rate.
    steps : logarithms of the smallest and of the largest quantisation step.
    """

    overlap: tuple[Float32, Float32]
    enter: tuple[Float32, Float32]
    modulation: Float32
    narrow: tuple[Float32, Float32]
    out: tuple[Float32, Float32]
    gains: Float32
    hyper_gains: Float32
    steps: tuple[float, float]

    @classmethod
    def of(cls, tensors: Mapping[str, NDArray[np.generic]]) -> Analysis:
        """The networks of a model; raises `ValueError`, `LookupError` where one is missing or wrong."""

        def plain(name: str) -> Float32:
            return np.asarray(tensors[f"analysis.{name}"], np.float32)

        def layer(name: str) -> tuple[Float32, Float32]:
            weight = plain(f"{name}.weight")
            taps = weight.reshape(*weight.shape[:2], -1).transpose(2, 1, 0)
            return np.ascontiguousarray(taps), plain(f"{name}.bias")

        low, high = plain("steps").tolist()
        layers = [layer(name) for name in ("overlap", "enter", "narrow", "out")]
        taps, inputs, outputs = ([weight.shape[k] for weight, _ in layers] for k in range(3))
        others = [plain(name) for name in ("modulation", "gains", "hyper_gains")]
        modulation, gains, hyper_gains = others
        shapes = [(2, 2, outputs[1]), (2, 64), (2, outputs[3])]
        fits = (
            (inputs[:3], inputs[3], outputs[0]) == ([64, 64, 8 * outputs[1]], outputs[2], 64)
            and set(taps) <= {1, 27}
            and taps[2] == 1
            and [bias.shape for _, bias in layers] == [(n,) for n in outputs]
            and [part.shape for part in others] == shapes
        )
        if not fits:
            raise ValueError("the layers of the analysis do not fit each other")
        whole = [part for pair in layers for part in pair]
        bounded = all((np.abs(part) <= LARGEST).all() for part in (low, high, *others))
        if not bounded or not all(np.isfinite(part).all() for part in whole):
            raise ValueError("the analysis has numbers beyond what latents hold")
        overlap, enter, narrow, out = layers
        return cls(overlap, enter, modulation, narrow, out, gains, hyper_gains, (low, high))

    def __call__(self, values: Float, rate: int) -> Wanted:
        """What is wanted of network values, (z, y, x), edges multiples of 16."""
        part = (2 * rate - 127) / 127
        low, high = self.steps
        step = np.exp(low + (part + 1) / 2 * (high - low))
        gains = np.exp(self.gains[0] + self.gains[1] * part)
        blocks = _channels((values[..., None] + 1).astype(np.float32), 4) @ (dct().T / step).astype(
            np.float32
        )
        level = blocks[..., :1]
        flat = np.concatenate([level - _mean_around(level), blocks[..., 1:]], -1)
        latents = (blocks + _convolved(flat, *self.overlap)) / gains
        maps = _convolved(np.arcsinh(latents), *self.enter)
        gain, offset = part * self.modulation[0] + part * part * self.modulation[1]
        maps = _channels(_gelu(maps * (1 + gain) + offset), 2)
        # Maps of the network are octant by octant within each channel.
        weight, bias = self.narrow
        hyper = _convolved(_gelu(maps @ weight[0] + bias), *self.out)
        hyper[..., :1] = hyper[..., :1] * 0.1 + _channels(latents[..., :1], 2).mean(-1, keepdims=True)
        hyper_gains = np.exp(self.hyper_gains[0] + self.hyper_gains[1] * part)
        return Wanted(*(part.astype(np.float64) for part in (latents, hyper, hyper_gains)))


def dct() -> Float:
    """The orthonormal DCT-II of 4 x 4 x 4 voxels, (frequency, voxel), low frequencies first."""
    row = np.array(
        [[cos(pi * (i + 0.5) * k / 4) * sqrt((1 + (k > 0)) / 4) for i in range(4)] for k in range(4)]
    )
    basis = np.einsum("az,by,cx->abczyx", row, row, row).reshape(64, 64)
    z, y, x = (axis.ravel() for axis in np.indices((4, 4, 4)))
    order = np.argsort(z**2 + y**2 + x**2 + 0.01 * (z + y + x), kind="stable")
    found: Float = basis[order]
    return found


def _channels(x: Float32, stride: int) -> Float32:
    """(z, y, x, c) -> (z / stride, …, c * stride**3), voxels of a channel side by side."""
    z, y, w, n = x.shape
    parts = x.reshape(z // stride, stride, y // stride, stride, w // stride, stride, n)
    ordered = parts.transpose(0, 2, 4, 6, 1, 3, 5)
    return np.ascontiguousarray(ordered).reshape(z // stride, y // stride, w // stride, n * stride**3)


def _mean_around(x: Float32) -> Float32:
    return _sum_around(x) / _sum_around(np.ones_like(x))


def _sum_around(x: Float32) -> Float32:
    x = np.pad(x, [(1, 1)] * 3 + [(0, 0)])
    for axis in range(3):
        x = np.moveaxis(x, axis, 0)
        x = np.moveaxis(x[:-2] + x[1:-1] + x[2:], 0, axis)
    return x


def _convolved(x: Float32, weight: Float32, bias: Float32) -> Float32:
    z, y, w, _ = x.shape
    padded = np.pad(x, [(1, 1)] * 3 + [(0, 0)])
    out = np.broadcast_to(bias, (z, y, w, len(bias))).copy()
    for tap, part in enumerate(weight):
        a, b, c = tap // 9, tap // 3 % 3, tap % 3
        out += padded[a : a + z, b : b + y, c : c + w] @ part
    return out


def _gelu(x: Float32) -> Float32:
    from scipy.special import erf  # only what encodes waits for SciPy

    found: Float32 = x * 0.5 * (1 + erf(x / np.float32(sqrt(2))))
    return found
