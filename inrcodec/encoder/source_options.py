"""What a source does not say itself, and which part of it is meant.

In: options by name.  Out: `SourceOptions`.
Invariant: imports neither torch nor NumPy before a modality is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from re import compile
from typing import Any, TypedDict

from inrcodec import validate
from inrcodec.validate import Kind
from inrcodec.validate.rows import check_all, lists_keywords, row, table

SOURCE = "source"
_END = compile(r"-?\d{1,9}")


class SourceKeywords(TypedDict, total=False):
    """Types of the fields of `SourceOptions`."""

    spacing: Sequence[float] | None
    series: str | None
    volume: int | None
    slices: slice | str | None
    modality: str | None


def _spacing(name: str, value: Any) -> tuple[float, ...]:
    """Edges of a voxel; whether there are as many as axes is checked with the array."""
    edges = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else ()
    validate.require(len(edges) in (2, 3), name, value, "(z, y, x) or (y, x) in mm")
    return tuple(validate.number_above(name, edge, 0.0) for edge in edges)


def _slices(name: str, value: Any) -> slice:
    """``"10:60"`` or ``slice(10, 60)``: whole numbers, from the end where negative, without a step."""
    ends = [value.start, value.stop, value.step] if isinstance(value, slice) else value
    if isinstance(value, str):
        ends = [int(end) if _END.fullmatch(end) and end else end or None for end in value.split(":")]
    met = isinstance(ends, list) and 2 <= len(ends) <= 3 and ends[2:] in ([], [None])
    met = met and all(end is None or type(end) is int for end in ends)
    validate.require(met, name, value, "A:B, from slice A up to and without slice B, counted from 0")
    return slice(*ends[:2])


def _modality(_: str, value: Any) -> str | None:
    from inrcodec.volume.modality import parse_modality  # imports NumPy, for those who need it

    return parse_modality(value)


@lists_keywords()
@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """What a source does not say itself, and which part of it is meant.

    Parameters
    ----------
    {keywords}
    """

    spacing: Sequence[float] | None = row(
        None,
        Kind("above 0", _spacing, validate.parse_floats, "Z,Y,X"),
        "voxel spacing, of files without one",
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
    volume: int | None = row(
        None,
        validate.whole(0, 10**6, "from 0 on"),
        "which volume of a 4-D source, or segment",
        SOURCE,
        detail="counted from 0, as the list in the refusal has them",
    )
    slices: slice | str | None = row(
        None,
        Kind("A:B", _slices, lambda word: word, "A:B"),
        "a part of the volume: slices A to B - 1",
        SOURCE,
        detail="counted from 0 in the order of the volume; either end may be left out",
        otherwise="all",
    )
    modality: str | None = row(
        None,
        Kind("CT, MR …", _modality),
        "of files other than DICOM, which lack it",
        SOURCE,
        metavar="TERM",
        otherwise="CT, if the values look like Hounsfield units",
        main=True,
    )

    def __post_init__(self) -> None:
        check_all(self)

    @property
    def reading(self) -> dict[str, Any]:
        """The keywords of `inrcodec.io.read`."""
        return {name: getattr(self, name) for name in ("spacing", "series", "volume", "slices")}


SOURCE_OPTIONS = table(SourceOptions)
