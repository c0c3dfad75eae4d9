"""Stored values to unit floats and back: exact for integers, padding kept out."""

import numpy as np
import pytest

import inrcodec
from inrcodec.volume import metrics
from inrcodec.volume.value_range import Range, unit_part
from inrcodec.volume.volume import Volume

INTEGERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32"]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_every_integer_comes_back_exactly(dtype):
    limits = np.iinfo(dtype)
    values = np.unique(np.linspace(limits.min, limits.max, 5001).astype(dtype))
    span = Range(float(limits.min), float(limits.max))
    assert np.array_equal(span.to_stored(span.to_unit(values), np.dtype(dtype)), values)


@pytest.mark.parametrize("dtype", ["int64", "uint64", "int16", "uint8"])
def test_out_of_range_never_wraps_around(dtype):
    limits = np.iinfo(dtype)
    span = Range(float(limits.min), float(limits.max))
    low, high = span.to_stored(np.array([-9.0, 9.0]), np.dtype(dtype))
    assert low == limits.min and high > limits.max * 0.999


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_come_back_to_rounding(dtype):
    values = np.linspace(-3, 5, 1001).astype(dtype)
    span = Range(-3.0, 5.0)
    back = span.to_stored(span.to_unit(values), np.dtype(dtype))
    assert back.dtype == dtype
    np.testing.assert_allclose(back, values, atol=8 * np.finfo(dtype).eps)


def test_padding_is_neither_in_the_range_nor_in_the_floats():
    array = np.full((2, 4, 4), -3024, np.int16)
    array[:, 1:3, 1:3] = np.arange(8).reshape(2, 2, 2) * 100
    volume = Volume.from_array(array, padding=-3024)
    span = Range.of(volume)
    assert (span.low, span.high) == (0.0, 700.0)
    assert unit_part(volume, span, (0,)).min() == -1.0


def test_nothing_but_padding_and_constants_have_a_range():
    assert Range.of(Volume.from_array(np.full((1, 2, 2), -2000, np.int16), padding=-2000)) == Range(
        -2000, -2000
    )
    flat = Range.of(Volume.from_array(np.full((1, 2, 2), 7, np.uint8)))
    assert flat.to_stored(flat.to_unit(np.array([7])), np.dtype("uint8")) == 7


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(7, 24, 24), (7, 9, 24)])
def test_a_constant_whose_low_res_values_round_below_the_range_is_encoded(shape):
    """Lanczos weights add up to 1 but for rounding: -1 becomes -1.0000000000000002."""
    flat = np.full(shape, 7, np.int16)
    assert (inrcodec.decode(inrcodec.encode(flat, factor=(1, 8, 8), steps=20, threads=1)) == 7).all()


@pytest.mark.parametrize(
    ("low", "high", "dtype", "peak"),
    [(-1024, 3071, "int16", 4095), (-1024, 3063, "int16", 4095), (0, 200, "uint8", 255), (0, 3, "int16", 255),
     (0, 4096, "uint16", 8191), (-1.5, 2.0, "float32", 3.5)],
)  # fmt: skip
def test_the_peak_is_that_of_the_bits_that_hold_the_range(low, high, dtype, peak):
    assert metrics.peak_of(low, high, np.dtype(dtype)) == peak


@pytest.mark.parametrize(
    ("modality", "low", "high", "slope", "peak"),
    [("CT", -1024, 3071, 1.0, 4095), ("CT", -3024, 3071, 1.0, 4095), ("CT", -1024, 30_000, 1.0, 4095),
     ("CT", -2048, 10_000, 0.5, 8190), ("CT", -100, 100, 1.0, 255), ("", -1024, 9000, 1.0, 4095),
     ("", 0, 9000, 1.0, 16_383), ("MR", -1024, 9000, 1.0, 16_383)],
)  # fmt: skip
def test_metal_and_pads_leave_the_peak_of_a_ct(modality, low, high, slope, peak):
    stored = np.array([[[low, high]]], np.int16)
    volume = Volume(stored, np.eye(4), modality=modality, rescale=(slope, 0.0))
    assert metrics.peak_for(volume, Range(low, high)) == peak


def test_errors_over_slabs_are_the_errors_of_the_whole():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 255, (2, 6, 5, 5)).astype(np.uint8)
    errors = metrics.Errors(255.0)
    for z in range(6):
        errors.add(a[z : z + 1], b[z : z + 1])
    difference = a.astype(float) - b
    assert errors.largest == np.abs(difference).max()
    assert errors.psnr == pytest.approx(10 * np.log10(255**2 / np.square(difference).mean()))
    assert metrics.psnr(0.0) == float("inf")
