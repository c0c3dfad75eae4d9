"""The models of the package: cards that are whole, small enough together, and a page that tells the same."""

import json
from math import prod
from pathlib import Path

import pytest

from inrcodec.layers.superres import registry

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "inrcodec" / "layers" / "superres" / "models"
PAGE = (ROOT / "docs" / "superres.md").read_text()
CARDS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
assert CARDS
MOST = 12_000_000  # bytes of all weights


def gains(card, kind):
    """Means over the held-out volumes, in the order of the card."""
    found = {}
    for r in card["held_out"]:
        if r["version"].startswith(kind):
            found.setdefault(r["version"], []).append(r["model"] - r["lanczos"])
    return " / ".join(f"{sum(g) / len(g):+.2f}" for g in found.values()) or "–"


def row(card):
    """The line of the page's table."""
    factor = " × ".join(map(str, card["architecture"]["factor"]))
    size = (FOLDER / f"{card['id']}.safetensors").stat().st_size
    volumes = dict.fromkeys(r["volume"].removesuffix(".nii.gz") for r in card["held_out"])
    return (
        f"| `{card['id']}` | {card['modality']}, {factor} | {card['parameters']:,} | {size / 1e6:.2f} MB "
        f"| {', '.join(volumes)} | {gains(card, 'clean')} | {gains(card, 'w')} | {gains(card, 'av1-')} "
        f"| {gains(card, 'latent-')} |"
    )


@pytest.mark.parametrize("model", CARDS)
def test_the_page_tells_what_the_card_tells(model):
    assert row(CARDS[model]) in PAGE, row(CARDS[model])


@pytest.mark.parametrize("model", CARDS)
def test_every_card_is_whole(model):
    card = CARDS[model]
    assert card["id"] == model and card["modality"] in ("CT", "MR") and "guess" in card["limitation"]
    assert all(volume["licence"] not in ("", "not stated") for volume in card["trained_on"])
    trained = {volume["name"] for volume in card["trained_on"]}
    assert trained.isdisjoint(r["volume"] for r in card["held_out"]) and card["held_out"]
    assert (registry.manifest(model).lift > 0) == (prod(card["architecture"]["factor"]) > 1)


def test_no_model_was_trained_on_the_volumes_that_figures_are_taken_on():
    names = {volume["name"] for card in CARDS.values() for volume in card["trained_on"]}
    assert not [name for name in names if "mni152" in name or name.startswith("ct-head-visible-human")]


def test_all_weights_together_are_small():
    assert sum(path.stat().st_size for path in FOLDER.glob("*.safetensors")) <= MOST
