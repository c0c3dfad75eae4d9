"""The fit: deterministic, within its bits, and never silently lost."""

import numpy as np
import pytest
import torch

from inrcodec.encoder.fit import loop, trainer, warm_start
from inrcodec.encoder.fit.soap import Adam, ClippedSoap
from inrcodec.errors import FitFailed, TargetNotReached
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
    return loop.FitSettings(**{"steps": 300, "batch": 256, "rate": 1e-7, "seed": 3, "threads": 1} | changes)


def decoded_error(fitted, layout=LAYOUT):
    found, values = cut()
    total = 0.0
    for t, v, q, c in zip(found, values, fitted.integers, fitted.codes, strict=True):
        total += np.square(siren.decode(layout, dequantize(layout, q, c), t) - v).sum()
    return total / np.prod(SHAPE)


def test_the_stored_integers_give_back_the_signal():
    assert decoded_error(loop.fit(LAYOUT, *cut(), settings(steps=600))) < 0.02 * SMOOTH.var()


def test_the_papers_way_is_rounded_within_a_tenth_of_a_decibel():
    fitted = loop.fit(LAYOUT, *cut(), settings(rate=0.0, learning_rate=0.0015, steps=600))
    assert decoded_error(fitted) < 0.1 * SMOOTH.var()
    assert all(np.abs(q).max() < 2**20 for tile in fitted.integers for q in tile)


def test_same_seed_same_integers_and_another_seed_others():
    first, again, other = (loop.fit(LAYOUT, *cut(), settings(steps=60, seed=s)) for s in (3, 3, 4))
    same = lambda a, b: all(  # noqa: E731
        np.array_equal(p, q)
        for s, t in zip(a.integers, b.integers, strict=True)
        for p, q in zip(s, t, strict=True)
    )
    assert same(first, again) and first.codes == again.codes
    assert not same(first, other)


def stored(codes, integers):
    return sum(len(write_tile(c, q)) for c, q in zip(codes, integers, strict=True))


@pytest.mark.parametrize("share", [0.6, 0.9])
def test_the_room_is_never_exceeded_and_nearly_used(share):
    free = loop.fit(LAYOUT, *cut(), settings(steps=800))
    room = int(share * stored(free.codes, free.integers))
    fitted = loop.fit(LAYOUT, *cut(), settings(steps=800, room=room, measure=stored))
    assert 0.94 * room <= stored(fitted.codes, fitted.integers) <= room


def test_a_time_budget_ends_the_fit():
    assert loop.fit(LAYOUT, *cut(), settings(steps=10**9, seconds=0.5)).steps < 10**6


@pytest.mark.parametrize("damage", [float("nan"), 50.0])
def test_a_lost_tile_is_seen_and_it_alone_starts_again(monkeypatch, damage):
    """One tile's weights are destroyed in the middle of the fit; the result is as good as without."""
    plain, step = trainer.Networks.step, []

    def sabotage(run, share, rate):
        plain(run, share, rate)
        step.append(1)
        if len(step) == 500:
            with torch.no_grad():
                run.flat[-1] += damage

    monkeypatch.setattr(trainer.Networks, "step", sabotage)
    fitted = loop.fit(LAYOUT, *cut(), settings(steps=1500))
    assert fitted.restarts >= 1
    assert decoded_error(fitted) < 0.02 * SMOOTH.var()


def test_a_tile_that_is_lost_does_not_take_the_rate_of_the_others_with_it(monkeypatch):
    """Its bits are no number at the very look at which the rate is steered to the room."""
    plain = trainer.Networks.step

    def sabotage(run, share, rate):
        if run.steps == 10 * trainer.LOOK_EVERY - 1:
            run.flat[-1] += torch.nan
        plain(run, share, rate)

    monkeypatch.setattr(trainer.Networks, "step", sabotage)
    fitted = loop.fit(LAYOUT, *cut(), settings(steps=1500, room=600, measure=stored))
    assert fitted.restarts >= 1
    assert decoded_error(fitted) < 0.02 * SMOOTH.var()


def test_a_fit_that_stays_worse_than_a_constant_is_refused():
    found, values = cut()
    with pytest.raises(FitFailed, match="lost 3 times"):
        loop.fit(LAYOUT, found, values, settings(learning_rate=1e3, steps=1500))


