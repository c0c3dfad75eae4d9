"""Each tile's error while it is trained: the best state that it had, and whether it is lost.

In: errors of all tiles, step after step.  Out: the tiles that are lost, and their best states.
The one law: a tile is judged by its own errors and its own voxels alone.
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
from inrcodec.volume.value_range import amplitude

RESTARTS = 3  # of one tile, each at half the rate of the one before
STUCK = 0.5  # of the variance that neighbours share: to explain less of it a tenth into the fit is no fit
STARVED = 40  # voxels for one weight: of so few weights nothing can be expected; usual are 9, at 10 kB 15
BURST = 4.0  # times the best error so far: a tile whose error grew by this is lost
FLAT = 2.4e-4  # squared error, of the squared amplitude of the values, that nobody sees: some 46 dB
SAMPLED = 10_000  # values of a tile that its amplitude is taken from
GRACE = 3  # looks at the start of a phase in which its errors settle
SMOOTHING = 0.05  # of the errors, a step
JUDGED = (0.1, 0.5)  # share of the fit in which a tile can count as stuck


class Watch:
    """What is known of all tiles' errors.

    Parameters
    ----------
    tiles, values : the tiles and, for each, its voxels' targets, (n,), in [-1, 1].
    state : weights to begin with, (tiles, weights).
    """

    def __init__(self, tiles: Sequence[Tile], values: Sequence[NDArray[np.float64]], state: Tensor) -> None:
        # NumPy sums on one thread: torch's could make the first weights depend on the number of threads.
        self.variance = state.new_tensor([float(v.var()) for v in values])
        most = STARVED * state.shape[1]
        floors = [stuck(t.index, v) if len(v) <= most else inf for t, v in zip(tiles, values, strict=True)]
        self.floor = state.new_tensor(floors)
        # A metal clip stretches the range, not the anatomy: what nobody sees follows from the amplitude.
        self.flat = FLAT * max(amplitude(v[:: 1 + len(v) // SAMPLED]) for v in values) ** 2
        self.best_state = state.clone()
        self.lost = [0] * len(tiles)
        self.forget()

    def forget(self) -> None:
        """A new phase has a new scale of errors: they settle before they are judged."""
        self.mean = self.variance.clone()
        self.best = torch.full_like(self.variance, torch.inf)
        self.grace = GRACE

    def note(self, errors: Tensor) -> None:
        """The mean squared error of each tile in one step, (tiles,)."""
        self.mean.lerp_(errors, SMOOTHING)

    def look(self, state: Tensor, share: float) -> list[int]:
        """Keep the states that got better; name the tiles that are lost.

        Parameters
        ----------
        state : present weights, (tiles, weights).
        share : of the schedule, 0..1.
        """
        self.grace -= 1
        if self.grace >= 0 and bool(torch.isfinite(self.mean).all()):
            return []
        better = self.mean < self.best
        self.best = torch.where(better, self.mean, self.best)
        self.best_state[better] = state[better]
        bad = ~torch.isfinite(self.mean) | (self.mean > BURST * self.best)
        if JUDGED[0] < share < JUDGED[1]:
            bad |= self.mean > self.floor
        # What nobody sees is not worth a restart, nor is a tile that a constant serves as well.
        bad &= ~(self.mean <= self.flat) & (self.variance > self.flat)
        return [int(t) for t in bad.nonzero()[:, 0] if self.lost[t] < RESTARTS]

    def restart(self, tile: int) -> Tensor | None:
        """Begin a lost tile's record anew; the state that it should go back to, ``None`` for new weights."""
        self.lost[tile] += 1
        good = bool(self.best[tile] < self.floor[tile])
        self.mean[tile] = self.best[tile] if good else self.variance[tile]
        self.best[tile] = torch.inf
        return self.best_state[tile] if good else None

    def tensors(self) -> State:
        """All that a checkpoint needs."""
        own = {"mean": self.mean, "best": self.best, "best_state": self.best_state}
        return own | {"lost": torch.tensor(self.lost), "grace": torch.tensor(self.grace)}

    def restore(self, kept: State) -> None:
        """Go on from what :meth:`tensors` gave."""
        fill(self.tensors(), kept)
        self.lost = [count(t) for t in kept["lost"]]
        self.grace = int(kept["grace"])


def stuck(index: NDArray[np.integer[Any]], values: NDArray[np.float64]) -> float:
    """Error of a tile that counts as stuck: half of what neighbours share is unexplained.

    Neighbours in a smooth tile share all its variance, those in pure noise none: noise is never stuck.
    """
    beside = (index[1:, :2] == index[:-1, :2]).all(1) & (index[1:, 2] == index[:-1, 2] + 1)
    variance = float(values.var())
    apart = float(np.square(np.diff(values)[beside]).mean()) / 2 if beside.any() else variance
    return variance - STUCK * max(variance - apart, 0.0)
