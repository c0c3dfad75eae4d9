"""The models that there are: ID -> architecture, SHA-256 and weights.

In: an ID from a header or an option.  Out: a manifest (without torch), or the network itself.
The one law: an ID is looked up, never a path or a URL, and weights that do not have the hash are not loaded.

Models of one's own, from ``inrv-train``, are found in the folder that the environment variable
``INRCODEC_MODELS`` names, and are chosen before the package's; an ID of the package always means its model.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inrcodec.errors import ModelNotFound
from inrcodec.header import LANCZOS as LANCZOS
from inrcodec.spelling import did_you_mean

if TYPE_CHECKING:
    from inrcodec.superres.network import SRDenseNet

FOLDER = resources.files("inrcodec.superres") / "models"
OWN = "INRCODEC_MODELS"
UNSTATED = "MR"  # what NIfTI and NumPy files without Hounsfield units mostly are; any model is only tried
# Physical values that map to -1 and 1, of modalities with an absolute unit: 12-bit CT, whatever a scan holds.
WINDOWS = {"CT": (-1024.0, 3071.0)}


@dataclass(frozen=True)
class Manifest:
    """What is known of a model without its weights.

    Attributes
    ----------
    id, modality : the model's name, and the modality that it was trained on ("CT", "MR").
    factor : (z, y, x) that it brings back.
    window : physical values that map to -1 and +1, for CT in HU; ``None`` for the volume's own.
    sha256 : hash of the ``.safetensors`` file.
    architecture : keywords of :class:`inrcodec.superres.network.Architecture`.
    lift : dB that it takes off the error of a clean low-res volume, on what was held out in training.
    weights : the ``.safetensors`` file.
    """

    id: str
    modality: str
    factor: tuple[int, int, int]
    window: tuple[float, float] | None
    sha256: str
    architecture: dict[str, Any]
    lift: float
    weights: Traversable


def manifests() -> dict[str, Manifest]:
    """All models by ID, one's own first.

    Raises
    ------
    ModelNotFound
        The folder of one's own models is not there, or holds a card that is none.
    """
    own = os.environ.get(OWN)
    return {**(_manifests(own) if own else {}), **_manifests()}


@lru_cache(maxsize=4)
def _manifests(own: str | None = None) -> dict[str, Manifest]:
    folder = FOLDER if own is None else Path(own)
    if not folder.is_dir():
        raise ModelNotFound(
            f"{OWN} names {folder}, which is no folder; correct it or unset it", value=str(folder)
        )
    found = {}
    for entry in sorted(folder.iterdir(), key=lambda e: e.name):
        if entry.name.endswith(".json"):
            try:
                known = _manifest(folder, json.loads(entry.read_text()))
            except (ValueError, KeyError, TypeError) as error:
                raise ModelNotFound(f"{entry} is no model card, remove it", value=str(entry)) from error
            found[known.id] = known
    return found


def _manifest(folder: Traversable, fields: dict[str, Any]) -> Manifest:
    z, y, x = fields["architecture"]["factor"]
    window = fields["window"]
    return Manifest(
        fields["id"],
        fields["modality"],
        (z, y, x),
        None if window is None else (window[0], window[1]),
        fields["sha256"],
        fields["architecture"],
        _lift(fields["held_out"]),
        folder / f"{fields['id']}.safetensors",
    )


def _lift(held_out: list[dict[str, Any]]) -> float:
    gains = [row["model"] - row["lanczos"] for row in held_out if row["version"] == "clean"]
    return max(0.0, sum(gains) / len(gains)) if gains else 0.0


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
    """The model to try for a modality, "" where nobody states one, and a factor; Lanczos without one."""
    wanted = (modality or UNSTATED, factor)
    fitting = [m.id for m in manifests().values() if (m.modality, m.factor) == wanted]
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
    weights = known.weights.read_bytes()
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
