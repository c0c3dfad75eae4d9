"""The package zarr, where it is installed; and names that reader and writer share."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from inrcodec.errors import MissingExtra

OME, IMAGES = "ome", "multiscales"  # keys of OME-Zarr's attributes
METADATA = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")  # names of files that are no chunks


def zarr_package() -> Any:
    """zarr 3; raises `MissingExtra`."""
    try:
        zarr: Any = import_module("zarr")
        import_module("zarr.storage")
        import_module("zarr.codecs")
    except ImportError as error:
        raise MissingExtra("zarr is not installed", extra="zarr") from error
    if int(zarr.__version__.partition(".")[0]) < 3:
        raise MissingExtra(f"zarr {zarr.__version__} is too old", extra="zarr")
    return zarr
