"""A latent model of a few maps whose weights are noise: it codes badly, and by the same rules."""

from __future__ import annotations

import json
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from inrcodec.layers.base.latent.contexts import NEAREST
from inrcodec.layers.base.latent.model import Model
from inrcodec.training.latent.freeze import Tensors, freeze
from inrcodec.training.latent.tables import tables

GROUPS = (12, 0), (52, 0)  # channels that are coded together, and residual blocks of their context
DEEP = (1, 2), (3, 1), (8, 0), (52, 1)
WIDE, FINE, FEATURES, HYPER, BODY = 6, 4, 5, 3, 4  # maps
STEPS = float(np.log(0.06)), float(np.log(1.2))


Groups = tuple[tuple[int, int], ...]


def weights(seed: int = 0, groups: Groups = GROUPS) -> dict[str, NDArray[np.float64]]:
    """Of a network, by the names that it has in training; its hyper-latents are as deep as its last group."""
    rng = np.random.default_rng(seed)
    found: dict[str, NDArray[np.float64]] = {}

    def layer(name: str, inputs: int, outputs: int, edge: int = 3, size: float = 0.5) -> None:
        deviation = size / np.sqrt(inputs * edge**3)
        found[f"{name}.weight"] = rng.normal(size=(outputs, inputs, edge, edge, edge)) * deviation
        found[f"{name}.bias"] = rng.normal(size=outputs) * 0.1

    def noise(name: str, *shape: int) -> None:
        found[name] = rng.normal(size=shape) * 0.1

    def context(name: str, before: int, count: int, hints: int, plain: int, bodies: int = 0) -> None:
        layer(f"{name}.neighbours", count + min(count, NEAREST), WIDE)
        layer(f"{name}.linear_neighbours", count, count, size=0.1)
        if before:
            layer(f"{name}.channels", before + min(before, NEAREST), WIDE)
        if hints:
            layer(f"{name}.features", hints, WIDE, 1)
        if plain:
            layer(f"{name}.linear_channels", plain, count, size=0.1)
        layer(f"{name}.hidden", WIDE, WIDE, 1)
        layer(f"{name}.out", WIDE, 3 * count, 1, 0.1)
        found[f"{name}.out.bias"][count : 2 * count] = 0.5
        noise(f"{name}.phase", 2, WIDE)
        noise(f"{name}.rate", 2, WIDE)
        for k in range(bodies):
            layer(f"{name}.bodies.{k}.first", WIDE, BODY, size=2)
            layer(f"{name}.bodies.{k}.second", BODY, WIDE, size=2)

    def residual(name: str, maps: int) -> None:
        layer(f"{name}.first", maps, maps)
        layer(f"{name}.second", maps, maps, size=0.1)
        noise(f"{name}.modulation.gain", 2, maps)
        noise(f"{name}.modulation.offset", 2, maps)

    layer("analysis.overlap", 64, 64, size=0.02)
    layer("synthesis.overlap", 64, 64, size=0.02)
    layer("synthesis.enter", 65, WIDE)
    residual("synthesis.coarse.0", WIDE)
    layer("synthesis.narrow", WIDE, 8 * FINE, 1)
    layer("synthesis.beside", 9, FINE)
    residual("synthesis.fine.0", FINE)
    layer("synthesis.out", FINE, 8, size=0.05)
    layer("hyper_in", 64, FEATURES)
    noise("hyper_modulation.gain", 2, FEATURES)
    noise("hyper_modulation.offset", 2, FEATURES)
    layer("hyper_down", 8 * FEATURES, WIDE, 1)
    layer("hyper_out", WIDE, HYPER)
    layer("hints_in", HYPER, WIDE)
    layer("hints_up", WIDE, 8 * FEATURES, 1)
    layer("hints_out", FEATURES, FEATURES)
    noise("gains", 2, 64)
    noise("hyper_gains", 2, HYPER)
    context("level_context", 0, 1, 0, 0)
    context("hyper_context", 0, HYPER, 3, 3, groups[-1][1])
    before = 0
    for k, (count, bodies) in enumerate(groups):
        context(f"contexts.{k}", before, count, FEATURES + 3, before + 3, bodies)
        before += count
    return found


@cache
def tensors(groups: Groups = GROUPS) -> Tensors:
    """Of its model file."""
    return freeze(weights(groups=groups), STEPS, tables())


@cache
def model(groups: Groups = GROUPS) -> Model:
    """The model itself."""
    return Model.of(tensors(groups))


def install(folder: Path) -> tuple[str, bytes]:
    """The model as a user's own in a folder: its ID and hash."""
    data = save({name: np.ascontiguousarray(tensor) for name, tensor in tensors().items()})
    (folder / "small.safetensors").write_bytes(data)
    card = {"id": "small", "kind": "latent", "sha256": sha256(data).hexdigest(), "multiply_adds": 100}
    (folder / "small.json").write_text(json.dumps(card))
    return "small", sha256(data).digest()
