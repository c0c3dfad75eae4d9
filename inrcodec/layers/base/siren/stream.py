"""The networks of all tiles as bytes, each tile on its own, with an index in front.

In: step codes and integers of each tile.  Out: the sections ``INDX`` and ``WGHT``.
The one law: a tile is read from its own bytes, so that a region costs what its tiles cost.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inrcodec.entropy import laplace
from inrcodec.errors import CorruptFile

Int32 = NDArray[np.int32]


def write_tile(codes: Sequence[int], integers: Sequence[Int32]) -> bytes:
    """Step code and spread of each tensor, then all integers under one range coder."""
    spreads = [laplace.best_spread(q) for q in integers]
    pairs = bytes(value for pair in zip(codes, spreads, strict=True) for value in pair)
    return pairs + laplace.encode_weights(integers, spreads)


def read_tile(stream: bytes, sizes: Sequence[int]) -> tuple[list[int], list[Int32]]:
    """Step codes and integers of tensors of the given sizes."""
    heads = 2 * len(sizes)
    if len(stream) < heads:
        raise CorruptFile(
            f"a tile's stream has {len(stream)} bytes, not the {heads} of its steps; the file is damaged",
            value=len(stream),
        )
    codes, spreads = list(stream[0:heads:2]), list(stream[1:heads:2])
    return codes, laplace.decode_weights(stream[heads:], sizes, spreads)
