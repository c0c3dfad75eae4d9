"""The super-resolution models: ID -> architecture, SHA-256 and weights.

In: an ID from a header or an option.  Out: a manifest (without torch), or the network itself.
Invariant: an ID is looked up, never a path or a URL, and weights without the expected hash are not loaded.

User models, from ``inrv-train``, are looked up in the folder that the environment variable
``INRCODEC_MODELS`` names, and are preferred to bundled ones.
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
from math import isfinite, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inrcodec import validate
from inrcodec.errors import CorruptFile, ModelNotFound, UsageError, reason
from inrcodec.format import limits
from inrcodec.format.header import LANCZOS as LANCZOS
from inrcodec.format.header import Header
from inrcodec.layers.superres.architectures import Architecture
from inrcodec.validate import checked_id, did_you_mean
from inrcodec.volume.box import Shape

if TYPE_CHECKING:
    from inrcodec.layers.superres.network import SRDenseNet

FOLDER = resources.files("inrcodec.layers.superres") / "models"
OWN = "INRCODEC_MODELS"
_HASH = re.compile(r"[0-9a-f]{64}")
UNSTATED = "MR"  # what NIfTI and NumPy files without Hounsfield units mostly are; models are only tried
# Physical values that map to -1 and 1 where the unit is absolute: 12-bit CT, whatever a scan holds.
WINDOWS = {"CT": (-1024.0, 3071.0)}


@dataclass(frozen=True)
class Manifest:
    """A model without its weights.

    Attributes
    ----------
    id, modality : the model's name, and the modality that it was trained on ("CT", "MR").
    window : physical values that map to -1 and +1, in HU for CT; ``None`` for the volume's own range.
    sha256 : hash of the ``.safetensors`` file.
    architecture : of the network.
    parameters : number of weights and biases.
    lift : dB that it gains over Lanczos on a clean low-res volume, on held-out volumes.
    weights, card : the ``.safetensors`` file, and the JSON file that states the rest.
    """

    id: str
    modality: str
    window: tuple[float, float] | None
    sha256: str
    architecture: Architecture
    parameters: int
    lift: float
    weights: Traversable
    card: Traversable

    @property
    def factor(self) -> Shape:
        """(z, y, x) up-sampling factors."""
        return self.architecture.factor

    def work(self, lowres: Shape, ensemble: int) -> int:
        """Multiply-adds of a volume, without what its blocks overlap."""
        return self.architecture.multiply_adds * prod(lowres) * ensemble

    def check_work(self, lowres: Shape, ensemble: int) -> None:
        """Refuse a volume that takes too long, from its low-res shape and the mirror images alone.

        Raises
        ------
        LimitExceeded
        """
        work = self.work(lowres, ensemble)
        remedy = "average fewer mirror images (ensemble), use sr 'lanczos'"
        limits.check("number of multiply-adds of the super-resolution", work, limits.SUPERRES_WORK, remedy)


def manifests() -> dict[str, Manifest]:
    """All models by ID, user models first; they also replace bundled models of the same ID.

    Raises
    ------
    ModelNotFound
        The folder of user models does not exist, or holds an invalid model card.
    """
    own = _user_models()
    return own | {model: known for model, known in _bundled().items() if model not in own}


@cache
def _bundled() -> dict[str, Manifest]:
    return _manifests(FOLDER)


def _user_models() -> dict[str, Manifest]:
    """Read each time: a model may be trained while a notebook is open."""
    folder = os.environ.get(OWN)
    if not folder:
        return {}
    if not Path(folder).is_dir():
        raise ModelNotFound(
            f"{OWN} names {folder}, which is not a folder; correct it or unset it", value=folder
        )
    return _manifests(Path(folder))


def _manifests(folder: Traversable) -> dict[str, Manifest]:
    cards = (
        e for e in sorted(folder.iterdir(), key=lambda e: e.name) if e.name.endswith(".json") and e.is_file()
    )
    known = (_manifest(folder, entry) for entry in cards)
    return {model.id: model for model in known}


def _manifest(folder: Traversable, entry: Traversable) -> Manifest:
    try:
        fields = json.loads(entry.read_text())
        if entry.name != f"{checked_id(fields['id'])}.json" or not _HASH.fullmatch(fields["sha256"]):
            raise ValueError("the name of another model, or no hash")
        arch = fields["architecture"]
        factor = validate.triple("factor", arch["factor"], limits.FACTOR)
        return Manifest(
            fields["id"],
            str(fields["modality"]),
            _window(fields["window"]),
            fields["sha256"],
            Architecture(**arch | {"factor": factor}),
            int(fields["parameters"]),
            _lift(fields["held_out"]),
            folder / f"{fields['id']}.safetensors",
            entry,
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelNotFound(f"{entry} is not a model card, move it elsewhere", value=str(entry)) from error


def _window(ends: Any) -> tuple[float, float] | None:
    if ends is None:
        return None
    low, high = map(float, ends)
    if not (isfinite(low) and isfinite(high) and low < high):
        raise ValueError("not a window")
    return low, high


def _lift(held_out: list[dict[str, Any]]) -> float:
    gains = [float(row["model"]) - float(row["lanczos"]) for row in held_out if row["version"] == "clean"]
    return max(0.0, sum(gains) / len(gains)) if gains else 0.0


def card(model: str) -> dict[str, Any]:
    """The whole model card of an ID."""
    return dict(json.loads(manifest(model).card.read_text()))


def manifest(model: str) -> Manifest:
    """Look up an ID.

    Raises
    ------
    ModelNotFound
        Unknown; the message lists the known IDs.
    """
    known = manifests()
    if model not in known:
        names = [*known, LANCZOS]
        raise ModelNotFound(
            f"super-resolution model {model!r} is unknown in this version{did_you_mean(model, names)}; known "
            f"are {', '.join(names)}: another version may have it, sr 'lanczos' needs none",
            value=model,
            option="sr",
        )
    return known[model]


def choose(modality: str, factor: tuple[int, int, int], usual: str | None = None) -> str:
    """The candidate model for a modality ("" if unknown) and a factor; Lanczos if there is none.

    User models come before bundled ones, and smaller models before larger ones.  ``usual`` comes first where
    it fits.
    """
    own = _user_models()
    fitting = [m for m in manifests().values() if (m.modality, m.factor) == (modality or UNSTATED, factor)]
    ranked = sorted(fitting, key=lambda m: (m.id != usual, m.id not in own, m.parameters))
    return ranked[0].id if ranked else LANCZOS


def matching(model: str, digest: bytes) -> Manifest:
    """The model of an ID, by its hash where a user model and a bundled one share the ID."""
    known = manifest(model)
    return known if known.sha256 == digest.hex() else _bundled().get(model, known)


def check_work(header: Header, ensemble: int | None = None) -> None:
    """Refuse a super-resolution that takes too long, from the header and the model's card.

    Parameters
    ----------
    ensemble : mirror images that are averaged; by default the header's.

    Raises
    ------
    LimitExceeded, ModelNotFound
    """
    if header.sr != LANCZOS:
        known = matching(header.sr, header.sr_sha256)
        known.check_work(header.lowres_shape, ensemble or header.sr_ensemble)


def work_of(header: Header) -> int | None:
    """Multiply-adds of a file's super-resolution; ``None`` where its model is not installed."""
    if header.sr == LANCZOS:
        return 0
    try:
        return matching(header.sr, header.sr_sha256).work(header.lowres_shape, header.sr_ensemble)
    except ModelNotFound:
        return None


