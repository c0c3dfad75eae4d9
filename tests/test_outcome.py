"""Errors of a whole volume, and which of two decoded volumes is nearer: metal has no say in it."""

from __future__ import annotations

import numpy as np
import pytest

from inrcodec.encoder.options import EncodeOptions
from inrcodec.encoder.outcome import Outcome
from inrcodec.volume import metrics
from inrcodec.volume.box import Box
from inrcodec.volume.metrics import Errors
from inrcodec.volume.value_range import Range
from inrcodec.volume.volume import Volume

SHAPE = (4, 16, 16)
ALL = Box((0, 0, 0), SHAPE)


def ct(metal):
    """Tissue, and a voxel of metal."""
    array = np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)
    array[2, 8, 8] = metal
    return Volume(array, np.eye(4), modality="CT")


def outcome(volume, tissue, metal):
    """Of a volume whose voxels are off by so much."""
    decoded = volume.array.astype(np.float64) + tissue
    decoded[2, 8, 8] += metal
    nothing = Outcome.nothing(volume, Range.of(volume), EncodeOptions().focus)
    return nothing.of(volume.array, decoded, ALL)


@pytest.mark.parametrize(
    ("options", "tissue_decides"), [({}, True), ({"size": 900}, True), ({"psnr": 30.0}, False)]
)
def test_metal_does_not_say_which_way_serves_the_tissue(options, tissue_decides):
    resolved = EncodeOptions(**options).resolved()
    volume = ct(30_000)
    good, bad = outcome(volume, 10, 20_000), outcome(volume, 20, 2_000)
    assert good.is_nearer(bad, resolved) == tissue_decides != bad.is_nearer(good, resolved)


def test_within_twelve_bits_every_error_counts_in_full():
    resolved, volume = EncodeOptions().resolved(), ct(1000)
    good, bad = outcome(volume, 10, 2_000), outcome(volume, 20, 200)
    assert not good.is_nearer(bad, resolved) and bad.is_nearer(good, resolved)
    assert good.errors.capped == good.errors.squares


def test_capped_errors_add_up():
    source, decoded = np.zeros(6), np.array([1.0, -2.0, 3.0, 50.0, -70.0, 0.0])
    one, parts = Errors(100.0, 0.1), [Errors(100.0, 0.1) for _ in range(2)]
    one.add(source, decoded)
    for found, half in zip(parts, (slice(3), slice(3, 6)), strict=True):
        found.add(source[half], decoded[half])
    assert (parts[0] + parts[1]).capped == pytest.approx(one.capped)
    assert one.capped == pytest.approx((1 + 4 + 9 + 100 + 100) / 1e4) and one.largest == 70.0


@pytest.mark.parametrize(
    ("high", "modality", "cap"), [(3071, "CT", np.inf), (30_000, "CT", metrics.CAP), (30_000, "MR", np.inf)]
)
def test_only_values_beyond_the_peak_cap_an_error(high, modality, cap):
    volume = Volume(np.array([[[-1024, high]]], np.int16), np.eye(4), modality=modality)
    assert metrics.cap_for(volume, Range.of(volume)) == cap
