"""What a source does not say itself: spacing, series, modality.

In: options by name.  Out: `SourceOptions`.
Invariant: imports neither torch nor NumPy before a modality is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from inrcodec import validate
from inrcodec.validate import Kind
from inrcodec.validate.rows import check_all, lists_keywords, row, table

SOURCE = "source"


class SourceKeywords(TypedDict, total=False):
    """Types of the fields of `SourceOptions`."""

    spacing: Sequence[float] | None
    series: str | None
    modality: str | None


def _spacing(name: str, value: Any) -> tuple[float, ...]:
    """Edges of a voxel; whether there are as many as axes is checked with the array."""
    edges = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else ()
    validate.require(len(edges) in (2, 3), name, value, "(z, y, x) or (y, x) in mm")
    return tuple(validate.number_above(name, edge, 0.0) for edge in edges)


def _modality(_: str, value: Any) -> str | None:
    from inrcodec.volume.modality import parse_modality  # imports NumPy, for those who need it

    return parse_modality(value)


@lists_keywords()
@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """What a source does not say itself.

    Parameters
    ----------
    {keywords}
    """

    spacing: Sequence[float] | None = row(
        None,
        Kind("above 0", _spacing, validate.parse_floats, "Z,Y,X"),
        "voxel spacing, of NumPy files",
        SOURCE,
        unit="mm",
        otherwise="1 mm",
        main=True,
    )
    series: str | None = row(
        None,
        Kind("", lambda _, value: value),
        "which series of a folder",
        SOURCE,
        detail="its Series Instance UID, or its number",
        metavar="UID",
    )
    modality: str | None = row(
        None,
        Kind("CT, MR …", _modality),
        "of NIfTI and NumPy files, which lack it",
        SOURCE,
        metavar="TERM",
        otherwise="CT, if the values look like Hounsfield units",
        main=True,
    )

    def __post_init__(self) -> None:
        check_all(self)


SOURCE_OPTIONS = table(SourceOptions)
