"""The networks of all tiles as bytes, each tile on its own, with an index in front.

In: step codes and integers of each tile.  Out: the sections ``INDX`` and ``WGHT``.
The one law: a tile is read from its own bytes, so that a region costs what its tiles cost.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inrcodec import entropy
from inrcodec.errors import CorruptFile

Int32 = NDArray[np.int32]


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


def write_tile(codes: Sequence[int], integers: Sequence[Int32]) -> bytes:
    """Step code and spread of each tensor, then all integers under one range coder."""
    spreads = [entropy.best_spread(q) for q in integers]
    pairs = bytes(value for pair in zip(codes, spreads, strict=True) for value in pair)
    return pairs + entropy.encode_weights(integers, spreads)


def read_tile(stream: bytes, sizes: Sequence[int]) -> tuple[list[int], list[Int32]]:
    """Step codes and integers of tensors of the given sizes."""
    heads = 2 * len(sizes)
    if len(stream) < heads:
        raise CorruptFile(
            f"a tile's stream has {len(stream)} bytes, not the {heads} of its steps; the file is damaged",
            value=len(stream),
        )
    codes, spreads = list(stream[0:heads:2]), list(stream[1:heads:2])
    return codes, entropy.decode_weights(stream[heads:], sizes, spreads)
