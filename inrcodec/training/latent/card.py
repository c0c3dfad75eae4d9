"""The model card of a latent model: training data, work, and what it takes on held-out volumes.

In: float weights and a record of their training.  Out: ``ID.safetensors.zst`` and ``ID.json``, the pair that
:mod:`inrcodec.layers.base.latent.models` reads.
Invariant: a card states only what was measured or given, and the hash of the weights beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from inrcodec._version import __version__
from inrcodec.io.atomic import atomic_write
from inrcodec.layers.base.latent.model import Model
from inrcodec.layers.base.latent.models import KIND
from inrcodec.layers.models import PACKED, packed
from inrcodec.training.latent.evaluate import PEAK, Point, measured
from inrcodec.training.latent.freeze import freeze
from inrcodec.training.latent.materials import Material
from inrcodec.training.latent.network import STEPS
from inrcodec.training.latent.options import LatentOptions
from inrcodec.training.latent.tables import tables

LIMITATION = (
    "The networks are trained on these volumes. Others are coded as truly, since what is decoded is compared "
    "with the volume when a file is written, but may take more bytes than with another base."
)


def frozen(weights: Mapping[str, Tensor]) -> dict[str, NDArray[np.generic]]:
    """The integers of a model, of the weights of a `LatentGrid`."""
    return freeze({name: value.double().numpy() for name, value in weights.items()}, STEPS, tables())


def write(
    weights: Mapping[str, Tensor],
    options: LatentOptions,
    training: Mapping[str, Any],
    volumes: Sequence[Mapping[str, str]],
    held_out: Sequence[Material],
) -> tuple[Path, list[Point]]:
    """Freeze, measure and write both files, the model first; the path of the card, and what was measured."""
    from safetensors.numpy import save

    tensors = frozen(weights)
    model, body = Model.of(tensors), save(tensors)
    points = measured(model, held_out, options.threads)
    card = {
        "kind": KIND,
        "id": options.model,
        "sha256": sha256(body).hexdigest(),
        "multiply_adds": model.multiply_adds,
        "parameters": sum(value.numel() for value in weights.values()),
        "version": __version__,
        "training": training,
        "trained_on": list(volumes),
        "peak": PEAK,
        "held_out": [point.rounded() for point in points],
        "limitation": LIMITATION,
    }
    atomic_write(options.out / f"{options.model}{PACKED}", packed(body), force=options.force)
    path = options.out / f"{options.model}.json"
    atomic_write(path, (json.dumps(card, indent=2, allow_nan=False) + "\n").encode(), force=options.force)
    return path, points
