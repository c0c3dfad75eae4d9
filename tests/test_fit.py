"""The fit: deterministic, within its budget, and never silently lost.

What a short fit reaches differs from machine to machine: rules are tested with their inputs given.
"""

from math import exp, inf, isfinite, nan

import numpy as np
import pytest
import torch
from conftest import encoded
from small_fits import LAYOUT, cut, errors_of, settings, stored, trainer_with

from inrcodec import parallel
from inrcodec.encoder.fit import backprop, loop, warm_start
from inrcodec.encoder.fit.rate_control import FILLED, FULL, LARGEST_MOVE, RateControl
from inrcodec.encoder.fit.soap import CLIP, Adam, ClippedSoap
from inrcodec.encoder.fit.trainer import COSTLY, NOISY, PLAIN, ROUNDED
from inrcodec.errors import TargetNotReached
from inrcodec.layers.base.siren import siren, tiles
from inrcodec.layers.base.siren.siren import Layout

# --- promises of a whole fit


def test_a_fit_explains_its_signal():
    """A tile that explains less than half of a smooth signal counts as stuck."""
    found, values = cut()
    fitted = loop.fit(LAYOUT, found, values, settings(steps=400))
    assert all(
        error < 0.5 * v.var() for error, v in zip(errors_of(fitted, found, values), values, strict=True)
    )


def test_same_seed_same_integers_and_another_seed_others():
    first, again, other = (loop.fit(LAYOUT, *cut(), settings(steps=30, seed=s)) for s in (3, 3, 4))
    same = lambda a, b: all(  # noqa: E731
        np.array_equal(p, q)
        for s, t in zip(a.integers, b.integers, strict=True)
        for p, q in zip(s, t, strict=True)
    )
    assert same(first, again) and first.codes == again.codes
    assert not same(first, other)


@pytest.mark.parametrize(("steps", "budget"), [(1, 400), (60, 400), (250, 300)])
def test_a_budget_is_never_exceeded(steps, budget):
    fitted = loop.fit(LAYOUT, *cut(), settings(steps=steps, budget=budget))
    assert stored(fitted.codes, fitted.integers) <= budget


def test_a_time_budget_ends_the_fit_and_the_byte_budget_is_kept_to(clock):
    knobs = {"steps": 10**9, "time_budget": 2.0}
    fitted = loop.fit(LAYOUT, *cut(), settings(**knobs, budget=250))
    assert fitted.steps < 1000
    assert stored(fitted.codes, fitted.integers) <= 250


def test_networks_that_cannot_fit_the_budget_are_refused(monkeypatch):
    monkeypatch.setattr(loop, "ROUNDS", 2)
    with pytest.raises(TargetNotReached, match="20 bytes"):
        loop.fit(LAYOUT, *cut(), settings(steps=10, budget=20))


@pytest.mark.parametrize("steps", [5, 220])
@pytest.mark.parametrize("values", [0.37, "noise"])
def test_a_tile_that_a_constant_serves_better_becomes_one(values, steps):
    """Flat tiles and pure noise have nothing to fit; a few steps must not make them worse."""
    found, _ = cut()
    rng = np.random.default_rng(0)
    signal = [
        np.full(len(t.index), values) if values != "noise" else rng.uniform(-1, 1, len(t.index))
        for t in found
    ]
    fitted = loop.fit(LAYOUT, found, signal, settings(steps=steps))
    for error, v in zip(errors_of(fitted, found, signal), signal, strict=True):
        assert error <= v.var() + 1e-6


def test_many_tiles_far_smaller_than_the_batch():
    active = np.ones((4, 4, 4), bool)
    found = [tiles.tile(active, b) for b in tiles.boxes((4, 4, 4), (4, 4, 4), tiles.cut(active, (4, 4, 4)))]
    fitted = loop.fit(LAYOUT, found, [np.zeros(1)] * 64, settings(steps=20, batch=65_536))
    assert len(fitted.integers) == 64


