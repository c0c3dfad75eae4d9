"""The search for a PSNR: which way is tried, what it costs, and how it ends; no outcome of a fit is used."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from types import SimpleNamespace

import numpy as np
import pytest

import inrcodec
from inrcodec.encoder import bounded, fitted, forecast, measure, planner, target_search
from inrcodec.encoder.bases.table import BASES
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.options import EncodeOptions
from inrcodec.encoder.psnr import by_error as psnr_by_error
from inrcodec.encoder.psnr import grids as psnr_grids
from inrcodec.encoder.psnr import search as psnr_search
from inrcodec.encoder.psnr.by_error import SearchByError
from inrcodec.errors import TargetNotReached
from inrcodec.format.header import SIREN
from inrcodec.format.sections import SHORT, index_of
from inrcodec.volume.volume import Volume

DEEP = (80, 24, 24)  # more slices than a refinement's forecast looks at


@pytest.fixture
def facts():
    z, y, x = np.ogrid[-1:1:80j, -1:1:24j, -1:1:24j]
    blob = 1000 * np.exp(-2 * (z**2 + y**2 + x**2)) + np.random.default_rng(0).normal(0, 5, DEEP)
    return Facts.of(Volume.from_array(blob.astype(np.int16)))


def options(**knobs):
    return EncodeOptions(**{"factor": 2, "sr": "lanczos", "threads": 1, "psnr": 30.0, **knobs}).resolved()


def forecasts(facts, networks, refinement):
    grids = target_search.forecast(facts, options()).grids
    return target_search.Forecasts(grids, networks, refinement, None, BASES[SIREN].worth)


@pytest.fixture
def coded(monkeypatch):
    """Depths of the volumes that the lattice codes."""
    found, code = [], bounded.with_psnr

    def noted(volume, *args, **knobs):
        found.append(volume.shape[0])
        return code(volume, *args, **knobs)

    monkeypatch.setattr(bounded, "with_psnr", noted)
    return found


def searched(monkeypatch, size):
    """A search whose networks reach the PSNR in so many bytes, whatever they are."""
    found = SimpleNamespace(size=size, notices=())
    monkeypatch.setattr(psnr_grids, "smallest", lambda *args: found)
    return found


def test_networks_that_are_clearly_smaller_are_not_held_against_a_whole_refinement(facts, coded, monkeypatch):
    known = forecasts(facts, 500, 10_000)
    monkeypatch.setattr(target_search, "forecast", lambda *args: known)
    found = searched(monkeypatch, 6_000)
    coded.clear()
    assert target_search.smallest(facts, options()) is found
    assert DEEP[0] not in coded


@pytest.mark.parametrize("size", [100, 9_999_999])
def test_networks_that_are_not_clearly_smaller_are_held_against_a_refinement(facts, size, monkeypatch):
    known = forecasts(facts, 50, 120)
    monkeypatch.setattr(target_search, "forecast", lambda *args: known)
    networks = searched(monkeypatch, size)
    found = target_search.smallest(facts, options())
    assert found.size <= networks.size
    assert found is networks or found.psnr >= 30.0


@pytest.mark.parametrize("networks", [None, 10_000])
def test_networks_that_are_forecast_to_take_more_are_not_fitted(facts, networks, monkeypatch):
    known = forecasts(facts, networks, 5_000)
    monkeypatch.setattr(target_search, "forecast", lambda *args: known)
    monkeypatch.setattr(fitted, "fit", lambda *args: pytest.fail("networks are fitted"))
    found = target_search.smallest(facts, options())
    assert found.psnr >= 30.0 and any("a refinement alone reaches" in notice for notice in found.notices)


@pytest.mark.parametrize(("base", "networks"), [("siren", 79), ("av1", 109)])
def test_a_coder_is_tried_up_to_its_share_of_a_refinement(facts, base, networks):
    worth = target_search.forecast(facts, options(base=base)).worth
    known = replace(forecasts(facts, networks, 100), worth=worth)
    assert known.favours_networks and not replace(known, networks=networks + 2).favours_networks


def test_a_forecast_looks_at_some_slices_only(facts, coded):
    found = target_search.forecast(facts, options())
    assert found.refinement is not None and found.refinement > 0
    assert coded and max(coded) <= forecast.GROUPS * forecast.SLICES


def test_the_plan_for_a_psnr_says_which_way_and_how_many_bytes():
    """A PSNR beyond every grid is a refinement's; without a target nothing of it is in the plan."""
    noise = np.random.default_rng(0).integers(0, 4000, (16, 24, 24)).astype(np.int16)
    found = inrcodec.plan(noise, psnr=60.0, factor=2, threads=1)
    assert "layers" not in found and found["predicted_bytes"] > 0 and "refinement" in found["reason"]
    assert found["seconds"] > 0
    assert "layers" in inrcodec.plan(noise, factor=2, threads=1, steps=20)


