"""Without a target the aim is the error of flat tissue: rules of the search, with what fits reach given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf, nan
from types import SimpleNamespace

import numpy as np
import pytest
from found_files import Found

from inrcodec.encoder import dry_run
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.options import EncodeOptions
from inrcodec.encoder.tissue import aim as tissue_aim
from inrcodec.encoder.tissue import search as tissue_search
from inrcodec.encoder.tissue.aim import AIM
from inrcodec.encoder.tissue.search import LARGEST, LARGEST_STEP
from inrcodec.errors import TargetNotReached
from inrcodec.volume.volume import Volume

BALANCED = EncodeOptions(base="av1").resolved()
BEST = EncodeOptions(preset="best").resolved()  # of networks, which are given bytes
ATTEMPTS = 3  # beside the first, of this preset
TISSUE = SimpleNamespace(tolerance=10.0, voxels=1000)


@dataclass(frozen=True)
class Plan:
    facts: object
    options: object
    size: int = 1000
    grid: object = None
    notices: tuple[str, ...] = ("of the plan",)


def grids(monkeypatch, factor_of):
    """Plans for a size, without a volume."""

    def choose(facts, options, size):
        return SimpleNamespace(factor=factor_of(size), size=size)

    def on_grid(facts, options, grid, progress):
        return Plan(facts, options, grid.size, grid)

    monkeypatch.setattr(tissue_search.grid_search, "choose", choose)
    monkeypatch.setattr(tissue_search.planner, "on_grid", on_grid)
    monkeypatch.setattr(tissue_search.planner, "resized", lambda plan, size: replace(plan, size=size))
    monkeypatch.setattr(tissue_search.back_projection, "project", lambda plan, progress: plan)


def searched(monkeypatch, error_of, options=BEST, tissue=TISSUE, factor_of=lambda size: 4):
    """The file that is taken, and all that were made, where a file of some bytes has a known error."""
    made = []

    def base(plan, progress=None):
        error = error_of(plan.size)
        made.append(Found(plan, plan.size, None if error is None else SimpleNamespace(error_mm=error)))
        return made[-1]

    def fit(plan, progress, start):
        assert (start is not None) == (plan.grid.factor == made[-1].plan.grid.factor)
        return SimpleNamespace(plan=plan)

    grids(monkeypatch, factor_of)
    monkeypatch.setattr(tissue_search.fitted, "fit", fit)
    monkeypatch.setattr(tissue_search.measure, "base", lambda coded, progress: base(coded.plan))
    first = Plan(SimpleNamespace(flat_tissue=tissue), options, grid=SimpleNamespace(factor=factor_of(1000)))
    taken = tissue_search.trusted(base(first), SimpleNamespace(plan=first))
    return taken, made


@pytest.mark.parametrize("power", [0.4, 0.7, 1.0])
def test_the_bytes_grow_until_flat_tissue_is_within_the_aim(monkeypatch, power):
    taken, made = searched(monkeypatch, lambda size: 4.0 * (size / 1000) ** -power)
    enough = [f for f in made if f.low_pass.error_mm <= AIM * TISSUE.tolerance]
    assert taken is min(enough, key=lambda f: f.size)
    assert 1 < len(made) <= 1 + ATTEMPTS and taken.notices == ()
    for before, after in pairwise(made):
        assert before.size < after.size <= before.size * LARGEST_STEP


def test_a_first_file_within_the_aim_is_taken_as_it_is(monkeypatch):
    taken, made = searched(monkeypatch, lambda size: 1.9)
    assert made == [taken] and taken.size == 1000


def test_what_is_out_of_reach_is_the_best_that_was_found_and_says_so(monkeypatch):
    taken, made = searched(monkeypatch, lambda size: 50.0 * (size / 1000) ** -0.8)
    assert max(f.size for f in made) <= 1000 * LARGEST and len(made) <= 1 + ATTEMPTS
    assert taken.size == made[-1].size
    assert any(
        f"{taken.low_pass.error_mm:.1f} HU" in notice and "2.0 were aimed at" in notice
        for notice in taken.notices
    )


def test_a_size_that_no_fit_keeps_to_ends_the_search(monkeypatch):
    def failing(*args):
        raise TargetNotReached("no")

    first = Plan(SimpleNamespace(flat_tissue=TISSUE), BEST, grid=SimpleNamespace(factor=4))
    found = Found(first, 1000, SimpleNamespace(error_mm=5.0))
    grids(monkeypatch, lambda size: 4)
    monkeypatch.setattr(tissue_search.fitted, "fit", failing)
    assert tissue_search.trusted(found, SimpleNamespace(plan=first)).size == 1000


def test_an_error_that_no_longer_falls_is_the_grids(monkeypatch):
    """More bytes are of no use then, unless they are worth a finer grid."""
    taken, made = searched(monkeypatch, lambda size: 5.5 - size / 1e6)
    assert len(made) == 2 and taken.size == made[0].size
    taken, made = searched(
        monkeypatch, lambda size: 5.5 if size < 4500 else 1.9, factor_of=lambda size: 4 if size < 4500 else 2
    )
    assert len(made) == 3 and taken.plan.grid.factor == 2 and taken.low_pass.error_mm == 1.9


@pytest.mark.parametrize(
    "options",
    [
        EncodeOptions(size=2000),
        EncodeOptions(ratio=100),
        EncodeOptions(psnr=40),
        EncodeOptions(max_error=2),
        EncodeOptions(width=20),
        EncodeOptions(time_budget=9),
        EncodeOptions(steps=300),
        EncodeOptions(preset="fast"),
        EncodeOptions(preset="paper"),
    ],
    ids=str,
)
def test_who_says_what_is_wanted_gets_just_that(monkeypatch, options):
    taken, made = searched(monkeypatch, lambda size: 50.0, options.resolved())
    assert made == [taken]


@pytest.mark.parametrize(("error", "tolerance"), [(inf, 10.0), (nan, 10.0), (5.0, 0.0)])
def test_errors_that_are_no_numbers_lead_nowhere(monkeypatch, error, tolerance):
    tissue = SimpleNamespace(tolerance=tolerance, voxels=9)
    _, made = searched(monkeypatch, lambda size: error, tissue=tissue)
    assert len(made) == 1


@pytest.mark.parametrize("tissue", [TISSUE, SimpleNamespace(tolerance=10.0, voxels=0)])
def test_without_flat_tissue_there_is_no_aim(monkeypatch, tissue):
    facts = SimpleNamespace(flat_tissue=tissue)
    assert (tissue_aim.aim(facts, BALANCED) is None) == (not tissue.voxels)
    _, made = searched(monkeypatch, lambda size: None, tissue=tissue)
    assert len(made) == 1


def test_metal_changes_no_aim():
    flat_scan = np.full((40, 40, 40), -1000, np.int16)
    flat_scan[4:36, 4:36, 4:36] = 40
    aims = []
    for metal in (None, 30_000):
        scan = flat_scan.copy()
        if metal is not None:
            scan[2:4, 2:5, 2:5] = metal
        facts = Facts.of(Volume.from_array(scan, modality="CT"))
        aims.append(tissue_aim.aim(facts, BALANCED))
    assert aims == [pytest.approx(2.0)] * 2


def test_a_dry_run_says_that_its_file_may_grow():
    scan = np.full((40, 40, 40), -1000, np.int16)
    scan[4:36, 4:36, 4:36] = 40
    volume = Volume.from_array(scan, modality="CT")
    for options, said in (({}, True), ({"size": 2000}, False)):
        found = dry_run.dry_run(volume, None, EncodeOptions(base="av1", **options).resolved())
        assert any("this is the least" in notice for notice in found["notices"]) == said


@pytest.mark.parametrize(("preset", "files"), [("balanced", 1), ("best", 3)])
def test_fits_that_take_minutes_are_few_and_what_is_missed_is_told(monkeypatch, preset, files):
    options = EncodeOptions(preset=preset).resolved()
    taken, made = searched(monkeypatch, lambda size: 9.0 * (size / 1000) ** -0.5, options)
    assert len(made) == files and any("2.0 were aimed at" in notice for notice in taken.notices)
