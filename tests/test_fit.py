"""The fit: deterministic, within its budget, and never silently lost.

What a short fit reaches differs from machine to machine: rules are tested with their inputs given.
"""

import itertools
from math import exp, inf, isfinite, nan

import numpy as np
import pytest
import torch
from conftest import encoded

from inrcodec import parallel
from inrcodec.encoder.fit import backprop, loop, warm_start
from inrcodec.encoder.fit.divergence import RESTARTS, Monitor, stuck_at
from inrcodec.encoder.fit.loss import Distortion
from inrcodec.encoder.fit.rate_control import FILLED, FULL, LARGEST_MOVE, RateControl
from inrcodec.encoder.fit.soap import CLIP, Adam, ClippedSoap
from inrcodec.encoder.fit.trainer import COSTLY, NOISY, PLAIN, ROUNDED, WARM_UP, Trainer
from inrcodec.errors import TargetNotReached
from inrcodec.layers.base.siren import siren, tiles
from inrcodec.layers.base.siren.siren import Layout
from inrcodec.layers.base.siren.weights import dequantize, write_tile

SHAPE = (8, 16, 16)
Z, Y, X = (np.linspace(-1, 1, n) for n in SHAPE)
SMOOTH = (
    0.4 * np.sin(3 * Z)[:, None, None] + 0.5 * np.cos(5 * Y)[None, :, None] * np.exp(-(X**2))[None, None, :]
)
LAYOUT = Layout(2, 16)


def cut(parts=(1, 2, 1)):
    active = np.ones(SHAPE, bool)
    found = [tiles.tile(active, b) for b in tiles.boxes(SHAPE, parts, tiles.cut(active, parts))]
    return found, [SMOOTH[tuple(t.index.T)] for t in found]


def settings(**changes):
    return loop.FitSettings(**{"steps": 300, "batch": 256, "lmbda": 1e-7, "seed": 3, "threads": 1} | changes)


@pytest.fixture
def trainer():
    """Two tiles before their first step."""
    with parallel.single_threaded(1) as pool:
        yield trainer_with(pool)


def trainer_with(pool, device="cpu", learning_rate=None, layout=LAYOUT):
    found, values = cut()
    distortion = Distortion(layout, found, values, batch=256, seed=3, device=device, pool=pool, workers=1)
    return Trainer(distortion, found, values, learning_rate=learning_rate, coded=True, seed=3)


@pytest.fixture
def clock(monkeypatch):
    """A fit's clock that goes on by 10 ms whenever it is read."""
    ticks = itertools.count()
    monkeypatch.setattr(loop, "monotonic", lambda: 0.01 * next(ticks))


def errors_of(fitted, found, values):
    """Mean squared error of each tile, from the integers that are stored."""
    for t, v, q, c in zip(found, values, fitted.integers, fitted.codes, strict=True):
        yield np.square(siren.decode(fitted.layout, dequantize(fitted.layout, q, c), t) - v).mean()


def stored(codes, integers):
    return sum(len(write_tile(c, q)) for c, q in zip(codes, integers, strict=True))


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


# --- divergence


def monitor(values=None):
    found, smooth = cut()
    return Monitor(found, smooth if values is None else values, torch.zeros(2, LAYOUT.weights))


def watched(checks, share=0.05, errors=(0.01, 0.01)):
    """A monitor that has seen steady errors for some checks; the weights are those checks' numbers."""
    found = monitor()
    for k in range(checks):
        steady(found, errors)
        assert found.check(torch.full((2, LAYOUT.weights), float(k)), share) == []
    return found


def steady(found, errors):
    for _ in range(500):
        found.update(torch.tensor(errors))


@pytest.mark.parametrize("damage", [nan, inf, 0.05])
def test_a_tile_whose_error_bursts_is_restarted_and_it_alone(damage):
    found = watched(4)
    steady(found, (0.01, damage))
    assert found.check(torch.full((2, LAYOUT.weights), nan), 0.05) == [1]
    state = found.restart(1)
    assert torch.equal(state, torch.full((LAYOUT.weights,), 3.0)) and found.restarts == [0, 1]


