"""Tiles that diverge or are stuck: restarted by themselves, fitted again, or stored as their mean."""

from math import inf, nan

import numpy as np
import pytest
import torch
from small_fits import LAYOUT, SMOOTH, cut, errors_of, settings, stored, trainer_with

from inrcodec import parallel
from inrcodec.encoder.fit import loop
from inrcodec.encoder.fit.divergence import RESTARTS, Monitor, stuck_at
from inrcodec.encoder.fit.trainer import ROUNDED, WARM_UP, Trainer
from inrcodec.layers.base.siren.siren import Layout


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
