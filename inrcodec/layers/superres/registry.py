"""The super-resolution models: ID -> architecture, SHA-256 and weights.

In: an ID from a header or an option.  Out: a manifest (without torch), or the network itself.
Invariant: that of :mod:`inrcodec.layers.models`, and an architecture is checked before it is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from math import isfinite, prod
from typing import TYPE_CHECKING, Any

from inrcodec import validate
from inrcodec.errors import CorruptFile, ModelNotFound, UsageError
from inrcodec.format import limits
from inrcodec.format.header import LANCZOS as LANCZOS
from inrcodec.format.header import Header
from inrcodec.layers import models
from inrcodec.layers.models import OWN as OWN
from inrcodec.layers.superres.architectures import Architecture
from inrcodec.validate import did_you_mean
from inrcodec.volume.box import Shape

if TYPE_CHECKING:
    from inrcodec.layers.superres.network import SRDenseNet

FOLDER = resources.files("inrcodec.layers.superres") / "models"
UNSTATED = "MR"  # what NIfTI and NumPy files without Hounsfield units mostly are; models are only tried
# Physical values that map to -1 and 1 where the unit is absolute: 12-bit CT, whatever a scan holds.
WINDOWS = {"CT": (-1024.0, 3071.0)}


@dataclass(frozen=True, kw_only=True)
class Manifest(models.Manifest):
    """A model without its weights.

    Attributes
    ----------
    modality : that it was trained on ("CT", "MR").
    window : physical values that map to -1 and +1, in HU for CT; ``None`` for the volume's own range.
    architecture : of the network.
    parameters : number of weights and biases.
    lift : dB that it gains over Lanczos on a clean low-res volume, on held-out volumes.
    """

    modality: str
    window: tuple[float, float] | None
    architecture: Architecture
    parameters: int
    lift: float

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


def _parsed(card: models.Card, found: Mapping[str, Any]) -> Manifest:
    arch = card["architecture"]
    factor = validate.triple("factor", arch["factor"], limits.FACTOR)
    return Manifest(
        **found,
        modality=str(card["modality"]),
        window=_window(card["window"]),
        architecture=Architecture(**arch | {"factor": factor}),
        parameters=int(card["parameters"]),
        lift=_lift(card["held_out"]),
    )


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


REGISTRY = models.Registry(
    kind=models.SUPERRES,
    title="super-resolution model",
    folder=FOLDER,
    parse=_parsed,
    option="sr",
    others=(LANCZOS,),
    without="sr 'lanczos'",
)
manifests, manifest = REGISTRY.manifests, REGISTRY.manifest
matching, card = REGISTRY.matching, REGISTRY.card


def choose(modality: str, factor: tuple[int, int, int], usual: str | None = None) -> str:
    """The candidate model for a modality ("" if unknown) and a factor; Lanczos if there is none.

    User models come before bundled ones, and smaller models before larger ones.  ``usual`` comes first where
    it fits.
    """
    own = REGISTRY.own()
    fitting = [m for m in manifests().values() if (m.modality, m.factor) == (modality or UNSTATED, factor)]
    ranked = sorted(fitting, key=lambda m: (m.id != usual, m.id not in own, m.parameters))
    return ranked[0].id if ranked else LANCZOS


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
    weights = REGISTRY.weights(known, digest)
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
