"""Write the small model of latents that files of `vectors/` name, and its card: `models/small-latent.*`.

    python make_model.py

It has every kind of layer, of 3 x 3 x 3 positions and of one, and weights that are noise: it is there to be
computed with, and never changes, whatever model the package brings along.
"""

from __future__ import annotations

import json
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from inrcodec.layers.base.latent.model import Model
from inrcodec.training.latent.freeze import Tensors, freeze
from inrcodec.training.latent.tables import tables

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from small_latents import GROUPS, STEPS, weights

MODELS = Path(__file__).with_name("models")
NAME = "small-latent"
# Layers that would take most of the file; they keep the middle of their positions.
LARGE = (
    *("analysis.overlap", "synthesis.overlap", "contexts.1.linear_neighbours", "contexts.1.linear_channels"),
)


def tensors() -> Tensors:
    """Of the model: scales from a twentieth of a step to a thousand steps, and more of all networks."""
    found = weights(seed=23)
    for name in LARGE:
        found[f"{name}.weight"] = found[f"{name}.weight"][..., 1:2, 1:2, 1:2]
    found["analysis.overlap.weight"][:] = 0  # which an encoder reads as another position's
    for k, count in enumerate(GROUPS):
        found[f"contexts.{k}.out.weight"] *= 4
        found[f"contexts.{k}.out.bias"][count : 2 * count] = np.linspace(6, -3, count)
    found["synthesis.out.weight"] *= 4
    return freeze(found, STEPS, tables())


def main() -> None:
    made = tensors()
    data = save({name: np.ascontiguousarray(tensor) for name, tensor in made.items()})
    card = {"id": NAME, "kind": "latent", "sha256": sha256(data).hexdigest()}
    card |= {"multiply_adds": Model.of(made).multiply_adds}
    MODELS.mkdir(exist_ok=True)
    (MODELS / f"{NAME}.safetensors").write_bytes(data)
    (MODELS / f"{NAME}.json").write_text(json.dumps(card, indent=2) + "\n")


if __name__ == "__main__":
    main()
