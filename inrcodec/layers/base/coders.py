"""Coders of the low-res volume, found by the header's ``kind``."""

from __future__ import annotations

from collections.abc import Callable

from inrcodec.errors import UnsupportedFile
from inrcodec.format.header import Header
from inrcodec.format.sections import Sections
from inrcodec.layers.base.siren.codec import SirenTiles
from inrcodec.layers.layer import Base

__all__ = ["CODERS", "Base", "base_of"]

CODERS: dict[str, Callable[[Header, Sections], Base]] = {"siren": SirenTiles}


def base_of(header: Header, sections: Sections) -> Base | None:
    """The low-res volume of a file, or ``None``: a refinement needs none, and may stand alone.

    Raises
    ------
    UnsupportedFile
        The coder is unknown here.
    """
    stored = sections.lengths.get("WGHT")
    if stored is None or (stored == 0 and header.refine_steps):
        return None
    if header.kind not in CODERS:
        known = ", ".join(CODERS)
        raise UnsupportedFile(
            f"network {header.kind!r} is unknown here ({known}), update inrcodec", value=header.kind
        )
    return CODERS[header.kind](header, sections)
