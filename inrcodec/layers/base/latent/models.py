"""The latent models: ID -> SHA-256 and networks.

In: an ID from a header or an option.  Out: a manifest, or the networks themselves.
Invariant: that of :mod:`inrcodec.layers.models`, and needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from math import prod
from typing import TYPE_CHECKING, Any

from inrcodec.errors import ModelNotFound, reason
from inrcodec.format.header import Header
from inrcodec.layers import models
from inrcodec.validate import LARGEST, integer

if TYPE_CHECKING:
    from inrcodec.layers.base.latent.model import Model

KIND = "latent"
KEPT = 2  # models that stay in memory: most files have one and the same


@dataclass(frozen=True, kw_only=True)
class Manifest(models.Manifest):
    """A model without its networks.

    Attributes
    ----------
    multiply_adds : of decoding, per low-res voxel.
    """

    multiply_adds: int


def _parsed(card: models.Card, found: Mapping[str, Any]) -> Manifest:
    work = integer("multiply_adds", card["multiply_adds"], 1, LARGEST)
    return Manifest(**found, multiply_adds=work)


REGISTRY = models.Registry(
    kind=KIND,
    title="latent model",
    folder=resources.files("inrcodec.layers.base.latent") / "models",
    parse=_parsed,
)
manifests, manifest = REGISTRY.manifests, REGISTRY.manifest
matching, card = REGISTRY.matching, REGISTRY.card


def usual() -> Manifest:
    """The model that files are written with: a user model before a bundled one, of several the fastest.

    Raises
    ------
    ModelNotFound
        There is none.
    """
    known = REGISTRY.own() or manifests()
    if not known:
        raise ModelNotFound("this version has no latent model, choose another base", value="", option="base")
    return min(known.values(), key=lambda model: model.multiply_adds)


def work_of(header: Header) -> int | None:
    """Multiply-adds of a file's latents; ``None`` where their model is not installed."""
    try:
        found = matching(header.latent_model, header.latent_sha256)
    except ModelNotFound:
        return None
    return found.multiply_adds * prod(header.lowres_shape)


def load(model: str, digest: bytes) -> Model:
    """The networks of a model.

    Parameters
    ----------
    model : ID.
    digest : SHA-256 that its file must have, as the file to be decoded states it.

    Raises
    ------
    ModelNotFound
        The ID is unknown, or the installed networks are others.
    """
    return _loaded(matching(model, digest), digest)


@lru_cache(maxsize=KEPT)
def _loaded(known: Manifest, digest: bytes) -> Model:
    from safetensors import SafetensorError
    from safetensors.numpy import load as parse

    from inrcodec.layers.base.latent.model import Model

    weights = REGISTRY.weights(known, digest)
    try:
        return Model.of(parse(weights))
    except (TypeError, ValueError, LookupError, SafetensorError) as error:
        raise ModelNotFound(
            f"the file of model {known.id!r} holds no networks: {reason(error)}", value=known.id
        ) from error
