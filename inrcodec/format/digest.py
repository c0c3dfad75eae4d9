"""The digest of a decoded volume: what the header states and a reader compares.

In: stored values, slab by slab or brick by brick.  Out: BLAKE2b-128 of the digests of the bricks, in their
order, each of which is the BLAKE2b-128 of a brick's bytes in C order, little-endian, whatever the machine.
Invariant: neither the slabs nor who decoded which brick changes a bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from inrcodec.volume.box import Box
from inrcodec.volume.bricks import Bricks

BYTES = 16
MOST = 1 << 14  # bricks whose digests are computed side by side: each takes half a kilobyte


class Digest:
    """The digest of slices that come in order."""

    def __init__(self, bricks: Bricks) -> None:
        self._bricks, self._next = bricks, 0  # the slice that comes next
        self._done: list[bytes] = []
        self._open: list[blake2b] = []  # of the bricks that the next slice goes through

    def add(self, stored: NDArray[np.generic]) -> None:
        """Take in the next slices, (z, y, x)."""
        depth = self._bricks.edges[0]
        while len(stored):
            if self._next % depth == 0:
                self._end_layer()
            count = min(depth - self._next % depth, len(stored))
            for hasher, (_, rows, columns) in zip(self._open, self._places(), strict=True):
                hasher.update(_bytes(stored[:count, rows, columns]))
            stored, self._next = stored[count:], self._next + count

    @property
    def bricks(self) -> list[bytes]:
        """Of each brick, once all slices were taken in."""
        self._end_layer()
        return self._done

    def _places(self) -> list[tuple[slice, slice, slice]]:
        _, rows, columns = self._bricks.counts
        return [self._bricks[k].slices for k in range(rows * columns)]

    def _end_layer(self) -> None:
        self._done += [hasher.digest() for hasher in self._open]
        self._open = []
        if self._next < self._bricks.shape[0]:
            self._open = [blake2b(digest_size=BYTES) for _ in self._places()]


def of_brick(stored: NDArray[np.generic]) -> bytes:
    """The digest of a decoded brick, (z, y, x)."""
    return blake2b(_bytes(stored), digest_size=BYTES).digest()


def combined(bricks: Iterable[bytes]) -> bytes:
    """The digest of a volume, from those of its bricks in raster order."""
    whole = blake2b(digest_size=BYTES)
    for brick in bricks:
        whole.update(brick)
    return whole.digest()


def digest_of(array: NDArray[np.generic], bricks: Bricks) -> bytes:
    """The digest of a whole volume, (z, y, x)."""
    return combined(of_brick(array[brick.slices]) for brick in bricks)


def digest_of_parts(bricks: Bricks, slabs: Callable[[Box], Iterable[NDArray[np.generic]]]) -> bytes:
    """The digest of a volume that is decoded slab by slab.

    Parameters
    ----------
    slabs : gives the slices of a box, some at a time, in order.
    """

    def digests() -> Iterator[bytes]:
        for part in bricks.parts(MOST):
            digest = Digest(Bricks.of(part.shape, bricks.edges))
            for stored in slabs(part):
                digest.add(stored)
            yield from digest.bricks

    return combined(digests())


def _bytes(stored: NDArray[np.generic]) -> memoryview:
    little = np.ascontiguousarray(stored, dtype=stored.dtype.newbyteorder("<"))
    return little.reshape(-1).view(np.uint8).data
