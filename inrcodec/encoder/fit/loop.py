"""The training loop: all tiles' SIRENs, fitted together to the low-res voxels.

In: tiles with their target values in [-1, 1].  Out: the integers and step codes that the file stores.
Invariant: deterministic for seed and machine; a tile that diverges is restarted, and it alone.

Rate-distortion training: plain fitting first, then uniform noise of one step on the weights, then rounding,
straight through, with the steps frozen to what can be stored.  Loss = squared error + lambda x bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import inf
from time import monotonic

import numpy as np
import torch

from inrcodec import parallel
from inrcodec.encoder.fit import checkpoint, warm_start
from inrcodec.encoder.fit.checkpoint import Checkpoint, State
from inrcodec.encoder.fit.loss import Distortion
from inrcodec.encoder.fit.rate_control import RateControl
from inrcodec.encoder.fit.trainer import CHECK_EVERY, ROUNDED, Trainer
from inrcodec.errors import TargetNotReached
from inrcodec.layers.base.siren import weights
from inrcodec.layers.base.siren.siren import Layout
from inrcodec.layers.base.siren.tiles import Tile
from inrcodec.progress import Progress
from inrcodec.volume.arrays import Float, Int32

ROUNDS, SETTLE_AT = 40, 0.9  # of other steps until the budget is filled; place in the schedule of each
LAST_CODES = 0.96  # share of the schedule after which steps change only to keep to the budget

Integers = list[list[Int32]]


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How to fit.

    Parameters
    ----------
    steps : updates of all weights.
    batch : samples a tile and step.
    lmbda : loss units a bit (mean squared error of all samples, data in [-1, 1]); 0 trains without rate.
    budget : bytes for all tiles together, never more; lambda is then steered to it.
    learning_rate : of Adam (paper); ``None`` for SOAP at rates scaled to the tensors.
    threads : of the arithmetic, by default one a core.
    start_at : share of the schedule, 0..1, where the fit sets in: above 0 for a warm start.
    time_budget : seconds; the schedule then ends with whichever runs out first.
    checkpoint : where the state is kept, and taken from if it is there already; its seconds are counted.
    """

    steps: int
    batch: int
    lmbda: float
    budget: int | None = None
    learning_rate: float | None = None
    seed: int = 0
    device: str = "cpu"
    threads: int | None = None
    start_at: float = 0.0
    time_budget: float | None = None
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True)
class FittedTiles:
    """For each tile the integers of each tensor, and their step codes."""

    layout: Layout
    codes: list[list[int]]
    integers: Integers
    steps: int
    restarts: int  # of tiles that diverged
    notices: tuple[str, ...] = ()  # what the user should know, such as why the fit was slow

    def weights(self, layout: Layout) -> list[list[Float]]:
        """Each tile's tensors, (in, out), at another layout's width."""
        rng, tiles = np.random.default_rng(0), zip(self.integers, self.codes, strict=True)
        return [warm_start.resized(weights.dequantize(self.layout, *tile), layout, rng) for tile in tiles]


def fit(
    layout: Layout,
    tiles: Sequence[Tile],
    values: Sequence[Float],
    settings: FitSettings,
    progress: Progress | None = None,
    start: FittedTiles | None = None,
) -> FittedTiles:
    """Fit one SIREN a tile.

    Parameters
    ----------
    layout : shapes of every tile's network.
    tiles, values : the tiles and, for each, its voxels' targets, (n,), in [-1, 1].
    progress : called with ``("fit", fraction)``.
    start : an earlier fit of the same tiles, of any width, for a warm start.

    Raises
    ------
    FitFailed
        A tile stayed worse than a constant after all its restarts.
    TargetNotReached
        The networks do not fit into the budget, however coarse their steps.
    """
    threads = settings.threads or torch.get_num_threads()
    with parallel.single_threaded(threads) as pool:
        distortion = Distortion(
            layout,
            tiles,
            values,
            batch=settings.batch,
            seed=settings.seed,
            device=settings.device,
            pool=pool,
            workers=threads,
        )
        trainer = Trainer(
            distortion,
            tiles,
            values,
            learning_rate=settings.learning_rate,
            coded=settings.lmbda > 0,
            seed=settings.seed,
        )
        if start is not None:
            trainer.start_from(start.codes, start.weights(layout))
        run = _Run(trainer, settings)
        digest = lambda: _digest(layout, tiles, values, settings, start)  # noqa: E731
        with checkpoint.keeping(settings.checkpoint, run, digest) as note:
            while run.share < 1:
                run.advance()
                note(run.share >= 1)
                if progress:
                    progress("fit", run.share)
            run.fill_budget()
            fitted = run.finish()
        if progress:
            progress("fit", 1.0)
        return fitted


