"""Optimisers for batches of small networks: SOAP with clipped updates, and plain Adam.

In: parameters ``(tiles, in, out)`` and their gradients.  Out: updated parameters, in place.
Invariant: a tile's update depends on that tile alone.

SOAP (Vyas et al., 2024, arXiv:2409.11321) is Adam in the eigenbasis of the Shampoo factors.  For tiles of
width 24-60 the factors are small enough that refreshing all bases is one batched QR, at next to no cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inrcodec.encoder.fit.checkpoint import State, count, fill, prefixed, under

BETA1, BETA2 = 0.9, 0.99
FACTOR_DECAY = 0.95  # of the Shampoo factors
REFRESH = 10  # steps between two QR refreshes of the bases
CLIP = 0.5  # largest RMS of a tensor's update before the learning rate: without it tiles diverge
TINY = 1e-12  # added to the root of the second moment


@dataclass
class _Family:
    """The moments of tensors of one shape, stacked (tensors x tiles, in, out).

    Factors and bases are there only where both sides are longer than 1.
    """

    members: list[int]
    rates: Tensor
    first: Tensor
    second: Tensor
    factors: tuple[Tensor, Tensor] | None
    bases: tuple[Tensor, Tensor] | None

    def tensors(self) -> State:
        pairs = {"factor": self.factors, "basis": self.bases}
        matrices = {f"{name}{k}": t for name, pair in pairs.items() for k, t in enumerate(pair or ())}
        return {"first": self.first, "second": self.second} | matrices


class ClippedSoap:
    """SOAP on matrices, Adam on vectors; each tile's update of each tensor is clipped to an RMS of ``CLIP``.

    Tensors of one shape are updated together: on a CPU small operations cost their calls.

    Parameters
    ----------
    parameters : (tiles, in, out), updated in place.
    rates : learning rate of each tensor.
    """

    def __init__(self, parameters: Sequence[Tensor], rates: Sequence[float]) -> None:
        self.parameters = list(parameters)
        self.steps = 0
        shapes = dict.fromkeys(tuple(p.shape) for p in parameters)
        self.families = [
            self._family([k for k, p in enumerate(parameters) if tuple(p.shape) == shape], shape, rates)
            for shape in shapes
        ]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], schedule: Tensor) -> None:
        """One update; ``schedule`` (tiles, 1, 1) multiplies the rates."""
        self.steps += 1
        for family in self.families:
            update = self._update(family, torch.cat([gradients[k] for k in family.members]))
            rms = update.square().mean((1, 2), keepdim=True).sqrt_()
            factor = family.rates * schedule.repeat(len(family.members), 1, 1)
            update *= factor / (rms / CLIP).clamp_min_(1)
            for k, part in zip(family.members, update.chunk(len(family.members)), strict=True):
                self.parameters[k].sub_(part)

    @torch.no_grad()
    def reset(self, tile: int) -> None:
        """Forget the moments of one tile: it starts anew."""
        tiles = len(self.parameters[0])
        for family in self.families:
            for name, tensor in family.tensors().items():
                basis = name.startswith("basis")
                tensor[tile::tiles] = torch.eye(tensor.shape[-1], device=tensor.device) if basis else 0

    def tensors(self) -> State:
        state = {"steps": torch.tensor(self.steps)}
        for k, family in enumerate(self.families):
            state |= prefixed(f"family{k}", family.tensors())
        return state

    def restore(self, state: State) -> None:
        self.steps = count(state["steps"])
        for k, family in enumerate(self.families):
            fill(family.tensors(), under(f"family{k}", state))

    def _update(self, f: _Family, g: Tensor) -> Tensor:
        fix1, fix2 = 1 - BETA1**self.steps, 1 - BETA2**self.steps
        f.first.lerp_(g, 1 - BETA1)
        if f.factors is None:
            f.second.lerp_(g * g, 1 - BETA2)
            return f.first / ((f.second / fix2).sqrt_().add_(TINY).mul_(fix1))
        left, right = self._bases(f, g)
        f.second.lerp_((left.mT @ g @ right).square_(), 1 - BETA2)
        turned = left.mT @ f.first @ right
        turned /= (f.second / fix2).sqrt_().add_(TINY).mul_(fix1)
        return left @ turned @ right.mT

    def _bases(self, f: _Family, g: Tensor) -> tuple[Tensor, Tensor]:
        assert f.factors is not None and f.bases is not None
        left, right = f.factors
        left.lerp_(g @ g.mT, 1 - FACTOR_DECAY)
        right.lerp_(g.mT @ g, 1 - FACTOR_DECAY)
        if self.steps == 1:
            f.bases = torch.linalg.eigh(left)[1], torch.linalg.eigh(right)[1]
        elif self.steps % REFRESH == 0:
            f.bases = torch.linalg.qr(left @ f.bases[0])[0], torch.linalg.qr(right @ f.bases[1])[0]
        return f.bases

    def _family(self, members: list[int], shape: tuple[int, ...], rates: Sequence[float]) -> _Family:
        like = self.parameters[0]
        tiles, n, m = shape
        number = len(members) * tiles
        square = min(n, m) > 1
        factors = (like.new_zeros(number, n, n), like.new_zeros(number, m, m)) if square else None
        # In the order of memory that eigh and qr leave: it decides how products with them are rounded.
        bases = (like.new_zeros(number, n, n).mT, like.new_zeros(number, m, m).mT) if square else None
        rate = like.new_tensor([rates[k] for k in members]).repeat_interleave(tiles)[:, None, None]
        first, second = like.new_zeros(number, n, m), like.new_zeros(number, n, m)
        return _Family(members, rate, first, second, factors, bases)


class Adam:
    """Adam at one rate for all tensors, without clipping.

    Parameters
    ----------
    parameters : the first axis is the tile; updated in place.
    decays : of the first and second moment.
    """

    def __init__(
        self, parameters: Sequence[Tensor], rate: float, *, decays: tuple[float, float] = (0.9, 0.999)
    ) -> None:
        self.parameters, self.rate, self.decays, self.steps = list(parameters), rate, decays, 0
        self.moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in self.parameters]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], schedule: Tensor | float) -> None:
        """One update; ``schedule`` multiplies the rate."""
        self.steps += 1
        beta1, beta2 = self.decays
        fix1, fix2 = 1 - beta1**self.steps, 1 - beta2**self.steps
        for p, g, (first, second) in zip(self.parameters, gradients, self.moments, strict=True):
            first.lerp_(g, 1 - beta1)
            second.lerp_(g * g, 1 - beta2)
            p.sub_(first / fix1 / ((second / fix2).sqrt() + 1e-8) * (self.rate * schedule))

    @torch.no_grad()
    def reset(self, tile: int) -> None:
        """Forget the moments of one tile."""
        for first, second in self.moments:
            first[tile], second[tile] = 0, 0

    def tensors(self) -> State:
        state = {"steps": torch.tensor(self.steps)}
        for k, (first, second) in enumerate(self.moments):
            state |= {f"first{k}": first, f"second{k}": second}
        return state

    def restore(self, state: State) -> None:
        fill(self.tensors(), state)
        self.steps = count(state["steps"])

    def forget(self, tensor: int) -> None:
        """Forget the moments of one tensor, which then stays where it is without gradients."""
        for moment in self.moments[tensor]:
            moment.zero_()