def test_a_network_that_is_too_small_for_its_tile_is_not_taken_for_stuck():
    """Twelve waves and eleven weights: most of it has to be left, and that is no failure."""
    found, _ = cut((1, 1, 1))
    rng = np.random.default_rng(0)
    places = found[0].index * (2 / np.array(SHAPE))
    waves = sum(np.sin(places @ rng.uniform(-8, 8, 3) + rng.uniform(0, 6)) for _ in range(12))
    fitted = loop.fit(Layout(1, 2), found, [waves / 12], settings(steps=1000))
    assert fitted.restarts == 0


@pytest.mark.parametrize("steps", [20, 1000])
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
    assert fitted.restarts == 0
    for t, v, q, c in zip(found, signal, fitted.integers, fitted.codes, strict=True):
        error = np.square(siren.decode(LAYOUT, dequantize(LAYOUT, q, c), t) - v).mean()
        assert error <= v.var() + 1e-6


def test_networks_that_cannot_fit_the_room_are_refused(monkeypatch):
    monkeypatch.setattr(loop, "ROUNDS", 4)
    with pytest.raises(TargetNotReached, match="20 bytes"):
        loop.fit(LAYOUT, *cut(), settings(steps=60, room=20, measure=stored))


@pytest.mark.parametrize("steps", [1, 5, 60])
def test_a_room_is_kept_to_after_any_number_of_steps(steps):
    fitted = loop.fit(LAYOUT, *cut(), settings(steps=steps, room=400, measure=stored))
    assert stored(fitted.codes, fitted.integers) <= 400


def test_a_room_is_kept_to_when_the_time_is_over():
    fitted = loop.fit(LAYOUT, *cut(), settings(steps=10**6, seconds=0.3, room=250, measure=stored))
    assert stored(fitted.codes, fitted.integers) <= 250


def test_tiles_far_smaller_than_the_batch_take_no_longer():
    active = np.ones((4, 4, 4), bool)
    found = [tiles.tile(active, b) for b in tiles.boxes((4, 4, 4), (4, 4, 4), tiles.cut(active, (4, 4, 4)))]
    fitted = loop.fit(LAYOUT, found, [np.zeros(1)] * 64, settings(steps=20, batch=65_536))
    assert len(fitted.integers) == 64


def test_progress_runs_from_nothing_to_all():
    seen = []
    loop.fit(LAYOUT, *cut(), settings(steps=100), lambda stage, share: seen.append((stage, share)))
    assert {stage for stage, _ in seen} == {"fit"}
    shares = [share for _, share in seen]
    assert shares == sorted(shares) and shares[-1] == 1.0


@pytest.mark.parametrize("make", [lambda p: ClippedSoap(p, [0.02]), lambda p: Adam(p, 0.02)])
def test_optimisers_find_the_minimum_of_a_quadratic(make):
    target = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    parameters = [torch.zeros_like(target)]
    optimizer, start = make(parameters), float(target.square().mean())
    for _ in range(400):
        optimizer.step([2 * (parameters[0] - target)], torch.ones(3, 1, 1))
    assert float((parameters[0] - target).square().mean()) < 0.01 * start


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
    assert float(parameters[0].square().mean().sqrt()) <= 0.5 + 1e-6


@pytest.mark.parametrize("width", [16, 24, 10])
def test_a_fit_goes_on_from_another_of_any_width(width):
    """A few steps more, from what is there, are as good as a whole fit; as wide or wider not worse."""
    first = loop.fit(LAYOUT, *cut(), settings(steps=600))
    layout = Layout(2, width)
    more = loop.fit(layout, *cut(), settings(steps=200, begin=0.6), start=first)
    assert len(more.integers[0][2]) == width * width
    before, after = decoded_error(first), decoded_error(more, layout)
    assert after < 1.5 * before if width >= 16 else after < 0.05 * SMOOTH.var()


@pytest.mark.parametrize("width", [10, 20])
def test_a_wider_network_computes_the_same_function(width):
    rng = np.random.default_rng(0)
    narrow, other = Layout(3, 14), Layout(3, width)
    weights = [rng.normal(size=shape) * 0.1 for shape in narrow.shapes]
    found = warm_start.resized(weights, other, rng)
    assert [w.shape for w in found] == other.shapes
    before, after = (siren.decode(lay, w, cut()[0][0]) for lay, w in ((narrow, weights), (other, found)))
    assert np.allclose(before, after) == (width > 14)
