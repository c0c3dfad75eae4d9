"""One page about one file: what is in it, every slice of it, and how far it is from its source.

Invariant: what is shown is what the file holds, decoded by the page itself; where that is not what this
package decodes, the page says so.
"""

from __future__ import annotations

from dataclasses import replace

from inrcodec import api, io, validate
from inrcodec.format import container
from inrcodec.format.digest import digest_of
from inrcodec.layers.base.coders import coded_apart
from inrcodec.layers.decode_options import DecodeOptions
from inrcodec.report import plots
from inrcodec.report.page.build import build
from inrcodec.report.page.carried import EMBEDDED, contents_of, named
from inrcodec.report.page.carried import html_view as html_view
from inrcodec.volume.comparison import compare
from inrcodec.volume.volume import Volume

__all__ = ["html_report", "html_view"]

MOST = 20  # times smaller than its voxels may a lossless file be: what cannot fit is not encoded


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
        carries a lossless copy of it, up to 64 MiB; a larger one is chosen from disk on the page.
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
        contents_of(data, named(source, name)),
        errors=None if original is None else compare(original, decoded, coded_apart(file.header, base)),
        is_equal=digest_of(decoded.array, file.header.bricks) == file.header.digest,
    )
    return build(contents if original is None else replace(contents, reference=_lossless(original, threads)))


def _lossless(volume: Volume, threads: int | None) -> bytes | None:
    """A volume as a file that a page can carry; None if it is too large."""
    if volume.array.nbytes > MOST * EMBEDDED:
        return None
    data = api.encode(volume, lossless=True, threads=threads)
    return data if len(data) <= EMBEDDED else None
