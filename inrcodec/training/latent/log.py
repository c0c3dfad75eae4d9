"""The log of a training of latents: what they would take on held-out volumes.

In: a trainer and held-out volumes.  Out: ``ID.log.csv``.
Invariant: a resumed training continues its log.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from inrcodec.training.latent.evaluate import LOGGED, Point, forecast
from inrcodec.training.latent.materials import Material
from inrcodec.training.latent.trainer import Trainer
from inrcodec.training.log import Lines


class LatentLog(Lines):
    """Evaluates the float networks on held-out volumes: dB, and bits of a low-res voxel, at some rates."""

    def __init__(self, path: Path, trainer: Trainer, held_out: Sequence[Material]) -> None:
        columns = [f"{v.name} {rate} {unit}" for v in held_out for rate in LOGGED for unit in ("dB", "bpv")]
        super().__init__(path, trainer, columns)
        self.trainer, self.held_out = trainer, held_out

    def add(self) -> str:
        """Evaluate, append a line to the file, and return it in words."""
        points = forecast(self.trainer.averaged(), self.held_out)
        step = self.append([figure for p in points for figure in (f"{p.psnr:.2f}", f"{_bits(p):.4f}")])
        return f"{step}, held out: {', '.join(map(words, points))}"


def words(point: Point) -> str:
    """Such as "38.51 dB at 0.0412 bpv"."""
    return f"{point.psnr:.2f} dB at {_bits(point):.4f} bpv"


def _bits(point: Point) -> float:
    return 8 * point.bytes / point.voxels
