"""Which modality a volume is of: as its source says, as the user says, or as its values show.

In: a volume as it was read, and the user's word.  Out: the volume with a modality, and its unit.
The one law: what a source says is never overruled; what nobody says is written down as soon as it is acted
on, so that the file, the ledger and a DICOM series speak of the same kind of image.
"""

from __future__ import annotations

import re
from dataclasses import replace

from inrcodec.errors import UsageError
from inrcodec.volume.value_range import Range
from inrcodec.volume.volume import LONGEST_MODALITY, Volume
from inrcodec.volume.windows import like_hounsfield

__all__ = ["agreed", "checked", "settled"]

HOUNSFIELD = "HU"
_TERM = re.compile(rf"[A-Z0-9_ ]{{1,{LONGEST_MODALITY}}}")  # DICOM's code strings


def checked(word: str | None) -> str | None:
    """The user's word as DICOM writes it, in capitals; ``None`` stays.

    Raises
    ------
    UsageError
        No word that DICOM could write.

    Examples
    --------
    >>> checked("mr")
    'MR'
    """
    if word is None:
        return None
    term = word.strip().upper() if isinstance(word, str) else ""
    if not _TERM.fullmatch(term):
        raise UsageError(
            f"{word!r:.80} is not a DICOM term, allowed: CT, MR, PT …", value=word, option="modality"
        )
    return term


def agreed(stated: str, wished: str | None) -> str:
    """The modality that a source states, or else the user's word.

    Raises
    ------
    UsageError
        They differ.
    """
    if stated and wished not in (None, stated):
        raise UsageError(
            f"{wished!r} contradicts the source, which says {stated!r}: leave it out",
            value=wished,
            option="modality",
        )
    return stated or wished or ""


def settled(volume: Volume, wished: str | None, span: Range) -> tuple[Volume, list[str]]:
    """The volume with the modality that it will be taken for, and what the user should know.

    Parameters
    ----------
    volume : as it was read; NIfTI and NumPy say no modality.
    wished : as `checked` returns it.

    Raises
    ------
    UsageError
        The source says another modality.

    Examples
    --------
    >>> import numpy as np
    >>> source = Volume.from_array(np.array([[[-1000, 1200]]], np.int16))
    >>> volume, notices = settled(source, None, Range.of(source))
    >>> volume.modality, volume.unit, len(notices)
    ('CT', 'HU', 1)
    """
    modality = agreed(volume.modality, wished)
    if volume.modality or modality not in ("", "CT"):
        return replace(volume, modality=modality), list(volume.notices)
    if not like_hounsfield(span, volume):
        return replace(volume, modality=modality), list(volume.notices)
    notice = "the values look like Hounsfield units: taken for CT, unless a modality is given"
    return replace(volume, modality="CT", unit=HOUNSFIELD), [*volume.notices, *([] if wished else [notice])]
