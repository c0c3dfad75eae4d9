"""SIREN tiles as the coder of the low-res volume: sizes of the networks, their fit, and their sections.

In: a plan.  Out: `SirenCoding`, and `FittedNetworks`.
Invariant: a tile of pure background has an empty stream and costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from time import perf_counter
from typing import TYPE_CHECKING, Any

from inrcodec.encoder import fit_groups, forecast, networks
from inrcodec.encoder.bases.coding import Coded
from inrcodec.encoder.fit import loop
from inrcodec.encoder.networks import Networks
from inrcodec.encoder.tasks import Threads
from inrcodec.format import container
from inrcodec.layers.base.siren import codec
from inrcodec.progress import Progress, shares

if TYPE_CHECKING:
    from inrcodec.encoder.lowres import Lowres
    from inrcodec.encoder.options import ResolvedOptions
    from inrcodec.encoder.plan import Plan

FEW, SOME = 10, 40  # steps of the two fits that are timed: the first of them pays for what is done once


@dataclass(frozen=True, eq=False)
class FittedNetworks:
    """Networks of a low-res volume."""

    networks: Networks
    found: loop.FittedTiles | None  # ``None`` where there is nothing but background

    @property
    def sections(self) -> Mapping[str, bytes]:
        """Index and weights."""
        codes, integers = (self.found.codes, self.found.integers) if self.found else ((), ())
        return codec.encode(self.networks.tiles, codes, integers)

    @property
    def fields(self) -> Mapping[str, Any]:
        """Nothing that was not decided before."""
        return {}

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know about the fit."""
        return self.found.notices if self.found else ()


@dataclass(frozen=True, eq=False)
class SirenCoding:
    """Networks of one low-res volume, decided."""

    networks: Networks
    lowres: Lowres

    @property
    def fields(self) -> Mapping[str, Any]:
        """See `Coding.fields`."""
        layout, low = self.networks.layout, self.lowres
        mask = {} if low.cells is None else {"background": low.background, "cell": low.cell}
        return {
            "layers": layout.layers,
            "width": layout.width,
            "omega": layout.omega,
            "tiles": self.networks.parts,
            "cuts": self.networks.cuts,
            **mask,
        }

    @property
    def known(self) -> Mapping[str, bytes]:
        """The mask."""
        return self.lowres.sections

    @property
    def empty(self) -> Mapping[str, bytes]:
        """See `Coding.empty`."""
        return {"INDX": bytes(container.index_size(prod(self.networks.parts), 0)), "WGHT": b""}

    @property
    def bytes(self) -> int:
        """Of all weights, estimated."""
        return self.networks.bytes

    def index_bytes(self, contents: int) -> int:
        """See `Coding.index_bytes`."""
        tiles = prod(self.networks.parts)
        return container.index_size(tiles, contents) - container.index_size(tiles, 0)

    @property
    def about(self) -> Mapping[str, Any]:
        """Sizes of the networks, and the steps of their fit."""
        layout = self.networks.layout
        return {
            "tiles": self.networks.parts,
            "layers": layout.layers,
            "width": layout.width,
            "steps": self.networks.steps,
        }

    def expected_error(self, plan: Plan) -> float:
        """See `Coding.expected_error`."""
        low, size = plan.lowres, self.bytes if plan.budget is None else plan.budget
        error = forecast.coding_error(plan.facts.sample, low.factor, size)
        return float(error * low.active.size / max(low.active.sum(), 1))

    def seconds(self, plan: Plan) -> float:
        """See `Coding.seconds`."""
        once, more = self._timed(plan, FEW), self._timed(plan, SOME)
        fit = once + max(more - once, 0.0) / (SOME - FEW) * self.networks.steps
        limit = plan.options.time_budget
        return fit if limit is None else min(fit, limit)

    def _timed(self, plan: Plan, steps: int) -> float:
        """Seconds of a short fit."""
        options = replace(plan.options, checkpoint=None, time_budget=None)
        coding = replace(self, networks=replace(self.networks, steps=steps))
        start = perf_counter()
        coding.fit(replace(plan, options=options, size=None, coding=coding))
        return perf_counter() - start

    def fit(self, plan: Plan, progress: Progress | None = None, start: Coded | None = None) -> FittedNetworks:
        """Fit all tiles, perhaps from a fit of the same tiles, of any width: half of the steps serve then.

        Very many tiles are fitted in groups, each with its share of the bytes and of the time, one after the
        other or by the workers of a cluster: the groups follow from the tiles alone, whoever fits them.
        """
        options, warm = plan.options, self._continued(start)
        present = [t for t in self.networks.tiles if t is not None]
        if not present:
            if options.checkpoint is not None:
                options.checkpoint.refuse_any()
            return FittedNetworks(self.networks, None)
        steps = self.networks.steps
        settings = loop.FitSettings(
            steps=steps if warm is None else -(-steps // 2),
            start_at=0.0 if warm is None else 0.5,
            batch=options.batch_per_tile,
            lmbda=self.networks.rate,
            budget=plan.budget,
            learning_rate=options.learning_rate if options.optimizer == "adam" else None,
            seed=options.seed,
            device=options.device,
            threads=options.threads,
            time_budget=options.time_budget,
            checkpoint=options.checkpoint,
        )
        groups = fit_groups.groups_of(present, settings, warm)
        here = options.checkpoint is not None  # which is a file of this machine
        tasks = Threads(options.threads) if here else options.tasks
        work = partial(fit_groups.fit, self.networks.layout, plan.curve)
        reports = shares(progress, "fit", [group.voxels for group in groups])
        boxes = [group.box for group in groups]
        found = tasks.map(work, plan.lowres.target, boxes, groups, reports, at_once=1)
        return FittedNetworks(self.networks, fit_groups.joined(list(found)))

    def _continued(self, start: Coded | None) -> loop.FittedTiles | None:
        """An earlier fit, if it is one of the same tiles."""
        if not isinstance(start, FittedNetworks) or start.networks.parts != self.networks.parts:
            return None
        return start.found


def smallest(lowres: Lowres, options: ResolvedOptions) -> SirenCoding:
    """The fewest and narrowest networks that the options allow."""
    return SirenCoding(networks.smallest(options), lowres)


def coding(plan: Plan) -> SirenCoding:
    """Networks for a plan's low-res volume and byte budget."""
    low, options = plan.lowres, plan.options
    return SirenCoding(networks.networks_for(plan.targets, low.active, options, plan.budget), low)
