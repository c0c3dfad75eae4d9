"""Integers to tokens of a small alphabet and plain bits, and back.

In: integers, mostly small, and their limits.  Out: a token (one byte) for each, and a bit string.
Invariant: signs are folded into even and odd as far as both are possible; small folded values are their own
token; of larger ones, the token holds the octave and the next two bits, and the lower bits are plain.
"""

from __future__ import annotations

import numpy as np

from inrcodec.errors import CorruptFile
from inrcodec.volume.arrays import Bytes, Ints

DIRECT = 32  # tokens of single values
FINE = 2  # bits behind the leading one that a token holds
PARTS = 1 << FINE
FIRST = DIRECT.bit_length() - 1  # octave of the first value that is not direct
LAST = 34  # the last octave: differences of 32-bit integers, with their sign
COUNT = DIRECT + PARTS * (LAST - FIRST + 1)
PLAIN_BITS = np.repeat([0, *range(FIRST - FINE, LAST - FINE + 1)], [DIRECT, *[PARTS] * (LAST - FIRST + 1)])


def folded(values: Ints, below: Ints, above: Ints) -> Ints:
    """Non-negative integers: 0, 1, -1, 2, -2 …, then one sign alone where the other has reached its limit.

    Parameters
    ----------
    values : ndarray, (n,).
    below, above : ndarray, (n,), largest magnitudes on either side.
    """
    size, both = np.abs(values), np.minimum(below, above)
    return np.where(size <= both, 2 * size - (values > 0), size + both)


def unfolded(values: Ints, below: Ints, above: Ints) -> Ints:
    """Invert :func:`folded`."""
    both = np.minimum(below, above)
    plain = np.where(values & 1, (values + 1) >> 1, -(values >> 1))
    beyond = np.where(above > below, values - both, both - values)
    return np.where(values <= 2 * both, plain, beyond)


def tokenise(folded: Ints) -> tuple[Bytes, Bytes]:
    """Tokens, and the plain bits of all of them, packed.

    Parameters
    ----------
    folded : ndarray, (n,), from 0 to below 2^35.
    """
    tokens = tokens_of(folded)
    large = folded[tokens >= DIRECT]
    below = PLAIN_BITS[tokens[tokens >= DIRECT]]
    return tokens, _packed(large & ((1 << below) - 1), below)


def tokens_of(folded: Ints) -> Bytes:
    """Tokens alone; `PLAIN_BITS` says how many bits follow each."""
    tokens = folded.astype(np.uint8)
    places = np.flatnonzero(folded >= DIRECT)
    large = folded[places]
    octave = np.frexp(large.astype(np.float64))[1].astype(np.int64) - 1
    tokens[places] = DIRECT + PARTS * (octave - FIRST) + ((large >> (octave - FINE)) & (PARTS - 1))
    return tokens


class PlainBits:
    """The plain bits of a block, which :func:`tokenise` packed, piece by piece."""

    def __init__(self, packed: Bytes) -> None:
        self.packed, self.position = packed, 0

    def values_of(self, tokens: Bytes) -> Ints:
        """The integers of the next tokens.

        Raises
        ------
        CorruptFile
            Fewer bits than the tokens need.
        """
        folded = tokens.astype(np.int64)
        places = np.flatnonzero(folded >= DIRECT)
        coarse = folded[places] - DIRECT
        below = coarse // PARTS + FIRST - FINE
        start, stop = self.position, self.position + int(below.sum())
        if stop > 8 * len(self.packed):
            raise damaged_bits(self.packed)
        bits = np.unpackbits(self.packed[start // 8 : -(-stop // 8)], bitorder="little")[start % 8 :]
        folded[places] = ((PARTS + coarse % PARTS) << below) | _unpacked(bits, below)
        self.position = stop
        return folded

    def finish(self) -> None:
        """Refuse bytes that no token needs, and bits of the last one; raises `CorruptFile`."""
        used = self.position % 8
        if len(self.packed) != -(-self.position // 8) or (used and self.packed[-1] >> used):
            raise damaged_bits(self.packed)


def damaged_bits(packed: Bytes) -> CorruptFile:
    """The error of plain bits that are fewer or more than the tokens need."""
    count = len(packed)
    return CorruptFile(f"{count} bytes of plain bits do not fit the tokens", value=count)


def _packed(values: Ints, lengths: Ints) -> Bytes:
    """Concatenated bit strings, each from its lowest bit on."""
    which = np.repeat(np.arange(len(values)), lengths)
    position = np.arange(len(which)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.packbits(((values[which] >> position) & 1).astype(np.uint8), bitorder="little")


def _unpacked(bits: Bytes, lengths: Ints) -> Ints:
    starts = np.cumsum(lengths) - lengths
    values = np.zeros(len(lengths), np.int64)
    for position in range(int(lengths.max(initial=0))):
        longer = lengths > position
        values[longer] |= bits[starts[longer] + position].astype(np.int64) << position
    return values
