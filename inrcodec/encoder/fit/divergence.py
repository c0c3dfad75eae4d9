"""Each tile's error while it is trained: the best state that it had, and whether it diverged.

In: errors of all tiles, step after step.  Out: the tiles to be restarted, and their best states.
Invariant: a tile is judged by its own errors and its own voxels alone; none ends a fit (`rescue`).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.encoder.fit.checkpoint import State, count, fill
from inrcodec.layers.base.siren.tiles import Tile
from inrcodec.volume.arrays import Float
from inrcodec.volume.value_range import amplitude

RESTARTS = 3  # of one tile for being stuck; each restart is at half the learning rate of the one before
STUCK = 0.5  # of the variance that neighbours share: to explain less of it a tenth into the fit is no fit
STARVED = 40  # voxels for one weight: of so few weights nothing can be expected; usual are 9, at 10 kB 15
BURST = 4.0  # times the best error so far: a tile whose error grew by this has diverged
INVISIBLE = 2.4e-4  # squared error, of the squared amplitude of the values: some 46 dB
SAMPLED = 10_000  # values of a tile that its amplitude is taken from
GRACE = 3  # checks at the start of a phase in which its errors settle
SMOOTHING = 0.05  # of the errors, a step
JUDGED = (0.1, 0.5)  # share of the schedule in which a tile can count as stuck


class Monitor:
    """The running errors of all tiles.

    Parameters
    ----------
    tiles, values : the tiles and, for each, its voxels' targets, (n,), in [-1, 1].
    state : (tiles, weights) to begin with.

    Attributes
    ----------
    restarts : how often each tile was restarted.
    stuck_at : (tiles,), mean squared error above which a tile counts as stuck.
    """

    def __init__(self, tiles: Sequence[Tile], values: Sequence[Float], state: Tensor) -> None:
        # NumPy sums on one thread: torch's could make the first weights depend on the number of threads.
        self.variance = state.new_tensor([float(v.var()) for v in values])
        most = STARVED * state.shape[1]
        limits = [stuck_at(t.index, v) if len(v) <= most else inf for t, v in zip(tiles, values, strict=True)]
        self.stuck_at = state.new_tensor(limits)
        # A metal clip stretches the range, not the anatomy: what is invisible follows from the amplitude.
        self.invisible = INVISIBLE * max(amplitude(v[:: 1 + len(v) // SAMPLED]) for v in values) ** 2
        self.best_state = state.clone()
        self.restarts = [0] * len(tiles)
        self.reset()

    def reset(self) -> None:
        """A new phase has a new scale of errors: they settle before they are judged."""
        self.mean = self.variance.clone()
        self.best = torch.full_like(self.variance, torch.inf)
        self.grace = GRACE

    def update(self, errors: Tensor) -> None:
        """The mean squared error of each tile in one step, (tiles,)."""
        self.mean.lerp_(errors, SMOOTHING)

    def check(self, state: Tensor, share: float) -> list[int]:
        """Keep those present states, (tiles, weights), that got better; name the tiles to be restarted."""
        self.grace -= 1
        if self.grace >= 0 and bool(torch.isfinite(self.mean).all()):
            return []
        # The errors are those before the last update, which may have left weights that are no numbers.
        better = (self.mean < self.best) & state.isfinite().all(1)
        self.best = torch.where(better, self.mean, self.best)
        self.best_state[better] = state[better]
        bad = ~torch.isfinite(self.mean) | (self.mean > BURST * self.best)
        if JUDGED[0] < share < JUDGED[1]:
            tried = bad.new_tensor([n >= RESTARTS for n in self.restarts])
            bad |= (self.mean > self.stuck_at) & ~tried
        # An invisible error is not worth a restart, nor is a tile that a constant serves as well.
        bad &= ~(self.mean <= self.invisible) & (self.variance > self.invisible)
        return [int(t) for t in bad.nonzero()[:, 0]]

    def restart(self, tile: int) -> Tensor | None:
        """Begin a tile's record anew; the state that it should go back to, ``None`` for new weights."""
        self.restarts[tile] += 1
        good = bool(self.best[tile] < self.stuck_at[tile])
        self.mean[tile] = self.best[tile] if good else self.variance[tile]
        self.best[tile] = torch.inf
        return self.best_state[tile] if good else None

    def stuck(self, errors: Tensor) -> list[int]:
        """Tiles whose final errors, (tiles,), are those of no fit although they were restarted.

        Flat tiles and noise are none of them: a constant serves those.
        """
        bad = ~(errors <= self.stuck_at) & (self.variance > self.invisible)
        return [t for t, restarts in enumerate(self.restarts) if restarts and bad[t]]

    def tensors(self) -> State:
        own = {"mean": self.mean, "best": self.best, "best_state": self.best_state}
        return own | {"restarts": torch.tensor(self.restarts), "grace": torch.tensor(self.grace)}

    def restore(self, state: State) -> None:
        fill(self.tensors(), state)
        self.restarts = [count(t) for t in state["restarts"]]
        self.grace = int(state["grace"])


def stuck_at(index: NDArray[np.integer[Any]], values: Float) -> float:
    """Mean squared error of a tile that counts as stuck: half of what neighbours share is unexplained.

    Neighbours in a smooth tile share all its variance, those in pure noise none: noise is never stuck.
    ``index`` has the low-res (z, y, x) of the voxels, (n, 3), in raster order, ``values`` their targets.
    """
    beside = (index[1:, :2] == index[:-1, :2]).all(1) & (index[1:, 2] == index[:-1, 2] + 1)
    variance = float(values.var())
    apart = float(np.square(np.diff(values)[beside]).mean()) / 2 if beside.any() else variance
    return variance - STUCK * max(variance - apart, 0.0)
