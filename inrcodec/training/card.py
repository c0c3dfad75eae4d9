"""The model card: architecture, training data and held-out PSNR of a model.

In: a trained network and a record of its training.  Out: ``ID.safetensors`` and ``ID.json``, the pair that
:mod:`inrcodec.layers.superres.registry` reads.
Invariant: a card states only what was measured or given, and the hash of the weights beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from inrcodec._version import __version__
from inrcodec.io import atomic_write
from inrcodec.layers.models import PLAIN
from inrcodec.layers.superres import registry
from inrcodec.layers.superres.network import SRDenseNet, frozen
from inrcodec.training import fits
from inrcodec.training.evaluate import Score
from inrcodec.training.options import TrainOptions

LIMITATION = (
    "What the model adds to Lanczos is a guess from other patients: no finding may rest on it. It is "
    "measured on the volume at hand when a file is written, and left out where Lanczos is nearer."
)


def serialized(network: SRDenseNet) -> bytes:
    """Weights as safetensors in float16: half the bytes of float32, for less than 0.01 dB."""
    return save({k: v.to(torch.float16).contiguous() for k, v in network.state_dict().items()})


def as_serialized(network: SRDenseNet) -> SRDenseNet:
    """The network with the rounded weights of its file."""
    return frozen(network.arch, load(serialized(network)))


def with_predecessors(volumes: list[dict[str, str]], start: str | None) -> list[dict[str, Any]]:
    """Training volumes, with those of the model that the training started from."""
    before = registry.card(start)["trained_on"] if start else []
    return volumes + [v for v in before if v["name"] not in {own["name"] for own in volumes}]


def write(
    network: SRDenseNet,
    options: TrainOptions,
    training: Mapping[str, Any],
    volumes: Sequence[Mapping[str, Any]],
    held_out: Sequence[Score],
) -> Path:
    """Write both files, the weights first, and return the path of the card."""
    weights, window = serialized(network), registry.WINDOWS.get(options.modality)
    card = {
        "id": options.model,
        "modality": options.modality,
        "window": None if window is None else list(window),
        "sha256": sha256(weights).hexdigest(),
        "architecture": asdict(network.arch),
        "parameters": sum(p.numel() for p in network.parameters()),
        "version": __version__,
        "training": {**training, **fits.settings(options)},
        "trained_on": volumes,
        "held_out": [score.rounded() for score in held_out],
        "limitation": LIMITATION,
    }
    atomic_write(options.out / f"{options.model}{PLAIN}", weights, force=options.force)
    path = options.out / f"{options.model}.json"
    atomic_write(path, (json.dumps(card, indent=2, allow_nan=False) + "\n").encode(), force=options.force)
    return path
