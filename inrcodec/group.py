"""A few tiles that are trained as one batch: their samples, weights, optimiser and watch.

In: tiles with their target values, a place in the schedule and a rate.  Out: weights that fit better.
The one law: a group depends on its own tiles and its own seed alone, so groups can be trained side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import cos, pi, sqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec import siren
from inrcodec.errors import FitFailed
from inrcodec.optimize import Adam, ClippedSoap
from inrcodec.quantize import Quantizer
from inrcodec.siren import Layout
from inrcodec.tiles import Tile

NOISE_FROM, ROUND_FROM = 0.1, 0.85  # shares of the fit: noise on the weights, then rounding
WARM_UP = 100  # steps
LOOK_EVERY = 50  # steps between two looks at the tiles
ETA_FIRST, ETA_HIDDEN, ETA_OUT, ETA_BIAS = 0.05, 0.3, 0.3, 0.03  # learning rate / rms of the initial tensor
RESTARTS = 3  # of one tile, each at half the rate of the one before
STUCK = 0.5  # of the variance that neighbours share: to explain less of it a tenth into the fit is no fit
BURST = 4.0  # times the best error so far: a tile whose error grew by this is lost
FLAT = 1e-4  # squared error in [-1, 1] that nobody sees: 46 dB
GRACE = 3  # looks at the start of a phase in which its errors settle


class _Shuffle:
    """Rows of one tile, every row once before any comes again.

    On the head 0.3 dB better than drawing with replacement.
    """

    def __init__(self, count: int) -> None:
        self.count, self.left = count, torch.empty(0, dtype=torch.long)

    def take(self, batch: int, generator: torch.Generator) -> Tensor:
        if len(self.left) < batch:
            rounds = -(-(batch - len(self.left)) // self.count)
            more = [
                torch.randperm(self.count, generator=generator, device=generator.device)
                for _ in range(rounds)
            ]
            self.left = torch.cat([self.left.to(more[0].device), *more])
        taken, self.left = self.left[:batch], self.left[batch:]
        return taken


class Samples:
    """All tiles' voxels one after the other: indices as int16, values as float32 (10 bytes a voxel)."""

    def __init__(
        self, tiles: Sequence[Tile], values: Sequence[NDArray[np.float64]], total: int, device: str
    ) -> None:
        counts = [len(t.index) for t in tiles]
        self.counts = torch.tensor(counts, device=device)
        self.shuffles = [_Shuffle(count) for count in counts]
        self.starts = torch.tensor([0, *np.cumsum(counts)[:-1].tolist()], device=device)
        self.index = torch.from_numpy(np.concatenate([t.index for t in tiles])).to(device)
        self.values = torch.from_numpy(np.concatenate(values).astype(np.float32)).to(device)
        self.centres = torch.tensor(np.array([t.centre for t in tiles]), device=device)[:, None]
        self.extents = torch.tensor([t.extent for t in tiles], device=device)[:, None, None]
        self.share = self.counts / total  # of all groups' voxels
        # NumPy sums on one thread: torch's could make the first weights depend on the number of threads.
        self.means = torch.tensor([v.mean() for v in values], dtype=torch.float32, device=device)
        self.variance = torch.tensor([v.var() for v in values], dtype=torch.float32, device=device)
        floors = [_stuck(t.index, v) for t, v in zip(tiles, values, strict=True)]
        self.floor = torch.tensor(floors, dtype=torch.float32, device=device)

    def draw(self, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(tiles, batch, 3) coordinates and (tiles, batch) values, in shuffled order."""
        return self.at(torch.stack([s.take(batch, generator) for s in self.shuffles]))

    def at(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        places = torch.minimum(rows, self.counts[:, None] - 1) + self.starts[:, None]
        coordinates = (2 * self.index[places].long() - self.centres) / self.extents
        return coordinates, self.values[places]

    def errors(self, layout: Layout, flat: Tensor, batch: int) -> Tensor:
        """Mean squared error of each tile over all its voxels, (tiles,)."""
        total = torch.zeros(len(self.counts), dtype=torch.float64, device=flat.device)
        for first in range(0, int(self.counts.max()), batch):
            rows = torch.arange(first, first + batch, device=flat.device).expand(len(self.counts), -1)
            x, y = self.at(rows)
            square = (siren.evaluate(layout, flat, x) - y).square() * (rows < self.counts[:, None])
            total += square.sum(1, dtype=torch.float64)
        return total / self.counts


def _stuck(index: NDArray[np.integer[Any]], values: NDArray[np.float64]) -> float:
    """Error of a tile that counts as stuck: half of what neighbours share is unexplained.

    Neighbours in a smooth tile share all its variance, those in pure noise none: noise is never stuck.
    """
    beside = (index[1:, :2] == index[:-1, :2]).all(1) & (index[1:, 2] == index[:-1, 2] + 1)
    variance = float(values.var())
    apart = float(np.square(np.diff(values)[beside]).mean()) / 2 if beside.any() else variance
    return variance - STUCK * max(variance - apart, 0.0)


@dataclass
class _Watch:
    """Each tile's smoothed error, its best state so far, and how often it was lost."""

    variance: Tensor
    floor: Tensor  # error of a tile that is stuck
    best_state: Tensor
    mean: Tensor = field(init=False)
    best: Tensor = field(init=False)
    lost: list[int] = field(init=False)
    grace: int = field(init=False)

    def __post_init__(self) -> None:
        self.forget()
        self.lost = [0] * len(self.variance)

    def forget(self) -> None:
        """A new phase has a new scale of errors: they settle before they are judged."""
        self.mean = self.variance.clone()
        self.best = torch.full_like(self.variance, torch.inf)
        self.grace = GRACE

    def note(self, errors: Tensor) -> None:
        self.mean = self.mean.lerp(errors, 0.05)

    def look(self, state: Tensor, share: float) -> list[int]:
        """Keep the states that got better; name the tiles that are lost."""
        self.grace -= 1
        if self.grace >= 0 and bool(torch.isfinite(self.mean).all()):
            return []
        better = self.mean < self.best
        self.best = torch.where(better, self.mean, self.best)
        self.best_state = torch.where(better[:, None], state, self.best_state)
        bad = ~torch.isfinite(self.mean) | (self.mean > BURST * self.best)
        if 0.1 < share < 0.5:
            bad |= self.mean > self.floor
        bad &= ~(self.mean <= FLAT)  # what nobody sees is not worth a restart
        return [int(t) for t in bad.nonzero()[:, 0] if self.lost[t] < RESTARTS]


class Group:
    """Training state of a few tiles.

    Parameters
    ----------
    layout : shapes of every tile's network.
    samples : the tiles' voxels.
    batch : samples a tile and step.
    learning_rate : ``None`` = SOAP at rates scaled to the tensors; a number = Adam at that rate.
    coded : whether weights are trained for their bits.
    seed : of weights, noise and the order of the samples.
    """

    def __init__(
        self,
        layout: Layout,
        samples: Samples,
        batch: int,
        learning_rate: float | None,
        coded: bool,
        seed: int,
    ) -> None:
        self.layout, self.samples, self.coded = layout, samples, coded
        self.batch = min(batch, int(samples.counts.max()))  # more would only repeat voxels
        device = samples.values.device
        self.generator = torch.Generator(device).manual_seed(seed)
        self.restart = torch.Generator().manual_seed(seed)
        self.flat = self._fresh(slice(None)).requires_grad_()
        self.quantizer = Quantizer(layout, self.flat.detach())
        self.optimizer = self._optimizer(learning_rate)
        self.watch = _Watch(samples.variance, samples.floor, self.flat.detach().clone())
        self.patience = torch.ones(len(samples.counts), 1, 1, device=device)  # halved where a tile was lost
        self.kept = self.flat.detach().clone()  # best rounded state of each tile
        self.cost = torch.full_like(samples.variance, torch.inf, dtype=torch.float64)  # and what it cost
        self.bits = 0.0  # of all weights, at the last step
        self.steps, self.phase = 0, 0

    def coarsen(self) -> None:
        """Frozen steps a code coarser; errors are judged anew."""
        self.quantizer.coarsen()
        self.watch.forget()

    def advance(self, shares: Sequence[float], rate: float) -> None:
        """A step for each place in the schedule, 0..1; ``rate`` in loss units a bit."""
        for share in shares:
            self.step(share, rate)

    def step(self, share: float, rate: float) -> None:
        self.enter(sum(share >= s for s in (NOISE_FROM, ROUND_FROM)) if self.coded else 0)
        schedule = min(1.0, (self.steps + 1) / WARM_UP) * (0.5 * (1 + cos(pi * share)) * 0.99 + 0.01)
        x, y = self.samples.draw(self.batch, self.generator)
        weights, bits = self._weights()
        errors = (siren.evaluate(self.layout, weights, x) - y).square().mean(1)
        torch.autograd.backward((errors * self.samples.share).sum() + rate * bits)
        assert self.flat.grad is not None
        self.optimizer.step(siren.tensors(self.layout, self.flat.grad), schedule * self.patience)
        self.flat.grad = None
        if self.phase:
            self.quantizer.learn(schedule)
        self.steps += 1
        self.watch.note(errors.detach())
        if self.steps % LOOK_EVERY == 0 and self.steps >= 2 * WARM_UP:
            self.bits = float(bits.detach())
            for t in self.watch.look(self.flat.detach(), share):
                self._recover(t)

    @torch.no_grad()
    def rounded(self) -> tuple[Tensor, Tensor]:
        """Each tile's share of the squared error over all voxels, and its bits, with rounded weights."""
        weights, bits = self.quantizer(self.flat, None)
        return self.samples.errors(self.layout, weights, self.batch) * self.samples.share, bits

    @torch.no_grad()
    def remember(self, cost: Tensor) -> None:
        """Keep the present state of those tiles that cost less than ever before."""
        better = cost < self.cost  # never true of NaN
        self.cost = torch.where(better, cost, self.cost)
        self.kept = torch.where(better[:, None], self.flat, self.kept)

    @torch.no_grad()
    def round_afterwards(self) -> None:
        """Without rate: the coarsest steps, relative to each tensor's spread, that cost at most 0.1 dB."""
        plain = self.samples.errors(self.layout, self.flat, self.batch)
        spread = torch.stack([p.std((1, 2), correction=0) for p in siren.tensors(self.layout, self.flat)], 1)
        for halvings in range(2, 40):
            self.quantizer.log_step = (spread.clamp_min(1e-6) * 2 ** (-halvings / 2)).log()
            self.quantizer.freeze()
            errors = self.samples.errors(self.layout, self.quantizer(self.flat, None)[0], self.batch)
            if bool((errors <= 10**0.01 * plain + 1e-12).all()):
                return

    @torch.no_grad()
    def settle(self) -> None:
        """Tiles that a constant serves better become that constant.

        Raises
        ------
        FitFailed
            One that was lost and stayed stuck, though it is neither flat nor noise.
        """
        errors = self.samples.errors(self.layout, self.quantizer(self.kept, None)[0], self.batch)
        floor = self.samples.floor
        for t, lost in enumerate(self.watch.lost):
            if lost and errors[t] > floor[t] and self.samples.variance[t] > FLAT:
                raise FitFailed(
                    f"a tile was lost {lost} times and its error {float(errors[t]):.3g} is still above the "
                    f"{float(floor[t]):.3g} of a fit that is stuck; try another seed or more steps",
                    value=t,
                )
        for t in (~(errors <= self.samples.variance)).nonzero()[:, 0].tolist():
            self.kept[t] = 0
            self.kept[t, -1] = self.samples.means[t]

    def _weights(self) -> tuple[Tensor, Tensor]:
        """Weights as this phase trains them, and their bits."""
        if self.phase == 0:
            return self.flat, torch.zeros((), device=self.flat.device)
        noise = None
        if self.phase == 1:
            noise = torch.rand(self.flat.shape, generator=self.generator, device=self.flat.device) - 0.5
        weights, bits = self.quantizer(self.flat, noise)
        return weights, bits.sum()

    def _fresh(self, tiles: slice) -> Tensor:
        """Initial weights of some tiles; the output starts at the mean of what it is to fit."""
        means = self.samples.means[tiles]
        flat = siren.initial(self.layout, len(means), self.restart).to(means.device)
        flat[:, -1] = means
        return flat

    def enter(self, phase: int) -> None:
        """Begin a phase: 0 plain, 1 noise of a step on the weights, 2 rounded weights and frozen steps."""
        if phase == self.phase:
            return
        self.phase = phase
        self.watch.forget()
        if phase == 2:
            self.quantizer.freeze()

    def _recover(self, t: int) -> None:
        """One tile goes back to its best state, or to new weights if it never had one, at half the rate."""
        self.watch.lost[t] += 1
        self.patience[t] /= 2
        good = bool(self.watch.best[t] < self.samples.floor[t])
        with torch.no_grad():
            self.flat[t] = self.watch.best_state[t] if good else self._fresh(slice(t, t + 1))[0]
        self.watch.mean[t] = self.watch.best[t] if good else self.samples.variance[t]
        self.watch.best[t] = torch.inf
        self.optimizer.reset(t)

    def _optimizer(self, learning_rate: float | None) -> ClippedSoap | Adam:
        parameters = siren.tensors(self.layout, self.flat.detach())
        if learning_rate is not None:
            return Adam(parameters, learning_rate)
        last = len(self.layout.bounds) - 2
        etas = [
            ETA_BIAS if k % 2 else ETA_FIRST if k == 0 else ETA_OUT if k == last else ETA_HIDDEN
            for k in range(len(self.layout.bounds))
        ]
        rates = [eta * bound / sqrt(3) for eta, bound in zip(etas, self.layout.bounds, strict=True)]
        return ClippedSoap(parameters, rates)
