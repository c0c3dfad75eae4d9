"""The model card: what a model is, what it was trained on, and what it brought where it had never been.

In: a trained network and what is known of its training.  Out: ``ID.safetensors`` and ``ID.json``, the pair
that :mod:`inrcodec.layers.superres.registry` reads.
The one law: the card holds only what was measured or given, and the hash of the very weights beside it.
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
from inrcodec.layers.superres.network import SRDenseNet, frozen
from inrcodec.layers.superres.registry import WINDOWS
from inrcodec.training.evaluate import Row, table

LIMITATION = (
    "What the model adds to Lanczos is a guess from other patients: no finding may rest on it. It is "
    "measured on the volume at hand when a file is written, and left out where Lanczos is nearer."
)


def weights_of(network: SRDenseNet) -> bytes:
    """Weights in float16, as they are shipped: half the bytes, and less than 0.01 dB."""
    return save({k: v.to(torch.float16).contiguous() for k, v in network.state_dict().items()})


def as_shipped(network: SRDenseNet) -> SRDenseNet:
    """The network with the weights that its file will hold."""
    return frozen(network.arch, load(weights_of(network)))


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a card says of a training.

    Attributes
    ----------
    model, modality : ID of the model, and what it is for.
    training : steps, seconds, batch … as they were.
    volumes : of the training set, with "name" and "licence".
    held_out : what was measured on the others.
    """

    model: str
    modality: str
    training: Mapping[str, Any]
    volumes: Sequence[Mapping[str, Any]]
    held_out: Sequence[Row]


def write(folder: Path, network: SRDenseNet, facts: Facts, *, force: bool) -> Path:
    """Write both files, the weights first.

    Returns
    -------
    Path of the card.
    """
    weights = weights_of(network)
    card = {
        "id": facts.model,
        "modality": facts.modality,
        "window": list(WINDOWS[facts.modality]) if facts.modality in WINDOWS else None,
        "sha256": sha256(weights).hexdigest(),
        "architecture": asdict(network.arch),
        "parameters": sum(p.numel() for p in network.parameters()),
        "version": __version__,
        "training": dict(facts.training),
        "trained_on": [dict(v) for v in facts.volumes],
        "held_out": table(facts.held_out),
        "limitation": LIMITATION,
    }
    atomic_write(folder / f"{facts.model}.safetensors", weights, force=force)
    path = folder / f"{facts.model}.json"
    atomic_write(path, (json.dumps(card, indent=2, allow_nan=False) + "\n").encode(), force=force)
    return path
