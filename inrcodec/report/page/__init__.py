"""One page about one file: what is in it, what it looks like, and how far it is from its source.

Invariant: what is shown is what the decoder gives; where pixels or slices are left out, the page says so.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from inrcodec import api, io, validate
from inrcodec.format.digest import digest_of
from inrcodec.layers.base.coders import coded_apart
from inrcodec.layers.decode_options import DecodeOptions
from inrcodec.layers.superres import registry
from inrcodec.report import plots
from inrcodec.report.page.build import Contents, build
from inrcodec.volume.comparison import compare

__all__ = ["html_report"]

GUESS = (
    "The detail that the super-resolution model adds is a guess from other patients. It may look sharp and "
    "be wrong; no finding may rest on it."
)


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
        What was encoded, as for :func:`inrcodec.encode`; with it the page has differences and charts.
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
    file = api.open(source)
    original = None if reference is None else io.read(reference, series=series).in_memory()
    if original is not None:
        plots.require()
    decoded = file.volume(options=options)
    refined = file.decoder.uses_refinement(options)
    base = None if refined else file.decoder.base
    return build(
        Contents(
            name=name or (Path(source).name if isinstance(source, str | PathLike) else "volume.inrv"),
            facts=file.facts,
            decoded=decoded,
            source=original,
            errors=None if original is None else compare(original, decoded, coded_apart(file.header, base)),
            is_equal=digest_of(decoded.array, file.header.bricks) == file.header.digest,
            has_base=file.decoder.base is not None,
            from_base=not refined,
            guess="" if refined else _guess(file.header.sr),
        )
    )


def _guess(model: str) -> str:
    """What a model's card warns of, or any card would; "" for Lanczos."""
    if model == registry.LANCZOS:
        return ""
    return str(registry.card(model)["limitation"]) if model in registry.manifests() else GUESS
