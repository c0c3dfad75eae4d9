"""Squared error of SIRENs and its gradient, written out: backpropagation through sines, in buffers made once.

In: weights, coordinates (tiles, rows, 3) and targets (tiles, rows).  Out: errors and gradients of each tile.
The one law: what autograd would give, to rounding, in the same order whatever the threads.

One sine layer is ``h = sin(z)``, ``z = omega (x W + b)``; its cosine overwrites z and waits for the way back.

The functions are compiled by TorchScript where it is there: not for the arithmetic, which stays what it is,
but because compiled code does not hold Python's lock, and two cores then do twice the work of one (4.1 ms
where plain Python takes 6.1, and one core 6.5).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from inrcodec.layers.base.siren import siren
from inrcodec.layers.base.siren.siren import Layout


class Workspace:
    """Buffers for the activations of some tiles at a time.

    Parameters
    ----------
    layout : shapes of every tile's network.
    tiles, rows : of a batch.
    """

    def __init__(self, layout: Layout, tiles: int, rows: int, device: str) -> None:
        shape = (tiles, rows, layout.width)
        self.sines = [torch.empty(shape, device=device) for _ in range(layout.layers)]
        self.cosines = [torch.empty(shape, device=device) for _ in range(layout.layers)]
        self.back = torch.empty(shape, device=device)
        self.out = torch.empty(tiles, rows, 1, device=device)
        self.ones = torch.ones(tiles, 1, rows, device=device)

    @property
    def buffers(self) -> list[Tensor]:
        return [self.back, self.out, self.ones]

    def gradient(self, weights: list[Tensor], x: Tensor, y: Tensor, slopes: list[Tensor]) -> Tensor:
        """Fill ``slopes`` with those of the mean squared error, by the weights before they were scaled.

        Parameters
        ----------
        weights : of :func:`scaled`, for these tiles.
        x, y : coordinates (tiles, rows, 3) and targets (tiles, rows).
        slopes : one (tiles, in, out) a tensor, written to.

        Returns
        -------
        Tensor, (tiles,)
            Mean squared error of each tile.
        """
        with torch.no_grad():
            return compiled(backpropagate)(weights, x, y, self.sines, self.cosines, self.buffers, slopes)


def values(
    weights: list[Tensor], x: Tensor, sines: list[Tensor], cosines: list[Tensor], out: Tensor
) -> Tensor:
    """Values (tiles, rows, 1) at some coordinates, in buffers; ``cosines`` hold what sines were taken of."""
    h = x
    for k in range(len(sines)):
        z = torch.baddbmm(weights[2 * k + 1], h, weights[2 * k], out=cosines[k])
        h = torch.sin(z, out=sines[k])
    return torch.baddbmm(weights[2 * len(sines) + 1], h, weights[2 * len(sines)], out=out)


def backpropagate(
    weights: list[Tensor],
    x: Tensor,
    y: Tensor,
    sines: list[Tensor],
    cosines: list[Tensor],
    buffers: list[Tensor],
    slopes: list[Tensor],
) -> Tensor:
    """See :meth:`Workspace.gradient`; slopes of sine layers are by the scaled weights."""
    back, out, ones = buffers[0], buffers[1], buffers[2]
    last = len(sines)
    slope = values(weights, x, sines, cosines, out).sub_(y.unsqueeze(2))
    errors = slope.square().mean([1, 2])
    for cosine in cosines:
        cosine.cos_()
    slope.mul_(2.0 / x.size(1))
    torch.bmm(sines[last - 1].mT, slope, out=slopes[2 * last])
    torch.bmm(ones, slope, out=slopes[2 * last + 1])
    # Nobody needs a layer's sine once it is behind: the slope on its way down takes its place.
    slope = torch.mul(slope, weights[2 * last].mT, out=back).mul_(cosines[last - 1])
    for step in range(last):
        k = last - 1 - step
        below = sines[k - 1] if k > 0 else x
        torch.bmm(below.mT, slope, out=slopes[2 * k])
        torch.bmm(ones, slope, out=slopes[2 * k + 1])
        if k > 0:
            above = slope
            slope = torch.bmm(above, weights[2 * k].mT, out=sines[k]).mul_(cosines[k - 1])
    return errors


def portions(
    weights: list[Tensor],
    owners: list[int],
    index: list[Tensor],
    targets: list[Tensor],
    rows: list[Tensor],
    frames: Tensor,
    sines: list[Tensor],
    cosines: list[Tensor],
    buffers: list[Tensor],
    slopes: list[Tensor],
) -> Tensor:
    """Errors of some portions of tiles' voxels, one after the other, and their slopes.

    Parameters
    ----------
    weights : of :func:`scaled`, for all tiles.
    owners : the tile of each portion.
    index, targets : (n, 3) and (n,) of each portion's voxels.
    rows : the voxels that are drawn, (rows,) a portion.
    frames : of each portion's coordinates (see `samples.Samples`), (portions, 2, 3).
    slopes : one (portions, in, out) a tensor, written to.
    """
    errors = torch.empty(len(owners), device=frames.device)
    for p in range(len(owners)):
        t = owners[p]
        x = index[p][rows[p]].to(torch.float32).mul_(frames[p, 0]).sub_(frames[p, 1])
        mine = [w[t : t + 1] for w in weights]
        written = [s[p : p + 1] for s in slopes]
        y = targets[p][rows[p]].unsqueeze(0)
        errors[p] = backpropagate(mine, x.unsqueeze(0), y, sines, cosines, buffers, written)[0]
    return errors


def squares(
    weights: list[Tensor],
    index: Tensor,
    targets: Tensor,
    frame: Tensor,
    sines: list[Tensor],
    cosines: list[Tensor],
    out: Tensor,
) -> Tensor:
    """Sum of the squared errors of one tile's voxels, () float64."""
    rows = out.size(1)
    total = torch.zeros([], dtype=torch.float64, device=targets.device)
    for k in range(0, targets.size(0), rows):
        x = index[k : k + rows].to(torch.float32).mul_(frame[0]).sub_(frame[1]).unsqueeze(0)
        n = x.size(1)
        used = values(weights, x, [s[:, :n] for s in sines], [c[:, :n] for c in cosines], out[:, :n])
        total += (used[0, :, 0] - targets[k : k + rows]).square().sum(dtype=torch.float64)
    return total


def scaled(layout: Layout, flat: Tensor) -> list[Tensor]:
    """Contiguous tensors (tiles, in, out) with omega inside those of the sine layers.

    Omega goes into the small tensors, not over the activations: one pass over memory less.
    """
    *hidden, weight, bias = siren.tensors(layout, flat)
    return [layout.omega * p for p in hidden] + [weight.contiguous(), bias.contiguous()]


def unscaled(layout: Layout, slopes: list[Tensor]) -> Tensor:
    """Slopes by scaled weights, a tensor each, to slopes by the flat weights (tiles, layout.weights)."""
    inside = 2 * layout.layers
    for slope in slopes[:inside]:
        slope.mul_(layout.omega)
    return torch.cat([slope.flatten(1) for slope in slopes], 1)


@cache
def compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function in TorchScript; the function itself where torch has no TorchScript."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return torch.jit.script(function)  # type: ignore[no-any-return]
        except Exception:  # torch says in many ways that it cannot; the same arithmetic is slower, not wrong
            return function
