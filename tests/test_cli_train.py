"""`inrv-train`: a model from volumes, refused early, interrupted without loss, used by its ID."""

from __future__ import annotations

import json
import sys
from hashlib import sha256

import numpy as np
import pytest
import torch
from conftest import encoded
from test_training import FACTOR, options, texture

import inrcodec
from inrcodec.cli import train as command
from inrcodec.layers.superres import registry
from inrcodec.training import run
from inrcodec.training.trainer import Training


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with a model that learnt a little."""
    folder = tmp_path_factory.mktemp("model")
    np.save(folder / "v.npy", texture((40, 48, 48)))
    assert command.main(words_for(folder, "--steps", "200", "--curve", "--rate", "0.01")) == 0
    return folder / "out"


def words_for(folder, *words):
    usual = "--factor 2 --modality CT --fits 0 --patch 9,10,10 --report 80 --batch 2 --id my-model -q"
    return [
        str(folder / "v.npy"),
        "--out",
        str(folder / "out"),
        *usual.split(),
        "--licence",
        "v.npy=none",
        *words,
    ]


def test_the_card_is_true_of_the_weights_beside_it(model):
    card = json.loads((model / "my-model.json").read_text())
    assert card["sha256"] == sha256((model / "my-model.safetensors").read_bytes()).hexdigest()
    assert card["trained_on"] == [{"name": "v.npy", "licence": "none"}]
    assert card["training"]["steps"] == 200 and card["held_out"][0]["volume"] == "v.npy (last fifth)"
    lines = (model / "my-model.log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["step", "80", "160", "200"]
    assert (model / "my-model.curve.png").read_bytes()[:4] == b"\x89PNG"


def test_a_model_of_ones_own_encodes_and_decodes(model, monkeypatch):
    knobs = {"factor": 2, "steps": 600, "width": 30, "modality": "CT"}
    monkeypatch.setenv(registry.OWN, str(model))
    assert registry.choose("CT", FACTOR) == "my-model"
    blob, report = encoded(texture((40, 48, 48)), **knobs)
    assert report.sr == "my-model" and report.psnr > report.psnr_lanczos
    decoded = inrcodec.decode(blob)
    plain = inrcodec.decode(blob, sr="lanczos")
    assert not np.array_equal(decoded, plain)
    monkeypatch.delenv(registry.OWN)
    with pytest.raises(inrcodec.ModelNotFound, match="my-model"):
        inrcodec.decode(blob)
    assert np.array_equal(inrcodec.decode(blob, sr="lanczos"), plain)


def test_more_steps_go_on_with_the_run_and_its_log(model):
    assert command.main(words_for(model.parent, "--steps", "210", "--rate", "0.01", "--force")) == 0
    lines = (model / "my-model.log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["step", "80", "160", "200", "210"]
    assert json.loads((model / "my-model.json").read_text())["training"]["steps"] == 210


def test_other_knobs_do_not_go_on_with_it(model, capsys):
    assert command.main(words_for(model.parent, "--rate", "0.5", "--force")) == 2
    assert "another --out" in capsys.readouterr().err


def test_a_model_is_not_replaced_without_force(model, capsys):
    assert command.main(words_for(model.parent)) == 7
    assert "--force" in capsys.readouterr().err


def test_a_training_can_begin_with_another_models_weights(model, monkeypatch, tmp_path):
    monkeypatch.setenv(registry.OWN, str(model))
    np.save(tmp_path / "w.npy", texture((40, 48, 48), seed=3))
    found = options([tmp_path / "w.npy"], tmp_path, start="my-model", steps=1, rate=1e-9, model="next")
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
    whole = Training.step

    def interrupted(self, batch):
        if self.steps == 2:
            raise KeyboardInterrupt
        whole(self, batch)

    monkeypatch.setattr(Training, "step", interrupted)
    monkeypatch.setattr("inrcodec.training.trainer.SAVED_EVERY", 0.0)
    words = [word for word in words_for(tmp_path) if word != "-q"]
    assert command.main(words) == 130
    assert "goes on with it" in capsys.readouterr().err
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
        (["v.npy", "--factor", "2", "--modality", "CT", "--offset", "v.npy"], 2),
        (["v.npy", "--factor", "2", "--modality", "CT", "--offset", "v.npy=x"], 2),
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