def load(model: str, digest: bytes) -> SRDenseNet:
    """The network of a model in float32, in evaluation mode.

    Parameters
    ----------
    model : ID.
    digest : SHA-256 that the weights must have, as the file states it.

    Raises
    ------
    ModelNotFound
        The ID is unknown, or the installed weights are others.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as parse

    from inrcodec.layers.superres.network import frozen

    known = matching(model, digest)
    try:
        weights = known.weights.read_bytes()
    except OSError as error:
        raise ModelNotFound(
            f"the weights of model {model!r} cannot be read: {reason(error)}", value=model
        ) from error
    here = sha256(weights).digest()
    if here != digest or here.hex() != known.sha256:
        raise ModelNotFound(
            f"the installed weights of model {model!r} have SHA-256 {here.hex()[:16]}…, the file needs "
            f"{digest.hex()[:16]}…; install the version that wrote it, or decode with sr 'lanczos'",
            value=here.hex(),
        )
    try:
        return frozen(known.architecture, parse(weights))
    except (TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelNotFound(
            f"the weights of model {model!r} are not of its card's architecture", value=model
        ) from error


def network_of(header: Header) -> SRDenseNet:
    """The network of the model that a file names.

    Raises
    ------
    ModelNotFound
    CorruptFile
        It up-samples by another factor than the file is reduced by.
    """
    factor = matching(header.sr, header.sr_sha256).factor
    if factor != header.factor:
        raise CorruptFile(
            f"model {header.sr!r} up-samples by {factor}, the file is reduced by {header.factor}",
            value=header.factor,
            remedy="sr 'lanczos' decodes it without the model",
        )
    return load(header.sr, header.sr_sha256)


def check_model(header: Header, sr: str | None) -> None:
    """Refuse any model but the file's own, or none; raises `UsageError`."""
    if sr not in (None, LANCZOS, header.sr):
        near = did_you_mean(sr, {LANCZOS, header.sr})
        raise UsageError(
            f"{sr!r} is not the file's model, which is {header.sr!r}{near}; leave it out, or use 'lanczos'",
            value=sr,
            option="sr",
        )
