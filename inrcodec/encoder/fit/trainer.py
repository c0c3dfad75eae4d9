"""All tiles' networks while they are trained: weights, quantiser, optimiser and divergence monitor.

In: tiles with their target values, a place in the schedule and lambda.  Out: weights that fit better.
Invariant: a tile's weights depend on its own voxels, its own seed and lambda alone, whatever the threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi, sqrt

import numpy as np
import torch
from torch import Tensor

from inrcodec.encoder.fit.checkpoint import State, count, fill, prefixed, under
from inrcodec.encoder.fit.divergence import Monitor
from inrcodec.encoder.fit.loss import Distortion
from inrcodec.encoder.fit.quantizer import Quantizer
from inrcodec.encoder.fit.soap import Adam, ClippedSoap
from inrcodec.layers.base.siren import siren
from inrcodec.layers.base.siren.tiles import Tile
from inrcodec.volume.arrays import Float

PLAIN, NOISY, ROUNDED = 0, 1, 2  # phases: float weights, noise of one step on them, rounded to frozen steps
NOISE_FROM, ROUND_FROM = 0.1, 0.85  # shares of the schedule at which the last two begin
WARM_UP = 100  # steps until the full learning rate
CHECK_EVERY = 50  # steps between two checks of the tiles
ETA_FIRST, ETA_HIDDEN, ETA_OUT, ETA_BIAS = 0.05, 0.25, 0.1, 0.03  # learning rate / rms of the initial tensor
MOST_STEPS = 2.0**30  # of a weight: integers of 32 bits hold it
COSTLY = 10**0.01  # times the error that rounding afterwards may leave: 0.1 dB


class Trainer:
    """Training state of all tiles.

    Parameters
    ----------
    tiles, values : the tiles and, for each, its voxels' targets, (n,), in [-1, 1].
    learning_rate : of Adam; ``None`` for SOAP at rates scaled to the tensors.
    patience : factor of all learning rates.
    coded : whether weights are trained for their bits.
    seed : of weights and noise.
    """

    def __init__(
        self,
        distortion: Distortion,
        tiles: Sequence[Tile],
        values: Sequence[Float],
        *,
        learning_rate: float | None,
        coded: bool,
        seed: int,
        patience: float = 1.0,
    ) -> None:
        self.distortion, self.layout, self.coded = distortion, distortion.layout, coded
        # NumPy sums on one thread: torch's could make the first weights depend on the number of threads.
        self.means = torch.tensor([v.mean() for v in values], dtype=torch.float32)
        self.generator = torch.Generator().manual_seed(seed)
        self.flat = self._fresh(slice(None))
        self.quantizer = Quantizer(self.layout, self.flat)
        self.optimizer = self._optimizer(learning_rate)
        self.monitor = Monitor(tiles, values, self.flat)
        self.patience = torch.full((len(tiles), 1, 1), patience, device=distortion.device)
        self.best = [t.clone() for t in self._present]  # best rounded state of each tile
        self.cost = torch.full((len(tiles),), torch.inf, dtype=torch.float64, device=distortion.device)
        self.bits = 0.0  # of all weights, at the last check
        self.steps, self.phase = 0, PLAIN

    @torch.no_grad()
    def step(self, share: float, lmbda: float) -> None:
        """One update at a place in the schedule, 0..1; ``lmbda`` in loss units a bit."""
        self.set_phase(sum(share >= s for s in (NOISE_FROM, ROUND_FROM)) if self.coded else PLAIN)
        self.update(share, lmbda)
        if self.steps % CHECK_EVERY == 0 and self.steps >= 2 * WARM_UP:
            for t in self.monitor.check(self.flat, share):
                self._restart(t)

    @torch.no_grad()
    def update(self, share: float, lmbda: float) -> None:
        """The arithmetic of a step, in the present phase; only its check waits for the device."""
        schedule = min(1.0, (self.steps + 1) / WARM_UP) * (0.5 * (1 + cos(pi * share)) * 0.99 + 0.01)
        weights, rate = (self.flat, None) if self.phase == PLAIN else self.quantizer(self.flat, self._noise())
        errors, gradient = self.distortion.gradient(weights, self.steps)
        gradient.nan_to_num_(0, 0, 0)  # of a lost tile, which must not take its moments with it
        if rate is not None:
            self.quantizer.learn(self.flat, rate, gradient, lmbda, schedule)
        self.optimizer.step(siren.tensors(self.layout, gradient), schedule * self.patience)
        self.steps += 1
        self.monitor.update(errors)
        if self.steps % CHECK_EVERY == 0 and self.steps >= 2 * WARM_UP:
            self.bits = float(rate.bits().sum()) if rate is not None else 0.0

    def set_phase(self, phase: int) -> None:
        """Enter a phase, if it is another one."""
        if phase == self.phase:
            return
        self.phase = phase
        self.monitor.reset()
        if phase == ROUNDED:
            self.quantizer.freeze()

    @torch.no_grad()
    def start_from(self, codes: list[list[int]], weights: list[list[Float]]) -> None:
        """Take over weights that were trained before, one (in, out) array a tensor, and their step codes."""
        flat = [np.concatenate([w.ravel() for w in tensors]) for tensors in weights]
        self.flat.copy_(torch.from_numpy(np.array(flat, dtype=np.float32)))
        self.monitor.best_state.copy_(self.flat)
        self.quantizer.start_from(codes, self.flat)

    def mend(self) -> None:
        """Restart tiles whose weights cannot be stored, whenever they are looked at."""
        steps = self.quantizer.log_step.exp()[:, self.quantizer.owner]
        sound = ((self.flat / steps).abs() <= MOST_STEPS).all(1)  # never true of NaN
        for t in (~sound).nonzero()[:, 0]:
            self._restart(int(t))

    def coarsen(self, codes: float) -> None:
        """Frozen steps some codes coarser, or finer; errors are judged anew."""
        self.quantizer.coarsen(codes)
        self.monitor.reset()

    @torch.no_grad()
    def rounded(self) -> tuple[Tensor, Tensor]:
        """Each tile's share of the squared error over all voxels, and its bits, with rounded weights."""
        weights, rate = self.quantizer(self.flat, None)
        return self.distortion.errors(weights) * self.distortion.share, rate.bits()

    def keep_better(self, cost: Tensor) -> None:
        """Keep the present state of those tiles that cost less than ever before."""
        better = cost < self.cost  # never true of NaN
        self.cost[better] = cost[better]
        for best, present in zip(self.best, self._present, strict=True):
            best[better] = present[better]

    @torch.no_grad()
    def quantize_afterwards(self) -> None:
        """Without rate: the coarsest steps, relative to each tensor's spread, that cost at most 0.1 dB."""
        plain = self.distortion.errors(self.flat)
        spread = torch.stack([p.std((1, 2), correction=0) for p in siren.tensors(self.layout, self.flat)], 1)
        for halvings in range(2, 40):
            self.quantizer.log_step = (spread.clamp_min(1e-6) * 2 ** (-halvings / 2)).log()
            self.quantizer.freeze()
            errors = self.distortion.errors(self.quantizer(self.flat, None)[0])
            if bool((errors <= COSTLY * plain + 1e-12).all()):
                return

    @torch.no_grad()
    def restore_best(self) -> list[int]:
        """Return to the best states, or to a constant where that is nearer; the tiles that are lost."""
        for best, present in zip(self.best, self._present, strict=True):
            present.copy_(best)
        errors = self.distortion.errors(self.quantizer(self.flat, None)[0])
        for t in (~(errors <= self.monitor.variance)).nonzero()[:, 0].tolist():
            self.flat[t] = self._constant(t)
            self.quantizer.reset(t, self.flat[t])  # lost weights may have steps coarser than any mean
        return self.monitor.stuck(errors)

    def tensors(self) -> State:
        return {
            "steps": torch.tensor(self.steps),
            "phase": torch.tensor(self.phase),
            "bits": torch.tensor(self.bits, dtype=torch.float64),
            "generator": self.generator.get_state(),
            **self._own(),
            **prefixed("quantizer", self.quantizer.tensors()),
            **prefixed("optimizer", self.optimizer.tensors()),
            **prefixed("monitor", self.monitor.tensors()),
        }

    @torch.no_grad()
    def restore(self, state: State) -> None:
        steps, phase = count(state["steps"]), count(state["phase"])
        if phase > ROUNDED or not bool(state["best_log_step"].isfinite().all()):
            raise ValueError(f"phase {phase}, or a step that is not finite")
        fill(self._own(), state)
        self.steps, self.phase, self.bits = steps, phase, float(state["bits"])
        self.generator.set_state(state["generator"])
        self.quantizer.restore(under("quantizer", state))
        self.optimizer.restore(under("optimizer", state))
        self.monitor.restore(under("monitor", state))

    def _own(self) -> State:
        """Tensors of this object alone, restored in place."""
        best = {"best_flat": self.best[0], "best_log_step": self.best[1], "cost": self.cost}
        return {"flat": self.flat, "patience": self.patience, **best}

    @property
    def _present(self) -> tuple[Tensor, Tensor]:
        """All that a rounded state is made of: weights, and the steps that they are rounded to."""
        return self.flat, self.quantizer.log_step

    def _noise(self) -> Tensor | None:
        """Uniform noise of one step on every weight; ``None`` once the weights are rounded."""
        if self.phase == ROUNDED:
            return None
        return torch.rand(self.flat.shape, generator=self.generator).sub_(0.5).to(self.flat.device)

    def _fresh(self, tiles: slice) -> Tensor:
        """Initial weights of some tiles; the output starts at the mean of what it is to fit."""
        flat = siren.initial(self.layout, len(self.means[tiles]), self.generator)
        flat[:, -1] = self.means[tiles]
        return flat.to(self.distortion.device)

    def _constant(self, t: int) -> Tensor:
        """Weights, (weights,), of a network that is the mean of its tile everywhere."""
        flat = torch.zeros_like(self.flat[t])
        flat[-1] = self.means[t]
        return flat

    def _restart(self, t: int) -> None:
        """One tile goes back to its best state, or to new weights if it never had one, at half the rate.

        Once weights are rounded it is too late for new ones: it is a constant then.
        """
        state = self.monitor.restart(t)
        if state is None:
            late = self.phase == ROUNDED
            state = self._constant(t) if late else self._fresh(slice(t, t + 1))[0]
            self.quantizer.reset(t, state)
        self.flat[t] = state
        self.patience[t] /= 2
        self.optimizer.reset(t)

    def _optimizer(self, learning_rate: float | None) -> ClippedSoap | Adam:
        parameters = siren.tensors(self.layout, self.flat)
        if learning_rate is not None:
            return Adam(parameters, learning_rate)
        last = len(self.layout.bounds) - 2
        etas = {0: ETA_FIRST, last: ETA_OUT}
        rates = [
            (ETA_BIAS if k % 2 else etas.get(k, ETA_HIDDEN)) * bound / sqrt(3)
            for k, bound in enumerate(self.layout.bounds)
        ]
        return ClippedSoap(parameters, rates)