def test_networks_that_do_not_reach_it_leave_the_refinement(facts, monkeypatch):
    def failing(*args):
        raise TargetNotReached("too few bytes for any network")

    known = forecasts(facts, 500, 10_000)
    monkeypatch.setattr(target_search, "forecast", lambda *args: known)
    monkeypatch.setattr(fitted, "fit", failing)
    found = target_search.smallest(facts, options())
    assert found.psnr >= 30.0 and found.lowres is None


def test_a_time_budget_holds_for_the_whole_search(facts, monkeypatch):
    """Whatever the fits reach: what they may take together is within the budget."""
    clock, given = [100.0], []

    def fit(plan, progress=None, start=None):
        given.append(plan.options.time_budget)
        clock[0] += plan.options.time_budget
        return SimpleNamespace(plan=plan, coded=None, sections=len(given))

    def measured(fit, progress=None):
        lowres = SimpleNamespace(psnr_target=30.0)
        return SimpleNamespace(psnr=29.0, size=1000, lowres=lowres, notices=(), sections=fit.sections)

    for module in (psnr_grids, psnr_search):
        monkeypatch.setattr(module, "monotonic", lambda: clock[0])
    monkeypatch.setattr(fitted, "fit", fit)
    monkeypatch.setattr(measure, "base", measured)
    monkeypatch.setattr(measure, "ceiling", lambda plan: 60.0)
    known = replace(forecasts(facts, 500, None), refinement=None)
    monkeypatch.setattr(target_search, "forecast", lambda *args: known)
    with pytest.raises(TargetNotReached, match=r"29\.00 dB is the most"):
        target_search.smallest(facts, options(time_budget=8.0))
    assert 1 < len(given) <= psnr_search.ATTEMPTS and sum(given) <= 8.0


def test_another_size_is_another_plan_on_the_same_low_res_volume(facts):
    first = planner.make(facts, options(psnr=None, width=20))
    other = planner.resized(first, 2_000)
    assert other.lowres is first.lowres and other.size == 2_000 and first.size is None
    assert other.budget == 2_000 - other.overhead