def test_progress_runs_from_nothing_to_all():
    seen = []
    loop.fit(LAYOUT, *cut(), settings(steps=20), lambda stage, share: seen.append((stage, share)))
    assert {stage for stage, _ in seen} == {"fit"}
    shares = [share for _, share in seen]
    assert shares == sorted(shares) and shares[-1] == 1.0


# --- rate control


def test_bits_become_dearer_where_they_are_too_many_and_cheaper_where_too_few():
    for bits, sign in ((1600.0, 1), (400.0, -1)):
        rate = RateControl(1e-7, 100)
        rate.steer(0.3, bits)
        assert sign * (rate.lmbda - 1e-7) > 0
        assert exp(-LARGEST_MOVE) <= rate.lmbda / 1e-7 <= exp(LARGEST_MOVE)


def test_early_in_the_schedule_nothing_is_steered():
    rate = RateControl(1e-7, 100, start_at=0.5)
    rate.steer(0.55, 1e6)
    assert rate.lmbda == 1e-7
    rate.steer(0.7, 1e6)
    assert rate.lmbda > 1e-7


@pytest.mark.parametrize("bits", [nan, inf])
def test_a_tile_that_diverges_does_not_take_the_lambda_of_the_others_with_it(bits):
    rate = RateControl(1e-7, 100)
    rate.steer(0.5, bits)
    assert rate.lmbda == 1e-7
    rate.steer(0.6, 1600.0)
    assert isfinite(rate.lmbda) and rate.lmbda > 1e-7


def test_without_a_budget_nothing_is_steered():
    rate = RateControl(1e-7, None)
    rate.steer(0.5, 1e9)
    assert rate.lmbda == 1e-7 and rate.coarser(False, False) == 0 and rate.fits


@pytest.mark.parametrize(
    ("size", "safe", "over", "sign"),
    [
        (1200, False, False, 1),  # too large: coarser
        (1200, False, True, 1),  # even when the time is over
        (1200, True, False, 0),  # unless a state within the budget is kept
        (800, True, False, -1),  # room left: finer
        (800, True, True, 0),  # unless the time is over
        (1000, True, False, 0),
        (round(1000 * FULL) + 1, True, False, 0),
    ],
)
def test_steps_become_coarser_or_finer_until_the_budget_is_filled(size, safe, over, sign):
    rate = RateControl(1e-7, 1000)
    rate.measure(size, 8.0 * size)
    assert rate.fits == (size <= 1000)
    assert np.sign(rate.coarser(safe, over)) == sign


def test_the_move_of_the_steps_aims_at_the_filled_budget():
    rate = RateControl(1e-7, 1000)
    rate.measure(1500, 1.0)
    far = rate.coarser(False, False)
    rate.measure(1100, 1.0)
    assert far > rate.coarser(False, False) > 0 and FULL < FILLED < 1


# --- the trainer


def test_rounding_afterwards_costs_a_tenth_of_a_decibel_at_most(trainer):
    plain = trainer.distortion.errors(trainer.flat)
    trainer.quantize_afterwards()
    rounded = trainer.distortion.errors(trainer.quantizer(trainer.flat, None)[0])
    assert bool((rounded <= COSTLY * plain + 1e-12).all())
    assert not torch.equal(trainer.quantizer(trainer.flat, None)[0], trainer.flat)


def test_the_cheapest_state_of_each_tile_is_kept(trainer):
    for k, cost in enumerate([(5.0, 5.0), (4.0, 6.0), (nan, 1.0), (9.0, 9.0)]):
        trainer.flat.fill_(k)
        trainer.keep_better(torch.tensor(cost, dtype=torch.float64))
    assert trainer.cost.tolist() == [4.0, 1.0]
    assert trainer.best[0][:, 0].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(("share", "phase"), [(0.0, PLAIN), (0.1, NOISY), (0.84, NOISY), (0.85, ROUNDED)])
def test_the_phases_follow_the_schedule(share, phase, trainer):
    trainer.step(share, 1e-7)
    assert trainer.phase == phase and trainer.quantizer.frozen == (phase == ROUNDED)


