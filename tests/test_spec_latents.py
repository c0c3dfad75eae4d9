"""What the specification says of latents beyond its vectors: background, and the model that they name."""

from __future__ import annotations

import json
from hashlib import sha256
from importlib import import_module

import numpy as np
import pytest
from test_spec import MODEL, coders, reference, table, vector

import inrcodec
from inrcodec.format import container
from inrcodec.layers.base.latent.codec import LatentGrid

pytestmark = pytest.mark.usefixtures("small_model")


@pytest.mark.parametrize("name", ["latent", "latent-streams"])
def test_both_decoders_say_where_latents_are_background(name: str) -> None:
    data, expected, _ = vector(name)
    base, lowres = inrcodec.open(data).decoder.require_base(), expected["lowres"]
    assert isinstance(base, LatentGrid)
    header = reference.read_header(container.unpack(data)["HEAD"], 0)
    assert np.array_equal(base.active[:], import_module("reference_latent").active(header, lowres))
    assert 0 < base.active[:].mean() < 1 and (lowres[~base.active[:]] == base.header.background).all()


def test_latents_of_another_model_are_refused() -> None:
    data, _, _ = vector("latent-coarsest")
    with pytest.raises(coders.Invalid):
        reference.decode(data, [MODEL.read_bytes() + b" "])
    with pytest.raises(coders.Invalid):
        reference.decode(data)


def test_the_small_model_is_the_one_that_its_card_states() -> None:
    card = json.loads(MODEL.with_suffix(".json").read_text())
    assert sha256(MODEL.read_bytes()).hexdigest() == card["sha256"], "it is never written again"
    shapes = import_module("reference_latent").read_model(MODEL.read_bytes())
    assert {shape.shape[2] for name, shape in shapes.items() if name.endswith(".weight")} == {1, 3}
    stated = {row[0].split("`")[1] for row in table("Model") if row[0].startswith("`")}
    assert {name for name in stated if name in shapes} >= {"sines", "steps", "gains", "inverse", "companding"}