class _Run:
    """One fit: its place in the schedule, its rate control, and the states that are kept."""

    def __init__(self, trainer: Trainer, settings: FitSettings) -> None:
        self.trainer, self.settings = trainer, settings
        self.rate = RateControl(settings.lmbda, settings.budget, settings.start_at)
        self.share = settings.start_at
        self.start = monotonic()

    @property
    def spent(self) -> float:
        """Share of the time budget."""
        limit = self.settings.time_budget
        return (monotonic() - self.start) / limit if limit else 0.0

    def advance(self) -> None:
        """One step."""
        self._step(self.share)
        begin = self.settings.start_at
        done = max(self.trainer.steps / self.settings.steps, self.spent)
        # Never back: a fit that goes on with more time than it had is further than its time says.
        self.share = max(self.share, min(begin + (1 - begin) * done, 1.0))

    def fill_budget(self) -> None:
        """Make steps coarser or finer until the budget is filled; train on in between, if time is left."""
        if self.trainer.coded:
            self.trainer.set_phase(ROUNDED)
        if self.settings.budget is None:
            return
        for _ in range(ROUNDS):
            self._keep_best()
            codes = self.rate.coarser(self._safe(), self.spent >= 1)
            if not codes:
                return
            self.trainer.coarsen(codes)
            for _ in range(CHECK_EVERY):
                if self.spent < 1:
                    self._step(SETTLE_AT)

    def finish(self) -> FittedTiles:
        """The best rounded state of every tile, or its constant where that serves better."""
        if not self.settings.lmbda:
            self.trainer.quantize_afterwards()
        self._keep_best()
        if self.settings.budget is not None and not self._safe():
            raise TargetNotReached(
                f"the weights do not fit into the {self.settings.budget} bytes that are left for them; "
                "allow the file more, or request smaller networks",
                value=self.settings.budget,
            )
        trainer, notice = self.trainer, self.trainer.distortion.kernels.notice
        trainer.restore_best()
        restarts = sum(trainer.monitor.restarts)
        return FittedTiles(
            trainer.layout, *self._stored(), trainer.steps, restarts, (notice,) if notice else ()
        )

    def tensors(self) -> State:
        run = [self.share, monotonic() - self.start]
        return {
            "run": torch.tensor(run, dtype=torch.float64),
            **checkpoint.prefixed("rate", self.rate.tensors()),
            **checkpoint.prefixed("trainer", self.trainer.tensors()),
        }

    def restore(self, state: State) -> None:
        """Go on from what :meth:`tensors` gave; the time that was spent then counts."""
        self.share, spent = state["run"].tolist()
        if not (0 <= self.share <= 1 and 0 <= spent < inf):
            raise ValueError("a time or a place in the schedule that cannot be")
        self.start = monotonic() - spent
        self.rate.restore(checkpoint.under("rate", state))
        self.trainer.restore(checkpoint.under("trainer", state))

    def _safe(self) -> bool:
        """Whether every tile has a state worth storing."""
        return bool(torch.isfinite(self.trainer.cost).all())

    def _step(self, share: float) -> None:
        trainer, rate = self.trainer, self.rate
        trainer.step(share, rate.lmbda)
        if trainer.steps % CHECK_EVERY or not trainer.phase:
            return
        rate.steer(share, trainer.bits)
        if trainer.phase == ROUNDED:
            self._keep_best()
            # At once: what is left of the schedule heals it. At its end fifty steps would have to.
            if share < LAST_CODES and (codes := rate.coarser(self._safe(), self.spent >= 1)):
                trainer.coarsen(codes)

    def _keep_best(self) -> None:
        """Keep each tile's cheapest rounded state: squared error + lambda x bits over all its voxels.

        A budget binds all tiles together: then it is the state of the least error that is within it.
        """
        errors, bits = self.trainer.rounded()
        cost = errors + self.settings.lmbda * bits
        if self.settings.budget is not None:
            stored = sum(len(weights.write_tile(*tile)) for tile in zip(*self._stored(), strict=True))
            self.rate.measure(stored, float(bits.sum()))
            cost = torch.full_like(cost, float(errors.sum()) if self.rate.fits else inf)
        self.trainer.keep_better(cost)

    def _stored(self) -> tuple[list[list[int]], Integers]:
        """Step codes and integers of all tiles."""
        quantizer = self.trainer.quantizer
        return quantizer.codes(), quantizer.integers(self.trainer.flat)


def _digest(
    layout: Layout,
    tiles: Sequence[Tile],
    values: Sequence[Float],
    settings: FitSettings,
    start: FittedTiles | None,
) -> str:
    """Of all that a fit depends on; not of where it is computed, nor of the time that it may take."""
    machine = ("device", "threads", "time_budget", "checkpoint")
    given = {f.name: getattr(settings, f.name) for f in fields(settings) if f.name not in machine}
    parts: list[object] = [layout, given]
    for t, v in zip(tiles, values, strict=True):
        parts += [t.index, t.centre, t.extent, v]
    if start is not None:
        parts += [start.layout, start.codes, *(q for integers in start.integers for q in integers)]
    return checkpoint.digest_of(*parts)
