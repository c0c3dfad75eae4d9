"""Float weights in a file: what another training starts from, and no decoder reads.

In: networks, or a file.  Out: safetensors in float16, with what they were trained on and how.
Invariant: a file is hostile until the names and shapes of its tensors are those of a `LatentGrid`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.numpy import load as parse
from torch import Tensor

from inrcodec.errors import CorruptFile, InputError, UsageError, reason
from inrcodec.io.atomic import atomic_write
from inrcodec.layers.base.latent.models import REGISTRY
from inrcodec.layers.models import PACKED, PLAIN
from inrcodec.training.latent.network import LatentGrid, Sizes
from inrcodec.training.latent.options import MOST_MAPS, LatentOptions
from inrcodec.training.latent.thaw import thaw

MOST_BLOCKS = 64
VOLUMES, TRAINING = "trained_on", "training"  # keys of the metadata, as on the card


@dataclass(frozen=True)
class Start:
    """Weights to start from.

    Attributes
    ----------
    trained_on : names and licences of the volumes that they were trained on.
    training : how, as the card of their model says.
    """

    weights: dict[str, Tensor] | None = None
    trained_on: list[dict[str, str]] = field(default_factory=list)
    training: dict[str, Any] = field(default_factory=dict)


def start_of(options: LatentOptions) -> Start:
    """What the options say that a training starts from.

    Raises
    ------
    InputError, ModelNotFound, CorruptFile, UsageError
    """
    if options.start is None:
        return Start()
    path = Path(options.start)
    return _read(path) if path.is_file() else _thawed(options.start)


def export(
    weights: Mapping[str, Tensor],
    volumes: Sequence[Mapping[str, str]],
    training: Mapping[str, Any],
    path: Path,
    force: bool,
) -> None:
    """Write weights in half precision."""
    from safetensors.torch import save

    half = {name: value.to(torch.float16).contiguous() for name, value in weights.items()}
    about = {VOLUMES: json.dumps(list(volumes)), TRAINING: json.dumps(training)}
    atomic_write(path, save(half, about), force=force)


def _thawed(model: str) -> Start:
    """The weights of a model, to the precision of its integers."""
    if "/" in model or model.endswith((PACKED, PLAIN)):
        raise InputError(f"{model} does not exist, check the path", value=model)
    known = REGISTRY.manifest(model)
    data = REGISTRY.weights(known, bytes.fromhex(known.sha256))
    try:
        floats = {name: torch.from_numpy(value).float() for name, value in thaw(parse(data)).items()}
        _check(floats)
    except (TypeError, ValueError, LookupError, SafetensorError) as error:
        raise UsageError(
            f"the networks of {model} are of another kind than those that are trained here "
            f"({reason(error)}): start from another model, or from random weights",
            value=model,
            option="start",
        ) from error
    card = REGISTRY.card(model)
    return Start(floats, card["trained_on"], card["training"])


def _read(path: Path) -> Start:
    from safetensors import safe_open

    try:
        with safe_open(path, "pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            about = file.metadata() or {}
        volumes, training = json.loads(about.get(VOLUMES, "[]")), json.loads(about.get(TRAINING, "{}"))
        _check(weights)
        if not all(bool(torch.isfinite(value).all()) for value in weights.values()):
            raise ValueError("a weight that is no number")
        if not isinstance(training, dict):
            raise ValueError("no record of a training")
        known = [{"name": str(v["name"]), "licence": str(v["licence"])} for v in volumes]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, SafetensorError) as error:
        raise CorruptFile(
            f"{path} does not hold float weights of a latent model: {reason(error)}", value=str(path)
        ) from error
    return Start({name: value.float() for name, value in weights.items()}, known, training)


def _check(weights: Mapping[str, Tensor]) -> None:
    """Raise `ValueError` or `LookupError` unless weights are those of networks that are trained here."""
    sizes = Sizes.of(weights)
    maps = sizes.wide, sizes.fine, sizes.features, sizes.body
    blocks = sizes.coarse_blocks, sizes.fine_blocks
    if not all(1 <= n <= MOST_MAPS for n in maps) or not all(1 <= n <= MOST_BLOCKS for n in blocks):
        raise ValueError(f"networks of {maps} maps and {blocks} blocks")
    with torch.device("meta"):
        like = LatentGrid(sizes).state_dict()
    if set(weights) != set(like) or any(weights[name].shape != like[name].shape for name in like):
        raise ValueError("tensors of other names or shapes")
