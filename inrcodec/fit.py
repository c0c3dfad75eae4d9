"""The one training loop: all tiles' SIRENs, fitted together to the low-res voxels.

In: tiles with their target values in [-1, 1].  Out: the integers and step codes that the file stores.
The one law: deterministic for seed and machine; a tile that is lost is seen, and it alone starts again.

Rate-distortion training: plain fitting first, then uniform noise of one step on the weights, then rounding,
straight through, with the steps frozen to what can be stored.  Loss = squared error + rate x bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, inf
from time import monotonic
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec import workers
from inrcodec.errors import TargetNotReached
from inrcodec.group import LOOK_EVERY, Group, Samples
from inrcodec.options import Progress
from inrcodec.siren import Layout
from inrcodec.tiles import Tile

STEER, STEER_MOST = 0.5, 1.3  # exponent and largest factor of one correction of the rate
AIM = 0.99  # of the room: the rate is steered a little below it
ROUNDS, SETTLE = 40, 0.9  # of coarser steps to get under the room, and where in the schedule each settles
# Tiles in one batch at most, and how many go undivided: on two cores 8 tiles take 14 ms a step in two
# batches and 20 in one, but 2 tiles 8.6 and 6.3: small batches cost Python's time.
GROUP, UNDIVIDED = 8, 4
CHUNK = 10  # steps between two meetings of the groups

Integers = list[list[NDArray[np.int32]]]
Measure = Callable[[list[list[int]], Integers], int]
Pool = Callable[[Callable[[Group], Any], list[Group]], list[Any]]


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

    codes: list[list[int]]
    integers: Integers
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
    TargetNotReached
        The networks do not fit into the room, however coarse their steps.
    """
    groups = _groups(layout, tiles, values, settings)
    threads = settings.threads or torch.get_num_threads()
    # The paper's wide network is worth all threads; small tiles are not, and SOAP's QR differs with them.
    beside = settings.device == "cpu" and settings.learning_rate is None
    with workers.single_threaded(threads) if beside else workers.in_turn(threads) as pool:
        run = _Run(groups, settings, pool)
        while run.share < 1:
            run.advance()
            if progress:
                progress("fit", run.share)
        run.squeeze()
        fitted = run.finish()
        if progress:
            progress("fit", 1.0)
        return fitted


def _groups(
    layout: Layout, tiles: Sequence[Tile], values: Sequence[NDArray[np.float64]], settings: FitSettings
) -> list[Group]:
    """Tiles dealt out to an even number of groups; a rule of their number alone, never of the threads."""
    count = 1 if len(tiles) <= UNDIVIDED else 2 * ceil(len(tiles) / (2 * GROUP))
    total = sum(map(len, values))
    found = []
    for g, rows in enumerate(np.array_split(np.arange(len(tiles)), count)):
        samples = Samples([tiles[t] for t in rows], [values[t] for t in rows], total, settings.device)
        seed = int(np.random.SeedSequence([settings.seed, g]).generate_state(1)[0])
        coded = settings.rate > 0
        found.append(Group(layout, samples, settings.batch, settings.learning_rate, coded, seed))
    return found


class _Run:
    """All groups, in step: what binds them is the rate."""

    def __init__(self, groups: list[Group], settings: FitSettings, pool: Pool) -> None:
        self.groups, self.settings, self.pool = groups, settings, pool
        self.rate = settings.rate  # steered where there is a room
        self.overhead = 1.0  # stored bits for a bit that the training counts
        self.steps, self.share = 0, 0.0
        self.start = monotonic()

    @property
    def spent(self) -> float:
        """Share of the time budget."""
        return (monotonic() - self.start) / self.settings.seconds if self.settings.seconds else 0.0

    def advance(self) -> None:
        """Some steps of every group, and then a look where it is time for one."""
        last, spent = min(self.steps + CHUNK, self.settings.steps), self.spent
        self._take([min(max(step / self.settings.steps, spent), 1.0) for step in range(self.steps, last)])
        self.share = min(max(self.steps / self.settings.steps, self.spent), 1.0)

    def squeeze(self) -> None:
        """Coarsen all steps by a code, settle while there is time, until the room is kept to."""
        for group in self.groups:
            if group.coded:
                group.enter(2)
        for _ in range(ROUNDS if self.settings.room is not None else 0):
            self._keep()
            if self._kept():
                return
            for group in self.groups:
                group.coarsen()
            if self.spent < 1:
                self._take([SETTLE] * LOOK_EVERY)

    def finish(self) -> Fitted:
        """The best rounded state of every tile, or its constant where that serves better."""
        if not self.settings.rate:
            self.pool(Group.round_afterwards, self.groups)
        self._keep()
        if self.settings.room is not None and not self._kept():
            raise TargetNotReached(
                f"the weights do not fit into the {self.settings.room} bytes that are left for them; "
                "ask for a larger size, or for smaller networks",
                value=self.settings.room,
            )
        self.pool(Group.settle, self.groups)
        lost = sum(count for group in self.groups for count in group.watch.lost)
        return Fitted(*self._state([g.kept for g in self.groups]), self.steps, lost)

    def _kept(self) -> bool:
        """Whether every tile has a state worth storing."""
        return all(bool(torch.isfinite(group.cost).all()) for group in self.groups)

    def _take(self, shares: list[float]) -> None:
        self.pool(lambda group: group.advance(shares, self.rate), self.groups)
        looked = self.steps // LOOK_EVERY
        self.steps += len(shares)
        if self.steps // LOOK_EVERY == looked or not self.groups[0].phase:
            return
        if self.settings.room is not None:
            off = sum(g.bits for g in self.groups) * self.overhead / (8 * AIM * self.settings.room)
            self.rate *= min(max(off**STEER, 1 / STEER_MOST), STEER_MOST)
        if self.groups[0].phase == 2:
            self._keep()

    def _keep(self) -> None:
        """Remember each tile's cheapest rounded state: squared error + rate x bits over all its voxels.

        A room binds all tiles together: then it is the state of the least error that is within it.
        """
        found = self.pool(Group.rounded, self.groups)
        costs = [errors + self.settings.rate * bits for errors, bits in found]
        if self.settings.room is not None and self.settings.measure is not None:
            size = self.settings.measure(*self._state([g.flat for g in self.groups]))
            self.overhead = 8 * size / sum(float(bits.sum()) for _, bits in found)
            total = sum(float(errors.sum()) for errors, _ in found)
            bound = total if size <= self.settings.room else inf
            costs = [torch.full_like(cost, bound) for cost in costs]
        for group, cost in zip(self.groups, costs, strict=True):
            group.remember(cost)

    def _state(self, weights: list[Tensor]) -> tuple[list[list[int]], Integers]:
        """Step codes and integers of all tiles."""
        pairs = list(zip(self.groups, weights, strict=True))
        codes = [row for group, _ in pairs for row in group.quantizer.codes()]
        return codes, [tile for group, flat in pairs for tile in group.quantizer.integers(flat)]
