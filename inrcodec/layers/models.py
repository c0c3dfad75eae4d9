"""Models by ID: cards and weights of those that the package brings, and of the user's own.

In: an ID from a header or an option.  Out: a manifest, and the bytes of its weights.
Invariant: an ID is looked up, never a path or a URL; weights without the expected hash are not read, nor more
than `MOST` bytes, whatever a compressed file states.

Weights are a safetensors file, as it is or compressed; the hash is that of the safetensors file.

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
from functools import cached_property, partial
from hashlib import sha256
from importlib.resources.abc import Traversable
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

import zstandard

from inrcodec.entropy.padding import decompress
from inrcodec.errors import CorruptFile, ModelNotFound, reason
from inrcodec.validate import checked_id, did_you_mean

OWN = "INRCODEC_MODELS"
SUPERRES = "superres"  # kind of a card that states none
PACKED, PLAIN = ".safetensors.zst", ".safetensors"  # endings of weights; of both, the first is taken
MOST, PIECE = 1 << 27, 1 << 20  # bytes of weights, stored or inflated; of what is read at a time
LEVEL = 19  # of zstd: weights of 16 bits take about half
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A model without its weights.

    Attributes
    ----------
    id : the model's name.
    sha256 : hash of the weights, a safetensors file.
    weights, card : that file, compressed or not, and the JSON file that states the rest.
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
        """The weights of a model, a safetensors file, which has that hash.

        Raises
        ------
        ModelNotFound
            They cannot be read, or are others.
        """
        return self._read(known, digest)[1]

    def stored(self, known: M, digest: bytes) -> bytes:
        """The same as it is stored, perhaps compressed."""
        return self._read(known, digest)[0]

    def _read(self, known: M, digest: bytes) -> tuple[bytes, bytes]:
        """Weights as they are stored, and as they are."""
        try:
            with known.weights.open("rb") as file:
                stored = b"".join(islice(iter(partial(file.read, PIECE), b""), MOST // PIECE + 1))
            if len(stored) > MOST:
                raise CorruptFile(f"more than {MOST:,} bytes", value=known.id)
            weights = unpacked(stored) if known.weights.name.endswith(PACKED) else stored
        except (OSError, CorruptFile) as error:
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
        return stored, weights

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
            packed, plain = (folder / f"{fields['id']}{ending}" for ending in (PACKED, PLAIN))
            files = {"weights": packed if packed.is_file() else plain, "card": entry}
            return self.parse(fields, {"id": fields["id"], "sha256": fields["sha256"], **files})
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise ModelNotFound(
                f"{entry} is not a model card, move it elsewhere", value=str(entry)
            ) from error


def packed(weights: bytes) -> bytes:
    """A compressed file of weights."""
    return zstandard.ZstdCompressor(level=LEVEL).compress(weights)


def unpacked(stored: bytes) -> bytes:
    """The weights of a compressed file; raises `CorruptFile` where it is damaged or too large."""
    try:
        size = zstandard.frame_content_size(stored)
    except zstandard.ZstdError as error:
        raise CorruptFile(f"not a zstd frame: {reason(error)}", value=len(stored)) from error
    if not 0 <= size <= MOST:  # -1: it states none
        raise CorruptFile(f"zstd frame does not state at most {MOST:,} bytes", value=size)
    return decompress(stored, size)
