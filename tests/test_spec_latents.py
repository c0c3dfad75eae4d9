"""What the specification says of latents beyond its vectors: background, and the model that they name."""

from __future__ import annotations

import json
from hashlib import sha256
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save
from test_spec import MODELS, SPEC, coders, reference, table, vector

import inrcodec
from inrcodec.errors import CorruptFile
from inrcodec.format import container
from inrcodec.layers.base.latent.codec import LatentGrid
from inrcodec.layers.base.latent.model import Model
from inrcodec.layers.base.latent.stream import read_stream, values_of

latents: Any = import_module("reference_latent")

pytestmark = pytest.mark.usefixtures("small_model")


@pytest.mark.parametrize("name", ["latent", "latent-streams", "latent-deep"])
def test_both_decoders_say_where_latents_are_background(name: str) -> None:
    data, expected, _ = vector(name)
    base, lowres = inrcodec.open(data).decoder.require_base(), expected["lowres"]
    assert isinstance(base, LatentGrid)
    header = reference.read_header(container.unpack(data)["HEAD"], 0)
    assert np.array_equal(base.active[:], latents.active(header, lowres))
    assert 0 < base.active[:].mean() < 1 and (lowres[~base.active[:]] == base.header.background).all()


def test_latents_of_another_model_are_refused() -> None:
    data, _, _ = vector("latent-coarsest")
    with pytest.raises(coders.Invalid):
        reference.decode(data, [model + b" " for model in MODELS.values()])
    with pytest.raises(coders.Invalid):
        reference.decode(data)


@pytest.mark.parametrize("name", MODELS)
def test_a_small_model_is_the_one_that_its_card_states(name: str) -> None:
    card = json.loads((SPEC / "models" / f"{name}.json").read_text())
    assert sha256(MODELS[name]).hexdigest() == card["sha256"], "it is never written again"
    shapes = latents.read_model(MODELS[name])
    assert {shape.shape[2] for name, shape in shapes.items() if name.endswith(".weight")} == {1, 3}
    stated = {row[0].split("`")[1] for row in table("Model") if row[0].startswith("`")}
    assert {name for name in stated if name in shapes} >= {"sines", "steps", "gains", "inverse", "companding"}


def streams_of(name: str) -> tuple[int, list[tuple[bytes, tuple[int, ...]]]]:
    """The rate of a vector, and its streams with their low-res voxels."""
    data, expected, _ = vector(name)
    header, sections = container.read(data)
    ends = np.cumsum(np.frombuffer(sections["GIDX"], "<u4")[::2]).tolist()
    parts = [sections["LATG"][a:b] for a, b in pairwise([0, *ends])]
    depth, *plane = expected["lowres"].shape
    depths = [min(header.stream_slices, depth - z) for z in range(0, depth, header.stream_slices)]
    return header.latent_rate, [(part, (n, *plane)) for part, n in zip(parts, depths, strict=True)]


def test_without_its_residual_blocks_a_model_decodes_nothing() -> None:
    """As a decoder would that knows of none."""
    tensors = latents.read_model(MODELS["small-deep"])
    shallow = {name: tensor for name, tensor in tensors.items() if ".bodies." not in name}
    rate, streams = streams_of("latent-deep")
    for stream, shape in streams:
        whole = read_stream(Model.of(tensors), rate, stream, shape)
        expected = latents.decode_stream(tensors, rate, stream, shape)
        assert np.array_equal(values_of(Model.of(tensors), rate, whole), expected)
        with pytest.raises(coders.Invalid):
            latents.decode_stream(shallow, rate, stream, shape)
        with pytest.raises(CorruptFile):
            read_stream(Model.of(shallow), rate, stream, shape)


def test_both_decoders_refuse_a_part_of_residual_blocks() -> None:
    tensors = load(MODELS["small-deep"])
    for gone in ("0.", "0.first", "0.second", "1.first", "1.second"):
        refused({k: v for k, v in tensors.items() if not k.startswith(f"contexts.0.bodies.{gone}")})
    for new, like in (("1", "0"), ("2", "1"), ("later", "0")):
        kept = {k: v for k, v in tensors.items() if new != "1" or ".bodies.1." not in k}
        parts = {k: v for k, v in tensors.items() if k.startswith(f"contexts.0.bodies.{like}.first.")}
        refused(kept | {k.replace(f"bodies.{like}", f"bodies.{new}"): v for k, v in parts.items()})
    Model.of(tensors)


def refused(tensors: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="residual blocks"):
        Model.of(tensors)
    with pytest.raises(coders.Invalid, match="residual blocks"):
        latents.read_model(save(tensors))
