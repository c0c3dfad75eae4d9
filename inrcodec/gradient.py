"""Squared error of SIRENs and its gradient, written out (backpropagation through sines) in buffers made once.

In: weights, coordinates (tiles, rows, 3) and targets (tiles, rows).  Out: errors and gradients of each tile.
The one law: what autograd would give, to rounding; on a core it takes three quarters of autograd's time.

One sine layer is ``h = sin(z)``, ``z = omega (x W + b)``; its cosine overwrites z and waits for the way back.
"""

from __future__ import annotations

import torch
from torch import Tensor

from inrcodec import siren
from inrcodec.siren import Layout


class Workspace:
    """Buffers for one batch of tiles at a time.

    Parameters
    ----------
    layout : shapes of every tile's network.
    tiles, rows : of a batch.
    """

    def __init__(self, layout: Layout, tiles: int, rows: int, device: str) -> None:
        self.layout, self.rows = layout, rows
        shape = (tiles, rows, layout.width)
        self.sines = [torch.empty(shape, device=device) for _ in range(layout.layers)]
        self.cosines = [torch.empty(shape, device=device) for _ in range(layout.layers)]
        self.back = torch.empty(shape, device=device)
        self.out = torch.empty(tiles, rows, 1, device=device)
        self.ones = torch.ones(tiles, 1, rows, device=device)

    @torch.no_grad()
    def values(self, weights: list[Tensor], x: Tensor) -> Tensor:
        """Values (tiles, n, 1) at up to ``rows`` coordinates, in a buffer that the next call overwrites."""
        h, used = x, (slice(len(x)), slice(x.shape[1]))
        for k, (sine, cosine) in enumerate(zip(self.sines, self.cosines, strict=True)):
            z = torch.baddbmm(weights[2 * k + 1], h, weights[2 * k], out=cosine[used])
            h = torch.sin(z, out=sine[used])
        return torch.baddbmm(weights[-1], h, weights[-2], out=self.out[used])

    @torch.no_grad()
    def gradient(self, weights: list[Tensor], x: Tensor, y: Tensor, gradient: Tensor) -> Tensor:
        """Fill ``gradient`` with that of the mean squared error, by the weights before they were scaled.

        Parameters
        ----------
        weights : of :func:`scaled`, for these tiles.
        x, y : coordinates (tiles, rows, 3) and targets (tiles, rows).
        gradient : (tiles, layout.weights), written to.

        Returns
        -------
        Tensor, (tiles,)
            Mean squared error of each tile.
        """
        residual = self.values(weights, x).sub_(y[..., None])
        errors = residual.square().mean((1, 2))
        for cosine in self.cosines:
            cosine.cos_()
        self._backward(weights, x, residual.mul_(2 / self.rows), siren.tensors(self.layout, gradient))
        return errors

    def _backward(self, weights: list[Tensor], x: Tensor, slope: Tensor, gradient: list[Tensor]) -> None:
        """From the slope of the error at the output, (tiles, rows, 1), down to the first layer."""
        omega = self.layout.omega
        gradient[-2].copy_(self.sines[-1].mT @ slope)
        gradient[-1].copy_(slope.sum(1, keepdim=True))
        # Nobody needs a layer's cosine after its slope: they share a buffer from here on.
        slope = torch.mul(slope, weights[-2].mT, out=self.back).mul_(self.cosines[-1])
        for k in range(self.layout.layers - 1, -1, -1):
            below = self.sines[k - 1] if k else x
            torch.mul(below.mT @ slope, omega, out=gradient[2 * k])
            torch.mul(self.ones @ slope, omega, out=gradient[2 * k + 1])
            if k:
                above, slope = slope, self.sines[k]
                torch.bmm(above, weights[2 * k].mT, out=slope).mul_(self.cosines[k - 1])


def scaled(layout: Layout, flat: Tensor) -> list[Tensor]:
    """Contiguous tensors (tiles, in, out) with omega inside those of the sine layers.

    Omega goes into the small tensors, not over the activations: one pass over memory less.
    """
    *hidden, weight, bias = siren.tensors(layout, flat)
    return [layout.omega * p for p in hidden] + [weight.contiguous(), bias.contiguous()]
