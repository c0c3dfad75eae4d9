"""Optimisers for batches of small networks: SOAP with clipped updates, and plain Adam.

In: parameters ``(tiles, in, out)`` and their gradients.  Out: updated parameters, in place.
The one law: knows tensors, not volumes; a tile's update depends on that tile alone.

SOAP (Vyas et al., 2024) is Adam in the eigenbasis of the Shampoo factors.  For tiles of width 24-60 the
factors are small enough that refreshing all bases is one batched QR, which costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BETA1, BETA2 = 0.9, 0.99
FACTOR_DECAY = 0.95  # of the Shampoo factors
REFRESH = 10  # steps between two QR refreshes of the bases
CLIP = 0.5  # largest RMS of a tensor's update before the rate: without it tiles are lost at these rates
TINY = 1e-12


@dataclass
class _Moments:
    """State of one tensor (tiles, in, out); factors and bases only where both sides are longer than 1."""

    first: Tensor
    second: Tensor
    factors: tuple[Tensor, Tensor] | None
    bases: tuple[Tensor, Tensor] | None = None


class ClippedSoap:
    """SOAP on matrices, Adam on vectors; each tile's update of each tensor is clipped to an RMS of ``CLIP``.

    Parameters
    ----------
    parameters : tensors (tiles, in, out), updated in place.
    rates : learning rate of each tensor.
    """

    def __init__(self, parameters: Sequence[Tensor], rates: Sequence[float]) -> None:
        self.parameters, self.rates = list(parameters), list(rates)
        self.steps = 0
        self.moments = [self._fresh(p) for p in self.parameters]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], schedule: Tensor) -> None:
        """One update; ``schedule`` (tiles, 1, 1) multiplies the rates."""
        self.steps += 1
        fix1, fix2 = 1 - BETA1**self.steps, 1 - BETA2**self.steps
        for p, g, m, rate in zip(self.parameters, gradients, self.moments, self.rates, strict=True):
            m.first.lerp_(g, 1 - BETA1)
            if m.factors is None:
                m.second.lerp_(g * g, 1 - BETA2)
                update = m.first / fix1 / ((m.second / fix2).sqrt() + TINY)
            else:
                left, right = self._refresh(m, g)
                m.second.lerp_((left.mT @ g @ right).square(), 1 - BETA2)
                turned = left.mT @ m.first @ right / fix1
                update = left @ (turned / ((m.second / fix2).sqrt() + TINY)) @ right.mT
            rms = update.square().mean((1, 2), keepdim=True).sqrt()
            p.sub_(update / (rms / CLIP).clamp_min(1) * (rate * schedule))

    @torch.no_grad()
    def reset(self, tile: int) -> None:
        """Forget what is known of one tile: it starts anew."""
        for m in self.moments:
            m.first[tile], m.second[tile] = 0, 0
            if m.factors is not None and m.bases is not None:
                for factor, basis in zip(m.factors, m.bases, strict=True):
                    factor[tile] = 0
                    basis[tile] = torch.eye(basis.shape[-1], device=basis.device)

    def _refresh(self, m: _Moments, g: Tensor) -> tuple[Tensor, Tensor]:
        assert m.factors is not None
        left, right = m.factors
        left.lerp_(g @ g.mT, 1 - FACTOR_DECAY)
        right.lerp_(g.mT @ g, 1 - FACTOR_DECAY)
        if m.bases is None:
            m.bases = torch.linalg.eigh(left)[1], torch.linalg.eigh(right)[1]
        elif self.steps % REFRESH == 0:
            m.bases = torch.linalg.qr(left @ m.bases[0])[0], torch.linalg.qr(right @ m.bases[1])[0]
        return m.bases

    @staticmethod
    def _fresh(p: Tensor) -> _Moments:
        factors = None
        if min(p.shape[1:]) > 1:
            count, n, m = p.shape
            factors = p.new_zeros(count, n, n), p.new_zeros(count, m, m)
        return _Moments(torch.zeros_like(p), torch.zeros_like(p), factors)


class Adam:
    """Adam at one rate for all tensors, as the paper has it; no clipping."""

    def __init__(self, parameters: Sequence[Tensor], rate: float) -> None:
        self.parameters, self.rate = list(parameters), rate
        self.steps = 0
        self.moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in self.parameters]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], schedule: Tensor) -> None:
        self.steps += 1
        fix1, fix2 = 1 - BETA1**self.steps, 1 - 0.999**self.steps
        for p, g, (first, second) in zip(self.parameters, gradients, self.moments, strict=True):
            first.lerp_(g, 1 - BETA1)
            second.lerp_(g * g, 1 - 0.999)
            p.sub_(first / fix1 / ((second / fix2).sqrt() + 1e-8) * (self.rate * schedule))

    @torch.no_grad()
    def reset(self, tile: int) -> None:
        for first, second in self.moments:
            first[tile], second[tile] = 0, 0
