"""The lower halves of 64-bit floats, whose upper halves a lattice codes.

In: stored float64, or a brick's last stream.  Out: the other.
Invariant: the stream holds as many bytes as the brick has voxels times four, and says so.

They are mostly noise: what is alike in them, such as zeros of values that were float32, is seen byte by byte.
"""

from __future__ import annotations

from math import prod

import numpy as np
import zstandard

from inrcodec.entropy.padding import decompress
from inrcodec.volume.arrays import Array
from inrcodec.volume.box import Shape

BYTES = 4  # of each
LEVEL = 3  # of zstd: higher ones find no more in noise


def encode(values: Array) -> bytes:
    """The stream of a brick of float64, (z, y, x): first bytes of all voxels, then second ones, and so on."""
    lower = values.reshape(-1).view(np.uint64).astype("<u4")
    planes = np.ascontiguousarray(lower.view(np.uint8).reshape(-1, BYTES).T)
    return zstandard.ZstdCompressor(level=LEVEL).compress(planes.tobytes())


def join(stored: Array, stream: bytes, shape: Shape, spacing: Shape = (1, 1, 1)) -> None:
    """Set them in float64 whose lower halves are 0, in place; of a brick, or of every so many of its voxels.

    Raises
    ------
    CorruptFile
        The stream is damaged, or of another number of voxels.
    """
    content = np.frombuffer(decompress(stream, BYTES * prod(shape)), np.uint8)
    lower = np.ascontiguousarray(content.reshape(BYTES, -1).T).view("<u4").reshape(shape)
    z, y, x = spacing
    bits = stored.view(np.uint64)
    bits |= lower[::z, ::y, ::x]
