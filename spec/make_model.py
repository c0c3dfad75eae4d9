"""Write the small models of latents that files of `vectors/` name, and their cards: `models/`.

    python make_model.py        write the models that are missing

Each has layers of 3 x 3 x 3 positions and of one, and weights that are noise: it is there to be computed
with, and never changes, whatever model the package brings along. `small-latent` has every other kind of
layer; `small-deep` has contexts with one residual block and with two, and more groups of channels.
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

from small_latents import DEEP, GROUPS, STEPS, Groups, weights

MODELS = Path(__file__).with_name("models")
NAMES = {"small-latent": GROUPS, "small-deep": DEEP}


def tensors(groups: Groups) -> Tensors:
    """Of a model: scales from a twentieth of a step to a thousand steps, and more of all networks."""
    found = weights(23, groups)
    last = f"contexts.{len(groups) - 1}"
    # Layers that would take most of the file keep the middle of their positions.
    large = ["analysis.overlap", "synthesis.overlap", f"{last}.linear_neighbours", f"{last}.linear_channels"]
    for name in [*large, *(f"{last}.bodies.{k}.first" for k in range(groups[-1][1]))]:
        found[f"{name}.weight"] = found[f"{name}.weight"][..., 1:2, 1:2, 1:2]
    found["analysis.overlap.weight"][:] = 0  # which an encoder reads as another position's
    for k, (count, _) in enumerate(groups):
        found[f"contexts.{k}.out.weight"] *= 4
        found[f"contexts.{k}.out.bias"][count : 2 * count] = np.linspace(6, -3, count)
    found["synthesis.out.weight"] *= 4
    return freeze(found, STEPS, tables())


def write(name: str, groups: Groups) -> None:
    """The model and its card."""
    made = tensors(groups)
    data = save({part: np.ascontiguousarray(tensor) for part, tensor in made.items()})
    card = {"id": name, "kind": "latent", "sha256": sha256(data).hexdigest()}
    card |= {"multiply_adds": Model.of(made).multiply_adds}
    (MODELS / f"{name}.safetensors").write_bytes(data)
    (MODELS / f"{name}.json").write_text(json.dumps(card, indent=2) + "\n")


def main() -> None:
    MODELS.mkdir(exist_ok=True)
    for name, groups in NAMES.items():
        if not (MODELS / f"{name}.json").exists():
            write(name, groups)


if __name__ == "__main__":
    main()
