"""The one training loop: all tiles' SIRENs, fitted together to the low-res voxels.

In: tiles with their target values in [-1, 1].  Out: the integers and step codes that the file stores.
The one law: deterministic for seed and machine; a tile that is lost is seen, and it alone starts again.

Rate-distortion training: plain fitting first, then uniform noise of one step on the weights, then rounding,
straight through, with the steps frozen to what can be stored.  Loss = squared error + rate x bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import cos, pi, sqrt
from time import monotonic

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec import siren
from inrcodec.errors import FitFailed
from inrcodec.optimize import Adam, ClippedSoap
from inrcodec.options import Progress
from inrcodec.quantize import Quantizer
from inrcodec.siren import Layout
from inrcodec.tiles import Tile

NOISE_FROM, ROUND_FROM = 0.1, 0.85  # shares of the fit: noise on the weights, then rounding
WARM_UP = 100  # steps
LOOK_EVERY = 50  # steps between two looks at the tiles
ETA_FIRST, ETA_HIDDEN, ETA_OUT, ETA_BIAS = 0.05, 0.3, 0.3, 0.03  # learning rate / rms of the initial tensor
RESTARTS = 3  # of one tile, each at half the rate of the one before
STUCK = 0.5  # of a tile's variance: an error above it a tenth into the fit is no fit
BURST = 4.0  # times the best error so far: a tile whose error grew by this is lost
GRACE = 3  # looks at the start of a phase in which its errors settle
STEER, STEER_MOST = 0.5, 1.3  # exponent and largest factor of one correction of the rate
AIM = 0.99  # of the room: the rate is steered a little below it
ROUNDS, SETTLE = 40, 0.9  # of coarser steps to get under the room, and where in the schedule each settles
FLOOR = 1.05  # times a tile's variance: a constant would have done as well

Integers = list[list[NDArray[np.int32]]]
Measure = Callable[[list[list[int]], Integers], int]


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How to fit.

    Parameters
    ----------
    steps : updates of all weights.
    batch : samples a tile and step.
    rate : loss units a bit (mean squared error of all samples, data in [-1, 1]); 0 trains without rate.
    room : bytes for all tiles together, never more; the rate is then steered to it.
    measure : bytes of (step codes, integers) of all tiles, as they will be stored; goes with ``room``.
    learning_rate : ``None`` = SOAP at rates scaled to the tensors; a number = Adam at that rate (paper).
    threads : of torch, ``None`` for its own choice.
    seconds : time budget, ``None`` for none; the schedule then ends with whichever runs out first.
    """

    steps: int
    batch: int
    rate: float
    room: int | None = None
    measure: Measure | None = None
    learning_rate: float | None = None
    seed: int = 0
    device: str = "cpu"
    threads: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Fitted:
    """What a fit leaves: for each tile the integers of each tensor, and their step codes."""

    integers: Integers
    codes: list[list[int]]
    steps: int
    restarts: int


def fit(
    layout: Layout,
    tiles: Sequence[Tile],
    values: Sequence[NDArray[np.float64]],
    settings: FitSettings,
    progress: Progress | None = None,
) -> Fitted:
    """Fit one SIREN a tile.

    Parameters
    ----------
    layout : shapes of every tile's network.
    tiles, values : the tiles and, for each, its voxels' targets, (n,), in [-1, 1].
    progress : called with ("fit", fraction).

    Raises
    ------
    FitFailed
        A tile stayed worse than a constant after all its restarts.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    run = _Run(layout, _Samples(tiles, values, settings.device), settings)
    start, share = monotonic(), 0.0
    while share < 1:
        run.step(share)
        elapsed = (monotonic() - start) / settings.seconds if settings.seconds else 0.0
        share = max(run.steps / settings.steps, elapsed)
        if progress and run.steps % 10 == 0:
            progress("fit", min(share, 1.0))
    run.squeeze()
    return run.finish()


class _Shuffle:
    """Rows of one tile, every row once before any comes again.

    On the head 0.3 dB better than drawing with replacement.
    """

    def __init__(self, count: int) -> None:
        self.count, self.left = count, torch.empty(0, dtype=torch.long)

    def take(self, batch: int, generator: torch.Generator) -> Tensor:
        while len(self.left) < batch:
            more = torch.randperm(self.count, generator=generator, device=generator.device)
            self.left = torch.cat([self.left.to(more.device), more])
        taken, self.left = self.left[:batch], self.left[batch:]
        return taken


class _Samples:
    """All tiles' voxels one after the other: indices as int16, values as float32 (10 bytes a voxel)."""

    def __init__(self, tiles: Sequence[Tile], values: Sequence[NDArray[np.float64]], device: str) -> None:
        counts = [len(t.index) for t in tiles]
        self.counts = torch.tensor(counts, device=device)
        self.shuffles = [_Shuffle(count) for count in counts]
        self.starts = torch.tensor([0, *np.cumsum(counts)[:-1].tolist()], device=device)
        dtype = np.int32 if max(int(t.index.max()) for t in tiles) > 32767 else np.int16
        self.index = torch.from_numpy(np.concatenate([t.index.astype(dtype) for t in tiles])).to(device)
        self.values = torch.from_numpy(np.concatenate(values).astype(np.float32)).to(device)
        self.centres = torch.tensor(np.array([t.centre for t in tiles]), device=device)[:, None]
        self.extents = torch.tensor([t.extent for t in tiles], device=device)[:, None, None]
        self.share = self.counts / self.counts.sum()
        self.means = torch.stack([v.mean() for v in torch.split(self.values, counts)])
        self.variance = torch.stack([v.var(correction=0) for v in torch.split(self.values, counts)])

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


