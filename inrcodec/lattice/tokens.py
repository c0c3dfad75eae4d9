"""Integers as tokens of a small alphabet and plain bits, and back.

In: integers, small ones the commonest.  Out: a byte for each, and a string of bits.
The one law: small integers are their own token; of the others the token tells the two leading bits behind the
first, and the bits below, which are as good as random, are stored as they are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import CorruptFile

Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]

DIRECT = 32  # tokens of single values: 0, 1, -1, 2, -2 ...
FINE = 2  # leading bits behind the first that a token tells
PARTS = 1 << FINE
FIRST = DIRECT.bit_length() - 1  # octave of the first value that is not direct
LAST = 34  # the last octave: differences of integers of 32 bits, and their sign
COUNT = DIRECT + PARTS * (LAST - FIRST + 1)


def tokenise(values: Ints) -> tuple[Bytes, Bytes]:
    """Tokens, and the plain bits of all of them, packed.

    Parameters
    ----------
    values : ndarray, (n,), magnitudes below 2^34.
    """
    folded = np.abs(values)
    folded *= 2
    folded -= values > 0
    tokens = folded.astype(np.uint8)
    places = np.flatnonzero(folded >= DIRECT)
    large = folded[places]
    octave = np.frexp(large.astype(np.float64))[1].astype(np.int64) - 1
    below = octave - FINE
    tokens[places] = DIRECT + PARTS * (octave - FIRST) + ((large >> below) & (PARTS - 1))
    return tokens, _packed(large & ((1 << below) - 1), below)


def values_of(tokens: Bytes, bits: Bytes) -> Ints:
    """Invert :func:`tokenise`.

    Raises
    ------
    CorruptFile
        Other than as many bits as the tokens ask for.
    """
    folded = tokens.astype(np.int64)
    places = np.flatnonzero(folded >= DIRECT)
    coarse = folded[places] - DIRECT
    below = coarse // PARTS + FIRST - FINE
    if len(bits) != -(-int(below.sum()) // 8):
        raise CorruptFile(
            f"{len(bits)} bytes of plain bits, other than asked for; get the file again", value=len(bits)
        )
    folded[places] = ((PARTS + coarse % PARTS) << below) | _unpacked(bits, below)
    return np.where(folded & 1, (folded + 1) >> 1, -(folded >> 1))


def _packed(values: Ints, lengths: Ints) -> Bytes:
    """Bit strings behind each other, each from its lowest bit on."""
    which = np.repeat(np.arange(len(values)), lengths)
    position = np.arange(len(which)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.packbits(((values[which] >> position) & 1).astype(np.uint8), bitorder="little")


def _unpacked(packed: Bytes, lengths: Ints) -> Ints:
    bits = np.unpackbits(packed, bitorder="little")
    starts = np.cumsum(lengths) - lengths
    values = np.zeros(len(lengths), np.int64)
    for position in range(int(lengths.max(initial=0))):
        longer = lengths > position
        values[longer] |= bits[starts[longer] + position].astype(np.int64) << position
    return values
