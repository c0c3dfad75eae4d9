"""Grids that are coded before one is taken: of small volumes, and where a size leaves few bytes."""

from __future__ import annotations

from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest

import inrcodec
from inrcodec.encoder import base_file, fitted, grid_tries, planner
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.options import EncodeOptions
from inrcodec.errors import TargetNotReached
from inrcodec.volume.volume import Volume

SHAPE = (8, 32, 32)


@pytest.fixture(scope="module")
def tiny():
    z, y, x = (np.linspace(-1, 1, n) for n in SHAPE)
    r = z[:, None, None] ** 2 + y[:, None] ** 2 + x**2
    return (1500 * np.exp(-3 * r) - 1000 + 300 * np.sin(9 * x) * (r < 0.8)).astype(np.int16)


def encoded(array, **options):
    given = {"preset": "fast", "base": "av1", "threads": 1, **options}
    return inrcodec.encode_file(array, BytesIO(), **given)


def plans(array, **options):
    """The plans that would be coded, in their order."""
    resolved = EncodeOptions(**{"base": "av1", "threads": 1, **options}).resolved()
    return grid_tries.plans(Facts.of(Volume.from_array(array), "CT"), resolved)


@pytest.mark.parametrize("size", [500, 700])
def test_a_small_volume_is_coded_on_the_best_of_the_grids_that_are_near_by_forecast(tiny, size):
    found = encoded(tiny, size=size)
    most = max(row["psnr"] for row in found.considered)
    near = {row["factor"] for row in found.considered if row["psnr"] > most - grid_tries.WITHIN}
    assert len(near) > 1
    for factor in near:
        try:
            assert encoded(tiny, size=size, factor=factor).psnr <= found.psnr
        except TargetNotReached:
            continue


def test_a_size_that_the_coarsest_grid_reaches_ends_with_a_file(tiny):
    least = encoded(tiny, factor=8, sr="lanczos", psnr=5.0).file_bytes
    assert encoded(tiny, size=least).file_bytes <= least
    with pytest.raises(TargetNotReached, match=r"larger size$"):
        encoded(tiny, size=150)


def test_coarser_grids_and_lanczos_follow_where_bytes_are_few(tiny):
    head = np.tile(tiny, (2, 2, 2))
    found = [(plan.grid.factor, plan.options.sr) for plan in plans(head, size=2000)]
    factors = [factor for factor, _ in found]
    assert factors == sorted(factors) and factors[-1] == (8, 8, 8)
    assert {sr for factor, sr in found if factor == factors[0]} == {None, "lanczos"}


@pytest.mark.parametrize("options", [{"factor": 2}, {"sr": "ct-3d-x4"}])
def test_what_the_user_fixed_is_the_only_grid(tiny, options):
    head = np.tile(tiny, (2, 2, 2))
    assert len({plan.grid.factor for plan in plans(head, size=2000, **options)}) == 1


@pytest.mark.parametrize("base", ["siren", "av1"])
def test_a_plan_that_has_too_few_bytes_gives_way_to_the_next(tiny, monkeypatch, base):
    """Whoever refuses: the planner, or the coder."""
    on_grid, fit, tried = planner.on_grid, fitted.fit, []

    def refusing(facts, options, grid, progress=None):
        tried.append(grid.factor)
        if len(tried) == 1:
            raise TargetNotReached("too few bytes by forecast")
        return on_grid(facts, options, grid, progress)

    def failing(plan, progress=None, start=None):
        if len(tried) < 3:
            raise TargetNotReached("too few bytes by coding")
        return fit(plan, progress, start)

    monkeypatch.setattr(planner, "on_grid", refusing)
    monkeypatch.setattr(fitted, "fit", failing)
    resolved = EncodeOptions(base=base, threads=1, steps=2 if base == "siren" else None, size=900).resolved()
    found = base_file.encoded(Facts.of(Volume.from_array(tiny)), resolved, None)
    assert found.size <= 900 and len(tried) >= 3


def test_the_last_refusal_is_told_where_nothing_serves(tiny, monkeypatch):
    def refusing(facts, options, grid, progress=None):
        raise TargetNotReached(f"no grid of {grid.factor}")

    monkeypatch.setattr(planner, "on_grid", refusing)
    with pytest.raises(TargetNotReached, match=r"\(8, 8, 8\)"):
        next(plans(tiny, size=900))


def test_a_large_volume_has_no_rivals():
    volume = SimpleNamespace(array=np.broadcast_to(np.int16(0), (64, 64, 64)))
    facts = SimpleNamespace(volume=volume)
    options = SimpleNamespace(coder="av1")
    assert not grid_tries.is_small(facts, options)