@dataclass
class _Watch:
    """Each tile's smoothed error, its best state so far, and how often it was lost."""

    variance: Tensor
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
            bad |= self.mean > STUCK * self.variance
        return [int(t) for t in bad.nonzero()[:, 0] if self.lost[t] < RESTARTS]


class _Run:
    def __init__(self, layout: Layout, samples: _Samples, settings: FitSettings) -> None:
        self.layout, self.samples, self.settings = layout, samples, settings
        device = samples.values.device
        self.generator = torch.Generator(device).manual_seed(settings.seed)
        self.restart = torch.Generator().manual_seed(settings.seed)
        self.flat = self._fresh(slice(None)).requires_grad_()
        self.quantizer = Quantizer(layout, self.flat.detach())
        self.optimizer = self._optimizer()
        self.watch = _Watch(samples.variance, self.flat.detach().clone())
        self.patience = torch.ones(len(samples.counts), 1, 1, device=device)  # halved where a tile was lost
        self.kept: tuple[Tensor, Tensor] | None = None  # cost and weights of the best rounded states
        self.rate, self.bits = settings.rate, torch.zeros(())  # the rate is steered where there is a room
        self.overhead = 1.0  # stored bits for a bit that the training counts
        self.steps, self.phase = 0, 0

    def step(self, share: float) -> None:
        self._enter(sum(share >= s for s in (NOISE_FROM, ROUND_FROM)) if self.settings.rate else 0)
        schedule = min(1.0, (self.steps + 1) / WARM_UP) * (0.5 * (1 + cos(pi * share)) * 0.99 + 0.01)
        x, y = self.samples.draw(self.settings.batch, self.generator)
        weights, bits = self._coded()
        errors = (siren.evaluate(self.layout, weights, x) - y).square().mean(1)
        loss = (errors * self.samples.share).sum()
        self.bits = bits.detach()
        torch.autograd.backward(loss + self.rate * bits)
        assert self.flat.grad is not None
        gradients = siren.tensors(self.layout, self.flat.grad)
        self.optimizer.step(gradients, schedule * self.patience)
        self.flat.grad = None
        if self.phase:
            self.quantizer.learn(schedule)
        self.steps += 1
        self._look(errors.detach(), share)

    def squeeze(self) -> None:
        """Coarsen all steps by a code, settle, and look again, until the room is kept to."""
        for _ in range(ROUNDS if self.settings.room is not None else 0):
            if self.kept is not None and bool(torch.isfinite(self.kept[0]).all()):
                return
            self.quantizer.coarsen()
            for _ in range(LOOK_EVERY):
                self.step(SETTLE)

    def finish(self) -> Fitted:
        """The best rounded state of every tile; each must beat a constant."""
        if not self.settings.rate:
            self._round_afterwards()
        self._keep()
        assert self.kept is not None
        state = self.kept[1]
        with torch.no_grad():
            errors = self.samples.errors(self.layout, self.quantizer(state, None)[0], self.settings.batch)
        floor = FLOOR * self.samples.variance + 1e-6
        for t in (~(errors <= floor)).nonzero()[:, 0].tolist():
            raise FitFailed(
                f"tile {t} was lost {self.watch.lost[t]} times and is worse than a constant "
                f"(error {float(errors[t]):.3g}, floor {float(floor[t]):.3g}); "
                "try another seed or more steps",
                value=t,
            )
        return Fitted(
            self.quantizer.integers(state), self.quantizer.codes(), self.steps, sum(self.watch.lost)
        )

    def _coded(self) -> tuple[Tensor, Tensor]:
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

    def _enter(self, phase: int) -> None:
        if phase == self.phase:
            return
        self.phase = phase
        self.watch.forget()
        if phase == 2:
            self.quantizer.freeze()

    def _look(self, errors: Tensor, share: float) -> None:
        self.watch.note(errors)
        if self.steps % LOOK_EVERY or self.steps < 2 * WARM_UP:
            return
        for t in self.watch.look(self.flat.detach(), share):
            self._recover(t)
        if self.settings.room is not None and self.phase:
            off = float(self.bits) * self.overhead / (8 * AIM * self.settings.room)
            self.rate *= min(max(off**STEER, 1 / STEER_MOST), STEER_MOST)
        if self.phase == 2:
            self._keep()

    def _recover(self, t: int) -> None:
        """One tile goes back to its best state, or to new weights if it never had one, at half the rate."""
        self.watch.lost[t] += 1
        self.patience[t] /= 2
        good = bool(self.watch.best[t] < STUCK * self.samples.variance[t])
        with torch.no_grad():
            self.flat[t] = self.watch.best_state[t] if good else self._fresh(slice(t, t + 1))[0]
        self.watch.mean[t] = self.watch.best[t] if good else self.samples.variance[t]
        self.watch.best[t] = torch.inf
        self.optimizer.reset(t)

    @torch.no_grad()
    def _keep(self) -> None:
        """Remember each tile's cheapest rounded state: squared error + rate x bits over all its voxels.

        A room binds all tiles together: then it is the state of the least error that is within it.
        """
        weights, bits = self.quantizer(self.flat, None)
        errors = self.samples.errors(self.layout, weights, self.settings.batch)
        cost = errors * self.samples.share + self.settings.rate * bits
        if self.settings.room is not None and self.settings.measure is not None:
            size = self.settings.measure(self.quantizer.codes(), self.quantizer.integers(self.flat))
            self.overhead = 8 * size / float(bits.sum())
            total = (errors * self.samples.share).sum()
            cost = (total if size <= self.settings.room else torch.inf * total).expand_as(errors)
        cost = torch.where(torch.isfinite(cost), cost, torch.inf)
        if self.kept is None:
            self.kept = cost, self.flat.detach().clone()
            return
        better = cost < self.kept[0]
        self.kept = (
            torch.where(better, cost, self.kept[0]),
            torch.where(better[:, None], self.flat, self.kept[1]),
        )

    @torch.no_grad()
    def _round_afterwards(self) -> None:
        """Without rate: the coarsest steps, relative to each tensor's spread, that cost at most 0.1 dB."""
        plain = self.samples.errors(self.layout, self.flat, self.settings.batch)
        spread = torch.stack(
            [p.std(1, correction=0) for p in torch.split(self.flat, self.layout.sizes, 1)], 1
        )
        for halvings in range(2, 40):
            self.quantizer.log_step = (spread.clamp_min(1e-6) * 2 ** (-halvings / 2)).log()
            self.quantizer.freeze()
            errors = self.samples.errors(self.layout, self.quantizer(self.flat, None)[0], self.settings.batch)
            if bool((errors <= 10**0.01 * plain + 1e-12).all()):
                return

    def _optimizer(self) -> ClippedSoap | Adam:
        parameters = siren.tensors(self.layout, self.flat.detach())
        if self.settings.learning_rate is not None:
            return Adam(parameters, self.settings.learning_rate)
        last = len(self.layout.bounds) - 2
        etas = [
            ETA_BIAS if k % 2 else ETA_FIRST if k == 0 else ETA_OUT if k == last else ETA_HIDDEN
            for k in range(len(self.layout.bounds))
        ]
        rates = [eta * bound / sqrt(3) for eta, bound in zip(etas, self.layout.bounds, strict=True)]
        return ClippedSoap(parameters, rates)
