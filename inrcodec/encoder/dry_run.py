"""What an encoding would do, without doing it: a plan in plain types, with its size and time.

In: a volume and resolved options.  Out: a dictionary that turns into JSON.
Invariant: nothing is fitted but for the few steps that are timed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from inrcodec.encoder import base_choice, grid_tries, planner, target_search, timing
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.encoder.plan import Plan
from inrcodec.encoder.tissue import aim as tissue_aim
from inrcodec.encoder.tissue import steering
from inrcodec.volume import windows
from inrcodec.volume.volume import Volume


def dry_run(volume: Volume, stated: str | None, options: ResolvedOptions) -> dict[str, Any]:
    """All that is decided before the fit; ``stated`` is the modality, where the source does not say it."""
    options = base_choice.planned(options)
    facts = Facts.admitted(volume, stated, options)
    if options.max_error is not None and not options.base:
        return _refinement(facts, options, None)
    if options.psnr is None:
        plan = next(grid_tries.plans(facts, options))
        return _base(replace(plan, notices=(*plan.notices, *_of_aim(facts, options))), plan.predicted)
    found = target_search.forecast(facts, options)
    if not found.favours_networks:
        return _refinement(facts, options, found.refinement)
    return _base(planner.on_grid(facts, options, found.grids[0]), found.networks)


def _base(plan: Plan, size: int | None) -> dict[str, Any]:
    """A base, in a file that is predicted to have so many bytes."""
    assert plan.coding is not None
    return {
        **_about(plan.facts, plan.notices),
        "factor": plan.header.factor,
        "reason": plan.grid.reason,
        "considered": plan.grid.rows(),
        "lowres_shape": plan.header.lowres_shape,
        "active_voxels": int(plan.lowres.active.sum()),
        "base": plan.header.coder,
        **plan.coding.about,
        "sr": plan.header.sr,
        "ensemble": plan.header.sr_ensemble,
        "through_sr": plan.options.through_sr,
        "focus": windows.format_focus(plan.options.focus),
        "predicted_bytes": size,
        "seconds": timing.base(plan),
    }


def _of_aim(facts: Facts, options: ResolvedOptions) -> list[str]:
    """That a file may become larger than is planned."""
    aim = tissue_aim.aim(facts, options)
    if aim is None or not (options.tissue_fits or tissue_aim.steered(facts, options)):
        return []
    unit = f" {facts.volume.unit}" if facts.volume.unit else ""
    notice = (
        f"this is the least: the file grows, up to {steering.LARGEST:g} times the bytes, where flat tissue "
        f"is off by more than {aim:.3g}{unit} after a Gaussian of 5 mm, unless a target says what is wanted"
    )
    return [notice]


def _refinement(facts: Facts, options: ResolvedOptions, size: int | None) -> dict[str, Any]:
    """A refinement alone; the bytes that a bound takes are only known in the end."""
    bounded = options.max_error is not None
    kept = "a refinement keeps the promise; networks would cost more than they save"
    return {
        **_about(facts, ()),
        **({"bound": options.max_error} if bounded else {}),
        "reason": kept if bounded else "a refinement is forecast to take fewer bytes than networks",
        "considered": [],
        "predicted_bytes": size,
        "seconds": timing.refinement(facts, options),
    }


def _about(facts: Facts, notices: Sequence[str]) -> dict[str, Any]:
    return {
        "shape": facts.volume.shape,
        "dtype": str(facts.volume.array.dtype),
        "modality": facts.volume.modality,
        "notices": [*facts.notices, *notices],
    }
