"""How a file is decoded: the table of options.

In: options by name, from Python or the command line.  Out: a frozen `DecodeOptions`.
Invariant: what is impossible is refused here.  Imports neither torch nor NumPy.

To add an option, add a row to `DecodeOptions` and its type to `DecodeKeywords`; signatures, docstrings,
parser, help and manual follow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from re import compile
from typing import Literal, TypeAlias, TypedDict, get_args

from inrcodec import validate
from inrcodec.validate import SWITCH, Kind, choice
from inrcodec.validate.rows import check_all, lists_keywords, refuse_unknown, row, table

Precision: TypeAlias = Literal["float32", "bfloat16"]
Quality: TypeAlias = Literal["full", "base", "preview"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
QUALITIES: tuple[Quality, ...] = get_args(Quality)

VERSION, PART = "version of the volume", "part of the volume"
MODEL, MACHINE = "super-resolution", "machine"
_RANGE = compile(r"(-?\d+)?(:(-?\d+)?(:(-?\d+)?)?)?")


def _box(name: str, value: object) -> tuple[slice, ...]:
    """``"10:20,:,64:128"`` or slices."""
    parts = value.split(",") if isinstance(value, str) else value
    parts = [parts] if isinstance(parts, slice) else list(parts) if isinstance(parts, list | tuple) else []
    slices = [_range(part) if isinstance(part, str) else part for part in parts]
    met = 0 < len(slices) <= 3 and all(isinstance(part, slice) and part.step != 0 for part in slices)
    validate.require(met, name, value, "up to three ranges A:B or A:B:STEP, such as 10:20,:,64:128")
    return tuple(part for part in slices if isinstance(part, slice))


def _range(word: str) -> slice | None:
    """A range of whole numbers, or one of them; ``None`` for another word."""
    word = word.strip()
    if not word or _RANGE.fullmatch(word) is None:
        return None
    ends = [int(end) if end else None for end in word.split(":")]
    if len(ends) == 1 and ends[0] is not None:
        return slice(ends[0], ends[0] + 1 or None)
    return slice(*ends)


class DecodeKeywords(TypedDict, total=False):
    """Types of the keywords of :func:`inrcodec.decode`: the fields of `DecodeOptions`."""

    quality: Quality
    lowres: bool
    sr: str | None
    ensemble: int | None
    precision: Precision
    device: str
    threads: int | None


@lists_keywords()
@dataclass(frozen=True, kw_only=True)
class DecodeOptions:
    """How a file is decoded; the keywords of :func:`inrcodec.decode`.

    Parameters
    ----------
    {keywords}

    Raises
    ------
    UsageError
        For a value outside its range; whether there is such a device is checked when it is used.
    """

    quality: Quality = row(
        "full",
        choice(QUALITIES),
        "which version",
        VERSION,
        detail="full: all that the file holds; base: without its refinement; preview: the fastest look",
        metavar="NAME",
        main=True,
        without=("lowres", True),
    )
    lowres: bool = row(False, SWITCH, "the low-res volume, not up-sampled", VERSION, main=True)
    sr: str | None = row(
        None,
        validate.MODEL,
        "'lanczos' for up-sampling without a model",
        MODEL,
        otherwise="the file's model",
        main=True,
        without=("lowres", True),
    )
    ensemble: int | None = row(
        None,
        validate.ENSEMBLE,
        "mirror images that are averaged",
        MODEL,
        detail="the model is computed as many times; fewer are faster",
        metavar="N",
        otherwise="the file's number, which is the reference",
        without=("lowres", True),
    )
    precision: Precision = row(
        "float32",  # the reference; the other is within 0.05 dB of it
        choice(PRECISIONS),
        "arithmetic of the model",
        MODEL,
        detail="bfloat16 is faster on processors that have it, within 0.05 dB",
        metavar="TYPE",
    )
    device: str = row("cpu", validate.DEVICE, "where the model is computed", MACHINE)
    threads: int | None = row(
        None,
        validate.THREADS,
        "threads of the computation",
        MACHINE,
        detail="they change no voxel",
        otherwise="one a core",
        main=True,
    )

    def __post_init__(self) -> None:
        check_all(self)

    @classmethod
    def of(cls, options: DecodeOptions | None, keywords: DecodeKeywords) -> DecodeOptions:
        """Options, some of which keywords replace; refuses unknown ones, and a device that is not there."""
        refuse_unknown(keywords, OPTIONS)
        chosen = replace(options or REFERENCE, **keywords)
        chosen.check_device()
        return chosen

    def check_device(self) -> None:
        """Raise `UsageError` where torch has no such device."""
        validate.check_device(self.device)


@lists_keywords()
@dataclass(frozen=True, kw_only=True)
class PartOptions:
    """Which part of a file is decoded.

    Parameters
    ----------
    {keywords}
    """

    box: tuple[slice, ...] | None = row(
        None,
        Kind("", _box, metavar="Z,Y,X"),
        "a box of voxels, such as 10:20,:,64:128",
        PART,
        detail="ranges along z, y and x as Python has them, steps too; what is left out is whole",
        otherwise="all",
        main=True,
    )
    level: int = row(
        0,
        validate.whole(0, 99, "a number that inrv-info lists"),
        "a coarser grid of the file",
        PART,
        detail="0 is the full resolution; a box counts voxels of the level",
    )

    def __post_init__(self) -> None:
        check_all(self)


OPTIONS, PART_OPTIONS = table(DecodeOptions), table(PartOptions)
REFERENCE = DecodeOptions()  # what a file is measured by
