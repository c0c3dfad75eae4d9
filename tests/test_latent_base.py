"""Latents in the encoder: what values are to a model, background, streams, and what stays out of the rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import inrcodec
from inrcodec.encoder import curves
from inrcodec.encoder.bases import latent_forecast, latent_streams
from inrcodec.encoder.bases.latent_streams import Encoder
from inrcodec.encoder.bases.latent_values import PLAIN, Way, ends_of
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.lowres import downsample
from inrcodec.encoder.options import EncodeOptions
from inrcodec.format import limits
from inrcodec.format.limits import LATENT_BYTES
from inrcodec.layers.base import companding
from inrcodec.layers.base.latent import codec, models
from inrcodec.volume.value_range import is_narrow

pytestmark = pytest.mark.usefixtures("few_maps")


def head(low: int = -1024, high: int = 3071) -> np.ndarray:
    """A ball of tissue with a shell of bone in air, in Hounsfield units, and voxels at both ends."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (24, 40, 40)), indexing="ij")
    r = z**2 + y**2 + x**2
    values = np.where(r < 0.5, 40 + 20 * np.sin(9 * x), np.where(r < 0.7, 1200, -1000))
    values[0, 0, :2] = low, high
    return values.astype(np.int16)


def facts_of(array: np.ndarray, modality: str = "CT", **fields: object) -> Facts:
    volume = inrcodec.Volume.from_array(array)
    return Facts.of(replace(volume, modality=modality, **fields))  # type: ignore[arg-type]


def seen(facts: Facts, curve: companding.Nodes, physical: list[float]) -> np.ndarray:
    """What a model sees of physical values."""
    unit = np.array(facts.span.window((physical[0], physical[-1]), facts.volume.rescale))
    unit = np.interp(physical, physical[:: len(physical) - 1], unit)
    return codec.from_unit(unit, ends_of(facts, curve), curve)


def test_a_thousand_hounsfield_units_are_1() -> None:
    plain = facts_of(head())
    falling = facts_of((1000 - head()).astype(np.int16), rescale=(-1.0, 1000.0))
    scaled = facts_of((head() + 1024).astype(np.int16), rescale=(1.0, -1024.0))
    for facts in (plain, falling, scaled):
        assert np.allclose(seen(facts, (), [-1000.0, 0.0, 3000.0]), [-1, 0, 3])
    assert ends_of(falling, ())[0] > ends_of(falling, ())[1]


@pytest.mark.parametrize("steepest", [1.4, 2.5])
@pytest.mark.parametrize("falling", [False, True])
def test_metal_and_pads_change_what_no_other_voxel_is(steepest: float, falling: bool) -> None:
    found = []
    for low, high in ((-1024, 3071), (-2000, 3071), (-1024, 15_000), (-3000, 20_000)):
        array = head(low, high)
        array = (-array).astype(np.int16) if falling else array
        facts = facts_of(array, rescale=(-1.0, 0.0) if falling else (1.0, 0.0))
        curve = curves.for_ct(facts, steepest)
        found.append(seen(facts, curve, [-1000.0, -500.0, 0.0, 100.0, 1000.0, 2000.0]))
        assert np.allclose(seen(facts, (), [-1000.0, 1000.0]), [-1, 1])
    assert np.abs(np.array(found) - found[0]).max() < 0.02  # nodes are rounded
    assert np.allclose(np.diff(found[0])[[0, 4]], [0.5, 1.0], atol=0.01)  # outside of what is favoured
    assert np.isclose(np.diff(found[0])[2], 0.1 * steepest, atol=0.01)


def test_a_focus_is_seen_larger_and_the_rest_as_it_is() -> None:
    facts = facts_of(head())
    options = EncodeOptions(base="latent", focus=(0.0, 80.0)).resolved()
    curve, _ = curves.curve_for(facts, options)
    values = seen(facts, curve, [-1000.0, -500.0, 0.0, 80.0, 1080.0])
    assert np.allclose(np.diff(values)[[0, 3]], [0.5, 1.0], atol=0.02) and np.diff(values)[2] > 0.3


def test_other_modalities_go_by_their_brightest_voxels() -> None:
    rng = np.random.default_rng(0)
    array = rng.integers(0, 900, (16, 20, 20)).astype(np.int16)
    for scale in (1, 20):
        facts = facts_of((array * scale).astype(np.int16), "MR")
        brightest = facts.tails[1]
        assert np.allclose(seen(facts, (), [0.0, brightest]), [-1, 0.5])
    bright = array.copy()
    bright[0, 0, 0] = 30_000  # a vessel changes nothing else
    values = [seen(facts_of(a, "MR"), (), [0.0, 400.0, 800.0]) for a in (array, bright)]
    assert np.allclose(*values, atol=0.01)


def test_padding_is_not_among_the_values() -> None:
    array = np.random.default_rng(0).integers(100, 900, (16, 20, 20)).astype(np.int16)
    padded = array.copy()
    padded[:, :10] = -2000
    ends = [ends_of(f, ()) for f in (facts_of(array, "MR"), facts_of(padded, "MR", padding=-2000.0))]
    assert np.allclose(*ends, atol=0.05)