def test_a_tile_without_any_good_state_gets_new_weights():
    found = monitor()
    found.update(torch.tensor([0.01, nan]))
    assert found.check(torch.zeros(2, LAYOUT.weights), 0.05) == [1]
    assert found.restart(1) is None


@pytest.mark.parametrize(("error", "restarted"), [(9.0, []), (nan, [1])])
def test_a_stuck_tile_is_restarted_so_often_and_one_that_is_no_number_always(error, restarted):
    found = watched(5)
    found.reset()
    found.grace, found.restarts = 0, [0, RESTARTS]
    steady(found, (0.01, error))
    assert found.check(torch.zeros(2, LAYOUT.weights), 0.3) == restarted


def test_weights_that_are_no_numbers_are_no_best_state():
    """The errors of a step are those before its update."""
    found = watched(4)
    steady(found, (0.005, 0.005))
    state = torch.zeros(2, LAYOUT.weights)
    state[1, 3] = nan
    found.check(state, 0.05)
    assert torch.equal(found.best_state[0], state[0]) and bool(found.best_state[1].isfinite().all())


@pytest.mark.parametrize(("share", "lost"), [(0.05, []), (0.3, [0]), (0.7, [])])
def test_a_tile_counts_as_stuck_only_in_the_first_half(share, lost):
    found = watched(5)
    found.reset()
    found.grace = 0
    steady(found, (0.9 * float(found.variance[0]), 0.01))
    assert found.check(torch.zeros(2, LAYOUT.weights), share) == lost


def test_what_is_invisible_or_constant_is_never_restarted():
    _, values = cut()
    found = monitor([values[0], np.full(len(values[1]), 0.3)])
    found.grace = 0
    steady(found, (0.5 * found.invisible, 9.0))
    assert found.check(torch.zeros(2, LAYOUT.weights), 0.3) == []


def test_a_restarted_tile_that_no_fit_explains_is_lost():
    found = monitor()
    good = found.stuck_at / 2
    found.restarts = [0, 3]
    assert found.stuck(good) == []
    assert found.stuck(torch.tensor([9.0, float(good[1])])) == []  # never restarted: its constant serves
    assert found.stuck(torch.tensor([float(good[0]), 9.0])) == [1]
    assert found.stuck(torch.tensor([float(good[0]), nan])) == [1]
    flat = monitor([v * 0 for v in cut()[1]])
    flat.restarts = [1, 1]
    assert flat.stuck(torch.tensor([9.0, 9.0])) == []


def test_new_weights_of_a_lost_tile_have_new_steps(trainer):
    """A tile that is stuck makes its steps ever larger: under their noise nothing would be learned."""
    usual = trainer.quantizer.log_step.clone()
    trainer.quantizer.log_step[1] += 5
    trainer.monitor.best[:] = inf
    trainer._restart(1)
    assert torch.equal(trainer.quantizer.log_step, usual)
    trainer.set_phase(ROUNDED)
    trainer._restart(1)
    assert float(trainer.flat[1, :-1].abs().max()) == 0 and float(trainer.flat[1, -1]) == trainer.means[1]
    assert trainer.quantizer.log_step[1].allclose(usual[1], atol=0.05)


@pytest.mark.parametrize("damage", [nan, inf, 1e30])
def test_weights_that_cannot_be_stored_are_mended_before_they_are(damage, trainer):
    trainer.set_phase(ROUNDED)
    trainer.flat[1] = damage
    trainer.mend()
    assert bool(trainer.flat.isfinite().all()) and trainer.monitor.restarts == [0, 1]


