"""The one training loop: all tiles' SIRENs, fitted together to the low-res voxels.

In: tiles with their target values in [-1, 1].  Out: the integers and step codes that the file stores.
The one law: deterministic for seed and machine; a tile that is lost is seen, and it alone starts again.

Rate-distortion training: plain fitting first, then uniform noise of one step on the weights, then rounding,
straight through, with the steps frozen to what can be stored.  Loss = squared error + rate x bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from math import exp, inf, isfinite, log
from time import monotonic

import numpy as np
import torch
from numpy.typing import NDArray

from inrcodec import parallel
from inrcodec.encoder.fit import checkpoint, warm_start
from inrcodec.encoder.fit.checkpoint import Checkpoint, State
from inrcodec.encoder.fit.loss import Objective
from inrcodec.encoder.fit.trainer import LOOK_EVERY, Networks
from inrcodec.errors import TargetNotReached
from inrcodec.layers.base.siren import weights
from inrcodec.layers.base.siren.siren import Layout
from inrcodec.layers.base.siren.tiles import Tile
from inrcodec.progress import Progress

# The logarithm of the rate moves by STEER times that of (bytes / room) in a whole schedule. Twice the rate
# takes some 10 % of the bytes, and only after a tenth of the schedule: to steer harder crushes the weights.
STEER_FROM, STEER, STEER_MOST = 0.2, 30.0, 0.3
AIM = 0.99  # of the room: the rate is steered a little below it
FULL, FILLED = 0.985, 0.994  # of the room: below the first, steps are made finer until it is the second
ROUNDS, SETTLE = 40, 0.9  # of other steps until the room is filled, and where in the schedule each settles
LAST_CODES = 0.96  # share of the schedule after which steps change only to keep to the room
A_CODE = 0.025  # share of the bytes that one code of the steps is worth

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
    threads : of the arithmetic, ``None`` for one a core.
    begin : share of the schedule, 0..1, where the fit sets in: above 0 where it goes on from another.
    seconds : time budget, ``None`` for none; the schedule then ends with whichever runs out first.
    checkpoint : where the state is kept, and taken from if it is there already; seconds are counted on.
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
    begin: float = 0.0
    seconds: float | None = None
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True)
class Fitted:
    """What a fit leaves: for each tile the integers of each tensor, and their step codes."""

    layout: Layout
    codes: list[list[int]]
    integers: Integers
    steps: int
    restarts: int

    def weights(self, layout: Layout) -> list[list[NDArray[np.float64]]]:
        """Each tile's tensors, (in, out), at another layout's width."""
        rng = np.random.default_rng(0)
        found = []
        for codes, integers in zip(self.codes, self.integers, strict=True):
            tensors = weights.dequantize(self.layout, integers, codes)
            found.append(warm_start.resized(tensors, layout, rng) if layout != self.layout else tensors)
        return found


def fit(
    layout: Layout,
    tiles: Sequence[Tile],
    values: Sequence[NDArray[np.float64]],
    settings: FitSettings,
    progress: Progress | None = None,
    start: Fitted | None = None,
) -> Fitted:
    """Fit one SIREN a tile.

    Parameters
    ----------
    layout : shapes of every tile's network.
    tiles, values : the tiles and, for each, its voxels' targets, (n,), in [-1, 1].
    progress : called with ("fit", fraction).
    start : an earlier fit of the same tiles, of any width, to go on from.

    Raises
    ------
    FitFailed
        A tile stayed worse than a constant after all its restarts.
    TargetNotReached
        The networks do not fit into the room, however coarse their steps.
    """
    threads = settings.threads or torch.get_num_threads()
    with parallel.single_threaded(threads) as pool:
        objective = Objective(
            layout,
            tiles,
            values,
            batch=settings.batch,
            seed=settings.seed,
            device=settings.device,
            pool=pool,
            workers=threads,
        )
        networks = Networks(
            objective,
            tiles,
            values,
            learning_rate=settings.learning_rate,
            coded=settings.rate > 0,
            seed=settings.seed,
        )
        if start is not None:
            networks.go_on(start.codes, start.weights(layout))
        run = _Run(networks, settings)
        known = lambda: _digest(layout, tiles, values, settings, start)  # noqa: E731
        with checkpoint.kept(settings.checkpoint, run, known) as note:
            while run.share < 1:
                run.advance()
                note(run.share >= 1)
                if progress:
                    progress("fit", run.share)
            run.squeeze()
            fitted = run.finish()
        if progress:
            progress("fit", 1.0)
        return fitted


class _Run:
    """The schedule, the rate that is steered, and what is kept."""

    def __init__(self, networks: Networks, settings: FitSettings) -> None:
        self.networks, self.settings = networks, settings
        self.rate = settings.rate  # steered where there is a room
        self.overhead = 1.0  # stored bits for a bit that the training counts
        self.size = 0  # bytes at the last look, as stored
        self.share = self.steered = settings.begin
        self.start = monotonic()

    @property
    def spent(self) -> float:
        """Share of the time budget."""
        return (monotonic() - self.start) / self.settings.seconds if self.settings.seconds else 0.0

    def advance(self) -> None:
        """One step, and then a look where it is time for one."""
        self._step(self.share)
        begin = self.settings.begin
        done = max(self.networks.steps / self.settings.steps, self.spent)
        # Never back: a fit that goes on with more time than it had is further than its time says.
        self.share = max(self.share, min(begin + (1 - begin) * done, 1.0))

    def squeeze(self) -> None:
        """Coarser or finer steps, settled while there is time, until the room is kept to and filled."""
        if self.networks.coded:
            self.networks.enter(2)
        if self.settings.room is None:
            return
        for _ in range(ROUNDS):
            self._keep()
            codes = self._codes_to_room()
            if not codes:
                return
            self.networks.coarsen(codes)
            for _ in range(LOOK_EVERY):
                if self.spent < 1:
                    self._step(SETTLE)

    def finish(self) -> Fitted:
        """The best rounded state of every tile, or its constant where that serves better."""
        if not self.settings.rate:
            self.networks.round_afterwards()
        self._keep()
        if self.settings.room is not None and not self._kept():
            raise TargetNotReached(
                f"the weights do not fit into the {self.settings.room} bytes that are left for them; "
                "ask for a larger size, or for smaller networks",
                value=self.settings.room,
            )
        self.networks.settle()
        lost = sum(self.networks.watch.lost)
        codes, integers = self._state()
        return Fitted(self.networks.layout, codes, integers, self.networks.steps, lost)

    def tensors(self) -> State:
        """All that a checkpoint needs."""
        spent = monotonic() - self.start
        run = [self.rate, self.overhead, self.size, self.share, self.steered, spent]
        networks = checkpoint.prefixed("networks", self.networks.tensors())
        return {"run": torch.tensor(run, dtype=torch.float64)} | networks

    def restore(self, kept: State) -> None:
        """Go on from what :meth:`tensors` gave; the time that was spent then counts.

        Raises
        ------
        ValueError, RuntimeError
            For values that no fit leaves.
        """
        self.rate, self.overhead, size, self.share, self.steered, spent = kept["run"].tolist()
        sound = 0 <= self.share <= 1 and 0 <= self.steered <= 1 and 0 <= spent < inf
        if not (sound and 0 <= self.rate < inf and isfinite(size)):
            raise ValueError("a rate, a time or a place in the schedule that cannot be")
        self.size, self.start = int(size), monotonic() - spent
        self.networks.restore(checkpoint.under("networks", kept))

    def _codes_to_room(self) -> float:
        """By how many codes the steps should be coarser; none where the room is kept to and filled."""
        assert self.settings.room is not None
        used = self.size / self.settings.room
        if FULL <= used <= 1 or (self._kept() and (used > 1 or self.spent >= 1)):
            return 0.0
        return log(used / FILLED) / A_CODE

    def _kept(self) -> bool:
        """Whether every tile has a state worth storing."""
        return bool(torch.isfinite(self.networks.cost).all())

    def _step(self, share: float) -> None:
        networks, room = self.networks, self.settings.room
        networks.step(share, self.rate)
        if networks.steps % LOOK_EVERY or not networks.phase:
            return
        if room is not None:
            self._steer(share, networks.bits * self.overhead / (8 * AIM * room))
        if networks.phase == 2:
            self._keep()
            # At once: what is left of the schedule heals it. At its end fifty steps would have to.
            if room is not None and share < LAST_CODES and (codes := self._codes_to_room()):
                networks.coarsen(codes)

    def _steer(self, share: float, off: float) -> None:
        """Make bits dearer where there are more of them than room, ``off`` times as many."""
        if not isfinite(off):  # those of a lost tile, which starts again: the others keep their rate
            return
        begun = share > self.settings.begin + STEER_FROM * (1 - self.settings.begin)
        change = STEER * (share - self.steered) * log(max(off, 1e-3)) if begun else 0.0
        self.rate *= exp(min(max(change, -STEER_MOST), STEER_MOST))
        self.steered = share

    def _keep(self) -> None:
        """Remember each tile's cheapest rounded state: squared error + rate x bits over all its voxels.

        A room binds all tiles together: then it is the state of the least error that is within it.
        """
        errors, bits = self.networks.rounded()
        cost = errors + self.settings.rate * bits
        if self.settings.room is not None and self.settings.measure is not None:
            self.size = self.settings.measure(*self._state())
            self.overhead = 8 * self.size / float(bits.sum())
            within = self.size <= self.settings.room
            cost = torch.full_like(cost, float(errors.sum()) if within else inf)
        self.networks.remember(cost)

    def _state(self) -> tuple[list[list[int]], Integers]:
        """Step codes and integers of all tiles."""
        quantizer = self.networks.quantizer
        return quantizer.codes(), quantizer.integers(self.networks.flat)


def _digest(
    layout: Layout,
    tiles: Sequence[Tile],
    values: Sequence[NDArray[np.float64]],
    settings: FitSettings,
    start: Fitted | None,
) -> str:
    """Of all that a fit depends on; not of where it is computed, nor of the time that it may take."""
    given = {f.name: getattr(settings, f.name) for f in fields(settings)}
    machine = ("device", "threads", "seconds", "measure", "checkpoint")
    told = {name: value for name, value in given.items() if name not in machine}
    parts: list[object] = [layout, told]
    for t, v in zip(tiles, values, strict=True):
        parts += [t.index, t.centre, t.extent, v]
    if start is not None:
        parts += [start.layout, start.codes, *(q for integers in start.integers for q in integers)]
    return checkpoint.digest_of(*parts)
