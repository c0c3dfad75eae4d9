"""Steps of latents: exact, near the ideal, with kernels and without; hostile streams are refused."""

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inrcodec.entropy.logistic import CHUNK, LOW, Reader, Tables, Writer
from inrcodec.errors import CorruptFile
from inrcodec.native.library import SWITCH, kernels
from inrcodec.training.latent.tables import tables

TABLES = tables()
SCALES = len(TABLES.shift)
FURTHEST = 1 << 22


@pytest.fixture(params=["plain", "kernels"])
def path(request, monkeypatch):
    """Each of the two implementations."""
    monkeypatch.setenv(SWITCH, "0" if request.param == "plain" else "1")
    if request.param == "kernels" and kernels() is None:
        pytest.skip("no kernels")


def drawn(seed, count, scales=(0, SCALES)):
    """Steps of the distributions, some of them far beyond, and their scales."""
    rng = np.random.default_rng(seed)
    index = rng.integers(*scales, count).astype(np.uint8)
    u = rng.uniform(1e-9, 1 - 1e-9, count)
    steps = np.rint(np.exp(-3 + index / 8) * np.log(u / (1 - u)))
    far = rng.random(count) < 0.02
    steps[far] = rng.integers(-FURTHEST, FURTHEST + 1, int(far.sum()))
    return steps.astype(np.int32), index


def written(steps, index, coding=TABLES):
    writer = Writer(coding)
    writer.put(steps, index)
    return writer.bytes()


def read(data, index, coding=TABLES):
    reader = Reader(coding, data)
    steps = reader.get(index)
    reader.finish()
    return steps


