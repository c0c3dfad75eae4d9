"""The index of a section's parts: lengths in front, so that a part is located without the others.

In: the parts' bytes.  Out: the index and the joined parts, or the parts again.
Invariant: the index names every byte exactly once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inrcodec.errors import CorruptFile


def join(tiles: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Tiles' streams to the bodies of ``INDX`` (u32 lengths) and ``WGHT``."""
    return np.array([len(t) for t in tiles], dtype="<u4").tobytes(), b"".join(tiles)


def split(index: bytes, weights: bytes, count: int) -> list[bytes]:
    """The streams of ``count`` tiles.

    Raises
    ------
    CorruptFile
        The index does not name every byte exactly once.
    """
    lengths = np.frombuffer(index[: len(index) // 4 * 4], dtype="<u4").astype(np.int64)
    if len(index) != 4 * count or lengths.sum() != len(weights):
        raise CorruptFile(
            f"the index of {len(index)} bytes names {lengths.sum()} bytes of weights, "
            f"but there are {count} tiles and {len(weights)} bytes; the file is damaged",
            value=len(index),
        )
    ends = lengths.cumsum()
    return [weights[end - length : end] for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)]
