"""Quantisation in training: steps and Laplace scales that are learned, and the integers that are stored.

In: flat weights (tiles, weights).  Out: weights as the decoder would have them, step codes, int32 weights.
Invariant: what is fitted last is what is stored; see `layers.base.siren.weights` for the steps.
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor

from inrcodec.encoder.fit.checkpoint import State, fill, prefixed, under
from inrcodec.encoder.fit.rate_model import SMALLEST_SCALE, Rate
from inrcodec.encoder.fit.soap import Adam
from inrcodec.layers.base.siren import siren
from inrcodec.layers.base.siren.siren import Layout
from inrcodec.layers.base.siren.weights import PER_OCTAVE, code_of, step_of
from inrcodec.volume.arrays import Int32

FIRST_STEP = 0.15  # of the mean magnitude of the initial weights: where learning of the steps begins
RATE_LEARNING = 5e-3  # Adam's rate for the logarithms of steps and scales
LARGEST = 1e15  # gradient of a step or scale: its square is still a number


class Quantizer:
    """Learned steps and Laplace scales of all tensors and tiles, from initial weights (tiles, weights)."""

    def __init__(self, layout: Layout, flat: Tensor) -> None:
        self.layout = layout
        sizes = torch.tensor(layout.sizes, device=flat.device)
        tensors = torch.arange(len(sizes), device=flat.device)
        self.owner = tensors.repeat_interleave(sizes, output_size=layout.weights)
        usual = torch.tensor(layout.bounds, device=flat.device) / 2
        self.log_step = (usual * FIRST_STEP).log().expand(len(flat), -1).clone()
        self.log_scale = torch.maximum(self._magnitudes(flat), usual).log()
        self.optimizer = Adam([self.log_step, self.log_scale], RATE_LEARNING, decays=(0.9, 0.99))
        self.frozen = False

    def __call__(self, flat: Tensor, noise: Tensor | None) -> tuple[Tensor, Rate]:
        """Weights as the decoder would have them, and what they cost.

        ``noise`` in [-0.5, 0.5] is added in units of the step; ``None`` rounds, straight through.
        """
        step = self.log_step.exp()[:, self.owner]
        q = flat / step
        q = q + noise if noise is not None else q.round()
        return q * step, Rate(q, step, (self.log_scale - self.log_step).exp()[:, self.owner])

    def learn(self, flat: Tensor, rate: Rate, gradient: Tensor, lmbda: float, schedule: float) -> None:
        """One update of steps and scales; the gradient of the bits is added to that of the error.

        Parameters
        ----------
        rate : that the weights had in this step.
        gradient : (tiles, weights), of the error by the weights; written to.
        lmbda : loss units a bit.
        schedule : factor of the learning rate.
        """
        by_weight, by_scale = rate.gradients(lmbda)
        used = rate.q * rate.step
        # A larger step moves the weight by what noise or rounding added, and shrinks both q and its scale.
        by_step = gradient * (used - flat) - by_weight * flat - by_scale
        gradient += by_weight
        sums = [self._by_tensor(by_step), self._by_tensor(by_scale)]
        if self.frozen:
            sums[0].zero_()
        # A tile that diverges between two checks must not take its steps with it.
        self.optimizer.step([g.nan_to_num_(0, 0, 0).clamp_(-LARGEST, LARGEST) for g in sums], schedule)

    def freeze(self) -> None:
        """Snap the steps to the codes that can be stored; only the scales are learned from here on."""
        self._snap(self.codes())
        self.optimizer.forget(0)
        self.frozen = True

    @torch.no_grad()
    def reset(self, tile: int, flat: Tensor) -> None:
        """Steps and scales of new weights of one tile, (weights,); those of lost ones grow beyond all use."""
        usual = torch.tensor(self.layout.bounds, device=flat.device) / 2
        first = (usual * FIRST_STEP).log()
        codes = [code_of(v) for v in first.tolist()]
        self.log_step[tile] = torch.tensor([log(step_of(c)) for c in codes]) if self.frozen else first
        self.log_scale[tile] = torch.maximum(self._magnitudes(flat[None])[0], usual).log()
        self.optimizer.reset(tile)

    def start_from(self, codes: list[list[int]], flat: Tensor) -> None:
        """Take over the steps, and find the scales, of weights that were trained before."""
        self._snap(codes)
        least = self.log_step + log(SMALLEST_SCALE)
        self.log_scale.copy_(torch.maximum(self._magnitudes(flat).log(), least))

    def tensors(self) -> State:
        own = {"log_step": self.log_step, "log_scale": self.log_scale}
        frozen = {"frozen": torch.tensor(int(self.frozen))}
        return own | frozen | prefixed("optimizer", self.optimizer.tensors())

    def restore(self, state: State) -> None:
        own = {"log_step": self.log_step, "log_scale": self.log_scale}
        if not all(bool(state[name].isfinite().all()) for name in own):
            raise ValueError("a step or scale is not finite")
        fill(own, state)
        self.frozen = bool(state["frozen"])
        self.optimizer.restore(under("optimizer", state))

    def coarsen(self, codes: float) -> None:
        """Frozen steps so many codes, 9 % each, larger: an eighth of a bit a weight less.

        A fraction of a code is one whole code for tensors that hold this fraction of the weights.
        """
        whole, part = divmod(codes, 1)
        # Hidden matrices first: of each tile in turn, the largest tensors of all tiles.
        sizes = torch.tensor(self.layout.sizes).expand(len(self.log_step), -1).T.reshape(-1)
        order = sizes.argsort(descending=True, stable=True)
        before = sizes[order].cumsum(0) - sizes[order]
        more = torch.zeros(len(sizes), dtype=torch.float64)
        more[order[before < part * sizes.sum()]] = 1
        moves = (whole + more.reshape(-1, len(self.log_step)).T).to(self.log_step)
        self.log_step.add_(moves * (log(2) / PER_OCTAVE))

    def codes(self) -> list[list[int]]:
        """The nearest step code of each tile and tensor."""
        return [[code_of(v) for v in row] for row in self.log_step.tolist()]

    def integers(self, flat: Tensor) -> list[list[Int32]]:
        """The integers of each tile and tensor, for the steps of :meth:`codes`."""
        steps = torch.tensor([[step_of(c) for c in row] for row in self.codes()], dtype=torch.float64)
        q = (flat.detach().cpu().double() / steps[:, self.owner.cpu()]).round().to(torch.int32)
        return [[t.numpy() for t in row.split(self.layout.sizes)] for row in q]

    def _snap(self, codes: list[list[int]]) -> None:
        """Steps become those of some codes."""
        self.log_step.copy_(torch.tensor([[log(step_of(c)) for c in row] for row in codes]))

    def _magnitudes(self, flat: Tensor) -> Tensor:
        """Mean magnitude of each tensor's weights, (tiles, tensors)."""
        return torch.stack([p.abs().mean((1, 2)) for p in siren.tensors(self.layout, flat)], 1)

    def _by_tensor(self, values: Tensor) -> Tensor:
        """Sums over each tensor's weights, (tiles, tensors)."""
        return torch.stack([part.sum(1) for part in torch.split(values, self.layout.sizes, 1)], 1)
