"""Float weights of a model file: what another training of it starts from.

In: the tensors of a `layers.base.latent.model.Model`.  Out: weights of a `LatentGrid`.
Invariant: frozen again, they give the same integers but for rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from inrcodec.layers.base.latent.integers import FINE, LATENT, MAP
from inrcodec.layers.base.latent.synthesis import SINE
from inrcodec.training.latent.freeze import FINE_RATE, Tensors
from inrcodec.volume.arrays import Float

OUTSIDE = {"level": "level_context", "hyper": "hyper_context"}  # names of a file, and of the networks
HINTS = {f"hints.{part}": f"hints_{part}" for part in ("in", "up", "out")}
ANALYSIS = {"overlap": "analysis.overlap", "enter": "hyper_in", "narrow": "hyper_down", "out": "hyper_out"}


def thaw(tensors: Tensors) -> dict[str, Float]:
    """Weights by their names in training, float64."""
    return dict(_weights({name: np.asarray(value, np.float64) for name, value in tensors.items()}))


def _weights(tensors: Mapping[str, Float]) -> Iterator[tuple[str, Float]]:
    for name in (n.removesuffix(".point") for n in tensors if n.endswith(".point")):
        if name == "synthesis.transform":
            continue
        part = name.rpartition(".")[2]
        first, dot, rest = name.partition(".")
        there = HINTS.get(name) or f"{OUTSIDE.get(first, first)}{dot}{rest}"
        sines = name.startswith("synthesis.") and part == "second"
        before = LATENT if part.startswith("linear") else SINE if sines else MAP
        unit = 2.0 ** int(tensors[f"{name}.point"][0])
        yield f"{there}.weight", tensors[f"{name}.weight"] / unit
        yield f"{there}.bias", tensors[f"{name}.bias"] / (unit * 2.0**before)
    for name in (n.removesuffix(".offsets") for n in tensors if n.endswith(".offsets")):
        point = int(tensors[f"{name}.neighbours.point"][0])
        parts = tensors[f"{name}.offsets"] / 2.0 ** (MAP + point) / FINE_RATE
        yield f"{OUTSIDE.get(name, name)}.phase", parts[0]
        yield f"{OUTSIDE.get(name, name)}.rate", parts[1:, 0]
    for name in (n for n in tensors if n.startswith("synthesis.") and n.endswith(".modulation")):
        parts = tensors[name] / 2.0**FINE / FINE_RATE
        yield f"{name}.gain", parts[1:, 0]
        yield f"{name}.offset", parts[1:, 1]
    for here, there in ANALYSIS.items():
        for part in ("weight", "bias"):
            yield f"{there}.{part}", tensors[f"analysis.{here}.{part}"]
    for part in ("gains", "hyper_gains"):
        yield part, tensors[f"analysis.{part}"]
    for k, part in enumerate(("gain", "offset")):
        yield f"hyper_modulation.{part}", tensors["analysis.modulation"][:, k]
