"""Entropy coding: exact, near the ideal, and never more than was announced."""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inrcodec.entropy import laplace as entropy
from inrcodec.entropy import mask as maskcode
from inrcodec.entropy import padding
from inrcodec.errors import CorruptFile, UnsupportedFile
from inrcodec.native.library import SWITCH

RNG = np.random.default_rng(7)
SCALES = (0.05, 0.3, 1.0, 4.5, 15.9, 17.0, 120.0, 2000.0)


def laplace(scale: float, size: int) -> NDArray[np.int32]:
    return np.rint(np.random.default_rng(size).laplace(scale=scale, size=size)).astype(np.int32)


def ball(shape: tuple[int, int, int], radius: float = 0.4) -> NDArray[np.bool_]:
    grid = np.indices(shape).astype(float)
    centre = [(n - 1) / 2 for n in shape]
    distance = sum(((g - c) / n) ** 2 for g, c, n in zip(grid, centre, shape, strict=True))
    return np.asarray(distance < radius**2)


# -- weights


@pytest.mark.parametrize("spread", range(256))
def test_table_covers_every_slot(spread: int) -> None:
    table = entropy.table(spread)
    assert sum(table.freq) == len(table.lookup) == 1 << 16
    assert min(table.freq) >= 1 and len(table.freq) <= 256


@pytest.mark.parametrize("code", range(0, 137, 8))
def test_table_is_the_laplace_distribution_that_the_spread_states(code: int) -> None:
    phi = np.exp(-0.5 / 2 ** ((code - 72) / 16))
    assert abs(entropy.survival(code) / 2**32 - phi) < 1e-8
    assert abs(entropy.frequencies(code)[0] / 65536 - (1 - phi)) < 3e-3


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("size", [0, 1, 7, 500, 20_000])
def test_weights_come_back(scale: float, size: int) -> None:
    values = laplace(scale, size)
    spread = entropy.best_spread(values)
    (decoded,) = entropy.decode_weights(entropy.encode_weights([values], [spread]), [size], [spread])
    assert decoded.dtype == np.int32 and np.array_equal(decoded, values)


@pytest.mark.parametrize("spread", [0, 40, 72, 136, 137, 152, 153, 200, 255])
def test_extreme_weights_come_back_under_any_spread(spread: int) -> None:
    values = np.array([2**31 - 1, -(2**31) + 1, 0, -1, 65_536, -300], dtype=np.int32)
    stream = entropy.encode_weights([values, values], [spread, 255 - spread])
    for decoded in entropy.decode_weights(stream, [6, 6], [spread, 255 - spread]):
        assert np.array_equal(decoded, values)


def ideal_bits(values: NDArray[np.int32], scales: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bits of values under discretised Laplace distributions of some scales: what the coder is held to."""
    rates = 0.5 / scales
    nonzero, total = np.count_nonzero(values), np.abs(values.astype(np.int64)).sum()
    bits = rates * (2 * total - nonzero) - nonzero * np.log(-np.expm1(-2 * rates) / 2)
    bits -= (values.size - nonzero) * np.log(-np.expm1(-rates))
    return np.asarray(bits / np.log(2))


def scale_of(spread: int) -> NDArray[np.float64]:
    """The specification's scale of a spread."""
    return np.array(2.0 ** ((spread - 72) / 16))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("size", [500, 20_000])
def test_weights_cost_the_ideal(scale: float, size: int) -> None:
    values = laplace(scale, size)
    spread = entropy.best_spread(values)
    ideal = ideal_bits(values, scale_of(spread)) / 8
    assert len(entropy.encode_weights([values], [spread])) <= 1.001 * ideal + 4


def test_best_spread_is_the_cheapest_of_all() -> None:
    values = laplace(4.5, 3000)
    sizes = [len(entropy.encode_weights([values], [spread])) for spread in range(256)]
    assert sizes[entropy.best_spread(values)] <= min(sizes) + 1


def test_rounding_the_scale_costs_less_than_a_thousandth() -> None:
    values = laplace(4.5, 200_000)
    found = ideal_bits(values, scale_of(entropy.best_spread(values)))
    assert found <= 1.001 * ideal_bits(values, np.linspace(3.5, 5.5, 400)).min()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 255), st.lists(st.integers(-(2**31) + 1, 2**31 - 1), max_size=20)),
        max_size=5,
    )
)
def test_any_tensors_come_back(tensors: list[tuple[int, list[int]]]) -> None:
    spreads = [spread for spread, _ in tensors]
    values = [np.array(v, dtype=np.int32) for _, v in tensors]
    decoded = entropy.decode_weights(
        entropy.encode_weights(values, spreads), [len(v) for v in values], spreads
    )
    assert all(np.array_equal(a, b) for a, b in zip(decoded, values, strict=True))


