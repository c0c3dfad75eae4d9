"""PSNR of a network on volumes that it was not trained on.

In: a network and held-out volumes.  Out: PSNR with the network and with Lanczos alone.
Invariant: computed as the decoder computes it, in float32, block by block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from inrcodec.layers import resample
from inrcodec.layers.superres.network import SRDenseNet
from inrcodec.layers.superres.upsampler import Upsampler
from inrcodec.training.dataset import TrainingVolume, shape_of
from inrcodec.volume.metrics import psnr


@dataclass(frozen=True)
class Score:
    """PSNR of one version of one volume, in dB against the window's width."""

    volume: str
    version: str
    lowres: float | None  # ``None`` where it is clean
    lanczos: float  # this and the next of the high-res volume
    model: float

    @property
    def gain(self) -> float:
        """dB over Lanczos."""
        return self.model - self.lanczos

    def rounded(self) -> dict[str, Any]:
        """As plain types, to 0.01 dB."""
        return {k: round(v, 2) if isinstance(v, float) else v for k, v in asdict(self).items()}


def score(network: SRDenseNet, volume: TrainingVolume, threads: int, ensemble: int = 1) -> Score:
    """Score one volume; with ``ensemble`` the residual is the mean over as many mirror images."""
    low, high = volume.decoded.numpy(), volume.highres.numpy()
    active = np.ones(low.shape, np.bool_)
    lanczos = model = 0.0
    with torch.no_grad():
        upsampler = Upsampler(
            network, low.clip(-1, 1), active, "cpu", threads, volume.noise, ensemble=ensemble
        )
        for layer in upsampler.layers():
            for z in range(layer.start, min(layer.stop, len(high))):
                rows = resample.up(low.astype(np.float64), network.arch.factor, shape_of(high), z, z + 1)[0]
                lanczos += float(np.square(rows.clip(-1, 1) - high[z]).sum())
                layer.add_to(rows, (z, 0, 0), 1.0)
                model += float(np.square(rows.clip(-1, 1) - high[z]).sum())
    lowres = None if volume.error is None else _psnr(float(volume.error.square().mean()))
    return Score(volume.name, volume.version, lowres, _psnr(lanczos / high.size), _psnr(model / high.size))


def scores(
    network: SRDenseNet, volumes: Sequence[TrainingVolume], threads: int, ensemble: int = 1
) -> list[Score]:
    """Score several volumes."""
    return [score(network, volume, threads, ensemble) for volume in volumes]


def _psnr(mse: float) -> float:
    """Of a mean squared error in unit values, whose range is 2."""
    return psnr(mse / 4)
