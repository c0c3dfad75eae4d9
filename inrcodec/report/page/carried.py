"""What a page carries: the file itself, and what its header says of it.

In: a file.  Out: the contents of its page, or the page.  Invariant: nothing is decoded but a preview of AV1,
which some browsers lack; a page of latents carries their model too.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from inrcodec import api
from inrcodec.errors import InrvError
from inrcodec.file import InrvFile
from inrcodec.format import container
from inrcodec.format.header import AV1, LATENT, Header
from inrcodec.layers.base.latent import models
from inrcodec.layers.superres import registry
from inrcodec.report.page.build import Contents, build
from inrcodec.report.page.views import planes
from inrcodec.report.png import enlarged, png_bytes

GUESS = (
    "The detail that the super-resolution model adds is a guess from other patients. It may look sharp and "
    "be wrong; no finding may rest on it."
)
EMBEDDED = 1 << 26  # bytes of a file that a page carries: browsers open pages of 100 MB, not of gigabytes


def html_view(source: api.File, *, name: str = "", superres: str = "") -> str:
    """One HTML page that shows a file, without decoding it here: the page does.

    Parameters
    ----------
    source : path, bytes or binary file object
        A file of more than 64 MiB is not put into the page, which then asks for it.
    name : str
        For the title; without it, that of the path.
    superres : str
        Address of a folder with the models that ``make superres`` exports, from which the page loads the one
        that the file names when its reader asks to sharpen the slices.  Without it the page loads nothing.

    Raises
    ------
    UsageError
        ``superres`` is no address of a server.
    ModelNotFound
        The file has latents of a model that is not here; a page of them carries it.
    """
    data = container.load(source)
    return build(replace(contents_of(data, named(source, name)), superres=superres))


def contents_of(data: bytes, name: str) -> Contents:
    """What the page of a file has without a decode."""
    file = api.open(data)
    refined = bool(file.header.refine_steps)
    return Contents(
        name=name,
        facts=file.facts,
        planes=planes(file.affine, file.shape, file.header.description),
        data=data if len(data) <= EMBEDDED else None,
        preview=_preview(file) if file.header.coder == AV1 and not refined else None,
        latents=_latents(file.header) if file.header.coder == LATENT and not refined else None,
        has_base=file.decoder.base is not None,
        from_base=not refined,
        guess="" if refined else _guess(file.header.sr),
    )


def named(source: api.File, name: str) -> str:
    """The title of a page: a name, or that of a path."""
    return name or (Path(source).name if isinstance(source, str | os.PathLike) else "volume.inrv")


def _preview(file: InrvFile) -> bytes | None:
    """A picture for browsers that do not decode AV1; None where it is not decoded here either."""
    try:
        return png_bytes(enlarged(file.preview()))
    except InrvError:
        return None


def _latents(header: Header) -> bytes:
    """The file of the model that the latents need, as it is stored; raises `ModelNotFound`."""
    known = models.matching(header.latent_model, header.latent_sha256)
    return models.REGISTRY.stored(known, header.latent_sha256)


def _guess(model: str) -> str:
    """What a model's card warns of, or any card would; "" for Lanczos."""
    if model == registry.LANCZOS:
        return ""
    return str(registry.card(model)["limitation"]) if model in registry.manifests() else GUESS