def sabotaged(monkeypatch, fits):
    """The last tile of the first fits is damaged in every step; the learning rates of all fits are noted."""
    step, begun = Trainer.step, []

    def wrong(trainer, share, lmbda):
        if not any(t is trainer for t in begun):
            begun.append(trainer)
        if len(begun) <= fits:
            trainer.flat[-1].fill_(nan)
        step(trainer, share, lmbda)

    monkeypatch.setattr(Trainer, "step", wrong)
    monkeypatch.setattr(loop, "ROUNDS", 2)
    return begun


@pytest.mark.parametrize("budget", [None, 700])
def test_a_tile_that_is_always_lost_becomes_its_mean(monkeypatch, budget):
    """Nothing ends a fit: what cannot be fitted at all is a constant, and the notices say so."""
    begun = sabotaged(monkeypatch, 99)
    found, values = cut()
    fitted = loop.fit(LAYOUT, found, values, settings(steps=220, budget=budget))
    assert len(begun) == 1 + len(loop.RESCUES)
    assert list(errors_of(fitted, found, values))[1] <= values[1].var() + 1e-4
    assert any("tile 1 of 2" in notice for notice in fitted.notices)
    assert budget is None or stored(fitted.codes, fitted.integers) <= budget


@pytest.mark.parametrize("budget", [None, 600])
def test_a_lost_tile_is_fitted_again_by_itself_at_lower_rates(monkeypatch, budget):
    begun = sabotaged(monkeypatch, 1)
    found, values = cut()
    fitted = loop.fit(LAYOUT, found, values, settings(steps=220, budget=budget))
    assert [len(t.means) for t in begun[:2]] == [2, 1]
    assert float(begun[1].patience) <= loop.RESCUES[0]
    assert begun[1].means[0] == begun[0].means[1]
    assert budget is None or stored(fitted.codes, fitted.integers) <= budget


def test_absurd_learning_rates_of_one_tile_end_in_a_file(monkeypatch):
    start = Trainer.__init__

    def absurd(trainer, *args, **knobs):
        start(trainer, *args, **knobs)
        trainer.patience[-1] *= 1e4

    monkeypatch.setattr(Trainer, "__init__", absurd)
    monkeypatch.setattr(loop, "ROUNDS", 2)
    found, values = cut()
    fitted = loop.fit(LAYOUT, found, values, settings(steps=220, budget=600))
    assert all(e <= v.var() + 1e-4 for e, v in zip(errors_of(fitted, found, values), values, strict=True))


def test_a_time_budget_leaves_no_time_for_lost_tiles(monkeypatch, clock):
    begun = sabotaged(monkeypatch, 99)
    fitted = loop.fit(LAYOUT, *cut(), settings(steps=10**9, time_budget=2.0))
    assert len(begun) == 1 and any("tile 1 of 2" in notice for notice in fitted.notices)


def test_a_network_that_is_too_small_for_its_tile_is_not_taken_for_stuck():
    found, values = cut((1, 1, 1))
    assert Monitor(found, values, torch.zeros(1, Layout(1, 2).weights)).stuck_at[0] == inf


def test_noise_is_never_stuck_and_a_smooth_tile_is():
    index, rng = cut((1, 1, 1))[0][0].index, np.random.default_rng(0)
    noise = rng.normal(size=len(index))
    assert stuck_at(index, noise) > 0.9 * noise.var()
    smooth = SMOOTH[tuple(index.T)]
    assert stuck_at(index, smooth) < 0.6 * smooth.var()


def test_a_tile_that_diverges_is_replaced_and_the_others_do_not_notice(trainer):
    """The first steps are plain: nothing is drawn for them that a restart could shift."""
    with parallel.single_threaded(1) as pool:
        other = trainer_with(pool)
        for k in range(2 * WARM_UP):
            if k == 2 * WARM_UP - 10:
                trainer.flat[1] = nan
            trainer.step(0.05, 0.0)
            other.step(0.05, 0.0)
    assert trainer.monitor.restarts == [0, 1] and trainer.patience.ravel().tolist() == [1.0, 0.5]
    assert torch.equal(trainer.flat[0], other.flat[0]) and bool(trainer.flat.isfinite().all())


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
