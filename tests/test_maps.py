"""The kernel of convolutions: the sums and maps of NumPy, for every kind of vectors."""

import shutil

import numpy as np
import pytest
import small_latents

from inrcodec.layers.base.latent.convolution import Convolution
from inrcodec.layers.base.latent.stream import read_stream, write_stream
from inrcodec.native import build, library
from inrcodec.native.maps import Rounded, Sums, Waves, convolve, packed


@pytest.fixture(scope="module", params=range(5))
def kernels(request, tmp_path_factory):
    """Compiled for vectors of a kind, and for nothing wider."""
    target = tmp_path_factory.mktemp("kernels") / f"vectors{request.param}"
    if shutil.which("cc") is None or not build.compiled(target, f"-DVECTORS={request.param}"):
        pytest.skip("no C compiler")
    return library._loaded(target)


def drawn(shape, inputs, outputs, taps, seed=0):
    """Maps without a border, weights and biases, as large as they can be."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-(2**15), 2**15, (*shape, inputs)).astype(np.int16)
    weight = rng.integers(-(2**15), 2**15, (outputs, inputs, taps)).astype(np.int16)
    weight[0], x[0] = -(2**15), -(2**15)
    return x, weight, rng.integers(-(2**31), 2**31, outputs).astype(np.int32)


def bordered(x):
    """A border of zeros, and a channel of them where their number is odd."""
    return np.pad(x, [(1, 1)] * 3 + [(0, x.shape[-1] % 2)])


def expected(x, weight, bias):
    """By NumPy, (positions, outputs)."""
    p, (z, y, w) = np.pad(x, [(1, 1)] * 3 + [(0, 0)]).astype(np.int64), x.shape[:3]
    if weight.shape[2] == 1:
        sums = x.astype(np.int64) @ weight[..., 0].T.astype(np.int64)
    else:
        parts = [p[a : a + z, b : b + y, c : c + w] for a in range(3) for b in range(3) for c in range(3)]
        sums = sum(part @ weight[..., tap].T.astype(np.int64) for tap, part in enumerate(parts))
    return (sums + bias).astype(np.int32).reshape(-1, len(bias))


def places_of(shape, inputs):
    """Places of all positions in maps with a border, and their runs."""
    _, y, x = shape
    strides = np.array([(y + 2) * (x + 2), x + 2, 1]) * inputs
    places = np.indices(shape).reshape(3, -1).T @ strides
    return places, np.array([a * strides[0] + b * strides[1] for a in range(3) for b in range(3)])


SIZES = [
    ((1, 1, 1), 1, 1), ((2, 3, 5), 3, 7), ((5, 6, 9), 8, 16), ((4, 4, 7), 9, 24), ((3, 5, 8), 24, 33),
    ((2, 9, 8), 16, 48), ((2, 3, 11), 7, 64), ((2, 2, 9), 12, 96), ((1, 2, 3), 5, 112),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "inputs", "outputs"), SIZES)
def test_neighbours(kernels, shape, inputs, outputs):
    x, weight, bias = drawn(shape, inputs, outputs, 27)
    padded = bordered(x)
    places, runs = places_of(shape, padded.shape[-1])
    out = np.empty((len(places), outputs), np.int32)
    convolve(kernels, padded, places, runs, (packed(weight), bias), Sums(), out)
    wanted = expected(x, weight, bias)
    assert np.array_equal(out, wanted)
    some = np.random.default_rng(1).permutation(len(places))[::2]
    few = np.empty((len(some), outputs), np.int32)
    convolve(kernels, padded, places[some], runs, (packed(weight), bias), Sums(), few)
    assert np.array_equal(few, wanted[some])


@pytest.mark.parametrize(("shape", "inputs", "outputs"), SIZES)
def test_positions_alone(kernels, shape, inputs, outputs):
    x, weight, bias = drawn(shape, inputs + inputs % 2, outputs, 1)
    places = np.arange(0, x.size, x.shape[-1])
    out = np.empty((len(places), outputs), np.int32)
    convolve(kernels, x, places, np.zeros(1, np.int64), (packed(weight), bias), Sums(), out)
    assert np.array_equal(out, expected(x, weight, bias))


def down(x, bits):
    """Divided by a power of two, to the nearest."""
    return (x.astype(np.int64) + (1 << bits >> 1)) >> bits


@pytest.mark.parametrize(("shape", "inputs", "outputs"), SIZES)
def test_maps_of_sums(kernels, shape, inputs, outputs):
    x, weight, bias = drawn(shape, inputs, outputs, 27)
    padded = bordered(x)
    places, runs = places_of(shape, padded.shape[-1])
    sums, rng = expected(x, weight, bias), np.random.default_rng(2)
    out = np.empty((len(places), outputs), np.int16)
    base = rng.integers(-(2**15), 2**15, out.shape).astype(np.int16)
    gain = rng.integers(-(2**31), 2**32, outputs)
    offset = rng.integers(-(2**31), 2**31, outputs)
    sines = rng.integers(-1024, 1025, 4096).astype(np.int16)
    for shift in (0, 1, 7, 16, 20):
        rounded = down(sums, shift)
        for finish, wanted in (
            (Rounded(shift, 0), rounded.clip(0, 32767)),
            (Rounded(shift, -32767, base), (rounded + base).clip(-32767, 32767)),
            (
                Waves(shift, gain, offset, sines),
                sines[down((down(rounded * gain, 12) + offset) * 10430, 16) & 4095],
            ),
        ):
            if shift or isinstance(finish, Waves):
                convolve(kernels, padded, places, runs, (packed(weight), bias), finish, out)
                assert np.array_equal(out, wanted)


ARRAYS = {
    "x": np.zeros((12, 8), np.int16),
    "places": np.array([88]),
    "runs": np.array([0]),
    "layer": (packed(np.zeros((4, 8, 1), np.int16)), np.zeros(4, np.int32)),
    "finish": Sums(),
    "out": np.zeros((1, 4), np.int32),
}
SHORT_OUT, FOUR, LONG_SINES = np.zeros((1, 4), np.int16), np.zeros(4, np.int64), np.zeros(4096, np.int16)


@pytest.mark.parametrize(
    "change",
    [
        {"places": np.array([-1])},
        {"places": np.array([96])},
        {"places": np.array([0], np.int32)},
        {"runs": np.array([0, 1])},
        {"runs": np.array([-8])},
        {"x": np.zeros((12, 8), np.int32)},
        {"x": np.zeros((12, 16), np.int16)[:, ::2]},
        {"layer": (ARRAYS["layer"][0], np.zeros(5, np.int32))},
        {"layer": (np.zeros((1, 1, 4, 8, 4), np.int16), ARRAYS["layer"][1])},
        {"out": np.zeros((1, 17), np.int32)},
        {"out": np.zeros((2, 4), np.int32)},
        {"out": SHORT_OUT},
        {"finish": Rounded(4, 0)},
        {"finish": Rounded(0, 0), "out": SHORT_OUT},
        {"finish": Rounded(32, 0), "out": SHORT_OUT},
        {"finish": Rounded(4, 0, np.zeros((2, 4), np.int16)), "out": SHORT_OUT},
        {"finish": Waves(4, FOUR, FOUR[1:], LONG_SINES), "out": SHORT_OUT},
        {"finish": Waves(4, FOUR, FOUR, LONG_SINES[1:]), "out": SHORT_OUT},
    ],
)
def test_arrays_that_do_not_fit_reach_no_kernel(kernels, change):
    convolve(kernels, **ARRAYS)
    with pytest.raises(ValueError, match="do not fit"):
        convolve(kernels, **(ARRAYS | change))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("shape", "inputs", "outputs"), [*SIZES, ((1, 1, 0), 4, 4)])
@pytest.mark.parametrize("taps", [1, 27])
def test_layers_are_the_same_without_kernels(monkeypatch, shape, inputs, outputs, taps, threads):
    if library.kernels() is None:
        pytest.skip("no kernels")
    x, weight, bias = drawn(shape, inputs, outputs, taps)
    layer, found = Convolution(weight, bias, 12), []
    for switch in ("0", "1"):
        monkeypatch.setenv(library.SWITCH, switch)
        found.append([layer.maps(x, threads), layer.rounded(x, 12, 0, threads), layer.rounded(x[::-1], 3)])
    for plain, fast in zip(*found, strict=True):
        assert plain.dtype == fast.dtype and np.array_equal(plain, fast)


@pytest.mark.parametrize("size", [1, 2**9, 2**15, 2**20, 2**27])
@pytest.mark.parametrize("weights", [2, 2**8, 2**15])
@pytest.mark.parametrize("taps", [1, 27])
def test_sums_of_latents_are_exact(monkeypatch, size, weights, taps):
    if library.kernels() is None:
        pytest.skip("no kernels")
    rng, found = np.random.default_rng(0), []
    x = rng.integers(-size, size, (3, 4, 5, 7), endpoint=True).astype(np.int32)
    x[0, 0, 0], x[1] = size, -size
    weight = rng.integers(-weights, weights, (9, 7, taps)).astype(np.int16)
    weight[0] = -weights
    layer = Convolution(weight, rng.integers(-(2**31), 2**31, 9).astype(np.int32), 12)
    for switch in ("0", "1"):
        monkeypatch.setenv(library.SWITCH, switch)
        found.append(layer.exact(x))
    assert found[0].dtype == found[1].dtype and np.array_equal(*found)


def test_streams_are_the_same_without_kernels(monkeypatch):
    if library.kernels() is None:
        pytest.skip("no kernels")
    values = np.random.default_rng(0).normal(size=(9, 22, 35)).cumsum(2) * 0.1
    found = []
    for switch in ("0", "1"):
        monkeypatch.setenv(library.SWITCH, switch)
        found.append(write_stream(small_latents.model(), 70, values, threads=2))
    (plain, integers), (fast, other) = found
    assert plain == fast and np.array_equal(integers, other)
    monkeypatch.setenv(library.SWITCH, "0")
    assert np.array_equal(read_stream(small_latents.model(), 70, fast, values.shape), integers)