@pytest.mark.parametrize("size", [60_000, 66_000, 66_100, 100_000])
def test_weights_that_fill_the_budget_keep_to_the_size(facts, size):
    plan = planner.resized(planner.make(facts, options(psnr=None, width=20, tiles=(4, 3, 3))), size)
    count = len(plan.coding.networks.tiles)
    each = [bytes(plan.budget // count)] * (count - 1)
    each.append(bytes(plan.budget - sum(map(len, each))))
    weights = {"INDX": index_of("WGHT", each), "WGHT": b"".join(each)}
    assert plan.overhead + sum(map(len, weights.values())) - SHORT.size * count <= size


def on_a_line(cost, seen):
    """What attempts come to whose error is the grid's plus a multiple of the low-res one."""

    def measured(fit, progress=None):
        error = fit.plan.error * share(fit.plan) ** 2
        size = round(1e4 * error**-0.6)
        lowres = SimpleNamespace(psnr_target=-10 * np.log10(error))
        psnr = -10 * np.log10(cost + seen * error)
        return SimpleNamespace(psnr=psnr, size=size, lowres=lowres, sections=fit.sections)

    return measured


def coded_as_aimed(plan, *rest):
    return SimpleNamespace(plan=plan, coded=None, sections=plan.error)


def share(plan):
    span = plan.facts.span
    return (span.high - span.low) / 2 / plan.facts.peak


@pytest.mark.parametrize(("cost", "seen"), [(0.0, 1.0), (2e-4, 1.4), (5e-4, 0.8), (6e-4, 3.0)])
def test_a_coder_that_is_steered_to_an_error_comes_near_the_psnr_in_few_attempts(
    facts, monkeypatch, cost, seen
):
    monkeypatch.setattr(fitted, "fit", coded_as_aimed)
    monkeypatch.setattr(measure, "base", on_a_line(cost, seen))
    first = planner.on_grid(facts, options(base="av1"), forecasts(facts, 1, 1).grids[0])
    search = SearchByError(first, inf, None)
    found = search.run(inf)
    assert 30.0 <= found.psnr <= 30.0 + psnr_by_error.OVER and len(search.attempts) <= 3


def test_a_coder_that_is_steered_to_an_error_gives_up_where_the_grid_costs_more(facts, monkeypatch):
    monkeypatch.setattr(fitted, "fit", coded_as_aimed)
    monkeypatch.setattr(measure, "base", on_a_line(2e-3, 1.0))
    first = planner.on_grid(facts, options(base="av1"), forecasts(facts, 1, 1).grids[0])
    search = SearchByError(first, inf, None)
    assert search.run(inf) is None and 20 < search.best < 30


def test_what_was_coded_before_is_not_measured_again(facts, monkeypatch):
    """Qualities are whole numbers: between two of them there is nothing to find."""
    measured = []

    def fit(plan, *rest):
        return SimpleNamespace(plan=plan, coded=None, sections="fine" if plan.error < 2.3e-3 else "coarse")

    def outcome(coded, progress=None):
        measured.append(coded.sections)
        psnr = {"fine": 30.5, "coarse": 29.9}[coded.sections]
        lowres = SimpleNamespace(psnr_target=psnr + 1)
        return SimpleNamespace(psnr=psnr, size=900, lowres=lowres, sections=coded.sections)

    monkeypatch.setattr(fitted, "fit", fit)
    monkeypatch.setattr(measure, "base", outcome)
    first = planner.on_grid(facts, options(base="av1"), forecasts(facts, 1, 1).grids[0])
    search = SearchByError(first, inf, None)
    search.run(inf)
    assert measured and len(set(measured)) == len(measured)


@pytest.mark.parametrize(("networks", "looks"), [(1, 1), (10**9, 2), (None, 2)])
def test_a_refinement_is_forecast_from_a_few_slices_where_networks_are_far_smaller(
    facts, coded, monkeypatch, networks, looks
):
    target_search._of_refinement(facts, options(), networks)
    assert len(coded) == looks and coded == sorted(coded)


@pytest.mark.parametrize(("small", "taken", "tried"), [(True, 300, 3), (False, 500, 1)])
def test_of_a_small_volume_every_grid_is_coded_for_a_psnr(facts, monkeypatch, small, taken, tried):
    sizes = iter([500, None, 300])

    def run(search, most):
        size = next(sizes)
        return None if size is None else SimpleNamespace(size=size)

    monkeypatch.setattr(SearchByError, "run", run)
    monkeypatch.setattr(psnr_grids.grid_tries, "is_small", lambda *args: small)
    grid = forecasts(facts, 1, 1).grids[0]
    found = psnr_grids.smallest(facts, options(base="av1"), [grid] * 3, inf, None)
    assert found.size == taken and len(list(sizes)) == 3 - tried
