"""Cards of latent models: one folder for all kinds, and what none may make the registry do."""

from __future__ import annotations

import json
import sys
from hashlib import sha256
from types import ModuleType

import numpy as np
import pytest
import zstandard
from safetensors.numpy import save

from inrcodec.errors import ModelNotFound
from inrcodec.layers.base.latent import models
from inrcodec.layers.models import MOST, OWN, packed
from inrcodec.layers.superres import registry

WEIGHTS = save({"steps": np.arange(3, dtype=np.int32)})
DIGEST = sha256(WEIGHTS).digest()
CARD = {"kind": "latent", "id": "mine", "sha256": DIGEST.hex(), "multiply_adds": 40_000}


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.setenv(OWN, str(tmp_path))
    return tmp_path


@pytest.fixture
def networks(monkeypatch):
    """Stands for the networks, of which the registry knows nothing."""

    class Model(dict):
        @classmethod
        def of(cls, tensors):
            if "steps" not in tensors:
                raise ValueError("no steps")
            return cls(tensors)

    module = ModuleType("inrcodec.layers.base.latent.model")
    module.Model = Model
    monkeypatch.setitem(sys.modules, module.__name__, module)
    models._loaded.cache_clear()
    yield
    models._loaded.cache_clear()


def write(folder, name="mine", weights=WEIGHTS, **changes):
    (folder / f"{name}.json").write_text(json.dumps(CARD | {"id": name} | changes))
    (folder / f"{name}.safetensors").write_bytes(weights)


@pytest.mark.parametrize("name", sorted(models.manifests()))
def test_bundled_models_load_and_their_cards_say_what_they_are(name):
    known, card = models.manifest(name), models.card(name)
    assert models.load(name, bytes.fromhex(known.sha256)).multiply_adds == known.multiply_adds
    assert card["trained_on"] and all(volume["licence"] for volume in card["trained_on"])
    assert card["held_out"] and card["limitation"]


def test_each_registry_sees_the_models_of_its_own_kind(own):
    write(own)
    write(own, "later", kind="of another version")
    shipped = json.loads((registry.FOLDER / "ct-3d-x4.json").read_text())
    assert "kind" not in shipped  # cards of before there were kinds are of super-resolution
    (own / "sharp.json").write_text(json.dumps(shipped | {"id": "sharp"}))
    assert "mine" in models.manifests() and not {"sharp", "later"} & set(models.manifests())
    assert "sharp" in registry.manifests() and not {"mine", "later"} & set(registry.manifests())


def test_a_model_is_found_as_soon_as_it_is_there_and_loaded_by_its_hash(own, networks):
    with pytest.raises(ModelNotFound, match="latent model 'mine' is unknown"):
        models.manifest("mine")
    write(own)
    assert models.usual().id == "mine" and models.manifest("mine").multiply_adds == 40_000
    assert models.card("mine") == CARD
    loaded = models.load("mine", DIGEST)
    assert list(loaded["steps"]) == [0, 1, 2] and models.load("mine", DIGEST) is loaded


def test_the_usual_model_is_the_fastest_of_the_user(own):
    write(own, "heavy", multiply_adds=50_000)
    write(own)
    assert models.usual().id == "mine"


def test_a_version_without_models_says_so(monkeypatch):
    monkeypatch.setattr(models, "manifests", dict)
    monkeypatch.delenv(OWN, raising=False)
    with pytest.raises(ModelNotFound, match="choose another base"):
        models.usual()


@pytest.mark.parametrize("work", [0, -1, 1.5, "1", True, None])
def test_cards_whose_work_is_no_number_are_refused(own, work):
    write(own, multiply_adds=work)
    with pytest.raises(ModelNotFound, match="not a model card"):
        models.manifests()


def test_a_card_without_its_work_is_refused(own):
    (own / "mine.json").write_text(json.dumps({k: v for k, v in CARD.items() if k != "multiply_adds"}))
    with pytest.raises(ModelNotFound, match="not a model card"):
        models.manifests()


def test_weights_may_be_compressed_and_those_are_taken(own, networks):
    write(own, weights=b"of before")
    (own / "mine.safetensors.zst").write_bytes(packed(WEIGHTS))
    assert list(models.load("mine", DIGEST)["steps"]) == [0, 1, 2]
    assert models.REGISTRY.stored(models.manifest("mine"), DIGEST) == packed(WEIGHTS)
    (own / "mine.safetensors.zst").write_bytes(packed(WEIGHTS + b" "))
    with pytest.raises(ModelNotFound, match="the file needs"):
        models.REGISTRY.weights(models.manifest("mine"), DIGEST)


def bomb(has_size: bool) -> bytes:
    """More zeros than a model may have bytes, compressed a piece at a time."""
    packer = zstandard.ZstdCompressor(write_content_size=has_size)
    stream, piece = packer.compressobj(MOST + (1 << 20) if has_size else -1), bytes(1 << 20)
    return b"".join([*(stream.compress(piece) for _ in range((MOST >> 20) + 1)), stream.flush()])


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (b"", "not a zstd frame"),
        (WEIGHTS, "not a zstd frame"),
        (packed(WEIGHTS)[:-1], "holds"),
        (packed(WEIGHTS) + b" ", "holds"),
        (packed(WEIGHTS) + packed(WEIGHTS), "holds"),
        (bomb(True), "at most"),
        (bomb(False), "at most"),
    ],
    ids=["nothing", "plain", "cut", "followed", "two", "bomb", "bomb without a size"],
)
def test_compressed_weights_inflate_to_what_a_model_may_have(own, networks, frugal, stored, words):
    write(own)
    (own / "mine.safetensors.zst").write_bytes(stored)
    with pytest.raises(ModelNotFound, match=f"cannot be read: .*{words}"):
        models.load("mine", DIGEST)


def test_larger_files_than_a_model_may_have_are_not_read(own, networks, monkeypatch):
    monkeypatch.setattr("inrcodec.layers.models.MOST", len(WEIGHTS) - 1)
    write(own)
    with pytest.raises(ModelNotFound, match="cannot be read: more than"):
        models.load("mine", DIGEST)


@pytest.mark.parametrize(
    ("weights", "stated", "words"),
    [
        (WEIGHTS + b" ", DIGEST, "the file needs"),
        (WEIGHTS, sha256(b"").digest(), "the file needs"),
        (b"not safetensors", None, "holds no networks"),
        (save({"other": np.zeros(1)}), None, "holds no networks"),
    ],
)
def test_other_networks_are_not_loaded(own, networks, weights, stated, words):
    digest = stated or sha256(weights).digest()
    write(own, weights=weights, sha256=digest.hex())
    with pytest.raises(ModelNotFound, match=words):
        models.load("mine", digest)


def test_networks_that_are_missing_are_named(own, networks):
    write(own)
    (own / "mine.safetensors").unlink()
    with pytest.raises(ModelNotFound, match="cannot be read"):
        models.load("mine", DIGEST)
