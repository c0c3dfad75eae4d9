"""Patches: what a step of a training sees, drawn by seed and step, and degraded as fits degrade."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from training_samples import FACTOR, FLAT, SIZE, TINY, clean_volume, texture

from inrcodec.errors import InputError, UsageError
from inrcodec.layers import resample
from inrcodec.training.dataset import paired
from inrcodec.training.degrade import simulated_error
from inrcodec.training.patches import Patches


def test_a_patch_holds_what_lanczos_lacks():
    """Of an unturned, clean patch: exactly the residual at the place that it was cut from."""
    m = clean_volume()
    up = resample.up(m.lowres.numpy().astype(float), FACTOR, m.highres.shape).astype(np.float32)
    residual = m.highres.numpy() - up
    patches = Patches([m], TINY, (5, 6, 7), seed=0)  # not square: never turned
    found = 0
    for step in range(60):
        low, target, *_ = patches.draw(step, 1)
        for z, y, x in np.ndindex(*(n - k + 1 for n, k in zip(m.lowres.shape, patches.size, strict=True))):
            if np.array_equal(low[0, 0], m.lowres[z : z + 5, y : y + 6, x : x + 7].clamp(-1, 1)):
                place = residual[2 * z : 2 * z + 10, 2 * y : 2 * y + 12, 2 * x : 2 * x + 14]
                inside = (slice(4, -4),) * 3
                np.testing.assert_allclose(target[0, 0].numpy()[inside], place[inside], atol=1e-5)
                found += 1
    assert found


def test_patches_follow_from_seed_and_step():
    patches, again = (Patches([clean_volume()], TINY, SIZE, seed=1) for _ in range(2))
    for k in (0, 7):
        for a, b in zip(patches.draw(k, 2), again.draw(k, 2), strict=True):
            assert torch.equal(a, b)
    assert not torch.equal(patches.draw(0, 2).low, patches.draw(1, 2).low)
    assert not torch.equal(
        patches.draw(0, 2).low, Patches([clean_volume()], TINY, SIZE, seed=2).draw(0, 2).low
    )


def test_a_patch_weighs_the_more_the_less_lanczos_is_expected_to_err():
    m = clean_volume()
    coarse = replace(m, error=torch.full(m.lowres.shape, 0.3), coder="siren")
    found = Patches([m, coarse], TINY, SIZE, seed=0)
    weights = torch.cat([found.draw(step, 2).weight for step in range(40)])
    assert weights.max() == pytest.approx((m.lanczos_mse + 1e-6) ** -0.5)
    assert weights.min() < 0.9 * weights.max()


def test_patches_shrink_to_the_smallest_volume_and_refuse_less():
    assert Patches([clean_volume()], TINY, (99, 99, 99), seed=0).size == (10, 14, 16)
    small = clean_volume()
    small = replace(small, lowres=small.lowres[:2], highres=small.highres[:4])
    with pytest.raises(InputError, match="too few"):
        Patches([small], TINY, SIZE, seed=0)
    with pytest.raises(UsageError, match="patch"):
        Patches([clean_volume()], TINY, (4, 9, 9), seed=0)


def test_what_degrades_a_patch_is_drawn_by_weight():
    """An error of AV1 is taken as it is, that of a fit from none to more than all of it."""
    m = clean_volume()
    siren = replace(m, error=torch.full(m.lowres.shape, 0.1), coder="siren")
    av1 = replace(m, error=torch.full(m.lowres.shape, 0.2), coder="av1")
    found = Patches([m, siren, av1], TINY, SIZE, seed=0, clean=0.0)
    noise = torch.cat([found.draw(step, 4).noise for step in range(100)])
    taken = (noise - 0.2).abs() < 1e-6
    assert 0.6 < taken.float().mean() < 0.8  # 12 of 17
    assert len(noise[~taken & (noise > 0.04)].unique()) > 20 and noise[~taken].max() < 0.126
    assert not Patches([m, av1], TINY, SIZE, seed=0, clean=1.0).draw(0, 9).noise.any()


def test_a_single_slice_is_enough_in_the_plane():
    full = (texture((1, 32, 36)).astype(np.float32) + 1024) / 2047.5 - 1
    batch = Patches([paired("v", "clean", full, FLAT.factor)], FLAT, (4, 8, 8), seed=0).draw(0, 2)
    assert batch.low.shape == (2, 1, 1, 8, 8) and batch.target.shape == (2, 1, 1, 16, 16)


def test_the_imitated_fit_errs_by_its_level_at_most():
    generator = torch.Generator().manual_seed(0)
    low = torch.randn(12, 12, 12, generator=generator)
    fine, coarse = (float(simulated_error(low, level, generator).square().mean()) for level in (1e-3, 1e-1))
    assert 0.8e-3 < fine < 1.1e-3 and 0.05 < coarse < 0.11
    assert simulated_error(low[:5, :7, :3], 1e-3, generator).shape == (5, 7, 3)


def test_the_imitated_fit_loses_what_is_below_its_level():
    generator = torch.Generator().manual_seed(0)
    faint = 1e-3 * torch.randn(6, 6, 6, generator=generator)
    torch.testing.assert_close(simulated_error(faint, 1e-3, generator), -faint)
