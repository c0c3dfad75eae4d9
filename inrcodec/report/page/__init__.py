"""One page about one file: what is in it, what it looks like, and how far it is from its source.

In: a file, and its source where there is one.  Out: HTML that needs nothing else, no network either.
Invariant: what is shown is what the decoder gives; where pixels or slices are left out, the page says so.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from inrcodec import api, io
from inrcodec.layers.decode_options import DecodeOptions
from inrcodec.report.page.build import build

__all__ = ["build", "html_report"]


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
    source : path, bytes or binary file object.
    reference : what was encoded, as for :func:`inrcodec.encode`; with it the page has differences and charts.
    name : for the title; without it, that of the path.
    series : of the reference, where a DICOM folder holds several.
    device, threads : as for :func:`inrcodec.decode`.

    Raises
    ------
    InputError
        The reference has another shape.
    MissingExtra
        There is a reference, and Matplotlib is not installed (extra "plots").
    """
    options = DecodeOptions(device=device, threads=threads)
    options.check_device()
    file = api.open(source)
    volume = None if reference is None else io.read(reference, series=series)
    title = name or (Path(source).name if isinstance(source, str | PathLike) else "volume.inrv")
    return build(title, api.info(source), file, volume, options)
