"""The model card: architecture, training data and held-out PSNR of a model.

In: a trained network and a record of its training.  Out: ``ID.safetensors`` and ``ID.json``, the pair that
:mod:`inrcodec.layers.superres.registry` reads.
Invariant: a card states only what was measured or given, and the hash of the weights beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from inrcodec._version import __version__
from inrcodec.io import atomic_write
from inrcodec.layers.superres import registry
from inrcodec.layers.superres.network import SRDenseNet, frozen
from inrcodec.training.evaluate import Score

LIMITATION = (
    "What the model adds to Lanczos is a guess from other patients: no finding may rest on it. It is "
    "measured on the volume at hand when a file is written, and left out where Lanczos is nearer."
)


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a card says of a training.

    Attributes
    ----------
    model, modality : str
        ID of the model, and what it is for.
    training : mapping
        Steps, seconds, batch and so on.
    volumes : sequence of mappings
        Of the training set, each with "name" and "licence".
    held_out : sequence of Score
    """

    model: str
    modality: str
    training: Mapping[str, Any]
    volumes: Sequence[Mapping[str, Any]]
    held_out: Sequence[Score]


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


def write(folder: Path, network: SRDenseNet, record: Record, *, force: bool) -> Path:
    """Write both files, the weights first, and return the path of the card."""
    weights = serialized(network)
    card = {
        "id": record.model,
        "modality": record.modality,
        "window": list(registry.WINDOWS[record.modality]) if record.modality in registry.WINDOWS else None,
        "sha256": sha256(weights).hexdigest(),
        "architecture": asdict(network.arch),
        "parameters": sum(p.numel() for p in network.parameters()),
        "version": __version__,
        "training": dict(record.training),
        "trained_on": [dict(v) for v in record.volumes],
        "held_out": [score.rounded() for score in record.held_out],
        "limitation": LIMITATION,
    }
    atomic_write(folder / f"{record.model}.safetensors", weights, force=force)
    path = folder / f"{record.model}.json"
    atomic_write(path, (json.dumps(card, indent=2, allow_nan=False) + "\n").encode(), force=force)
    return path
