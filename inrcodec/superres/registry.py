"""The models that the package ships: ID -> architecture, SHA-256 and weights.

In: an ID from a header or an option.  Out: a manifest (without torch), or the network itself.
The one law: an ID is looked up, never a path or a URL, and weights that do not have the hash are not loaded.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib import resources
from typing import TYPE_CHECKING, Any

from inrcodec.errors import ModelNotFound
from inrcodec.header import LANCZOS as LANCZOS
from inrcodec.spelling import did_you_mean

if TYPE_CHECKING:
    from inrcodec.superres.network import SRDenseNet

FOLDER = resources.files("inrcodec.superres") / "models"


@dataclass(frozen=True)
class Manifest:
    """What is known of a model without its weights.

    Attributes
    ----------
    id, modality : the model's name, and the modality that it was trained on ("CT", "MR").
    factor : (z, y, x) that it brings back.
    window : physical values that map to -1 and +1, for CT in HU.
    sha256 : hash of the ``.safetensors`` file.
    architecture : keywords of :class:`inrcodec.superres.network.Architecture`.
    """

    id: str
    modality: str
    factor: tuple[int, int, int]
    window: tuple[float, float]
    sha256: str
    architecture: dict[str, Any]


@cache
def manifests() -> dict[str, Manifest]:
    """All models of the package by ID."""
    found = {}
    for entry in sorted(FOLDER.iterdir(), key=lambda e: e.name):
        if entry.name.endswith(".json"):
            fields = json.loads(entry.read_text())
            z, y, x = fields["architecture"]["factor"]
            low, high = fields["window"]
            found[fields["id"]] = Manifest(
                fields["id"],
                fields["modality"],
                (z, y, x),
                (low, high),
                fields["sha256"],
                fields["architecture"],
            )
    return found


def manifest(model: str) -> Manifest:
    """Look an ID up.

    Raises
    ------
    ModelNotFound
        With the IDs that there are.
    """
    known = manifests()
    if model not in known:
        names = [*known, LANCZOS]
        raise ModelNotFound(
            f"no super-resolution model {model!r} in this version{did_you_mean(model, names)}; there are "
            f"{', '.join(names)}: --sr lanczos does without, another version may have it",
            value=model,
        )
    return known[model]


def choose(modality: str, factor: tuple[int, int, int]) -> str:
    """The model for a modality and factor; Lanczos where there is none."""
    fitting = [m.id for m in manifests().values() if (m.modality, m.factor) == (modality, factor)]
    return fitting[0] if fitting else LANCZOS


def load(model: str, digest: bytes) -> SRDenseNet:
    """The network of a model in float32, in evaluation mode.

    Parameters
    ----------
    model : ID.
    digest : SHA-256 that the weights must have, as the file states it.

    Raises
    ------
    ModelNotFound
        ID unknown, or the weights here are not the ones meant.
    """
    from safetensors.torch import load as parse

    from inrcodec.superres.network import Architecture, SRDenseNet

    known = manifest(model)
    weights = (FOLDER / f"{model}.safetensors").read_bytes()
    here = sha256(weights).digest()
    if here != digest or here.hex() != known.sha256:
        raise ModelNotFound(
            f"the weights of model {model!r} here have SHA-256 {here.hex()[:16]}…, the file was written with "
            f"{digest.hex()[:16]}…; install the version that wrote it, or decode with --sr lanczos",
            value=here.hex(),
        )
    arch = Architecture(**{**known.architecture, "factor": known.factor})
    network = SRDenseNet(arch)
    network.load_state_dict(parse(weights))
    return network.eval().requires_grad_(False)
