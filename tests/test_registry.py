"""Cards of models: what they must say, and what none may make the registry do."""

import json
from pathlib import Path

import pytest

from inrcodec.errors import ModelNotFound
from inrcodec.layers.superres import registry

SHIPPED = Path(registry.__file__).parent / "models"
CARD = json.loads((SHIPPED / "ct-3d-x4.json").read_text())


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.setenv(registry.OWN, str(tmp_path))
    return tmp_path


def write(folder, name="mine", **changes):
    (folder / f"{name}.json").write_text(json.dumps(CARD | {"id": "mine"} | changes))


def test_ones_own_models_come_first_and_are_found_as_soon_as_they_are_there(own):
    assert registry.choose("CT", (4, 4, 4)) == "ct-3d-x4"
    write(own)
    assert registry.choose("CT", (4, 4, 4)) == "mine"
    assert next(iter(registry.manifests())) == "mine" and "ct-3d-x4" in registry.manifests()


def test_a_file_gets_the_weights_that_it_names_whatever_shares_their_id(own):
    write(own, "ct-3d-x4", id="ct-3d-x4", sha256="ab" * 32)
    assert registry.manifest("ct-3d-x4").sha256 == "ab" * 32
    assert registry.load("ct-3d-x4", bytes.fromhex(CARD["sha256"])).arch.factor == (4, 4, 4)


def test_a_user_model_of_another_factor_is_not_taken_for_the_bundled_one_of_its_id(own):
    other = CARD["architecture"] | {"factor": [2, 2, 2]}
    write(own, "ct-3d-x4", id="ct-3d-x4", sha256="ab" * 32, architecture=other)
    assert registry.matching("ct-3d-x4", bytes.fromhex("ab" * 32)).factor == (2, 2, 2)
    assert registry.matching("ct-3d-x4", bytes.fromhex(CARD["sha256"])).factor == (4, 4, 4)


def test_a_folder_that_is_none_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv(registry.OWN, str(tmp_path / "nowhere"))
    with pytest.raises(ModelNotFound, match="not a folder"):
        registry.manifests()


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "../../etc/passwd"},
        {"id": 3},
        {"id": "other"},
        {"sha256": 5},
        {"sha256": "ab"},
        {"window": [1]},
        {"window": [5, 5]},
        {"window": [0, float("inf")]},
        {"architecture": {}},
        {"architecture": CARD["architecture"] | {"factor": [99, 1, 1]}},
        {"held_out": [{"version": "clean"}]},
    ],
    ids=str,
)
def test_cards_that_say_something_else_are_refused(own, changes):
    write(own, **changes)
    with pytest.raises(ModelNotFound, match="not a model card"):
        registry.manifests()


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "{"])
def test_other_json_is_no_card(own, text):
    (own / "x.json").write_text(text)
    with pytest.raises(ModelNotFound, match="not a model card"):
        registry.manifests()


@pytest.mark.parametrize("sizes", [{"blocks": 10**9}, {"features": 0}, {"growth": 1.5}, {"colour": 1}])
def test_impossible_architectures_are_never_built(own, sizes):
    write(own, architecture=CARD["architecture"] | sizes)
    with pytest.raises(ModelNotFound, match="not a model card"):
        registry.load("mine", bytes.fromhex(CARD["sha256"]))


def test_weights_of_another_architecture_are_not_loaded(own):
    write(own, architecture=CARD["architecture"] | {"blocks": 2})
    (own / "mine.safetensors").write_bytes((SHIPPED / "ct-3d-x4.safetensors").read_bytes())
    with pytest.raises(ModelNotFound, match="architecture"):
        registry.load("mine", bytes.fromhex(CARD["sha256"]))


def test_missing_weights_are_named(own):
    write(own)
    with pytest.raises(ModelNotFound, match="cannot be read"):
        registry.load("mine", bytes.fromhex(CARD["sha256"]))


def test_smaller_models_come_first_and_a_usual_one_where_it_fits(own):
    write(own, "wide", id="wide", parameters=CARD["parameters"] + 1)
    write(own)
    assert registry.choose("CT", (4, 4, 4)) == "mine"
    assert registry.choose("CT", (4, 4, 4), "wide") == "wide"
    assert registry.choose("MR", (2, 2, 2), "wide") == "mr-3d-x2"