def both_ways(work):
    """Results of the plain path and of the kernels; an error is its message."""
    if kernels() is None:
        pytest.skip("no kernels")
    results = []
    for switch in ("0", "1"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(SWITCH, switch)
            try:
                results.append(work())
            except CorruptFile as error:
                results.append(str(error))
    return results


@pytest.mark.parametrize("scale", range(SCALES))
def test_every_step_comes_back_at_every_scale(path, scale):
    edge = int(TABLES.reach[scale]) << int(TABLES.shift[scale])
    near = [edge + k for k in range(-70, 71)]
    steps = np.array([0, 1, -1, *near, *(-k for k in near), 4 * edge, FURTHEST, -FURTHEST], np.int32)
    index = np.full(len(steps), scale, np.uint8)
    found = read(written(steps, index), index)
    assert found.dtype == np.int32 and np.array_equal(found, steps)


@pytest.mark.parametrize("count", [0, 1, 2, 5000])
def test_steps_of_all_scales_come_back(path, count):
    steps, index = drawn(count, count)
    assert np.array_equal(read(written(steps, index), index), steps)


def test_parts_are_read_in_any_cut(path):
    steps, index = drawn(1, 3000)
    writer = Writer(TABLES)
    for part in (slice(0, 1), slice(1, 1), slice(1, 2500), slice(2500, None)):
        writer.put(steps[part], index[part])
    assert writer.bytes() == written(steps, index)
    reader = Reader(TABLES, writer.bytes())
    found = [reader.get(index[first : first + 700]) for first in range(0, 3000, 700)]
    reader.finish()
    assert np.array_equal(np.concatenate(found), steps)


@pytest.mark.parametrize("scales", [(0, 8), (20, 40), (46, 48), (70, 80)])
def test_bytes_are_what_the_costs_say(scales):
    steps, index = drawn(2, 20_000, scales)
    bits = TABLES.costs(steps, index)
    assert bits.dtype == np.float32 and bits.min() > 0
    assert abs(8 * len(written(steps, index)) - bits.sum(dtype=np.float64)) < 100


def test_tables_are_those_of_logistic_distributions():
    steps, index = np.arange(-3, 4, dtype=np.int32), np.full(7, 24, np.uint8)  # of a scale of 1
    cumulative = 1 / (1 + np.exp(-(np.arange(-3, 5) - 0.5)))
    assert np.allclose(2.0 ** -TABLES.costs(steps, index), np.diff(cumulative), atol=2e-3)


@given(st.integers(0, 2**32), st.integers(0, 3000), st.integers(0, SCALES - 1))
@settings(max_examples=30)
def test_kernels_give_the_bytes_of_the_plain_path(seed, count, lowest):
    steps, index = drawn(seed, count, (lowest, SCALES))
    plain, fast = both_ways(lambda: written(steps, index))
    assert plain == fast
    assert all(np.array_equal(found, steps) for found in both_ways(lambda: read(fast, index)))


def test_more_steps_than_are_coded_at_a_time():
    steps, index = drawn(3, CHUNK + 77, (0, 30))
    plain, fast = both_ways(lambda: written(steps, index))
    assert plain == fast
    assert all(np.array_equal(found, steps) for found in both_ways(lambda: read(fast, index)))


@given(st.data())
@settings(max_examples=150)
def test_hostile_streams_are_the_same_error_or_the_same_steps(data):
    steps, index = drawn(data.draw(st.integers(0, 99)), 400)
    stream = bytearray(written(steps, index))
    kind = data.draw(st.sampled_from(["flipped", "cut", "longer", "random", "zeros", "other scales"]))
    if kind == "flipped":
        for place in data.draw(st.lists(st.integers(0, 8 * len(stream) - 1), min_size=1, max_size=4)):
            stream[place // 8] ^= 1 << place % 8
    elif kind == "cut":
        del stream[data.draw(st.integers(0, len(stream) - 1)) :]
    elif kind == "longer":
        stream += data.draw(st.binary(min_size=1, max_size=9))
    elif kind == "random":
        stream = bytearray(np.random.default_rng(data.draw(st.integers(0, 99))).bytes(len(stream)))
    elif kind == "zeros":
        stream[6:] = bytes(len(stream) - 6)
    else:
        index = index[::-1].copy()
    plain, fast = both_ways(lambda: read(bytes(stream), index))
    if isinstance(plain, str):
        assert plain == fast
        assert kind != "cut" or "latents" in plain
    else:
        assert plain.dtype == fast.dtype == np.int32 and np.array_equal(plain, fast)


def test_each_damage_is_named(path):
    steps, index = drawn(4, 500, (30, 50))
    stream = written(steps, index)
    for damaged, why in (
        (stream[:-2], "ends before"),
        (stream[:6], "ends before"),
        (stream[:5], "no state"),
        (b"", "no state"),
        (stream + b"\0", "no state"),
        ((LOW - 1).to_bytes(6, "little") + stream[6:], "no state"),
        (stream + b"\0\0", "holds more"),
    ):
        with pytest.raises(CorruptFile, match=why):
            read(damaged, index)
    with pytest.raises(CorruptFile, match="holds more"):
        read(stream, index[:-1])


def test_an_endless_prefix_is_refused(path):
    """A state of an escape, and nothing but zeros behind it."""
    escape = Tables(np.uint8([0]), np.int16([1]), np.uint16([1, 1, 1, (1 << 16) - 3]))
    with pytest.raises(CorruptFile, match="beyond 32 bits"):
        read((LOW + 3).to_bytes(6, "little") + bytes(1000), np.zeros(1, np.uint8), escape)


def test_a_step_beyond_32_bits_is_refused(path):
    coarse = replace(TABLES, shift=np.full(SCALES, 16, np.uint8))
    steps, index = np.array([1 << 20, -(1 << 20)], np.int32), np.zeros(2, np.uint8)
    with pytest.raises(CorruptFile, match="beyond 32 bits"):
        read(written(steps, index), index, coarse)


@pytest.mark.parametrize("step", [2**31 - 1, -(2**31)])
def test_the_largest_steps(path, step):
    steps, index = np.array([step], np.int32), np.array([SCALES - 1], np.uint8)
    coarse = replace(TABLES, shift=np.full(SCALES, 16, np.uint8))
    assert read(written(steps, index, coarse), index, coarse)[0] == step
    with pytest.raises(ValueError, match=str(step)):
        written(steps, np.zeros(1, np.uint8))


@pytest.mark.parametrize(
    "change",
    [
        {"shift": TABLES.shift.astype(np.int16)},
        {"shift": TABLES.shift[:-1]},
        {"shift": np.empty(0, np.uint8), "reach": np.empty(0, np.int16)},
        {"shift": np.full(SCALES, 17, np.uint8)},
        {"shift": TABLES.shift[None]},
        {"reach": TABLES.reach.astype(np.int32)},
        {"reach": np.zeros(SCALES, np.int16)},
        {"reach": np.full(SCALES, -1, np.int16)},
        {"reach": TABLES.reach + np.int16(1)},
        {"frequencies": TABLES.frequencies.astype(np.int32)},
        {"frequencies": TABLES.frequencies[:-1]},
        {"frequencies": np.zeros_like(TABLES.frequencies)},
        {"frequencies": TABLES.frequencies[::-1] + np.uint16(1)},
        {"frequencies": np.roll(TABLES.frequencies, 1)},
    ],
)
def test_tables_that_are_none(change):
    with pytest.raises(ValueError):
        replace(TABLES, **change)


def test_a_scale_that_there_is_not(path):
    index = np.array([SCALES], np.uint8)
    for work in (
        lambda: Writer(TABLES).put(np.zeros(1, np.int32), index),
        lambda: Reader(TABLES, LOW.to_bytes(6, "little")).get(index),
    ):
        with pytest.raises(ValueError, match="scale"):
            work()


@pytest.mark.parametrize("steps", [np.zeros(2, np.int32), np.zeros(1, np.int64), np.zeros((1, 1), np.int32)])
def test_steps_that_do_not_fit_their_scales(steps):
    with pytest.raises(ValueError):
        Writer(TABLES).put(steps, np.zeros(1, np.uint8))


def test_random_bytes_of_many_steps_end(path):
    """Every step takes a bounded time, and there are as many as were asked for at most."""
    index = np.full(20_000, 79, np.uint8)
    for seed in range(5):
        with suppress(CorruptFile):
            read(b"\0\0\0\0\1\0" + np.random.default_rng(seed).bytes(1000), index)
