"""All tiles' networks while they are trained: weights, quantiser, optimiser and watch.

In: tiles with their target values, a place in the schedule and a rate.  Out: weights that fit better.
The one law: a tile's weights depend on its own voxels, its own seed and the rate alone, whatever the threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi, sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.encoder.fit.checkpoint import State, count, fill, prefixed, under
from inrcodec.encoder.fit.divergence import Watch
from inrcodec.encoder.fit.loss import Objective
from inrcodec.encoder.fit.quantizer import Quantizer
from inrcodec.encoder.fit.soap import Adam, ClippedSoap
from inrcodec.errors import FitFailed
from inrcodec.layers.base.siren import siren
from inrcodec.layers.base.siren.tiles import Tile

NOISE_FROM, ROUND_FROM = 0.1, 0.85  # shares of the fit: noise on the weights, then rounding
WARM_UP = 100  # steps
LOOK_EVERY = 50  # steps between two looks at the tiles
ETA_FIRST, ETA_HIDDEN, ETA_OUT, ETA_BIAS = 0.05, 0.25, 0.1, 0.03  # learning rate / rms of the initial tensor


class Networks:
    """Training state of all tiles.

    Parameters
    ----------
    objective : what they make small.
    tiles, values : the tiles and, for each, its voxels' targets, (n,), in [-1, 1].
    learning_rate : ``None`` = SOAP at rates scaled to the tensors; a number = Adam at that rate.
    coded : whether weights are trained for their bits.
    seed : of weights and noise.
    """

    def __init__(
        self,
        objective: Objective,
        tiles: Sequence[Tile],
        values: Sequence[NDArray[np.float64]],
        *,
        learning_rate: float | None,
        coded: bool,
        seed: int,
    ) -> None:
        self.objective, self.layout, self.coded = objective, objective.layout, coded
        # NumPy sums on one thread: torch's could make the first weights depend on the number of threads.
        self.means = torch.tensor([v.mean() for v in values], dtype=torch.float32)
        self.generator = torch.Generator().manual_seed(seed)
        self.flat = self._fresh(slice(None))
        self.quantizer = Quantizer(self.layout, self.flat)
        self.optimizer = self._optimizer(learning_rate)
        self.watch = Watch(tiles, values, self.flat)
        self.patience = torch.ones(len(tiles), 1, 1, device=objective.device)  # halved where a tile was lost
        self.kept = [t.clone() for t in self._present]  # best rounded state of each tile
        self.cost = torch.full((len(tiles),), torch.inf, dtype=torch.float64, device=objective.device)
        self.bits = 0.0  # of all weights, at the last look
        self.steps, self.phase = 0, 0

    @torch.no_grad()
    def step(self, share: float, rate: float) -> None:
        """One update at a place in the schedule, 0..1; ``rate`` in loss units a bit."""
        self.enter(sum(share >= s for s in (NOISE_FROM, ROUND_FROM)) if self.coded else 0)
        schedule = min(1.0, (self.steps + 1) / WARM_UP) * (0.5 * (1 + cos(pi * share)) * 0.99 + 0.01)
        weights, cost = (self.flat, None) if self.phase == 0 else self.quantizer(self.flat, self._noise())
        errors, gradient = self.objective.gradient(weights, self.steps)
        if cost is not None:
            self.quantizer.learn(self.flat, cost, gradient, rate, schedule)
        self.optimizer.step(siren.tensors(self.layout, gradient), schedule * self.patience)
        self.steps += 1
        self.watch.note(errors)
        if self.steps % LOOK_EVERY == 0 and self.steps >= 2 * WARM_UP:
            self.bits = float(cost.bits().sum()) if cost is not None else 0.0
            for t in self.watch.look(self.flat, share):
                self._restart(t)

    def enter(self, phase: int) -> None:
        """Begin a phase: 0 plain, 1 noise of a step on the weights, 2 rounded weights and frozen steps."""
        if phase == self.phase:
            return
        self.phase = phase
        self.watch.forget()
        if phase == 2:
            self.quantizer.freeze()

    @torch.no_grad()
    def go_on(self, codes: list[list[int]], weights: list[list[NDArray[np.float64]]]) -> None:
        """Go on from weights that were trained before, one (in, out) array a tensor, and their steps."""
        flat = [np.concatenate([w.ravel() for w in tensors]) for tensors in weights]
        self.flat.copy_(torch.from_numpy(np.array(flat, dtype=np.float32)))
        self.watch.best_state.copy_(self.flat)
        self.quantizer.begin(codes, self.flat)

    def coarsen(self, codes: float) -> None:
        """Frozen steps some codes coarser, or finer; errors are judged anew."""
        self.quantizer.coarsen(codes)
        self.watch.forget()

    @torch.no_grad()
    def rounded(self) -> tuple[Tensor, Tensor]:
        """Each tile's share of the squared error over all voxels, and its bits, with rounded weights."""
        weights, rate = self.quantizer(self.flat, None)
        return self.objective.errors(weights) * self.objective.share, rate.bits()

    def remember(self, cost: Tensor) -> None:
        """Keep the present state of those tiles that cost less than ever before."""
        better = cost < self.cost  # never true of NaN
        self.cost[better] = cost[better]
        for kept, present in zip(self.kept, self._present, strict=True):
            kept[better] = present[better]

    @torch.no_grad()
    def round_afterwards(self) -> None:
        """Without rate: the coarsest steps, relative to each tensor's spread, that cost at most 0.1 dB."""
        plain = self.objective.errors(self.flat)
        spread = torch.stack([p.std((1, 2), correction=0) for p in siren.tensors(self.layout, self.flat)], 1)
        for halvings in range(2, 40):
            self.quantizer.log_step = (spread.clamp_min(1e-6) * 2 ** (-halvings / 2)).log()
            self.quantizer.freeze()
            errors = self.objective.errors(self.quantizer(self.flat, None)[0])
            if bool((errors <= 10**0.01 * plain + 1e-12).all()):
                return

    @torch.no_grad()
    def settle(self) -> None:
        """Return to what was kept; tiles that a constant serves better become that constant.

        Raises
        ------
        FitFailed
            One that was lost and stayed stuck, though it is neither flat nor noise.
        """
        for kept, present in zip(self.kept, self._present, strict=True):
            present.copy_(kept)
        errors = self.objective.errors(self.quantizer(self.flat, None)[0])
        floor, variance = self.watch.floor, self.watch.variance
        for t, lost in enumerate(self.watch.lost):
            if lost and errors[t] > floor[t] and variance[t] > self.watch.flat:
                raise FitFailed(
                    f"a tile was lost {lost} times and its error {float(errors[t]):.3g} is still above the "
                    f"{float(floor[t]):.3g} of a fit that is stuck; try another seed or more steps",
                    value=t,
                )
        for t in (~(errors <= variance)).nonzero()[:, 0].tolist():
            self.flat[t] = 0
            self.flat[t, -1] = self.means[t]

    def tensors(self) -> State:
        """All that a checkpoint needs."""
        counts = {"steps": torch.tensor(self.steps), "phase": torch.tensor(self.phase)}
        counts["bits"] = torch.tensor(self.bits, dtype=torch.float64)
        best = {"kept_flat": self.kept[0], "kept_log_step": self.kept[1], "cost": self.cost}
        own = {"flat": self.flat, "patience": self.patience, "generator": self.generator.get_state()}
        return {
            **counts,
            **best,
            **own,
            **prefixed("quantizer", self.quantizer.tensors()),
            **prefixed("optimizer", self.optimizer.tensors()),
            **prefixed("watch", self.watch.tensors()),
        }

    @torch.no_grad()
    def restore(self, kept: State) -> None:
        """Go on from what :meth:`tensors` gave.

        Raises
        ------
        ValueError, RuntimeError
            For values that no fit leaves.
        """
        steps, phase = count(kept["steps"]), count(kept["phase"])
        if phase > 2 or not bool(kept["kept_log_step"].isfinite().all()):
            raise ValueError(f"phase {phase}, or a step that is not finite")
        own = ("flat", "kept_flat", "kept_log_step", "cost", "patience")
        fill({name: t for name, t in self.tensors().items() if name in own}, kept)
        self.steps, self.phase, self.bits = steps, phase, float(kept["bits"])
        self.generator.set_state(kept["generator"])
        self.quantizer.restore(under("quantizer", kept))
        self.optimizer.restore(under("optimizer", kept))
        self.watch.restore(under("watch", kept))

    @property
    def _present(self) -> tuple[Tensor, Tensor]:
        """All that a rounded state is made of: weights, and the steps that they are rounded to."""
        return self.flat, self.quantizer.log_step

    def _noise(self) -> Tensor | None:
        """Uniform noise of one step on every weight; ``None`` once the weights are rounded."""
        if self.phase == 2:
            return None
        return torch.rand(self.flat.shape, generator=self.generator).sub_(0.5).to(self.flat.device)

    def _fresh(self, tiles: slice) -> Tensor:
        """Initial weights of some tiles; the output starts at the mean of what it is to fit."""
        flat = siren.initial(self.layout, len(self.means[tiles]), self.generator)
        flat[:, -1] = self.means[tiles]
        return flat.to(self.objective.device)

    def _restart(self, t: int) -> None:
        """One tile goes back to its best state, or to new weights if it never had one, at half the rate."""
        state = self.watch.restart(t)
        self.flat[t] = self._fresh(slice(t, t + 1))[0] if state is None else state
        self.patience[t] /= 2
        self.optimizer.reset(t)

    def _optimizer(self, learning_rate: float | None) -> ClippedSoap | Adam:
        parameters = siren.tensors(self.layout, self.flat)
        if learning_rate is not None:
            return Adam(parameters, learning_rate)
        last = len(self.layout.bounds) - 2
        etas = [
            ETA_BIAS if k % 2 else ETA_FIRST if k == 0 else ETA_OUT if k == last else ETA_HIDDEN
            for k in range(len(self.layout.bounds))
        ]
        rates = [eta * bound / sqrt(3) for eta, bound in zip(etas, self.layout.bounds, strict=True)]
        return ClippedSoap(parameters, rates)
