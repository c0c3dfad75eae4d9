"""A plan's networks, fitted and coded.

In: a plan, and perhaps an earlier fit of the same tiles to start from.  Out: the sections that a file stores.
Invariant: a tile of pure background has an empty stream and costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from inrcodec.encoder import fit_groups
from inrcodec.encoder.fit import loop
from inrcodec.encoder.plan import Plan
from inrcodec.encoder.tasks import Threads
from inrcodec.layers.base.siren import codec
from inrcodec.progress import Progress, shares


@dataclass(frozen=True, eq=False)
class Fitted:
    """The networks of a plan."""

    plan: Plan
    networks: loop.FittedTiles | None  # ``None`` where there is nothing but background

    @property
    def sections(self) -> Mapping[str, bytes]:
        """Masks, index and weights."""
        found = self.networks
        codes, integers = (found.codes, found.integers) if found else ((), ())
        return {**self.plan.masks, **codec.encode(self.plan.networks.tiles, codes, integers)}

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know about the choices, and about the fit."""
        return (*self.plan.notices, *(self.networks.notices if self.networks else ()))


def fit(plan: Plan, progress: Progress | None = None, start: Fitted | None = None) -> Fitted:
    """Fit all tiles, perhaps from a fit of the same tiles, of any width: half of the steps serve then.

    Very many tiles are fitted in groups, each with its share of the bytes and of the time, one after the
    other or by the workers of a cluster: the groups follow from the tiles alone, whoever fits them.
    """
    options, warm = plan.options, None if start is None else start.networks
    present = [t for t in plan.networks.tiles if t is not None]
    if not present:
        if options.checkpoint is not None:
            options.checkpoint.refuse_any()
        return Fitted(plan, None)
    settings = loop.FitSettings(
        steps=plan.networks.steps if warm is None else -(-plan.networks.steps // 2),
        start_at=0.0 if warm is None else 0.5,
        batch=options.batch_per_tile,
        lmbda=plan.networks.rate,
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
    work = partial(fit_groups.fit, plan.networks.layout, plan.curve)
    reports = shares(progress, "fit", [group.voxels for group in groups])
    boxes = [group.box for group in groups]
    found = tasks.map(work, plan.lowres.target, boxes, groups, reports, at_once=1)
    return Fitted(plan, fit_groups.joined(list(found)))
