"""The models that there are: ID -> architecture, SHA-256 and weights.

In: an ID from a header or an option.  Out: a manifest (without torch), or the network itself.
The one law: an ID is looked up, never a path or a URL, and weights that do not have the hash are not loaded.

Models of one's own, from ``inrv-train``, are found in the folder that the environment variable
``INRCODEC_MODELS`` names, and are chosen before the package's.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib import resources
from importlib.resources.abc import Traversable
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inrcodec import validate
from inrcodec.errors import ModelNotFound
from inrcodec.format import limits
from inrcodec.format.header import LANCZOS as LANCZOS
from inrcodec.validate import checked_id, did_you_mean

if TYPE_CHECKING:
    from inrcodec.layers.superres.network import SRDenseNet

FOLDER = resources.files("inrcodec.layers.superres") / "models"
OWN = "INRCODEC_MODELS"
_HASH = re.compile(r"[0-9a-f]{64}")
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
    architecture : keywords of :class:`inrcodec.layers.superres.network.Architecture`.
    parameters : of the network.
    lift : dB that it takes off the error of a clean low-res volume, on what was held out in training.
    weights, card : the ``.safetensors`` file, and the JSON file that all this is from.
    """

    id: str
    modality: str
    factor: tuple[int, int, int]
    window: tuple[float, float] | None
    sha256: str
    architecture: dict[str, Any]
    parameters: int
    lift: float
    weights: Traversable
    card: Traversable


def manifests() -> dict[str, Manifest]:
    """All models by ID, one's own first; one's own also stands for a model of the package with its ID.

    Raises
    ------
    ModelNotFound
        The folder of one's own models is not there, or holds a card that is none.
    """
    own = _own()
    return own | {model: known for model, known in _package().items() if model not in own}


@cache
def _package() -> dict[str, Manifest]:
    return _manifests(FOLDER)


def _own() -> dict[str, Manifest]:
    """Read each time: a model may be trained while a notebook is open."""
    folder = os.environ.get(OWN)
    if not folder:
        return {}
    if not Path(folder).is_dir():
        raise ModelNotFound(f"{OWN} names {folder}, no folder; correct it or unset it", value=folder)
    return _manifests(Path(folder))


def _manifests(folder: Traversable) -> dict[str, Manifest]:
    cards = (
        e for e in sorted(folder.iterdir(), key=lambda e: e.name) if e.name.endswith(".json") and e.is_file()
    )
    found = (_manifest(folder, entry) for entry in cards)
    return {known.id: known for known in found}


def _manifest(folder: Traversable, entry: Traversable) -> Manifest:
    """What a card says, if it says what a card has to."""
    try:
        fields = json.loads(entry.read_text())
        if entry.name != f"{checked_id(fields['id'])}.json" or not _HASH.fullmatch(fields["sha256"]):
            raise ValueError("the name of another model, or no hash")
        z, y, x = validate.triple("factor", fields["architecture"]["factor"], limits.FACTOR)
        return Manifest(
            fields["id"],
            str(fields["modality"]),
            (z, y, x),
            _window(fields["window"]),
            fields["sha256"],
            dict(fields["architecture"]),
            int(fields["parameters"]),
            _lift(fields["held_out"]),
            folder / f"{fields['id']}.safetensors",
            entry,
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelNotFound(f"{entry} is no model card, move it elsewhere", value=str(entry)) from error


def _window(ends: Any) -> tuple[float, float] | None:
    if ends is None:
        return None
    low, high = map(float, ends)
    if not (isfinite(low) and isfinite(high) and low < high):
        raise ValueError("a window that is none")
    return low, high


def _lift(held_out: list[dict[str, Any]]) -> float:
    gains = [float(row["model"]) - float(row["lanczos"]) for row in held_out if row["version"] == "clean"]
    return max(0.0, sum(gains) / len(gains)) if gains else 0.0


def card(model: str) -> dict[str, Any]:
    """The whole model card of an ID."""
    known = manifest(model)
    fields: dict[str, Any] = json.loads(known.card.read_text())
    return fields


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
            f"{', '.join(names)}: another version may have it; sr 'lanczos' does without",
            value=model,
        )
    return known[model]


def choose(modality: str, factor: tuple[int, int, int], usual: str | None = None) -> str:
    """The model to try for a modality, "" where nobody states one, and a factor; Lanczos without one.

    One's own come before those of the package, and smaller ones before larger ones.  ``usual`` is
    taken where it fits.
    """
    wanted, own = (modality or UNSTATED, factor), _own()
    fitting = [m for m in manifests().values() if (m.modality, m.factor) == wanted]
    ranked = sorted(fitting, key=lambda m: (m.id != usual, m.id not in own, m.parameters))
    return ranked[0].id if ranked else LANCZOS


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
    from safetensors import SafetensorError
    from safetensors.torch import load as parse

    from inrcodec.layers.superres.network import Architecture, frozen

    known = manifest(model)
    if known.sha256 != digest.hex() and model in _package():
        known = _package()[model]  # one's own model of the same ID is not the one meant
    try:
        weights = known.weights.read_bytes()
    except OSError as error:
        raise ModelNotFound(f"the weights of model {model!r} cannot be read: {error}", value=model) from error
    here = sha256(weights).digest()
    if here != digest or here.hex() != known.sha256:
        raise ModelNotFound(
            f"the weights of model {model!r} here have SHA-256 {here.hex()[:16]}…, the file was written with "
            f"{digest.hex()[:16]}…; install the version that wrote it, or decode with sr 'lanczos'",
            value=here.hex(),
        )
    try:
        arch = Architecture(**{**known.architecture, "factor": known.factor})
        return frozen(arch, parse(weights))
    except (TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelNotFound(
            f"the weights of model {model!r} are not of its card's architecture", value=model
        ) from error
