"""NumPy's basic indices as boxes.

In: what stands between the brackets of ``file[...]``.  Out: slices, and the axes that an integer takes away.
Invariant: whatever passes gives what NumPy gives for the same index of the decoded array.
"""

from __future__ import annotations

from operator import index as integer
from typing import SupportsIndex, TypeAlias

import numpy as np

from inrcodec.errors import UsageError
from inrcodec.volume.box import Shape

Index: TypeAlias = SupportsIndex | slice
Key: TypeAlias = "Index | ellipsis | tuple[Index | ellipsis, ...]"  # noqa: F821  # of typeshed


class OutOfRange(UsageError, IndexError):
    """An integer beyond the end of its axis; an `IndexError` too, as sequences raise it."""


def parsed(key: object, shape: Shape) -> tuple[tuple[slice, ...], tuple[int, ...]]:
    """Slices along (z, y, x), and the axes that are then taken away.

    Raises
    ------
    UsageError
        Anything but integers, slices and one ``...``; an integer beyond the end is an `IndexError` as well.

    Examples
    --------
    >>> parsed((..., 3), (4, 8, 8))
    ((slice(None, None, None), slice(None, None, None), slice(3, 4, 1)), (2,))
    """
    parts = list(key) if isinstance(key, tuple) else [key]
    dots = [k for k, part in enumerate(parts) if part is Ellipsis]
    if len(dots) > 1 or len(parts) - len(dots) > len(shape):
        cause = f"{key!r} has too many indices: one for each of three axes, and one '...'"
        raise OutOfRange(cause, value=key, option="index")
    at = dots[0] if dots else len(parts)
    filling = [slice(None)] * (len(shape) - len(parts) + len(dots))
    parts = [*parts[:at], *filling, *parts[at + len(dots) :]]
    slices = tuple(_slice(part, n, axis) for axis, (part, n) in enumerate(zip(parts, shape, strict=True)))
    return slices, tuple(axis for axis, part in enumerate(parts) if not isinstance(part, slice))


def refuse_view(copy: bool | None) -> None:
    """Refuse an array without a copy, which NumPy asks for by ``copy=False``; raises `UsageError`."""
    if copy is False:
        raise UsageError("an .inrv file is decoded, which makes a copy: leave it out", option="copy")


def _slice(part: object, length: int, axis: int) -> slice:
    if isinstance(part, slice):
        return part
    try:
        if isinstance(part, bool | np.bool_ | np.ndarray):
            raise TypeError
        place = integer(part)  # type: ignore[arg-type]
    except TypeError:
        name = "None (a new axis)" if part is None else type(part).__name__
        cause = f"an index of type {name} is not possible: use integers, slices and '...', or read the whole"
        raise UsageError(cause, value=part, option="index") from None
    if not -length <= place < length:
        cause = f"{place} is beyond axis {axis} of {length} voxels"
        raise OutOfRange(cause, value=place, option="index")
    place %= length
    return slice(place, place + 1, 1)