@pytest.mark.parametrize("width", [16, 24, 10])
def test_a_fit_goes_on_from_another_of_any_width(width):
    found, values = cut()
    layout = Layout(2, width)
    first = loop.fit(LAYOUT, found, values, settings(steps=20))
    with parallel.single_threaded(1) as pool:
        trainer = trainer_with(pool, layout=layout)
        trainer.start_from(first.codes, first.weights(layout))
        start = [torch.cat([torch.from_numpy(t).flatten() for t in w]) for w in first.weights(layout)]
        assert torch.equal(trainer.flat, torch.stack(start).float())
        assert trainer.quantizer.codes() == first.codes
    more = loop.fit(layout, found, values, settings(steps=10, start_at=0.6), start=first)
    assert more.layout == layout and len(more.integers[0][2]) == width * width


@pytest.mark.parametrize("width", [10, 20])
def test_a_wider_network_computes_the_same_function(width):
    rng = np.random.default_rng(0)
    narrow, other = Layout(3, 14), Layout(3, width)
    weights = [rng.normal(size=shape) * 0.1 for shape in narrow.shapes]
    found = warm_start.resized(weights, other, rng)
    assert [w.shape for w in found] == other.shapes
    before, after = (siren.decode(lay, w, cut()[0][0]) for lay, w in ((narrow, weights), (other, found)))
    assert np.allclose(before, after) == (width > 14)


# --- optimisers


@pytest.mark.parametrize("make", [lambda p: ClippedSoap(p, [0.02]), lambda p: Adam(p, 0.02)])
def test_optimisers_find_the_minimum_of_a_quadratic(make):
    target = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    parameters = [torch.zeros_like(target)]
    optimizer, start = make(parameters), float(target.square().mean())
    for _ in range(400):
        optimizer.step([2 * (parameters[0] - target)], torch.ones(3, 1, 1))
    assert float((parameters[0] - target).square().mean()) < 0.1 * start


def test_a_tiles_update_depends_on_that_tile_alone():
    generator = torch.Generator().manual_seed(0)
    gradients = [torch.randn(2, 5, 4, generator=generator) for _ in range(25)]

    def run(change):
        parameters = [torch.ones(2, 5, 4)]
        optimizer = ClippedSoap(parameters, [0.1])
        for g in gradients:
            optimizer.step([g * torch.tensor([1.0, change])[:, None, None]], torch.ones(2, 1, 1))
        return parameters[0]

    assert torch.equal(run(1.0)[0], run(9.0)[0])


def test_an_update_is_clipped():
    parameters = [torch.zeros(1, 4, 4)]
    optimizer = ClippedSoap(parameters, [1.0])
    optimizer.step([torch.full((1, 4, 4), 1e6)], torch.ones(1, 1, 1))
    assert float(parameters[0].square().mean().sqrt()) <= CLIP + 1e-6


# --- without a compiler


@pytest.fixture
def no_compiler(monkeypatch):
    def broken(function):
        raise RuntimeError("no TorchScript in this build")

    monkeypatch.setattr(torch.jit, "script", broken)
    backprop.kernels.cache_clear()
    yield
    backprop.kernels.cache_clear()


def test_a_fit_that_cannot_be_compiled_says_so(no_compiler, tiny_array):
    _, report = encoded(tiny_array, factor=2, steps=2, threads=1, sr="lanczos")
    assert [n for n in report.notices if "cannot compile" in n and "RuntimeError" in n]


def test_a_fit_that_is_compiled_says_nothing():
    """What torch can do is not for a test to say: only that the notice of the kernels is that of the fit."""
    notice = backprop.kernels().notice
    assert loop.fit(LAYOUT, *cut(), settings(steps=2)).notices == (() if notice is None else (notice,))


def test_a_compiler_that_is_switched_off_says_so(monkeypatch):
    monkeypatch.setattr(torch.jit, "script", lambda function: function)
    backprop.kernels.cache_clear()
    assert "switched off" in backprop.kernels().notice
    backprop.kernels.cache_clear()
