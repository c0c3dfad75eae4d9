"""Quantised weights to bytes and back.

Invariant: no float reaches a stored byte, so that every machine reads what any other wrote.

Weights go through a static range asymmetric numeral system (rANS; Duda, arXiv:1311.2540) whose
frequencies are those of a Laplace distribution of scale b, discretised to integers. One byte, the
*spread*, states b: b = 2^((spread - 72)/16) quantisation steps, so b runs from 0.044 to 2775, and
rounding it to the grid costs below 0.1 %.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import CorruptFile
from inrcodec.native.library import kernels
from inrcodec.volume.arrays import Bytes, Int32, Ints

SCALE_BITS = 16  # frequencies of a table sum to 2^16: the tail of b = 16 still has whole counts
SLOT_MASK = (1 << SCALE_BITS) - 1
FIRST_STATE = 1 << 16  # pushing never lowers it: a reader below it has run out of bytes, and knows at once
STATE_LOW = 1 << 22  # the state stays below 2^30, one digit of a Python integer, which is a fifth faster
WIDEST_TABLE = 136  # spread of b = 16; a wider one is coded as b / 2^shift and ``shift`` plain low bits
ZERO_SPREAD = 72  # spread of b = 1
STEPS_PER_OCTAVE = 16
MOST_SIDES = 127  # with zero and the escape, a symbol is one byte
LARGEST = (1 << 31) - 1

# exp(-2^(-1 - (c - 72)/16)) * 2^32 for c = 121 ... 136; squaring one gives the value sixteen codes lower.
SURVIVALS = (
    4045453815,
    4055731996,
    4065598892,
    4075069962,
    4084160169,
    4092883986,
    4101255408,
    4109287957,
    4116994699,
    4124388246,
    4131480777,
    4138284039,
    4144809366,
    4151067684,
    4157069526,
    4162825044,
)


@dataclass(frozen=True)
class Table:
    """Frequencies of the symbols 0, +1, -1, +2, -2, ..., escape; their sum is 2^16.

    Attributes
    ----------
    freq, start : list of int
        Frequency of each symbol, and the sum of those before it.
    lookup : bytes
        Symbol of each of the 2^16 slots.
    values : list of int
        Integer that each symbol stands for; 0 for the escape.
    edge : int
        Smallest magnitude that needs the escape.
    shift : int
        Plain low bits that follow each symbol.
    """

    freq: list[int]
    start: list[int]
    lookup: bytes
    values: list[int]
    edge: int
    shift: int

    @cached_property
    def compiled(self) -> tuple[Bytes, Ints]:
        """The symbol of each slot; frequency, start and value of each symbol."""
        return np.frombuffer(self.lookup, np.uint8), np.array([self.freq, self.start, self.values], np.int64)


def survival(code: int) -> int:
    """P(|x| > 1/2) of the Laplace distribution of ``code``, times 2^32; 0 <= code <= 136."""
    octaves = (WIDEST_TABLE - code) // STEPS_PER_OCTAVE
    phi = SURVIVALS[code + STEPS_PER_OCTAVE * octaves - (WIDEST_TABLE - STEPS_PER_OCTAVE + 1)]
    for _ in range(octaves):
        phi = phi * phi >> 32
    return phi


def frequencies(code: int) -> list[int]:
    """Frequencies of a table: zero, +1, -1, +2, -2, ..., escape, by integer arithmetic alone."""
    phi = survival(code)
    decay = phi * phi >> 32
    tail = phi
    sides: list[int] = []
    while len(sides) < MOST_SIDES:
        nearer = tail * decay >> 32
        count = (((tail - nearer) >> 1) + (1 << 15)) >> 16
        if count == 0:
            break
        sides.append(count)
        tail = nearer
    escape = max(1, (tail + (1 << 15)) >> 16)
    zero = (1 << SCALE_BITS) - 2 * sum(sides) - escape
    return [zero, *(count for count in sides for _ in (1, -1)), escape]


@lru_cache(maxsize=256)
def table(spread: int) -> Table:
    """Coding table of a spread, 0 <= spread <= 255."""
    shift = max(0, -(-(spread - WIDEST_TABLE) // STEPS_PER_OCTAVE))
    freq = frequencies(spread - STEPS_PER_OCTAVE * shift)
    start = [0, *np.cumsum(freq)[:-1].tolist()]
    lookup = np.repeat(np.arange(len(freq), dtype=np.uint8), freq).tobytes()
    edge = len(freq) // 2
    values = [0, *(sign * size for size in range(1, edge) for sign in (1, -1)), 0]
    return Table(freq, start, lookup, values, edge, shift)


def encode_weights(values: Sequence[Int32], spreads: Sequence[int]) -> bytes:
    """Code the tensors of one tile, in order, as one stream.

    Parameters
    ----------
    values : sequence of ndarray, int32
        Quantised weights of each tensor, any shape, read in C order; magnitudes up to 2^31 - 1.
    spreads : sequence of int
        Spread of each tensor, 0 ... 255 (see `best_spread`).

    Examples
    --------
    >>> weights = np.array([0, 3, -1, 0, 2], dtype=np.int32)
    >>> stream = encode_weights([weights], [best_spread(weights)])
    >>> decode_weights(stream, [5], [best_spread(weights)])[0].tolist()
    [0, 3, -1, 0, 2]
    """
    state, out = FIRST_STATE, bytearray()
    for tensor, spread in zip(reversed(values), reversed(spreads), strict=True):
        state = _push_tensor(np.ravel(tensor)[::-1].tolist(), table(spread), state, out)
    while state:
        out.append(state & 255)
        state >>= 8
    out.reverse()
    return bytes(out)


def _push_tensor(reversed_values: list[int], coding: Table, state: int, out: bytearray) -> int:
    """Push the symbols of a tensor, last first, as rANS is a stack; return the new state."""
    freq, start, edge, shift = coding.freq, coding.start, coding.edge, coding.shift
    half, low_mask = (1 << shift) >> 1, (1 << shift) - 1
    escape = len(freq) - 1
    for value in reversed_values:
        if shift:
            value += half
            state = _push_bits(state, value & low_mask, shift, out)
            value >>= shift
        if -edge < value < edge:
            symbol = 2 * value - 1 if value > 0 else -2 * value
        else:
            state = _push_escape(state, value, edge, out)
            symbol = escape
        count = freq[symbol]
        while state >= count << 14:  # 2^8 * STATE_LOW / 2^16 * count: what the reader refills
            out.append(state & 255)
            state >>= 8
        quotient, rest = divmod(state, count)
        state = (quotient << SCALE_BITS) + rest + start[symbol]
    return state


def _push_bits(state: int, value: int, bits: int, out: bytearray) -> int:
    while state >= STATE_LOW << 8 >> bits:
        out.append(state & 255)
        state >>= 8
    return state << bits | value


def _push_escape(state: int, value: int, edge: int, out: bytearray) -> int:
    """Push a magnitude from ``edge`` on: length (5 bits) and sign, then the bits below the leading one."""
    excess = abs(value) - edge + 1
    length = excess.bit_length() - 1
    below = excess - (1 << length)
    if length > 16:
        state = _push_bits(state, below & SLOT_MASK, 16, out)
        below, rest = below >> 16, length - 16
    else:
        rest = length
    state = _push_bits(state, below, rest, out)
    return _push_bits(state, length << 1 | (value < 0), 6, out)


def decode_weights(data: bytes, counts: Sequence[int], spreads: Sequence[int]) -> list[Int32]:
    """Invert `encode_weights`.

    Parameters
    ----------
    counts, spreads : sequence of int
        Number of weights and spread of each tensor.

    Returns
    -------
    list of ndarray, (count,), int32

    Raises
    ------
    CorruptFile
        The stream is too short, too long, or holds a value beyond 32 bits.
    """
    reader = _Reader(data)
    tensors = [reader.tensor(count, table(spread)) for count, spread in zip(counts, spreads, strict=True)]
    if reader.state != FIRST_STATE or reader.position != len(data) or data[:1] == b"\0":
        raise CorruptFile(
            f"weight stream of {len(data)} bytes does not hold {sum(counts)} weights", value=len(data)
        )
    return tensors


class _Reader:
    """State of a stream while it is read; the state is refilled as long as there are bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.state = 0
        self._refill()

    def _refill(self) -> None:
        while self.state < STATE_LOW:
            if self.position == len(self.data):
                self._check_floor(self.state)
                break
            self.state = self.state << 8 | self.data[self.position]
            self.position += 1

    def _check_floor(self, state: int) -> None:
        """Refuse a stream that has run out of bytes, before more is read from nothing."""
        if state < FIRST_STATE:
            raise CorruptFile(
                f"weight stream of {len(self.data)} bytes ends before its last weight", value=len(self.data)
            )

    def tensor(self, count: int, coding: Table) -> Int32:
        """Read ``count`` values."""
        compiled = kernels()
        if compiled is not None:
            place = np.array([self.position, self.state], np.int64)
            data = np.frombuffer(self.data or b"\0", np.uint8)
            values = compiled.weights(data, place, count, *coding.compiled, coding.edge, coding.shift)
            if values is not None:
                self.position, self.state = place.tolist()
                return values
        return self._plain(count, coding)  # which says what is wrong, too

    def _plain(self, count: int, coding: Table) -> Int32:
        """The same loop in Python, which holds all in locals: it is the decoder's innermost."""
        data, end, lookup, freq, start = self.data, len(self.data), coding.lookup, coding.freq, coding.start
        low, mask, bits = STATE_LOW, SLOT_MASK, SCALE_BITS
        position, state = self.position, self.state
        if coding.shift:
            return self._tensor_with_low_bits(count, coding)
        symbols = bytearray(count)
        places, escaped = array("i"), array("i")  # compact: a hostile stream may hold nothing but escapes
        escape = len(freq) - 1
        for index in range(count):
            slot = state & mask
            symbols[index] = symbol = lookup[slot]
            state = freq[symbol] * (state >> bits) + slot - start[symbol]
            while state < low:
                if position == end:
                    self._check_floor(state)
                    break
                state = state << 8 | data[position]
                position += 1
            if symbol == escape:
                self.position, self.state = position, state
                places.append(index)
                escaped.append(self._escape(coding.edge))
                position, state = self.position, self.state
        self.position, self.state = position, state
        values = np.array(coding.values, dtype=np.int32)[np.frombuffer(symbols, dtype=np.uint8)]
        values[np.array(places, dtype=np.int64)] = np.array(escaped, dtype=np.int32)
        return values

    def _tensor_with_low_bits(self, count: int, coding: Table) -> Int32:
        """The same for a wide spread, where plain low bits follow each symbol."""
        values = np.empty(count, dtype=np.int32)
        escape, half = len(coding.freq) - 1, (1 << coding.shift) >> 1
        for index in range(count):
            slot = self.state & SLOT_MASK
            symbol = coding.lookup[slot]
            self.state = coding.freq[symbol] * (self.state >> SCALE_BITS) + slot - coding.start[symbol]
            self._refill()
            high = self._escape(coding.edge) if symbol == escape else coding.values[symbol]
            value = (high << coding.shift) + self._bits(coding.shift) - half
            values[index] = _checked(value)
        return values

    def _bits(self, bits: int) -> int:
        value = self.state & ((1 << bits) - 1)
        self.state >>= bits
        self._refill()
        return value

    def _escape(self, edge: int) -> int:
        head = self._bits(6)
        length = head >> 1
        if length <= 16:
            below = self._bits(length)
        else:
            below = self._bits(length - 16) << 16
            below |= self._bits(16)
        size = (1 << length | below) + edge - 1
        return _checked(-size if head & 1 else size)


def _checked(value: int) -> int:
    if abs(value) > LARGEST:
        raise CorruptFile(f"weight {value} is beyond 32 bits", value=value)
    return value


def best_spread(values: Int32) -> int:
    """Spread, 0 ... 255, that codes ``values`` in the fewest bits; the encoder's choice, which it stores."""
    return int(np.argmin(_all_bits(values)))


def _all_bits(values: Int32) -> NDArray[np.float64]:
    """Bits for each of the 256 spreads: -log2 of P(0) = 1 - phi, P(+-k) = phi^(2k - 1) (1 - phi^2) / 2."""
    size = np.abs(np.ravel(values).astype(np.int64))
    nonzero, total = int(np.count_nonzero(size)), int(size.sum())
    scale = 2.0 ** ((np.arange(256) - ZERO_SPREAD) / STEPS_PER_OCTAVE)
    rate = 0.5 / scale  # phi = exp(-rate)
    zeros = -(size.size - nonzero) * np.log(-np.expm1(-rate))
    others = rate * (2 * total - nonzero) - nonzero * np.log(-np.expm1(-2 * rate) / 2)
    bits: NDArray[np.float64] = (zeros + others) / np.log(2)
    return bits
