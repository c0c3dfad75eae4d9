"""The latent grid: what is decoded is what the encoder saw, on every path; and what is damaged is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import small_latents
from numpy.typing import NDArray

from inrcodec.errors import CorruptFile, ModelNotFound
from inrcodec.format.header import LATENT, Header
from inrcodec.format.sections import Sections
from inrcodec.layers.base import streams
from inrcodec.layers.base.latent import codec, models, stream
from inrcodec.layers.base.latent.convolution import ROWS, Convolution
from inrcodec.layers.base.latent.model import Model
from inrcodec.volume.box import Box

SHAPE = 18, 21, 35  # of which none is a multiple of a block


def smooth(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> NDArray[np.float64]:
    """Network values of a few waves and an edge."""
    z, y, x = np.indices(shape)
    waves = np.sin(z / 5 + seed) + np.cos(y / 4) * np.sin(x / 6)
    return np.where(x + y < 20, -1.0, 0.3 * waves)


GROUPS = [small_latents.GROUPS, small_latents.DEEP]


@pytest.mark.parametrize("groups", GROUPS, ids=["plain", "deep"])
@pytest.mark.parametrize("rate", [0, 64, 127])
@pytest.mark.parametrize("worth", [0.0, stream.WORTH])
def test_what_is_decoded_is_what_the_encoder_saw(
    rate: int, worth: float, groups: small_latents.Groups
) -> None:
    model = small_latents.model(groups)
    data, seen = stream.write_stream(model, rate, smooth(), worth)
    assert np.array_equal(stream.read_stream(model, rate, data, SHAPE), seen)
    assert np.array_equal(stream.read_stream(model, rate, data, SHAPE, threads=3), seen)


def test_a_finer_rate_is_nearer_and_takes_more_bytes() -> None:
    model, values = small_latents.model(), smooth()
    found = [stream.write_stream(model, rate, values, 0.0) for rate in (0, 60, 127)]
    sizes = [len(data) for data, _ in found]
    errors = [
        float(np.square(stream.values_of(model, rate, integers) - values).mean())
        for rate, (_, integers) in zip((0, 60, 127), found, strict=True)
    ]
    assert sizes == sorted(sizes, reverse=True) and errors == sorted(errors)


def test_bits_that_are_not_worth_it_are_saved() -> None:
    model = small_latents.model()
    plain, careful = (len(stream.write_stream(model, 40, smooth(), worth)[0]) for worth in (0.0, 1.0))
    assert careful < plain


@pytest.mark.parametrize("groups", GROUPS, ids=["plain", "deep"])
def test_kernels_change_nothing(monkeypatch: pytest.MonkeyPatch, groups: small_latents.Groups) -> None:
    model = small_latents.model(groups)
    written = stream.write_stream(model, 50, smooth())
    monkeypatch.setenv("INRCODEC_KERNELS", "0")
    data, seen = stream.write_stream(model, 50, smooth())
    assert data == written[0] and np.array_equal(seen, written[1])
    assert np.array_equal(stream.read_stream(model, 50, data, SHAPE), seen)


@pytest.mark.parametrize("taps", [1, 27])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 5), (40, 9, 16)])
def test_sums_are_those_of_the_definition(taps: int, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    assert np.prod((40, 9, 16)) > ROWS, "several pieces"
    weight = rng.integers(-32767, 32768, (4, 3, taps)).astype(np.int16)
    layer = Convolution(weight, rng.integers(-(2**31), 2**31, 4).astype(np.int32), 14)
    x = rng.integers(-32767, 32768, (*shape, 3)).astype(np.int16)
    edge = 1 if taps == 27 else 0
    padded = np.pad(x.astype(np.int64), [(edge, edge)] * 3 + [(0, 0)])
    expected = np.zeros((*shape, 4), np.int64) + layer.bias
    for tap in range(taps):
        a, b, c = (tap // 9, tap // 3 % 3, tap % 3) if edge else (0, 0, 0)
        part = padded[a : a + shape[0], b : b + shape[1], c : c + shape[2]]
        expected += part @ weight[:, :, tap].T.astype(np.int64)
    assert np.array_equal(layer.exact(x.astype(np.int32), 2), expected)
    wrapped = (expected + 2**31) % 2**32 - 2**31
    assert np.array_equal(layer.maps(x, 2), wrapped)


def test_damage_is_seen_or_changes_nothing() -> None:
    model = small_latents.model()
    data, seen = stream.write_stream(model, 90, smooth())
    for place in range(0, len(data), 7):
        damaged = bytearray(data)
        damaged[place] ^= 0x21
        with pytest.raises(CorruptFile):
            stream.read_stream(model, 90, bytes(damaged), SHAPE)
    for end in (0, 3, 9, len(data) - 2):
        with pytest.raises(CorruptFile):
            stream.read_stream(model, 90, data[:end], SHAPE)
    with pytest.raises(CorruptFile):
        stream.read_stream(model, 91, data, SHAPE)
    assert np.array_equal(stream.read_stream(model, 90, data, SHAPE), seen)


PARTS = "synthesis.enter.weight steps coder.reach contexts.0.out.bias analysis.gains analysis.modulation"


@pytest.mark.parametrize("part", PARTS.split())
def test_a_model_that_lacks_a_part_is_none(part: str) -> None:
    tensors = small_latents.tensors()
    with pytest.raises((ValueError, LookupError)):
        Model.of({name: tensor for name, tensor in tensors.items() if name != part})
    with pytest.raises((ValueError, LookupError)):
        Model.of({**tensors, part: tensors[part][:1]})
    with pytest.raises(ValueError):
        Model.of({**tensors, part: np.full(tensors[part].shape, np.nan, np.float16)})


BEYOND = {"gains": 1 << 18, "steps": 0, "companding": 0, "synthesis.fine.0.modulation": -(1 << 17)}


@pytest.mark.parametrize("part", BEYOND)
def test_a_model_whose_sums_may_not_be_exact_is_none(part: str) -> None:
    tensors = small_latents.tensors()
    Model.of(tensors)
    changed = tensors[part].copy()
    changed.flat[0] = BEYOND[part]
    with pytest.raises(ValueError):
        Model.of({**tensors, part: changed})


@pytest.fixture
def model_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, bytes]:
    """The small model as a user's own: its ID and hash."""
    monkeypatch.setenv("INRCODEC_MODELS", str(tmp_path))
    return small_latents.install(tmp_path)


