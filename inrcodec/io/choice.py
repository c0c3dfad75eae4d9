"""Which of several volumes a source stands for.

In: the index that was given, if any, and what is there.  Out: an index.  Invariant: of several none is
guessed, they are listed.
"""

from __future__ import annotations

from collections.abc import Sequence

from inrcodec.errors import InputError

_LISTED = 20


def chosen_volume(requested: int | None, count: int, source: object, lines: Sequence[str] = ()) -> int:
    """The index of the volume that is meant, from 0; the only one where none was given.

    Parameters
    ----------
    lines : what each volume is, such as "b = 1000 s/mm2, direction 3", for the message.

    Raises
    ------
    InputError
        Several and none requested, or the one that was is not there (`option`: "volume").
    """
    if requested is None and count == 1:
        return 0
    if requested is not None and 0 <= requested < count:
        return requested
    asked = "choose one" if requested is None else f"{requested} is not one of them"
    more = f"\n  ... and {len(lines) - _LISTED} more" if len(lines) > _LISTED else ""
    listing = "".join(f"\n  {i}: {line}" for i, line in enumerate(lines[:_LISTED])) + more
    cause = f"{source} holds {count} volumes, {asked}: 0 to {count - 1}{listing}"
    raise InputError(cause, value=requested, option="volume")