@pytest.mark.parametrize(
    "array",
    [
        np.full((4, 8, 8), 7, np.int16),
        np.array([0.0, 1e-300] * 32).reshape(4, 4, 4),
        np.array([1e9, 1e9 + 1] * 32).reshape(4, 4, 4),
        np.array([-1e300, 1e300] * 32).reshape(4, 4, 4),
        np.array([-5, 0, 0, 5] * 16, np.int16).reshape(4, 4, 4),
    ],
    ids=["constant", "tiny", "far", "huge", "signed"],
)
@pytest.mark.parametrize("modality", ["CT", "MR", ""])
def test_ends_are_those_of_a_header_whatever_the_values(array: np.ndarray, modality: str) -> None:
    ends = ends_of(facts_of(array, modality), ())
    assert not is_narrow(*sorted(ends))
    assert facts_of(array, modality).is_constant <= (ends == PLAIN)


def test_what_the_encoder_says_of_a_rate_is_what_a_reader_has(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = facts_of(head())
    low = downsample(facts, (1, 1, 1))
    assert low.cells is not None, "there is background"
    monkeypatch.setattr(limits, "LATENT_STREAM", 16 * 40 * 40)
    curve = curves.for_ct(facts)
    encoder = Encoder(low, Way.of(facts, curve), threads=1)
    found = encoder.at(60)
    assert set(found.sections) == {"GIDX", "LATG"}
    data = inrcodec.encode(head(), base="latent", factor=1, preset="fast", size=30_000, threads=1)
    file = inrcodec.open(data)
    header = file.header
    assert header.latent_slices == 16 and header.streams == 2 and header.latent_model == "small"
    again = encoder.at(header.latent_rate)
    values = file.decoder.require_base().read()
    assert again.sections["LATG"] == file.sections["LATG"]
    assert np.square(values - low.values).mean() == pytest.approx(again.error, rel=1e-9)
    assert again.fields == {"latent_rate": header.latent_rate, "latent_flat": header.latent_flat}
    inactive = ~np.asarray(file.decoder.require_base().active)
    assert inactive.any() and (values[inactive] == header.background).all()


def test_a_file_tells_its_model_and_what_that_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    data = inrcodec.encode(head(), base="latent", factor=2, preset="fast", size=6000, threads=1)
    assert len(data) <= 6000
    facts = inrcodec.info(data)
    codec = facts["codec"]
    assert codec["base"] == "latent" and codec["model"] == "small" and 0 <= codec["rate"] < 128
    assert facts["cost"]["multiply_adds"] == 100 * 12 * 20 * 20
    monkeypatch.delenv("INRCODEC_MODELS")
    assert inrcodec.info(data)["cost"]["multiply_adds"] is None
    assert inrcodec.info(data)["cost"]["lowres_bytes"] == LATENT_BYTES * 12 * 20 * 20


def test_a_forecast_looks_at_each_rate_once(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = facts_of(head())
    options = EncodeOptions(base="latent", threads=1).resolved()
    calls, write = [], latent_streams.write_stream

    def counted(model: object, rate: int, *args: object, **words: object) -> object:
        calls.append(rate)
        return write(model, rate, *args, **words)  # type: ignore[arg-type]

    monkeypatch.setattr(latent_streams, "write_stream", counted)
    found = latent_forecast.of(facts, options, (2, 2, 2))
    assert latent_forecast.of(facts, options, (2, 2, 2)) is found
    assert sorted(calls) == list(latent_forecast.RATES)
    assert latent_forecast.expected(facts, (2, 2, 2)).keys() == set(latent_forecast.RATES)
    assert latent_forecast.expected(facts, (1, 1, 1)) == {}
    assert found.coding(float("inf")) == found.coding(1e9) == found.least > 0


def test_of_many_voxels_a_rate_is_sought_by_a_part_first(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.tile(head(), (3, 1, 1))
    low = downsample(facts_of(array), (1, 1, 1))
    monkeypatch.setattr(latent_streams, "MANY", 1000)
    monkeypatch.setattr(latent_streams, "SOME", 50_000)
    encoder = Encoder(low, Way.of(facts_of(array), ()), threads=1)
    quick = encoder.quick(60_000, 0.0)
    assert encoder.found.keys() == {(1, setting) for _, setting in encoder.found}
    whole = encoder.at(quick.setting)
    assert 0.7 < quick.bytes / whole.bytes < 1.4 and 0.5 < quick.error / whole.error < 2
    assert len(quick.sections["LATG"]) < quick.bytes
    assert encoder.best(60_000, 0.0).bytes <= 60_000


def test_background_is_what_leaves_the_least_error(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = facts_of(head())
    low = downsample(facts, (1, 1, 1))
    errors = {}
    for times in ((1.0,), (1.5,), (2.5,), latent_streams.TIMES):
        monkeypatch.setattr(latent_streams, "TIMES", times)
        errors[times] = Encoder(low, Way.of(facts, ()), threads=1).at(110).error
    assert errors[latent_streams.TIMES] == min(errors.values()) < max(errors.values())


@pytest.mark.parametrize("options", [{"size": 3000}, {"psnr": 36.0}, {"max_error": 4.0}], ids=str)
def test_the_shipped_model_serves_every_target(monkeypatch: pytest.MonkeyPatch, options: dict) -> None:
    monkeypatch.delenv("INRCODEC_MODELS")
    array = head()
    data = inrcodec.encode(array, base="latent", preset="fast", threads=1, **options)
    file = inrcodec.open(data)
    if file.header.coder == "latent":
        assert file.header.latent_model in models.manifests()
    assert file.verify() and len(data) <= options.get("size", len(data))
    errors = file.read().astype(float) - array
    assert np.abs(errors).max() <= options.get("max_error", np.inf)
    assert file.header.psnr >= options.get("psnr", 0)