def grid_of(model_id: tuple[str, bytes], slices: int = 0, **fields: object) -> codec.LatentGrid:
    model, values = models.load(*model_id), smooth()
    step = slices or SHAPE[0]
    parts = [values[z : z + step] for z in range(0, SHAPE[0], step)]
    written = streams.sections_of(stream.SECTION, [stream.write_stream(model, 70, part)[0] for part in parts])
    header = Header(
        shape=SHAPE,
        dtype="int16",
        affine=np.eye(4),
        low=-1024.0,
        high=3071.0,
        coder=LATENT,
        latent_model=model_id[0],
        latent_sha256=model_id[1],
        latent_rate=70,
        latent_ends=(-1.024, 3.071),
        latent_slices=slices,
        **fields,  # type: ignore[arg-type]
    )
    return codec.LatentGrid(Header.from_bytes(header.to_bytes()), Sections(written))


@pytest.mark.parametrize("slices", [0, 7])
@pytest.mark.parametrize("flat", [None, 0.05])
def test_a_box_is_a_part_of_the_whole(model_id: tuple[str, bytes], slices: int, flat: float | None) -> None:
    grid = grid_of(model_id, slices, latent_flat=flat, background=-0.99 if flat else 0.0)
    whole, active = grid.read(), grid.active[:]
    assert whole.shape == SHAPE and np.abs(whole).max() <= 1
    assert active.all() == (flat is None)
    assert (whole[~active] == -0.99).all()
    for box in (Box((3, 2, 1), (4, 9, 20)), Box((6, 20, 34), (18, 21, 35))):
        part = grid_of(model_id, slices, latent_flat=flat, background=-0.99 if flat else 0.0).read(box)
        assert np.array_equal(part, whole[box.slices])


def test_another_model_than_the_file_names_is_not_taken(model_id: tuple[str, bytes]) -> None:
    with pytest.raises(ModelNotFound):
        models.load(model_id[0], bytes(32))
    with pytest.raises(ModelNotFound):
        models.load("unheard-of", model_id[1])
