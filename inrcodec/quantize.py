"""Float weights to integers and steps and back, and the rate that training is charged for them.

In: flat weights (tiles, weights) and one step code a tensor and tile.  Out: int32 weights that are stored.
The one law: what is fitted last is what is stored; ``weight = integer * 2**((code - 192) / 8)`` exactly, in
float64.

The rate is that of a discretised Laplace with a learned scale; on the head it ends at 4.9 bits a weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inrcodec import siren
from inrcodec.siren import Layout

if TYPE_CHECKING:
    from torch import Tensor

Int32 = NDArray[np.int32]
Float = NDArray[np.float64]

CODES = 256
ORIGIN, PER_OCTAVE = 192, 8  # steps from 2**-24 to 2**7.875, 9 % apart
FIRST_STEP = 0.15  # of the mean magnitude of the initial weights: where learning of the steps begins
RATE_LEARNING = 5e-3  # Adam's rate for the logarithms of steps and scales


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


class Quantizer:
    """Learned steps and Laplace scales of all tensors and tiles, for training (torch).

    Parameters
    ----------
    layout : the network's shapes.
    flat : initial weights, (tiles, layout.weights), float32.
    """

    def __init__(self, layout: Layout, flat: Tensor) -> None:
        import torch

        self.layout = layout
        sizes = torch.tensor(layout.sizes, device=flat.device)
        self.owner = torch.arange(len(layout.sizes), device=flat.device).repeat_interleave(sizes)
        usual = torch.tensor(layout.bounds, device=flat.device) / 2
        found = torch.stack([p.abs().mean((1, 2)) for p in siren.tensors(layout, flat)], 1)
        self.log_step = (usual * FIRST_STEP).log().expand(len(flat), -1).clone().requires_grad_()
        self.log_scale = torch.maximum(found, usual).log().requires_grad_()
        self.optimizer = torch.optim.Adam(
            [self.log_step, self.log_scale], lr=RATE_LEARNING, betas=(0.9, 0.99)
        )

    def __call__(self, flat: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """Weights as the decoder would have them and the bits of each tile, (tiles,).

        ``noise`` in [-0.5, 0.5] is added in units of the step; ``None`` rounds, straight through.
        """
        step = self.log_step.exp()[:, self.owner]
        q = flat / step
        q = q + noise if noise is not None else q + (q.round() - q).detach()
        scale = (self.log_scale - self.log_step).exp().clamp_min(0.03)[:, self.owner]
        return q * step, laplace_bits(q, scale).sum(1)

    def learn(self, schedule: float) -> None:
        """One step on the logarithms of steps and scales; gradients are taken and cleared."""
        for group in self.optimizer.param_groups:
            group["lr"] = RATE_LEARNING * schedule
            for p in group["params"]:
                if (
                    p.grad is not None
                ):  # a tile that is lost between two looks must not take its steps with it
                    p.grad.nan_to_num_(0, 0, 0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def freeze(self) -> None:
        """Snap the steps to the codes that can be stored; only the scales are learned from here on."""
        import torch

        codes = self.codes()
        with torch.no_grad():
            self.log_step.copy_(torch.tensor([[log(step_of(c)) for c in row] for row in codes]))
        self.log_step.requires_grad_(False)
        self.log_step.grad = None

    def coarsen(self) -> None:
        """Every frozen step 9 % larger: an eighth of a bit a weight less."""
        self.log_step.add_(log(2) / PER_OCTAVE)

    def codes(self) -> list[list[int]]:
        return [[code_of(v) for v in row] for row in self.log_step.tolist()]

    def integers(self, flat: Tensor) -> list[list[Int32]]:
        """The integers of each tile and tensor, for the steps of :meth:`codes`."""
        import torch

        steps = torch.tensor([[step_of(c) for c in row] for row in self.codes()], dtype=torch.float64)
        q = (flat.detach().cpu().double() / steps[:, self.owner.cpu()]).round().to(torch.int32)
        return [[t.numpy() for t in row.split(self.layout.sizes)] for row in q]


def laplace_bits(q: Tensor, scale: Tensor) -> Tensor:
    """Bits of (real or integer) ``q`` under a Laplace of ``scale`` steps integrated over one step.

    Written with ``exp`` of negative numbers only: the gradient of an overflowing branch would be NaN.
    """
    import torch

    a = q.abs()
    tail = (a - 0.5).clamp_min(0) / (scale * log(2)) + 1 - torch.log2(-torch.expm1(-1 / scale))
    near = a.clamp_max(0.5)
    inside = 1 - 0.5 * (torch.exp((near - 0.5) / scale) + torch.exp(-(near + 0.5) / scale))
    return torch.where(a < 0.5, -torch.log2(inside.clamp_min(1e-9)), tail)
