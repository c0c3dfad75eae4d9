"""Which modality a volume is of: as its source says, as the user says, or as its values show.

Invariant: what a source says is never overruled; what nobody says is written down as soon as it is acted on,
so that the file, the report and a DICOM series agree.
"""

from __future__ import annotations

import re

from inrcodec.errors import UsageError
from inrcodec.volume.volume import LONGEST_MODALITY, Volume
from inrcodec.volume.windows import looks_like_ct

_TERM = re.compile(rf"[A-Z0-9_ ]{{1,{LONGEST_MODALITY}}}")  # DICOM's code strings


def parse_modality(text: str | None) -> str | None:
    """A modality as DICOM writes it, in capitals; ``None`` stays.

    Raises
    ------
    UsageError
        Nothing that DICOM could write.

    Examples
    --------
    >>> parse_modality("mr")
    'MR'
    """
    if text is None:
        return None
    term = text.strip().upper() if isinstance(text, str) else ""
    if not _TERM.fullmatch(term):
        cause = f"{text!r:.80} is not a DICOM term, allowed: CT, MR, PT …"
        raise UsageError(cause, value=text, option="modality")
    return term


def reconcile(stated: str, given: str | None) -> str:
    """The modality that a source states ("" if none), or else the user's; "" where neither does.

    Raises
    ------
    UsageError
        They differ.
    """
    if stated and given not in (None, stated):
        cause = f"{given!r} contradicts the source, which says {stated!r}: leave it out"
        raise UsageError(cause, value=given, option="modality")
    return stated or given or ""


def with_modality(volume: Volume, given: str | None) -> tuple[Volume, list[str]]:
    """A volume with the modality that it is taken for, and notices for the user.

    Parameters
    ----------
    volume : Volume
        As it was read; NIfTI and NumPy state no modality.
    given : str or None
        The user's, as `parse_modality` returns it.

    Raises
    ------
    UsageError
        The source states another modality.

    Examples
    --------
    >>> import numpy as np
    >>> volume, notices = with_modality(Volume.from_array(np.array([[[-1000, 1200]]], np.int16)), None)
    >>> volume.modality, volume.unit, len(notices)
    ('CT', 'HU', 1)
    """
    modality, unit, notices = reconcile(volume.modality, given), volume.unit, list(volume.notices)
    if not volume.modality and modality in ("", "CT") and looks_like_ct(volume.value_range, volume):
        if not given:
            notices.append("the values look like Hounsfield units: taken for CT, unless a modality is given")
        modality, unit = "CT", "HU"
    return volume.relabelled(modality=modality, unit=unit), notices
