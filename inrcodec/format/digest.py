"""The digest of a decoded volume: what the header states and a reader compares.

In: stored values.  Out: BLAKE2b-128 of their bytes in C order, little-endian, whatever the machine.
Invariant: slabs in order give the digest of the whole.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

BYTES = 16


class Digest:
    """A digest of slabs, one after the other."""

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=BYTES)

    def add(self, stored: NDArray[np.generic]) -> None:
        """Take in the next slices, (z, y, x)."""
        little = stored.astype(stored.dtype.newbyteorder("<"), order="C", copy=False)
        self._hash.update(little.reshape(-1).view(np.uint8).data)

    @property
    def value(self) -> bytes:
        """Of what was taken in so far."""
        return self._hash.digest()


def digest_of(array: NDArray[np.generic]) -> bytes:
    """The digest of a whole volume, (z, y, x)."""
    digest = Digest()
    digest.add(array)
    return digest.value
