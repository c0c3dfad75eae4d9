"""What a network brings on volumes that it was not trained on.

In: a network and held-out material.  Out: PSNR with it and with Lanczos alone.
The one law: measured as the decoder computes it, in float32, block by block.
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
from inrcodec.training.dataset import Material, shape_of
from inrcodec.volume.metrics import psnr


@dataclass(frozen=True)
class Row:
    """Of one version of one volume, in dB against the window's width.

    Attributes
    ----------
    volume, version : see :class:`inrcodec.training.dataset.Material`.
    lowres : PSNR of the low-res volume; ``None`` where it is clean.
    lanczos, model : PSNR of the full-res volume.
    """

    volume: str
    version: str
    lowres: float | None
    lanczos: float
    model: float

    @property
    def gain(self) -> float:
        """dB over Lanczos."""
        return self.model - self.lanczos


def measured(network: SRDenseNet, material: Sequence[Material], threads: int, ensemble: int = 1) -> list[Row]:
    """A row for each; with ``ensemble`` the residual is the mean over as many mirror images."""
    return [_row(network, m, threads, ensemble) for m in material]


def table(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows in plain types, rounded."""
    return [{k: round(v, 2) if isinstance(v, float) else v for k, v in asdict(r).items()} for r in rows]


def _row(network: SRDenseNet, m: Material, threads: int, ensemble: int) -> Row:
    low, full = m.decoded.numpy(), m.full.numpy()
    active = np.ones(low.shape, np.bool_)
    plain = model = 0.0
    factor = network.arch.factor
    with torch.no_grad():
        upsampler = Upsampler(network, low.clip(-1, 1), active, "cpu", threads, m.noise, ensemble=ensemble)
        for layer in upsampler.layers():
            for z in range(layer.start, min(layer.stop, len(full))):
                found = resample.up(low.astype(np.float64), factor, shape_of(full), z, z + 1)[0]
                plain += float(np.square(found.clip(-1, 1) - full[z]).sum())
                layer.add_to(found, (z, 0, 0), 1.0)
                model += float(np.square(found.clip(-1, 1) - full[z]).sum())
    lowres = None if m.error is None else psnr(float(m.error.square().mean()) / 4)
    return Row(m.name, m.version, lowres, psnr(plain / full.size / 4), psnr(model / full.size / 4))
