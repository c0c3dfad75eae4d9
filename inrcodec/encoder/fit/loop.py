"""The training loop: all tiles' SIRENs, fitted together to the low-res voxels.

In: tiles with their target values in [-1, 1].  Out: the integers and step codes that the file stores.
Invariant: deterministic for seed and machine; a tile that diverges is restarted, and it alone; no volume
makes a fit fail.

Rate-distortion training: plain fitting first, then uniform noise of one step on the weights, then rounding,
straight through, with the steps frozen to what can be stored.  Loss = squared error + lambda x bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
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

# Tiles that no restart could save are fitted again by themselves, once at each of these shares of the usual
# learning rates. If that takes bytes from the others, all go through the last RETOLD share of the schedule.
RESCUES, RETOLD = (1 / 4, 1 / 16), 0.2
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

    def of_part(self, share: float, number: int) -> FitSettings:
        """Those of some of the tiles, fitted by themselves: their share of bytes and time, and a seed."""
        return replace(
            self,
            lmbda=self.lmbda / share,  # of a loss that is the mean over fewer voxels
            budget=None if self.budget is None else int(self.budget * share),
            time_budget=None if self.time_budget is None else self.time_budget * share,
            seed=int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0]),
        )


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

    A tile that cannot be fitted, whatever is tried, becomes the constant that serves it best: with a notice.

    Raises
    ------
    TargetNotReached
        The networks do not fit into the budget, however coarse their steps.
    """
    fitted, lost = _fitted(layout, tiles, values, settings, progress, start)
    for patience in RESCUES if settings.time_budget is None else ():
        if lost:
            fitted, lost = _rescued(fitted, lost, tiles, values, settings, patience)
    if lost:
        parts = ", ".join(str(t) for t in lost)
        notice = f"the fit of tile {parts} of {len(tiles)} stayed poor: another seed or base may serve better"
        fitted = replace(fitted, notices=(*fitted.notices, notice))
    return fitted


def _fitted(
    layout: Layout,
    tiles: Sequence[Tile],
    values: Sequence[Float],
    settings: FitSettings,
    progress: Progress | None = None,
    start: FittedTiles | None = None,
    patience: float = 1.0,
) -> tuple[FittedTiles, list[int]]:
    """One fit, at a share of the usual learning rates, and the tiles that were lost."""
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
            patience=patience,
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
            found = run.finish()
        if progress:
            progress("fit", 1.0)
        return found


def _rescued(
    before: FittedTiles,
    lost: list[int],
    tiles: Sequence[Tile],
    values: Sequence[Float],
    settings: FitSettings,
    patience: float,
) -> tuple[FittedTiles, list[int]]:
    """A fit of which the lost tiles were fitted again, from another seed; and those that are still lost."""
    own = [tiles[t] for t in lost]
    share = sum(len(t.index) for t in own) / sum(len(t.index) for t in tiles)
    alone = replace(
        settings.of_part(share, round(1 / patience)),
        steps=round(settings.steps / (1 - settings.start_at)),
        start_at=0.0,
        checkpoint=None,  # which is of the fit before, and gives it again when this one is interrupted
    )
    again, still = _fitted(before.layout, own, [values[t] for t in lost], alone, patience=patience)
    codes, integers = list(before.codes), list(before.integers)
    for k, t in enumerate(lost):
        if k not in still:
            codes[t], integers[t] = again.codes[k], again.integers[k]
    steps, restarts = before.steps + again.steps, before.restarts + again.restarts
    found = replace(before, codes=codes, integers=integers, steps=steps, restarts=restarts)
    left = [lost[k] for k in still]
    if settings.budget is None or _bytes(found.codes, found.integers) <= settings.budget:
        return found, left
    last = replace(alone, steps=round(alone.steps * RETOLD), start_at=1 - RETOLD, seed=settings.seed)
    last = replace(last, lmbda=settings.lmbda, budget=settings.budget)
    told, lost_again = _fitted(before.layout, tiles, values, last, start=found)
    found = replace(told, steps=steps + told.steps, restarts=restarts + told.restarts)
    return found, sorted({*left, *lost_again})


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

    def finish(self) -> tuple[FittedTiles, list[int]]:
        """The best rounded state of every tile, or its constant where that serves better; the lost tiles."""
        if not self.settings.lmbda:
            self.trainer.mend()
            self.trainer.quantize_afterwards()
        self._keep_best()
        if self.settings.budget is not None and not self._safe():
            raise TargetNotReached(
                f"the weights do not fit into the {self.settings.budget} bytes that are left for them; "
                "allow the file more, or request smaller networks",
                value=self.settings.budget,
            )
        trainer, notice = self.trainer, self.trainer.distortion.kernels.notice
        lost, restarts = trainer.restore_best(), sum(trainer.monitor.restarts)
        notices = (notice,) if notice else ()
        return FittedTiles(trainer.layout, *self._stored(), trainer.steps, restarts, notices), lost

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
        self.trainer.mend()
        errors, bits = self.trainer.rounded()
        cost = errors + self.settings.lmbda * bits
        if self.settings.budget is not None:
            self.rate.measure(_bytes(*self._stored()), float(bits.sum()))
            cost = torch.full_like(cost, float(errors.sum()) if self.rate.fits else inf)
        self.trainer.keep_better(cost)

    def _stored(self) -> tuple[list[list[int]], Integers]:
        """Step codes and integers of all tiles."""
        quantizer = self.trainer.quantizer
        return quantizer.codes(), quantizer.integers(self.trainer.flat)


def _bytes(codes: Sequence[Sequence[int]], integers: Sequence[Sequence[Int32]]) -> int:
    """What networks take in a file."""
    return sum(map(len, map(weights.write_tile, codes, integers)))


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
