"""Omega follows the content: a whole number, faster where values change faster."""

import numpy as np
import pytest

from inrcodec.encoder import omega as frequency
from inrcodec.layers.base.siren import tiles

SHAPE = (12, 16, 40)


def omega(volume, parts=(1, 1, 1)):
    active = np.ones(SHAPE, bool)
    found = [tiles.tile(active, b) for b in tiles.boxes(SHAPE, parts, tiles.cut(active, parts))]
    return frequency.omega_for(volume.__getitem__, SHAPE, found)


def wave(periods):
    return np.broadcast_to(np.sin(2 * np.pi * periods * np.arange(SHAPE[2]) / SHAPE[2]), SHAPE)


def test_omega_is_a_whole_number_that_grows_with_the_frequency():
    slow, fast = omega(wave(2.5)), omega(wave(5))
    assert slow == round(slow) and 1.8 * slow < fast < 2.2 * slow


def test_shorter_tiles_see_slower_waves():
    assert omega(wave(5), (1, 1, 2)) < omega(wave(5))


@pytest.mark.parametrize(("volume", "expected"), [("flat", frequency.LEAST), ("noise", frequency.MOST)])
def test_omega_stays_within_what_serves(volume, expected):
    rng = np.random.default_rng(0)
    assert omega(np.zeros(SHAPE) if volume == "flat" else rng.normal(size=SHAPE)) == expected
