"""Gradients by hand are those that autograd finds; samples cover a tile; portions do not change a fit."""

import numpy as np
import pytest
import torch
from siren_reference import evaluate

from inrcodec import parallel
from inrcodec.encoder.fit import backprop, sampling
from inrcodec.encoder.fit.backprop import Kernels
from inrcodec.encoder.fit.loss import Distortion
from inrcodec.encoder.fit.quantizer import Quantizer
from inrcodec.encoder.fit.rate_model import Rate, laplace_bits
from inrcodec.layers.base.siren import siren, tiles
from inrcodec.layers.base.siren.siren import Layout
from inrcodec.volume.box import Box

LAYOUT = Layout(3, 12)
GENERATOR = torch.Generator().manual_seed(0)
FLAT = siren.initial(LAYOUT, 3, GENERATOR)
SHAPE = (6, 10, 7)
TILE = tiles.tile(np.ones(SHAPE, bool), Box((0, 0, 0), SHAPE))
VALUES = np.sin(TILE.index.sum(1))


def test_the_gradient_is_that_of_autograd():
    x, y = torch.rand(3, 40, 3, generator=GENERATOR), torch.rand(3, 40, generator=GENERATOR)
    flat = FLAT.clone().requires_grad_()
    errors = (evaluate(LAYOUT, flat, x) - y).square().mean(1)
    errors.sum().backward()
    gradients = [torch.empty(3, n, m) for n, m in LAYOUT.shapes]
    space = backprop.Workspace(LAYOUT, 3, 40, "cpu")
    tensors = backprop.with_omega(LAYOUT, FLAT)
    for _ in range(2):  # its buffers serve again
        again = backprop.backward(tensors, x, y, space.sines, space.cosines, space.buffers, gradients)
    found = backprop.without_omega(LAYOUT, gradients)
    torch.testing.assert_close(again, errors.detach())
    torch.testing.assert_close(found, flat.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rounded", [False, True])
def test_the_gradients_of_the_bits_are_those_of_autograd(rounded):
    q = torch.randn(2, 500, generator=GENERATOR, dtype=torch.float64) * 3
    q = q.round() if rounded else q
    step = torch.full_like(q, 0.25)
    log_scale = torch.linspace(-2.5, 3, 500, dtype=torch.float64).expand(2, -1).clone().requires_grad_()
    weights = (q * step).requires_grad_()
    price = 0.7
    (price * laplace_bits(weights / step, log_scale.exp()).sum()).backward()
    by_weight, by_scale = Rate(q, step, log_scale.detach().exp()).gradients(price)
    torch.testing.assert_close(by_weight, weights.grad, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(by_scale, log_scale.grad, rtol=1e-9, atol=1e-12)


def test_the_gradients_of_the_bits_are_finite_far_out():
    q = torch.tensor([[0.0, 0.5, 1e4, -1e6]])
    scale = torch.tensor([[0.03, 1.0, 0.03, 0.5]])
    assert all(torch.isfinite(s).all() for s in Rate(q, torch.ones_like(q), scale).gradients(1.0))
    assert torch.isfinite(Rate(q, torch.ones_like(q), scale).bits()).all()


def test_laplace_bits_are_a_probability_distribution():
    q = torch.arange(-3000, 3001, dtype=torch.float64)
    for scale in (0.1, 1.0, 30.0):
        bits = laplace_bits(q, torch.tensor(scale, dtype=torch.float64))
        assert abs(float((2.0**-bits).sum()) - 1) < 1e-6


def test_steps_learn_what_the_whole_loss_asks_of_them():
    """The quantiser's own step direction, against autograd through noise and bits."""
    quantizer, noise = Quantizer(LAYOUT, FLAT), torch.rand(FLAT.shape, generator=GENERATOR) - 0.5
    slope, price = torch.randn(FLAT.shape, generator=GENERATOR), 0.3
    log_step, log_scale = (t.clone().requires_grad_() for t in (quantizer.log_step, quantizer.log_scale))
    step = log_step.exp()[:, quantizer.owner]
    q = FLAT / step + noise
    bits = laplace_bits(q, (log_scale - log_step).exp()[:, quantizer.owner])
    (slope * q * step + price * bits).sum().backward()
    _, rate = quantizer(FLAT, noise)
    seen = []
    quantizer.optimizer.step = lambda gradients, schedule: seen.extend(g.clone() for g in gradients)
    quantizer.learn(FLAT, rate, slope.clone(), price, 1.0)
    torch.testing.assert_close(seen[0], log_step.grad, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(seen[1], log_scale.grad, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("parts", [1, 3])
def test_a_round_of_samples_sees_nearly_every_voxel_once(parts):
    portions = sampling.samplers(TILE, VALUES, rows=20, seeds=[1, 2, 3][:parts], device="cpu")
    assert sum(map(len, portions)) == len(VALUES)
    for portion in portions:
        drawn = torch.cat([portion.draw(step) for step in range(portion.steps)])
        assert len(drawn) == portion.steps * 20
        assert len(drawn.unique()) > 0.75 * len(portion)


def test_a_step_draws_the_same_whatever_was_drawn_before():
    one, other = (sampling.samplers(TILE, VALUES, rows=16, seeds=[5], device="cpu")[0] for _ in range(2))
    for step in (0, 1, 30):
        one.draw(step)
    assert torch.equal(one.draw(31), other.draw(31))


def test_every_step_sees_the_whole_tile():
    """One voxel from every stretch of the curve: octants are never left out."""
    portion = sampling.samplers(TILE, VALUES, rows=64, seeds=[5], device="cpu")[0]
    for step in range(portion.steps):
        x = portion.index[portion.draw(step)] * portion.frame[0] - portion.frame[1]
        octants = ((x > 0) * torch.tensor([4, 2, 1])).sum(1)
        assert len(octants.unique()) == 8


@pytest.mark.parametrize("workers_", [1, 3])
def test_plain_python_and_any_number_of_workers_find_the_same_bits(workers_):
    """Compiled code, plain code, more threads: the same operations in the same order."""
    found = []
    plain = Kernels(backprop.backward, backprop.backward_portions, backprop.squared_error)
    for count, kernels in ((1, plain), (workers_, backprop.kernels())):
        with parallel.single_threaded(count) as pool:
            distortion = Distortion(
                LAYOUT, [TILE] * 3, [VALUES] * 3, batch=64, seed=0, device="cpu", pool=pool, workers=count
            )
            distortion.kernels = kernels
            found.append(distortion.gradient(FLAT, 3))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_one_batch_of_all_tiles_finds_what_portions_find():
    """The way of an accelerator, computed here."""
    with parallel.single_threaded(1) as pool:
        distortion = Distortion(
            LAYOUT, [TILE] * 2, [VALUES] * 2, batch=64, seed=0, device="cpu", pool=pool, workers=1
        )
        portions = distortion.gradient(FLAT[:2], 3)
        distortion.batched = 2
        distortion._spaces = type(distortion._spaces)()
        together = distortion.gradient(FLAT[:2], 3)
    torch.testing.assert_close(together, portions, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_portions_add_up_to_the_error_of_all_voxels(count):
    found = [TILE] * count
    values = [VALUES * (k + 1) / count for k in range(count)]
    with parallel.single_threaded(2) as pool:
        distortion = Distortion(
            LAYOUT, found, values, batch=len(VALUES), seed=0, device="cpu", pool=pool, workers=2
        )
        flat = FLAT[:count]
        errors = distortion.errors(flat)
        seen, slope = distortion.gradient(flat, 0)
    x = torch.from_numpy(TILE.coordinates()).float().expand(count, -1, -1)
    y = torch.tensor(np.array(values), dtype=torch.float32)
    free = flat.clone().requires_grad_()
    loss = (evaluate(LAYOUT, free, x) - y).square().mean(1)
    loss.mean().backward()
    torch.testing.assert_close(errors.float(), loss.detach(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(seen, loss.detach(), rtol=0.02, atol=1e-3)
    torch.testing.assert_close(slope, free.grad, rtol=0.1, atol=0.02)
