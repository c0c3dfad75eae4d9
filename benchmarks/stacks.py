"""Volumes as the peers take them: stacks of integers from 0 on, with as many bits as a codec has.

In: a volume.  Out: uint16 (z, y, x), contiguous.  Invariant: what goes to more bits comes back as it was.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from inrcodec import Volume

Stack: TypeAlias = NDArray[np.uint16]


def stack_of(volume: Volume) -> tuple[Stack, int]:
    """Stored integers as a stack, and what was taken off them.

    Raises
    ------
    ValueError
        Floats, or a range of more than 16 bits: the image codecs take neither.
    """
    if volume.array.dtype.kind == "f":
        raise ValueError(f"{volume.array.dtype.name} is no integer: the peers take integers of 16 bits")
    low = int(volume.array.min())
    shifted = volume.array.astype(np.int64) - low
    if shifted.max() >= 1 << 16:
        raise ValueError(f"values span {shifted.max() + 1}: the peers take 16 bits")
    return np.ascontiguousarray(shifted.astype(np.uint16)), low


def bits_of(stack: Stack) -> int:
    """The fewest that hold the values: coders that know them spend none on the others."""
    return max(8, int(stack.max()).bit_length())


def to_bits(stack: Stack, bits: int) -> Stack:
    """Return values that use all bits: the steps of a quantiser are for the whole range."""
    shift = bits - bits_of(stack)
    if shift >= 0:
        return stack << shift
    rounded = (stack.astype(np.uint32) + (1 << -shift >> 1)) >> -shift
    return np.minimum(rounded, (1 << bits) - 1).astype(np.uint16)


def from_bits(coded: Stack, stack: Stack, bits: int) -> Stack:
    """Return values as those of a stack; the inverse of :func:`to_bits`."""
    shift = bits - bits_of(stack)
    wide = coded.astype(np.uint32)
    values = (wide + (1 << shift >> 1)) >> shift if shift >= 0 else wide << -shift
    return np.minimum(values, int(stack.max())).astype(np.uint16)
