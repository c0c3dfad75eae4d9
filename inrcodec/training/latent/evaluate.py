"""Bytes and PSNR of latents on volumes that they were not trained on.

In: float networks, or a frozen model, and held-out volumes.  Out: points of a rate-distortion curve.
Invariant: of a frozen model the bytes are those of a file's streams, and the PSNR is of what they decode to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from inrcodec.layers.base.latent.model import RATES, Model
from inrcodec.layers.base.latent.stream import values_of, write_stream
from inrcodec.training.latent.materials import Material, padded
from inrcodec.training.latent.network import BLOCK, LatentGrid
from inrcodec.volume.arrays import Float, Float32
from inrcodec.volume.box import Shape
from inrcodec.volume.metrics import psnr

PEAK = 4.095  # of every PSNR, in network values: that of 12-bit CT
LOGGED, ON_THE_CARD = (32, 64, 96), (8, 32, 56, 80, 104)  # rates, of 128
EVALUATED = (64, 128, 128)  # of the part of a volume that is measured: seconds for each rate


@dataclass(frozen=True)
class Point:
    """A point of a rate-distortion curve.

    Attributes
    ----------
    volume, factor : what was coded, and what it was reduced by.
    voxels : of the low-res volume.
    rate : 0 … 127.
    bytes : of its stream.
    psnr : dB, of the low-res volume at a peak of 4.095 network values.
    """

    volume: str
    factor: Shape
    voxels: int
    rate: int
    bytes: int
    psnr: float

    def rounded(self) -> dict[str, Any]:
        """As plain types, to 0.01 dB."""
        return asdict(self) | {"factor": list(self.factor), "psnr": round(self.psnr, 2)}


def forecast(network: LatentGrid, volumes: Sequence[Material]) -> list[Point]:
    """What float networks would take, by their own bits."""
    points = []
    for volume in volumes:
        values = middle(volume)
        x, inside = torch.from_numpy(padded(values))[None, None], tuple(-(-n // BLOCK) for n in values.shape)
        for rate in LOGGED:
            with torch.no_grad():
                decoded, bits = network(x, torch.tensor([float(of_rate(rate))]), inside=inside)
            z, y, w = values.shape
            found = decoded[0, 0, :z, :y, :w].numpy()
            points.append(_point(volume, values, rate, round(float(bits.sum()) / 8), found))
    return points


def measured(model: Model, volumes: Sequence[Material], threads: int) -> list[Point]:
    """What a file's streams take."""
    points = []
    for volume in volumes:
        values = middle(volume)
        for rate in ON_THE_CARD:
            stream, integers = write_stream(model, rate, values.astype(np.float64), threads=threads)
            points.append(_point(volume, values, rate, len(stream), values_of(model, rate, integers)))
    return points


def middle(volume: Material) -> Float32:
    """The middle of a volume, of so many voxels at most."""
    spans = []
    for n, most in zip(volume.shape, EVALUATED, strict=True):
        first = max(0, n - most) // 2
        spans.append(slice(first, first + min(n, most)))
    return np.ascontiguousarray(volume.whole[tuple(spans)])


def of_rate(rate: int) -> float:
    """A rate of 0 … 127 as the float networks see it, in [-1, 1]."""
    return (2 * rate - (RATES - 1)) / (RATES - 1)


def _point(volume: Material, values: Float32, rate: int, size: int, decoded: Float | Float32) -> Point:
    mse = float(np.square(decoded - values).mean())
    return Point(volume.name, volume.factor, values.size, rate, size, psnr(mse / PEAK**2))
