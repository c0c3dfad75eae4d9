"""Lanczos: Pillow's numbers, constants kept, linear, and the same whatever the slab."""

import numpy as np
import pytest
from PIL import Image

from inrcodec.layers import resample

VOLUME = np.random.default_rng(0).normal(size=(13, 24, 40))
FACTORS = [(1, 1, 1), (1, 2, 2), (2, 3, 4), (4, 4, 4), (8, 8, 8), (5, 1, 7)]


def down(volume, factor):
    return resample.down(lambda z, rows: volume[z, rows], volume.shape, factor)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_down_and_up_are_pillows_lanczos(factor):
    image = VOLUME[:1]
    low = down(image, (1, factor, factor))
    size = (image.shape[2] // factor, image.shape[1] // factor)
    theirs = Image.fromarray(image[0].astype(np.float32)).resize(size, Image.Resampling.LANCZOS)
    np.testing.assert_allclose(low[0], np.asarray(theirs), atol=1e-6)
    back = resample.up(low, (1, factor, factor), image.shape)
    theirs = Image.fromarray(low[0].astype(np.float32)).resize(image.shape[:0:-1], Image.Resampling.LANCZOS)
    np.testing.assert_allclose(back[0], np.asarray(theirs), atol=1e-6)


@pytest.mark.parametrize("factor", FACTORS)
def test_constant_in_constant_out(factor):
    constant = np.full(VOLUME.shape, 3.25)
    low = down(constant, factor)
    np.testing.assert_allclose(low, 3.25, rtol=1e-13)
    np.testing.assert_allclose(resample.up(low, factor, constant.shape), 3.25, rtol=1e-13)


@pytest.mark.parametrize("factor", FACTORS)
def test_every_axis_is_treated_alike(factor):
    turned = VOLUME.transpose(2, 0, 1)
    low = down(turned, (factor[2], factor[0], factor[1]))
    np.testing.assert_allclose(low, down(VOLUME, factor).transpose(2, 0, 1), atol=1e-12)
    back = resample.up(low, (factor[2], factor[0], factor[1]), turned.shape)
    expected = resample.up(down(VOLUME, factor), factor, VOLUME.shape).transpose(2, 0, 1)
    np.testing.assert_allclose(back, expected, atol=1e-12)


def test_linear():
    other = VOLUME[::-1]
    low = down(2 * VOLUME - 3 * other, (2, 4, 4))
    np.testing.assert_allclose(low, 2 * down(VOLUME, (2, 4, 4)) - 3 * down(other, (2, 4, 4)), atol=1e-12)


def test_an_axis_of_factor_1_is_left_as_it_is():
    assert np.array_equal(resample.up(VOLUME, (1, 1, 1), VOLUME.shape), VOLUME)
    for axis in range(3):
        factor = tuple(1 if a == axis else 2 for a in range(3))
        low, shape = down(VOLUME, factor), tuple(1 if a == axis else n for a, n in enumerate(VOLUME.shape))
        alone = [resample.up(plane, factor, shape) for plane in np.split(low, low.shape[axis], axis)]
        assert np.array_equal(resample.up(low, factor, VOLUME.shape), np.concatenate(alone, axis))


@pytest.mark.parametrize("slab", [1, 2, 5])
def test_a_slab_has_the_bits_of_the_whole(slab):
    low = down(VOLUME, (4, 4, 4))
    whole = resample.up(low, (4, 4, 4), VOLUME.shape)
    for z in range(0, 13, slab):
        stop = min(z + slab, 13)
        assert np.array_equal(resample.up(low, (4, 4, 4), VOLUME.shape, z, stop), whole[z:stop])


def test_smooth_signals_survive_the_round_trip():
    z, y, x = np.meshgrid(*(np.arange(n) for n in (32, 32, 32)), indexing="ij")
    smooth = np.sin(2 * np.pi * (z + y + x) / 32)
    back = resample.up(down(smooth, (2, 2, 2)), (2, 2, 2), smooth.shape)
    inner = (slice(8, -8),) * 3
    assert np.abs(back - smooth)[inner].max() < 0.02  # the kernel's passband ripples by about 1 %
