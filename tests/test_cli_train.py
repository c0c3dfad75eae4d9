"""`inrv-train`: a model from volumes, refused early, interrupted without loss, used by its ID."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
import torch
from conftest import interrupted_at
from training_samples import FACTOR, options, texture

import inrcodec
from inrcodec.cli import train as command
from inrcodec.format import container
from inrcodec.layers.superres import registry
from inrcodec.training import run
from inrcodec.training.trainer import Trainer


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with a model that was trained for a moment."""
    folder = tmp_path_factory.mktemp("model")
    np.save(folder / "v.npy", texture((40, 48, 48)))
    assert command.main(words_for(folder, "--steps", "20", "--curve", "--learning-rate", "0.01")) == 0
    return folder / "out"


def words_for(folder, *words):
    usual = "--factor 2 --modality CT --fits 0 --patch 9,10,10 --report 8 --batch 2 --model my-model -q"
    return [
        str(folder / "v.npy"),
        "--out",
        str(folder / "out"),
        *usual.split(),
        "--licences",
        "v.npy=none",
        *words,
    ]


def test_the_card_is_true_of_the_weights_beside_it(model):
    card = json.loads((model / "my-model.json").read_text())
    assert card["sha256"] == sha256((model / "my-model.safetensors").read_bytes()).hexdigest()
    assert card["trained_on"] == [{"name": "v.npy", "licence": "none"}]
    assert card["training"]["steps"] == 20 and card["held_out"][0]["volume"] == "v.npy (last fifth)"
    lines = (model / "my-model.log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["step", "8", "16", "20"]
    assert (model / "my-model.curve.png").read_bytes()[:4] == b"\x89PNG"


def with_model(blob, name):
    """A file that names a model, whatever the encoder would have thought of it."""
    header, sections = container.read(blob)
    digest = bytes.fromhex(registry.manifest(name).sha256)
    named = replace(header, sr=name, sr_sha256=digest, sr_window=registry.WINDOWS["CT"])
    return container.pack(list({**sections, "HEAD": named.to_bytes()}.items()))


def test_a_user_model_encodes_and_decodes(model, monkeypatch):
    keywords = {"factor": 2, "steps": 100, "width": 8, "modality": "CT", "sr": "lanczos"}
    monkeypatch.setenv(registry.OWN, str(model))
    assert registry.choose("CT", FACTOR) == "my-model"
    blob = with_model(inrcodec.encode(texture((40, 48, 48)), **keywords), "my-model")
    decoded = inrcodec.decode(blob)
    plain = inrcodec.decode(blob, sr="lanczos")
    assert not np.array_equal(decoded, plain)
    monkeypatch.delenv(registry.OWN)
    with pytest.raises(inrcodec.ModelNotFound, match="my-model"):
        inrcodec.decode(blob)
    assert np.array_equal(inrcodec.decode(blob, sr="lanczos"), plain)


def test_more_steps_resume_the_training_and_its_log(model):
    assert command.main(words_for(model.parent, "--steps", "21", "--learning-rate", "0.01", "--force")) == 0
    lines = (model / "my-model.log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["step", "8", "16", "20", "21"]
    assert json.loads((model / "my-model.json").read_text())["training"]["steps"] == 21


def test_other_options_do_not_resume_it(model, capsys):
    assert command.main(words_for(model.parent, "--learning-rate", "0.5", "--force")) == 2
    assert "--out: " in capsys.readouterr().err


def test_a_model_is_not_replaced_without_force(model, capsys):
    assert command.main(words_for(model.parent)) == 7
    assert "--force" in capsys.readouterr().err


def test_a_training_can_begin_with_another_models_weights(model, monkeypatch, tmp_path):
    monkeypatch.setenv(registry.OWN, str(model))
    np.save(tmp_path / "w.npy", texture((40, 48, 48), seed=3))
    found = options(
        [tmp_path / "w.npy"], tmp_path, start="my-model", steps=1, learning_rate=1e-9, model="next"
    )
    card = json.loads(run.train(found).read_text())
    assert [v["name"] for v in card["trained_on"]] == ["w.npy", "v.npy"] and card["training"][
        "start"
    ] == "my-model"
    before, after = (
        registry.load(name, bytes.fromhex(registry.manifest(name).sha256)).state_dict()
        for name in ("my-model", "next")
        if not monkeypatch.setenv(registry.OWN, str(model if name == "my-model" else tmp_path / "out"))
    )
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=1e-3, atol=1e-4)


def test_an_interrupt_keeps_what_was_learnt(tmp_path, capsys, monkeypatch):
    np.save(tmp_path / "v.npy", texture((40, 48, 48)))
    interrupted_at(monkeypatch, Trainer, 2)
    words = [word for word in words_for(tmp_path) if word != "-q"]
    assert command.main(words) == 130
    assert "resumes it" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "out").glob("*")] == ["my-model.checkpoint.safetensors"]


def test_a_curve_needs_its_extra(tmp_path, monkeypatch, capsys):
    np.save(tmp_path / "v.npy", texture((40, 48, 48)))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert command.main(words_for(tmp_path, "--curve")) == 3
    assert "inrcodec[plots]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["nowhere.npy", "--factor", "2", "--modality", "CT"], 3),
        (["v.npy", "--factor", "2"], 2),
        (["v.npy", "--factor", "2,2", "--modality", "CT"], 2),
        (["v.npy", "--factor", "2", "--modality", "CT", "--offsets", "v.npy"], 2),
        (["v.npy", "--factor", "2", "--modality", "CT", "--offsets", "v.npy=x"], 2),
        (["v.npy", "--factor", "2", "--modality", "CT", "--held-out", "v.npy"], 2),
        (["v.npy", "--factor", "2", "--modality", "CT", "--device", "tpu"], 2),
        (["v.npy", "--factor", "2", "--modality", "CT", "--start", "no-such"], 9),
    ],
)
def test_wrong_words_are_refused(words, code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("v.npy", texture())
    assert command.main([*words, "--fits", "0", "--out", "out", "-q"]) == code
    assert capsys.readouterr().err.startswith("inrv-train: error: ")


def test_the_output_is_a_folder(tmp_path, capsys):
    np.save(tmp_path / "v.npy", texture())
    (tmp_path / "out").touch()
    assert command.main(words_for(tmp_path)) == 2
    assert "is a file" in capsys.readouterr().err
