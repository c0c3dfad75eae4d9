"""The SIREN tiles as a coder: any box has the bits of the whole, and all but background has a network."""

import numpy as np
import pytest

import inrcodec
from inrcodec.layers.base import activity
from inrcodec.layers.base.siren import codec, tiles, weights
from inrcodec.volume.box import Box

BOXES = [((0, 0, 0), (4, 10, 12)), ((1, 2, 3), (3, 9, 11)), ((3, 9, 11), (4, 10, 12)), ((0, 4, 5), (4, 5, 6))]


@pytest.fixture(scope="module")
def base():
    """Six tiles, some of them background alone."""
    z, y, x = np.ogrid[-1:1:8j, -1:1:20j, -1:1:24j]
    array = (1000 * np.exp(-9 * (z**2 + y**2 + (x - 0.5) ** 2))).astype(np.int16)
    blob = inrcodec.encode(array, factor=2, tiles=(1, 2, 3), width=6, steps=10, sr="lanczos", threads=1)
    return inrcodec.open(blob).decoder.base


@pytest.mark.parametrize(("low", "high"), BOXES)
@pytest.mark.parametrize("threads", [1, 3])
def test_a_box_has_the_bits_of_the_whole(base, low, high, threads):
    box = Box(low, high)
    assert np.array_equal(base.read(box, threads=threads), base.read(threads=1)[box.slices])


def test_only_tiles_that_a_box_crosses_are_read(base, monkeypatch):
    read = []
    monkeypatch.setattr(
        codec.SirenTiles, "_values", lambda self, k, data, box: (read.append(k), read_nothing)[1]
    )
    read_nothing = (np.empty((0, 3), np.int64), np.empty(0))
    base.read(base.boxes[2])
    assert read == [2]


def test_fitted_integers_come_back_from_their_sections():
    rng = np.random.default_rng(0)
    sizes, some = [6, 2, 4], np.ones((2, 2, 2), bool)
    boxes = [tiles.tile(some, Box((0, 0, 0), (1, 2, 2))), None, tiles.tile(some, Box((1, 0, 0), (2, 2, 2)))]
    codes = rng.integers(0, 256, (2, 3)).tolist()
    integers = [[rng.integers(-9, 9, n).astype(np.int32) for n in sizes] for _ in range(2)]
    sections = codec.encode(boxes, codes, integers)
    lengths = np.frombuffer(sections["INDX"], "<u4")
    assert lengths[1] == 0 and lengths.sum() == len(sections["WGHT"])
    parts = np.split(np.frombuffer(sections["WGHT"], np.uint8), lengths.cumsum()[[0]])
    for data, code, expected in zip(parts, codes, integers, strict=True):
        found = weights.read_tile(data.tobytes(), sizes)
        assert found[0] == code and all(map(np.array_equal, found[1], expected))


def test_a_volume_that_rounds_below_the_lowest_value_has_a_background():
    """Lanczos weights of 24 voxels at factor 8 add up to a hair more than 1."""
    assert activity.background_of(np.full((3, 3, 3), np.nextafter(-1, -2))) == -1.0
    array = np.full((24, 24, 24), -7, np.int16)
    assert np.array_equal(inrcodec.decode(inrcodec.encode(array, factor=8, threads=1)), array)
