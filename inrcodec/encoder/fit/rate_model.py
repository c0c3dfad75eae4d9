"""The rate: bits of weights under a Laplace distribution, integrated over one step, and their derivatives.

In: weights in units of their steps, real (training) or integer.  Out: bits, and their gradients.
Invariant: written with ``exp`` of negative numbers only; an overflow's NaN would end a fit.
"""

from __future__ import annotations

from math import log
from typing import NamedTuple

import torch
from torch import Tensor

SMALLEST_SCALE = 0.03  # steps; all weights are zero there


def laplace_bits(q: Tensor, scale: Tensor) -> Tensor:
    """Bits of each (real or integer) ``q`` under a Laplace of ``scale`` steps, integrated over one step."""
    a, s = q.abs(), scale.clamp_min(SMALLEST_SCALE)
    tail = (a - 0.5).clamp_min(0) / (s * log(2)) + 1 - torch.log2(-torch.expm1(-1 / s))
    near = a.clamp_max(0.5)
    inside = 1 - 0.5 * (torch.exp((near - 0.5) / s) + torch.exp(-(near + 0.5) / s))
    return torch.where(a < 0.5, -torch.log2(inside.clamp_min(1e-9)), tail)


class Rate(NamedTuple):
    """Weights ``q`` in units of ``step``, and their Laplace ``scale`` in such units; (tiles, weights)."""

    q: Tensor
    step: Tensor
    scale: Tensor

    def bits(self) -> Tensor:
        """Bits of each tile, (tiles,)."""
        return laplace_bits(self.q, self.scale).sum(1)

    def gradients(self, lmbda: float) -> tuple[Tensor, Tensor]:
        """``lmbda`` x bits by each weight (not by ``q``), and by the logarithm of each weight's scale."""
        a, s = self.q.abs(), self.scale.clamp_min(SMALLEST_SCALE)
        near = a.clamp_max(0.5)
        rising, falling = torch.exp((near - 0.5) / s), torch.exp(-(near + 0.5) / s)
        inside = (1 - 0.5 * (rising + falling)).clamp_min(1e-9)
        slope = torch.where(a < 0.5, 0.5 * (rising - falling) / inside, torch.ones_like(a))
        wide = 0.5 * ((0.5 - near) * rising + (near + 0.5) * falling) / inside
        tail = 0.5 - a + 1 / torch.expm1((1 / s).clamp_max(80))
        unit = lmbda / log(2) / s
        by_scale = unit * torch.where(a < 0.5, wide, tail) * (self.scale > SMALLEST_SCALE)
        return unit * slope * self.q.sign() / self.step, by_scale
