"""Squared error of SIRENs and its gradient, written out: backpropagation through sines, in reused buffers.

In: weights, coordinates (tiles, rows, 3) and targets (tiles, rows).  Out: errors and gradients of each tile.
Invariant: what autograd would give, to rounding, in the same order whatever the threads.

One sine layer is ``h = sin(z)``, ``z = omega (x W + b)``; its cosine overwrites z and waits for the way back.
The functions are compiled by TorchScript where it is available: the arithmetic stays the same, but compiled
code releases Python's lock, so that two cores do twice the work of one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from inrcodec.layers.base.siren import siren
from inrcodec.layers.base.siren.siren import Layout

# A step of the head's eight tiles on two cores: 4.1 ms compiled, 6.1 ms in Python, 6.5 ms on one core.
SLOW = (
    "torch cannot compile the steps of the fit ({cause}): they hold Python's lock and take up to half longer"
)


class Workspace:
    """Buffers for the activations of a batch of some tiles."""

    def __init__(self, layout: Layout, tiles: int, rows: int, device: str) -> None:
        shape = (tiles, rows, layout.width)
        self.sines = [torch.empty(shape, device=device) for _ in range(layout.layers)]
        self.cosines = [torch.empty(shape, device=device) for _ in range(layout.layers)]
        self.out = torch.empty(tiles, rows, 1, device=device)
        ones = torch.ones(tiles, 1, rows, device=device)
        self.buffers = [torch.empty(shape, device=device), self.out, ones]


def forward(
    weights: list[Tensor], x: Tensor, sines: list[Tensor], cosines: list[Tensor], out: Tensor
) -> Tensor:
    """Values (tiles, rows, 1) at ``x``, in buffers; ``cosines`` then hold the arguments of the sines."""
    h = x
    for k in range(len(sines)):
        z = torch.baddbmm(weights[2 * k + 1], h, weights[2 * k], out=cosines[k])
        h = torch.sin(z, out=sines[k])
    return torch.baddbmm(weights[2 * len(sines) + 1], h, weights[2 * len(sines)], out=out)


def backward(
    weights: list[Tensor],
    x: Tensor,
    y: Tensor,
    sines: list[Tensor],
    cosines: list[Tensor],
    buffers: list[Tensor],
    gradients: list[Tensor],
) -> Tensor:
    """Mean squared error of each tile, (tiles,), and its gradients.

    Parameters
    ----------
    weights : of :func:`with_omega`, for these tiles.
    x, y : coordinates (tiles, rows, 3) and targets (tiles, rows).
    sines, cosines, buffers : of a :class:`Workspace`.
    gradients : one (tiles, in, out) for each tensor of ``weights``, written to.
    """
    back, out, ones = buffers
    last = len(sines)
    slope = forward(weights, x, sines, cosines, out).sub_(y.unsqueeze(2))
    errors = slope.square().mean([1, 2])
    for cosine in cosines:
        cosine.cos_()
    slope.mul_(2.0 / x.size(1))
    torch.bmm(sines[last - 1].mT, slope, out=gradients[2 * last])
    torch.bmm(ones, slope, out=gradients[2 * last + 1])
    # A layer's sine is not needed any more once it is passed: the slope on its way down takes its place.
    slope = torch.mul(slope, weights[2 * last].mT, out=back).mul_(cosines[last - 1])
    for step in range(last):
        k = last - 1 - step
        below = sines[k - 1] if k > 0 else x
        torch.bmm(below.mT, slope, out=gradients[2 * k])
        torch.bmm(ones, slope, out=gradients[2 * k + 1])
        if k > 0:
            above = slope
            slope = torch.bmm(above, weights[2 * k].mT, out=sines[k]).mul_(cosines[k - 1])
    return errors


def backward_portions(
    weights: list[Tensor],
    owners: list[int],
    index: list[Tensor],
    targets: list[Tensor],
    rows: list[Tensor],
    frames: Tensor,
    sines: list[Tensor],
    cosines: list[Tensor],
    buffers: list[Tensor],
    gradients: list[Tensor],
) -> Tensor:
    """:func:`backward` of some portions of the tiles' voxels, one after the other.

    Parameters
    ----------
    weights : of :func:`with_omega`, for all tiles.
    owners : the tile of each portion.
    index, targets : (n, 3) and (n,) of each portion's voxels.
    rows : the voxels that are drawn, (rows,) a portion.
    frames : (portions, 2, 3), of each portion's coordinates; see `sampling.Sampler`.
    gradients : one (portions, in, out) for each tensor, written to.
    """
    errors = torch.empty(len(owners), device=frames.device)
    for p in range(len(owners)):
        t = owners[p]
        x = index[p][rows[p]].to(torch.float32).mul_(frames[p, 0]).sub_(frames[p, 1])
        own = [w[t : t + 1] for w in weights]
        written = [g[p : p + 1] for g in gradients]
        y = targets[p][rows[p]].unsqueeze(0)
        errors[p] = backward(own, x.unsqueeze(0), y, sines, cosines, buffers, written)[0]
    return errors


def squared_error(
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
        values = forward(weights, x, [s[:, :n] for s in sines], [c[:, :n] for c in cosines], out[:, :n])
        total += (values[0, :, 0] - targets[k : k + rows]).square().sum(dtype=torch.float64)
    return total


def with_omega(layout: Layout, flat: Tensor) -> list[Tensor]:
    """Contiguous tensors (tiles, in, out) with omega inside those of the sine layers.

    Omega goes into the small tensors, not over the activations: one pass over memory less.
    """
    *hidden, weight, bias = siren.tensors(layout, flat)
    return [layout.omega * p for p in hidden] + [weight.contiguous(), bias.contiguous()]


def without_omega(layout: Layout, gradients: list[Tensor]) -> Tensor:
    """Gradients by the tensors of :func:`with_omega` to those by the flat weights, (tiles, weights)."""
    inside = 2 * layout.layers
    for gradient in gradients[:inside]:
        gradient.mul_(layout.omega)
    return torch.cat([gradient.flatten(1) for gradient in gradients], 1)


class Kernels(NamedTuple):
    """The functions that take the time, compiled or not; ``notice`` says why not."""

    backward: Callable[..., Tensor]
    backward_portions: Callable[..., Tensor]
    squared_error: Callable[..., Tensor]
    notice: str | None = None


@cache
def kernels() -> Kernels:
    """The functions in TorchScript; the functions themselves where torch cannot compile them."""
    plain = Kernels(backward, backward_portions, squared_error)
    script: Callable[[Callable[..., Tensor]], Callable[..., Tensor]] = torch.jit.script
    with warnings.catch_warnings():
        for kind in (DeprecationWarning, FutureWarning):  # which of them depends on torch
            warnings.simplefilter("ignore", kind)
        try:
            compiled = Kernels(script(backward), script(backward_portions), script(squared_error))
        except Exception as error:  # torch has many ways to say so; the same arithmetic is slower, not wrong
            return plain._replace(notice=SLOW.format(cause=type(error).__name__))
    if compiled == plain:  # PYTORCH_JIT=0 hands the functions back
        return plain._replace(notice=SLOW.format(cause="TorchScript is switched off"))
    return compiled