# -- masks

MASKS = {
    "ball": ball((20, 30, 25)),
    "image": ball((1, 40, 60)),
    "one cell": np.ones((1, 1, 1), dtype=bool),
    "all": np.ones((5, 6, 7), dtype=bool),
    "none": np.zeros((5, 6, 7), dtype=bool),
    "noise": RNG.random((6, 17, 13)) < 0.5,
    "column": ball((300, 3, 3)),
    "repeated slices": np.repeat(ball((1, 40, 60)), 9, axis=0),
    "odd area": RNG.random((4, 3, 5)) < 0.3,
}
CODERS: dict[str, tuple[Callable[..., bytes], Callable[..., NDArray[np.bool_]]]] = {
    "mask": (maskcode.encode_mask, maskcode.decode_mask),
    "bits": (padding.encode_bits, lambda data, shape: np.stack(list(padding.decode_bits(data, shape)))),
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("coder", CODERS)
def test_masks_come_back(coder: str, name: str) -> None:
    encode, decode = CODERS[coder]
    decoded = decode(encode(MASKS[name]), MASKS[name].shape)
    assert decoded.dtype == np.bool_ and np.array_equal(decoded, MASKS[name])


def test_mask_too_large_for_the_model_goes_through_zstd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(padding, "MODELLED_CELLS", 10)
    for mask in MASKS.values():
        data = padding.encode_bits(mask)
        assert data[0] == (padding.PLAIN if mask.size > 10 else padding.DISTINCT)
        assert np.array_equal(list(padding.decode_bits(data, mask.shape)), mask)


def test_smooth_mask_is_far_smaller_than_zstd() -> None:
    waves = [np.cos(np.linspace(0, k, n) + k) for k, n in ((5, 30), (7, 64), (9, 64))]
    mask = np.asarray(np.add.outer(np.add.outer(waves[0], waves[1]), waves[2]) > 0.5)
    packed = zstandard.ZstdCompressor(level=19).compress(np.packbits(mask).tobytes())
    assert len(maskcode.encode_mask(mask)) < 0.7 * len(packed)


def test_repeated_slices_cost_a_bit_each() -> None:
    once, often = MASKS["image"], np.repeat(MASKS["image"], 800, axis=0)
    assert len(padding.encode_bits(often)) == len(padding.encode_bits(once)) + 99


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.integers(1, 6)] * 3), st.randoms(use_true_random=False))
def test_any_mask_comes_back(shape: tuple[int, int, int], random: st.DataObject) -> None:
    bits = [random.random() < 0.4 for _ in range(int(np.prod(shape)))]  # type: ignore[attr-defined]
    mask = np.array(bits, dtype=bool).reshape(shape)
    for encode, decode in CODERS.values():
        assert np.array_equal(decode(encode(mask), shape), mask)


# -- damage

SMALL = ball((8, 10, 9))
STREAMS: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "weights": (
        entropy.encode_weights([laplace(5, 40), laplace(60, 9)], [108, 160]),
        lambda data: entropy.decode_weights(data, [40, 9], [108, 160]),
    ),
    "mask": (maskcode.encode_mask(SMALL), lambda data: maskcode.decode_mask(data, SMALL.shape)),
    "bits": (padding.encode_bits(SMALL), lambda data: padding.decode_bits(data, SMALL.shape)),
    "plain bits": (
        bytes([padding.PLAIN]) + zstandard.ZstdCompressor().compress(bytes(8 * 12)),
        lambda data: padding.decode_bits(data, SMALL.shape),
    ),
}


@pytest.mark.parametrize("name", STREAMS)
def test_whole_stream_is_read(name: str) -> None:
    data, decode = STREAMS[name]
    decode(data)


