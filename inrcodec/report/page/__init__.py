"""One page about one file: what is in it, every slice of it, and how far it is from its source.

Invariant: what is shown is what the file holds, decoded by the page itself; where that is not what this package
decodes, the page says so.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from inrcodec import api, io, validate
from inrcodec.errors import InrvError
from inrcodec.file import InrvFile
from inrcodec.format import container
from inrcodec.format.digest import digest_of
from inrcodec.format.header import AV1
from inrcodec.layers.base.coders import coded_apart
from inrcodec.layers.decode_options import DecodeOptions
from inrcodec.layers.superres import registry
from inrcodec.report import plots
from inrcodec.report.page.build import Contents, build
from inrcodec.report.page.views import planes
from inrcodec.report.png import enlarged, png_bytes
from inrcodec.volume.comparison import compare
from inrcodec.volume.volume import Volume

__all__ = ["html_report", "html_view"]

GUESS = (
    "The detail that the super-resolution model adds is a guess from other patients. It may look sharp and "
    "be wrong; no finding may rest on it."
)
EMBEDDED = 1 << 26  # bytes of a file that a page carries: browsers open pages of 100 MB, not of gigabytes


def html_view(source: api.File, *, name: str = "") -> str:
    """One HTML page that shows a file, without decoding it here: the page does.

    Parameters
    ----------
    source : path, bytes or binary file object
        A file of more than 64 MiB is not put into the page, which then asks for it.
    name : str
        For the title; without it, that of the path.
    """
    data = container.load(source)
    return build(_contents(data, _name(source, name)))


def html_report(
    source: api.File,
    reference: api.Source | None = None,
    *,
    name: str = "",
    series: str | None = None,
    device: str = "cpu",
    threads: int | None = None,
) -> str:
    """One HTML page about a file: slices, errors, bytes, how it was encoded; it needs no network.

    Parameters
    ----------
    source : path, bytes or binary file object
    reference : path, ndarray or Volume, optional
        What was encoded, as for :func:`inrcodec.encode`; with it the page has differences and charts, and
        carries a lossless copy of it.
    name : str
        For the title; without it, that of the path.
    series : str, optional
        Series Instance UID or number of the reference, where a DICOM folder holds several.
    device, threads : as for :func:`inrcodec.decode`.

    Raises
    ------
    InputError
        The reference has another shape or modality.
    MissingExtra
        There is a reference, and Matplotlib is not installed (extra "plots").
    """
    validate.check_device(device)
    options = DecodeOptions(device=device, threads=threads)
    data = container.load(source)
    file = api.open(data)
    original = None if reference is None else io.read(reference, series=series).in_memory()
    if original is not None:
        plots.require()
    decoded = file.volume(options=options)
    refined = file.decoder.uses_refinement(options)
    base = None if refined else file.decoder.base
    contents = replace(
        _contents(data, _name(source, name)),
        errors=None if original is None else compare(original, decoded, coded_apart(file.header, base)),
        is_equal=digest_of(decoded.array, file.header.bricks) == file.header.digest,
    )
    return build(contents if original is None else replace(contents, reference=_lossless(original, threads)))


def _contents(data: bytes, name: str) -> Contents:
    file = api.open(data)
    refined = bool(file.header.refine_steps)
    return Contents(
        name=name,
        facts=file.facts,
        planes=planes(file.affine, file.shape, file.header.description),
        data=data if len(data) <= EMBEDDED else None,
        preview=_preview(file) if file.header.coder == AV1 and not refined else None,
        has_base=file.decoder.base is not None,
        from_base=not refined,
        guess="" if refined else _guess(file.header.sr),
    )


def _name(source: api.File, name: str) -> str:
    return name or (Path(source).name if isinstance(source, str | os.PathLike) else "volume.inrv")


def _preview(file: InrvFile) -> bytes | None:
    """A picture for browsers that do not decode AV1; None where it is not decoded here either."""
    try:
        return png_bytes(enlarged(file.preview()))
    except InrvError:
        return None


def _lossless(volume: Volume, threads: int | None) -> bytes:
    """A volume as a file that a page can carry; float64 is rounded to float32."""
    if volume.array.dtype == np.float64:
        volume = replace(volume, array=volume.array.astype(np.float32))
    return api.encode(volume, lossless=True, threads=threads)


def _guess(model: str) -> str:
    """What a model's card warns of, or any card would; "" for Lanczos."""
    if model == registry.LANCZOS:
        return ""
    return str(registry.card(model)["limitation"]) if model in registry.manifests() else GUESS
