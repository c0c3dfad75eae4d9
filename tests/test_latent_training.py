"""Training of latent models: options, volumes, crops, a resumed training, and cards that are true."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import small_latents
import torch
from conftest import interrupted_at

from inrcodec import Volume, io
from inrcodec.cli import train as command
from inrcodec.encoder.fit.checkpoint import Checkpoint, keeping
from inrcodec.errors import CorruptFile, FitFailed, InputError, ModelNotFound, UsageError, WriteError
from inrcodec.layers.base.latent import models
from inrcodec.layers.base.latent.stream import values_of, write_stream
from inrcodec.layers.models import OWN, unpacked
from inrcodec.training.latent import materials, run, trainer, weights
from inrcodec.training.latent.crops import Crops
from inrcodec.training.latent.options import LatentOptions
from inrcodec.training.latent.trainer import Trainer

ROOT = Path(__file__).parents[1]
HEAD = ROOT / "tests" / "data" / "vhf-head.nii.gz"
MAPS = 8


@pytest.fixture(scope="module")
def head():
    """A crop of a real head in HU, (16, 96, 96)."""
    return io.read(HEAD).values()[8:24, 200:296, 200:296]


@pytest.fixture
def volumes(head, tmp_path):
    paths = [tmp_path / "a.npy", tmp_path / "b.npy"]
    np.save(paths[0], head)
    np.save(paths[1], head[::-1, :64])
    return paths


def options(volumes, tmp_path, **changes):
    usual = {"out": tmp_path / "out", "maps": MAPS, "threads": 1, "held_out": volumes[1:]}
    return LatentOptions(**{"volumes": volumes[:1]} | usual | changes)


def words_for(folder, *words):
    usual = "--base latent --maps 8 --threads 1 --report 2 --model mine -q"
    held = ["--held-out", str(folder / "b.npy")]
    return [str(folder / "a.npy"), "--out", str(folder / "out"), *usual.split(), *held, *words]


# --- options


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"maps": 10}, "a multiple of 4"),
        ({"maps": 0}, "from 4 to 512"),
        ({"steps": 0}, "at least 1 from random weights"),
        ({"steps": -1}, "steps: -1"),
        ({"start": ""}, "a path"),
        ({"model": "../x"}, "small letters"),
        ({"offsets": {"c.npy": 1.0}}, "none of the volumes"),
    ],
)
def test_what_cannot_be_is_refused_before_a_volume_is_read(volumes, tmp_path, changes, words):
    with pytest.raises(UsageError, match=words):
        options(volumes, tmp_path, **changes)


def test_an_export_replaces_nothing_without_force(volumes, tmp_path):
    (tmp_path / "w").touch()
    with pytest.raises(WriteError, match="exists"):
        options(volumes, tmp_path, export=tmp_path / "w")
    assert options(volumes, tmp_path, export=tmp_path / "w", force=True).export == tmp_path / "w"


# --- materials


def test_ct_is_thousands_of_hu_and_what_is_beyond_12_bits_is_cut():
    hu = np.linspace(-3000, 5000, 4096).reshape(16, 16, 16)
    found = materials.network_values(replace(Volume.from_array(hu), modality="CT"), None)
    np.testing.assert_allclose(found, hu.clip(-1024, 3071) / 1000, atol=1e-6)
    raw = materials.network_values(Volume.from_array((hu + 1024).clip(0, 4095)), -1024.0)
    np.testing.assert_allclose(raw, hu.clip(-1024, 3071) / 1000, atol=1e-3)


@pytest.mark.parametrize("scale", [1, 7])
def test_values_without_a_unit_are_scaled_to_a_percentile(scale):
    values = np.random.default_rng(0).integers(0, 900, (16, 16, 16)) * scale
    found = materials.network_values(Volume.from_array(values.astype(np.uint16)), None)
    assert found.min() == pytest.approx(-1, abs=0.01) and np.percentile(found, 99.5) == pytest.approx(0.5)


def test_padding_is_air_or_no_signal():
    values = np.full((4, 4, 4), 100, np.int16)
    values[0] = -2000
    for modality, level in (("CT", -1.024), ("MR", -1.0)):
        volume = replace(Volume.from_array(values, padding=-2000), modality=modality)
        assert np.unique(materials.network_values(volume, None)[0]) == pytest.approx(level)


def test_volumes_that_teach_nothing_are_refused(volumes, tmp_path):
    with pytest.raises(InputError, match="no signal"):
        materials.network_values(replace(Volume.from_array(np.zeros((4, 4, 4))), modality="MR"), None)
    np.save(volumes[0], np.zeros((3, 64, 64), np.int16) - 1000)
    with pytest.raises(InputError, match="too few"):
        materials.read(options(volumes, tmp_path))


def test_a_volume_is_used_at_all_factors_that_leave_enough_and_held_out_at_the_first(volumes, tmp_path):
    seen, held = materials.read(options(volumes, tmp_path))
    expected = list(materials.factors_for((1, 1, 1)))
    assert [m.factor for m in seen] == expected and {m.name for m in seen} == {"a.npy"}
    assert [(m.name, m.factor) for m in held] == [("b.npy", expected[0])]
    for m in seen:
        assert m.shape == tuple(-(-n // f) for n, f in zip((16, 96, 96), m.factor, strict=True))
        assert not any(n % 16 for n in m.values.shape) and m.whole.shape == m.shape


def test_of_a_single_volume_the_last_fifth_is_held_out(tmp_path):
    ramp = np.broadcast_to(np.arange(-1000, 1500, 25)[:, None, None], (100, 20, 20)).astype(np.int16)
    np.save(tmp_path / "one.npy", ramp)
    seen, held = materials.read(options([tmp_path / "one.npy"], tmp_path))
    assert max(m.values.max() for m in seen) < min(m.values.min() for m in held)
    np.save(tmp_path / "one.npy", ramp[40:52])
    with pytest.raises(InputError, match="add another volume"):
        materials.read(options([tmp_path / "one.npy"], tmp_path))


# --- crops


def test_crops_follow_from_seed_and_step(volumes, tmp_path):
    seen, _ = materials.read(options(volumes, tmp_path))
    crops, again, other = (Crops(seen, seed) for seed in (1, 1, 2))
    first = crops.draw(5, 2)
    assert first.values.shape[:2] == (2, 1) and not any(n % 16 for n in first.values.shape[2:])
    same = again.draw(5, 2)
    assert torch.equal(first.values, same.values) and torch.equal(first.rates, same.rates)
    assert first.seed == same.seed and (first.rates.abs() <= 1).all()
    assert not torch.equal(first.rates, crops.draw(6, 2).rates)
    assert not torch.equal(first.rates, other.draw(5, 2).rates)


def test_volumes_smaller_than_a_crop_give_what_they_have(volumes, tmp_path):
    seen, _ = materials.read(options(volumes, tmp_path))
    small = [m for m in seen if m.factor[1] == 4]
    assert set(Crops(small, 0).groups) == {(16, 32, 32)}
    with pytest.raises(InputError, match="no volume"):
        Crops([], 0)


# --- trainer


@pytest.fixture
def training(volumes, tmp_path):
    """Options, and crops."""
    chosen = options(volumes, tmp_path, steps=4, report=100)
    return chosen, Crops(materials.read(chosen)[0], 0)


def trained(training, steps, path=None):
    chosen, crops = training
    made = Trainer(chosen)
    while made.steps < steps:
        made.step(crops.draw(made.steps, 1))
    if path is not None:
        with keeping(Checkpoint(path), made, lambda: "digest") as note:
            note(True)
    return made


def test_a_resumed_training_is_the_same_training(training, tmp_path):
    whole = trained(training, 4)
    trained(training, 2, tmp_path / "c")
    torch.manual_seed(99)
    rest = Trainer(training[0])
    with keeping(Checkpoint(tmp_path / "c"), rest, lambda: "digest"):
        assert rest.steps == 2
        while rest.steps < 4:
            rest.step(training[1].draw(rest.steps, 1))
    for name, value in whole.average.items():
        torch.testing.assert_close(rest.average[name], value, rtol=0, atol=1e-6)


def test_training_brings_the_loss_down(training):
    chosen, crops = training
    made = Trainer(replace(chosen, steps=200, learning_rate=0.05))
    batch = crops.draw(0, 1)

    def loss():
        return float(trainer.loss_of(made.network, batch, "cpu").detach())

    before = loss()
    for _ in range(8):
        made.step(batch)
    assert loss() < before
    assert all(torch.isfinite(value).all() for value in made.averaged().state_dict().values())


def test_a_gradient_that_is_not_finite_changes_nothing_and_a_hundred_are_refused(training):
    chosen, crops = training
    made, batch = Trainer(chosen), crops.draw(0, 1)
    batch.values[0, 0, 0, 0, 0] = float("nan")
    before = {name: value.clone() for name, value in made.network.state_dict().items()}
    made.step(batch)
    assert made.steps == 1 and made.skipped == 1
    assert all(torch.equal(value, before[name]) for name, value in made.network.state_dict().items())
    made.skipped = trainer.MOST_SKIPPED - 1
    with pytest.raises(FitFailed, match="diverged"):
        made.step(batch)


# --- models


@pytest.fixture(scope="module")
def model(tmp_path_factory, head):
    """A folder with a model that was trained for a moment."""
    folder = tmp_path_factory.mktemp("latent")
    np.save(folder / "a.npy", head)
    np.save(folder / "b.npy", head[::-1, :64])
    words = words_for(folder, "--steps", "4", "--licences", "a.npy=none", "--export", str(folder / "floats"))
    assert command.main(words) == 0
    return folder


def test_the_card_is_true_of_the_model_beside_it(model, monkeypatch):
    monkeypatch.setenv(OWN, str(model / "out"))
    card = json.loads((model / "out" / "mine.json").read_text())
    body = unpacked((model / "out" / "mine.safetensors.zst").read_bytes())
    assert card["sha256"] == sha256(body).hexdigest() and card["kind"] == "latent"
    assert card["trained_on"] == [{"name": "a.npy", "licence": "none"}] and card["training"]["steps"] == 4
    loaded = models.load("mine", bytes.fromhex(card["sha256"]))
    assert loaded.multiply_adds == card["multiply_adds"] == models.manifest("mine").multiply_adds
    points = card["held_out"]
    assert {p["volume"] for p in points} == {"b.npy"} and [p["rate"] for p in points] == [8, 32, 56, 80, 104]
    _, (held,) = materials.read(options([model / "a.npy", model / "b.npy"], model))
    stream, integers = write_stream(loaded, 56, held.whole.astype(np.float64))
    error = np.square(values_of(loaded, 56, integers) - held.whole).mean()
    assert points[2]["bytes"] == len(stream) and points[2]["voxels"] == held.whole.size
    assert points[2]["psnr"] == pytest.approx(-10 * np.log10(error / 4.095**2), abs=0.01)
    lines = (model / "out" / "mine.log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["step", "2", "4"]


def test_more_steps_resume_the_training_and_other_options_do_not(model, capsys):
    assert command.main(words_for(model, "--steps", "4")) == 7
    assert command.main(words_for(model, "--steps", "5", "--force")) == 0
    assert json.loads((model / "out" / "mine.json").read_text())["training"]["steps"] == 5
    assert command.main(words_for(model, "--learning-rate", "0.5", "--force")) == 2
    assert "--out: " in capsys.readouterr().err


def test_exported_weights_become_a_model_again_and_are_trained_further(model, tmp_path, monkeypatch):
    volumes = [model / "b.npy", model / "a.npy"]
    as_it_is = options(volumes, tmp_path, start=str(model / "floats"), steps=0, model="again", maps=96)
    card = json.loads(run.train(as_it_is).read_text())
    before = json.loads((model / "out" / "mine.json").read_text())
    assert [v["name"] for v in card["trained_on"]] == ["b.npy", "a.npy"]
    assert card["training"] == before["training"] | {"steps": 4, "seconds": card["training"]["seconds"]}
    assert card["parameters"] == before["parameters"]
    monkeypatch.setenv(OWN, str(tmp_path / "out"))
    further = options(volumes, tmp_path, start="again", steps=1, learning_rate=1e-9, model="next")
    run.train(replace(further, export=tmp_path / "next"))
    before, after = (
        weights.start_of(options(volumes, tmp_path, start=str(path), model="other"))
        for path in (model / "floats", tmp_path / "next")
    )
    for name, value in before.weights.items():
        torch.testing.assert_close(after.weights[name], value, rtol=1e-3, atol=1e-3)


def test_what_cannot_be_started_from_is_refused(model, tmp_path, monkeypatch):
    monkeypatch.setenv(OWN, str(model / "out"))
    volumes = [model / "a.npy", model / "b.npy"]

    def start(text):
        return weights.start_of(options(volumes, tmp_path, start=str(text)))

    assert start("mine").weights
    with pytest.raises(ModelNotFound, match="no-such"):
        start("no-such")
    with pytest.raises(InputError, match="does not exist"):
        start(tmp_path / "nowhere.safetensors")
    for path in (HEAD, model / "out" / "mine.safetensors.zst"):
        with pytest.raises(CorruptFile, match="float weights"):
            start(path)
    monkeypatch.setenv(OWN, str(tmp_path))
    small_latents.install(tmp_path)
    with pytest.raises(UsageError, match="start: the networks of small are of another kind"):
        start("small")


def test_an_interrupt_keeps_what_was_learnt(volumes, tmp_path, capsys, monkeypatch):
    interrupted_at(monkeypatch, Trainer, 2)
    assert command.main([word for word in words_for(tmp_path, "--report", "99") if word != "-q"]) == 130
    assert "resumes it" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "out").glob("*")] == ["mine.checkpoint.safetensors"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["a.npy", "--base", "latent"], 2),
        (["a.npy", "--base", "siren", "--out", "out"], 2),
        (["a.npy", "--base=latent", "--out", "out", "--factor", "4"], 2),
        (["nowhere.npy", "--base=latent", "--out", "out"], 3),
    ],
)
def test_wrong_words_are_refused(words, code, volumes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command.main(words) == code
    assert capsys.readouterr().err.startswith("inrv-train: error: ")