@pytest.mark.parametrize("name", STREAMS)
def test_shorter_stream_is_refused(name: str) -> None:
    data, decode = STREAMS[name]
    for length in range(len(data)):
        with pytest.raises(CorruptFile):
            decode(data[:length])


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("tail", [b"\0", b"\1", b"\xff" * 9])
def test_longer_stream_is_refused(name: str, tail: bytes) -> None:
    data, decode = STREAMS[name]
    with pytest.raises(CorruptFile):
        decode(data + tail)
    if name == "weights":
        with pytest.raises(CorruptFile):
            decode(tail + data)


@pytest.mark.parametrize("name", STREAMS)
def test_garbage_is_refused_or_read_and_nothing_else(name: str) -> None:
    _, decode = STREAMS[name]
    random = np.random.default_rng(1)
    for _ in range(60):
        try:
            decode(bytes([1]) * (random.random() < 0.5) + random.bytes(int(random.integers(0, 60))))
        except (CorruptFile, UnsupportedFile):
            continue


def test_unknown_method_of_a_padding_mask_is_unsupported() -> None:
    with pytest.raises(UnsupportedFile):
        padding.decode_bits(b"\2" + STREAMS["bits"][0][1:], SMALL.shape)


def test_bits_beyond_a_slice_are_refused() -> None:
    rows = np.zeros((8, 12), dtype=np.uint8)  # 90 voxels a slice: six bits are left over
    rows[3:5, -1] = 0x01  # gone again in the slice after
    frame = zstandard.ZstdCompressor().compress(rows.tobytes())
    with pytest.raises(CorruptFile):
        padding.decode_bits(bytes([padding.PLAIN]) + frame, SMALL.shape)


ENDLESS: dict[str, tuple[int, Callable[[bytes], object]]] = {
    "weights": (1 << 24, lambda data: entropy.decode_weights(data, [1 << 20] * 16, [100] * 16)),
    "wide weights": (1 << 24, lambda data: entropy.decode_weights(data, [1 << 20] * 16, [255] * 16)),
    "cells": (1 << 20, lambda data: maskcode.decode_mask(data, (16, 256, 256))),
}


class Counted(bytes):
    """Counts how often it is looked at."""

    looks = 0

    def __getitem__(self, index: Any) -> Any:
        Counted.looks += 1
        return super().__getitem__(index)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> type[Counted]:
    """Counts the symbols and cells that are decoded, in the plain path."""
    monkeypatch.setenv(SWITCH, "0")
    table, code = entropy.table, maskcode._Reader.code

    def counted_code(self: Any, probability: int, bit: int) -> int:
        Counted.looks += 1
        return code(self, probability, bit)

    def counted_table(spread: int) -> entropy.Table:
        return replace(table(spread), lookup=Counted(table(spread).lookup))

    monkeypatch.setattr(entropy, "table", counted_table)
    monkeypatch.setattr(maskcode._Reader, "code", counted_code)
    Counted.looks = 0
    return Counted


@pytest.mark.parametrize("name", ENDLESS)
@pytest.mark.parametrize("data", [bytes([1]) * 220, np.random.default_rng(3).bytes(220)], ids=["1", "random"])
def test_stream_is_refused_where_its_bytes_end(name: str, data: bytes, looks: type[Counted]) -> None:
    claimed, decode = ENDLESS[name]
    with pytest.raises(CorruptFile):
        decode(data)
    assert 0 < looks.looks < claimed // 4


def test_escapes_cost_little_memory() -> None:
    values = np.full(50_000, 300, dtype=np.int32)
    stream = entropy.encode_weights([values], [130])
    tracemalloc.start()
    (decoded,) = entropy.decode_weights(stream, [values.size], [130])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.array_equal(decoded, values) and peak < 64 * values.size


@pytest.mark.parametrize(
    "frame",
    [
        zstandard.ZstdCompressor().compress(bytes(200_000_000)),
        bytes.fromhex("28b52ffd e0 0000000000010000 010000"),
        zstandard.ZstdCompressor(write_content_size=False).compress(bytes(8 * 12)),
        zstandard.ZstdCompressor().compress(bytes(8 * 12)) * 2,
        b"",
    ],
    ids=["states 200 MB", "states 1 TiB", "states nothing", "two frames", "empty"],
)
def test_zstd_frame_is_not_believed(frame: bytes) -> None:
    with pytest.raises(CorruptFile):
        padding.decode_bits(bytes([padding.PLAIN]) + frame, SMALL.shape)
