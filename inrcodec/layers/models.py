"""Models by ID: cards and weights of those that the package brings, and of the user's own.

In: an ID from a header or an option.  Out: a manifest, and the bytes of its weights.
Invariant: an ID is looked up, never a path or a URL, and weights without the expected hash are not read.

User models, from ``inrv-train``, are looked up in the folder that the environment variable
``INRCODEC_MODELS`` names, and are preferred to bundled ones.  It may hold models of all kinds; a registry
sees those of its own.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Generic, TypeVar

from inrcodec.errors import ModelNotFound, reason
from inrcodec.validate import checked_id, did_you_mean

OWN = "INRCODEC_MODELS"
SUPERRES = "superres"  # kind of a card that states none
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A model without its weights.

    Attributes
    ----------
    id : the model's name.
    sha256 : hash of the ``.safetensors`` file.
    weights, card : the ``.safetensors`` file, and the JSON file that states the rest.
    """

    id: str
    sha256: str
    weights: Traversable
    card: Traversable


M = TypeVar("M", bound=Manifest)
Card = dict[str, Any]


@dataclass(frozen=True)
class Registry(Generic[M]):
    """The models of one kind.

    Attributes
    ----------
    kind : that their cards state.
    title : of a model, in messages.
    folder : of the bundled models.
    parse : what a card states beside ID, hash and kind; any of its lookups and conversions may fail.
    option : the keyword that errors name; "" for none.
    others : IDs that stand for no model.
    without : what else there is to do, at the end of a message.
    """

    kind: str
    title: str
    folder: Traversable
    parse: Callable[[Card, Mapping[str, Any]], M]
    option: str = ""
    others: tuple[str, ...] = ()
    without: str = ""

    def manifests(self) -> dict[str, M]:
        """All models by ID, user models first; they also replace bundled models of the same ID.

        Raises
        ------
        ModelNotFound
            The folder of user models does not exist, or holds an invalid model card.
        """
        own = self.own()
        return own | {model: known for model, known in self._bundled.items() if model not in own}

    def own(self) -> dict[str, M]:
        """User models; read each time: a model may be trained while a notebook is open."""
        folder = os.environ.get(OWN)
        if not folder:
            return {}
        if not Path(folder).is_dir():
            raise ModelNotFound(
                f"{OWN} names {folder}, which is not a folder; correct it or unset it", value=folder
            )
        return self._manifests(Path(folder))

    def manifest(self, model: str) -> M:
        """Look up an ID.

        Raises
        ------
        ModelNotFound
            Unknown; the message lists the known IDs.
        """
        known = self.manifests()
        if model not in known:
            names = [*known, *self.others]
            raise ModelNotFound(
                f"{self.title} {model!r} is unknown in this version{did_you_mean(model, names)}; known are "
                f"{', '.join(names) or 'none'}: another version may have it{self._or(', ', ' needs none')}",
                value=model,
                option=self.option or None,
            )
        return known[model]

    def matching(self, model: str, digest: bytes) -> M:
        """The model of an ID, by its hash where a user model and a bundled one share the ID."""
        known = self.manifest(model)
        return known if known.sha256 == digest.hex() else self._bundled.get(model, known)

    def card(self, model: str) -> Card:
        """The whole model card of an ID."""
        return dict(json.loads(self.manifest(model).card.read_text()))

    def weights(self, known: M, digest: bytes) -> bytes:
        """The bytes of the weights of a model, which have that hash.

        Raises
        ------
        ModelNotFound
            They cannot be read, or are others.
        """
        try:
            weights = known.weights.read_bytes()
        except OSError as error:
            raise ModelNotFound(
                f"the weights of model {known.id!r} cannot be read: {reason(error)}", value=known.id
            ) from error
        here = sha256(weights).digest()
        if here != digest or here.hex() != known.sha256:
            raise ModelNotFound(
                f"the installed weights of model {known.id!r} have SHA-256 {here.hex()[:16]}…, the file "
                f"needs {digest.hex()[:16]}…; install the version that wrote it"
                f"{self._or(', or decode with ')}",
                value=here.hex(),
            )
        return weights

    def _or(self, before: str, after: str = "") -> str:
        return f"{before}{self.without}{after}" if self.without else ""

    @cached_property
    def _bundled(self) -> dict[str, M]:
        return self._manifests(self.folder)

    def _manifests(self, folder: Traversable) -> dict[str, M]:
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
        cards = (entry for entry in entries if entry.name.endswith(".json") and entry.is_file())
        known = (self._manifest(folder, entry) for entry in cards)
        return {model.id: model for model in known if model is not None}

    def _manifest(self, folder: Traversable, entry: Traversable) -> M | None:
        """``None`` for a card of another kind."""
        try:
            fields = json.loads(entry.read_text())
            if fields.get("kind", SUPERRES) != self.kind:
                return None
            if entry.name != f"{checked_id(fields['id'])}.json" or not _HASH.fullmatch(fields["sha256"]):
                raise ValueError("the name of another model, or no hash")
            files = {"weights": folder / f"{fields['id']}.safetensors", "card": entry}
            return self.parse(fields, {"id": fields["id"], "sha256": fields["sha256"], **files})
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise ModelNotFound(
                f"{entry} is not a model card, move it elsewhere", value=str(entry)
            ) from error
