"""Boolean grids to bytes and back: the active cells of the low-res grid.

Invariant: encoder and decoder run the same loop over the same integers.

Body masks are smooth, so neighbours predict a cell: five contexts of 8 to 20 causal neighbours each keep an
adaptive probability; these are mixed in the logistic domain (as in Mahoney's lpaq, in integers), and an
arithmetic coder writes the bit.  A cell whose 26 neighbours all agree skips the mixing, for speed.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import CorruptFile
from inrcodec.native.library import Kernels, kernels
from inrcodec.volume.arrays import Bool, Int32
from inrcodec.volume.box import Shape

Offset = tuple[int, int, int]

# Causal neighbours, (z, y, x) from the cell; bit i of a code is the i-th of its list.
CURRENT: tuple[Offset, ...] = (
    *((0, 0, -1), (0, 0, -2)),
    *((0, -2, 1), (0, -2, 0), (0, -2, -1)),
    *((0, -1, 2), (0, -1, 1), (0, -1, 0), (0, -1, -1), (0, -1, -2)),
)
PREVIOUS: tuple[Offset, ...] = (
    *((-1, 0, 0), (-1, 0, 1), (-1, 1, 0), (-1, 0, -1), (-1, -1, 0)),
    *((-1, 1, 1), (-1, 1, -1), (-1, -1, 1), (-1, -1, -1), (-1, 0, 2), (-1, 2, 0)),
    *((-2, 0, 0), (-2, 0, 1), (-2, 1, 0), (-2, 0, -1), (-2, -1, 0)),
)
NEAREST: tuple[Offset, ...] = (
    *((0, 0, -1), (-1, 0, 0), (0, -1, 0), (0, -1, 1), (0, -1, -1), (-1, 0, 1), (-1, 1, 0), (-1, 0, -1)),
    *((-1, -1, 0), (-2, 0, 0), (-1, 1, 1), (-1, 1, -1), (-1, -1, 1), (-1, -1, -1)),
    *((0, 0, -2), (0, -2, 0), (-2, 0, 1), (-2, 1, 0), (-2, 0, -1), (-2, -1, 0)),
)
AROUND: tuple[Offset, ...] = (
    *((0, 0, -1), (-1, 0, 0), (-1, 0, 1), (-1, 1, 0), (-1, 0, -1), (-1, -1, 0)),
    *((-2, 0, 0), (-2, 0, 1), (-2, 1, 0), (-2, 0, -1), (-2, -1, 0)),
)
CONTEXTS: tuple[tuple[Offset, ...], ...] = (NEAREST[:8], NEAREST[:14], NEAREST, CURRENT, AROUND)

ALL_CURRENT, ALL_PREVIOUS = (1 << len(CURRENT)) - 1, (1 << len(PREVIOUS)) - 1
PROBABILITY_BITS = 22
COUNT_BITS = 7  # a state is probability << 7 | times seen, up to 127
FRESH = 1 << (PROBABILITY_BITS - 1 + COUNT_BITS)
CERTAIN = (1 << PROBABILITY_BITS) - 1
RATES = [655360 // (10 * seen + 13) for seen in range(128)]  # 2^16 / (seen + 1.3)
FIRST_WEIGHT = 13107  # 0.2 of 2^16 for each of the five contexts
LEARNING = 100
# 65536 / (1 + exp(-d/256)) at d = -2560, -2432, ..., 2560; between, straight lines.
LOGISTIC = (
    *(3, 5, 8, 13, 22, 36, 60, 98, 162, 267, 439, 720, 1179, 1921),
    *(3108, 4971, 7812, 11955, 17625, 24743, 32768, 40793, 47911, 53581, 57724, 60565, 62428),
    *(63615, 64357, 64816, 65097, 65269, 65374, 65438, 65476, 65500, 65514, 65523, 65528, 65531, 65533),
)
EDGE = 2559


def squash(stretched: int) -> int:
    """Probability times 2^16 of a logit times 256 in -2559 ... 2559."""
    knot, between = (stretched >> 7) + 20, stretched & 127
    return (LOGISTIC[knot] * (128 - between) + LOGISTIC[knot + 1] * between + 64) >> 7


SQUASH = [squash(stretched) for stretched in range(-EDGE, EDGE + 1)]
# Largest logit whose `squash` does not exceed each of the 2^14 probabilities.
STRETCH = (
    (np.searchsorted(SQUASH, np.arange(1 << 14) * 4 + 2, side="right") - 1 - EDGE).clip(min=-EDGE).tolist()
)


class _Writer:
    """Binary arithmetic coder: [low, high] narrows to the part of the bit that was coded."""

    def __init__(self) -> None:
        self.low, self.high = 0, 0xFFFFFFFF
        self.out = bytearray()

    def code(self, probability: int, bit: int) -> int:
        """Code ``bit``, which is 1 with ``probability`` / 2^16; return it."""
        middle = self.low + ((self.high - self.low) * probability >> 16)
        if bit:
            self.high = middle
        else:
            self.low = middle + 1
        while (self.low ^ self.high) < 1 << 24:
            self.out.append(self.low >> 24)
            self.low = (self.low << 8) & 0xFFFFFFFF
            self.high = (self.high << 8) & 0xFFFFFFFF | 255
        return bit

    def finish(self) -> bytes:
        return bytes(self.out) + _last_bytes(self.low, self.high)


class _Reader:
    """The same interval, followed by the bits of the file; up to four zeros follow its end."""

    def __init__(self, data: bytes) -> None:
        self.low, self.high = 0, 0xFFFFFFFF
        self.data = data
        self.shifts = 0
        self.value = int.from_bytes(data[:4].ljust(4, b"\0"), "big")

    def code(self, probability: int, _bit: int) -> int:
        """Read a bit that is 1 with ``probability`` / 2^16."""
        middle = self.low + ((self.high - self.low) * probability >> 16)
        bit = self.value <= middle
        if bit:
            self.high = middle
        else:
            self.low = middle + 1
        while (self.low ^ self.high) < 1 << 24:
            self.low = (self.low << 8) & 0xFFFFFFFF
            self.high = (self.high << 8) & 0xFFFFFFFF | 255
            following = self.shifts + 4
            self.shifts += 1
            if self.shifts > len(self.data):
                raise self.ends_wrong()
            fresh = self.data[following] if following < len(self.data) else 0
            self.value = (self.value << 8) & 0xFFFFFFFF | fresh
        return int(bit)

    def finish(self) -> None:
        """Refuse a stream that is not byte for byte what the writer would have left."""
        if self.data[self.shifts :] != _last_bytes(self.low, self.high):
            raise self.ends_wrong()

    def ends_wrong(self) -> CorruptFile:
        return CorruptFile(
            f"mask of {len(self.data)} bytes does not end with its last cell", value=len(self.data)
        )


def _last_bytes(low: int, high: int) -> bytes:
    """Fewest bytes that, followed by zeros, lie in [low, high]."""
    for count in range(4):
        unit = 1 << (32 - 8 * count)
        value = -(-low // unit) * unit
        if value <= high:
            return value.to_bytes(4, "big")[:count]
    return low.to_bytes(4, "big")


def _learn(states: list[int], index: int, bit: int) -> None:
    """Move a probability towards the bit, by 1 / (times seen + 1.3)."""
    state = states[index]
    seen = state & 127
    probability = state >> COUNT_BITS
    if bit:
        probability += (CERTAIN - probability) * RATES[seen] >> 16
    else:
        probability -= probability * RATES[seen] >> 16
    states[index] = probability << COUNT_BITS | (seen + 1 if seen < 127 else seen)


class _Mixer:
    """Adaptive states of the contexts and weights that mix them, a set for each count of near neighbours."""

    def __init__(self) -> None:
        self.states = [[FRESH] * (1 << len(context)) for context in CONTEXTS]
        self.weights = [[FIRST_WEIGHT] * len(CONTEXTS) for _ in range(9)]

    def code(self, coder: _Writer | _Reader, indices: list[int], bit: int) -> int:
        """Code one bit under the mixed probability and learn from it."""
        weights = self.weights[indices[0].bit_count()]
        logits = [STRETCH[states[i] >> 15] for states, i in zip(self.states, indices, strict=True)]
        total = sum([weight * logit for weight, logit in zip(weights, logits, strict=True)]) >> 16
        probability = SQUASH[EDGE + (EDGE if total > EDGE else -EDGE if total < -EDGE else total)]
        bit = coder.code(probability, bit)
        error = ((bit << 16) - probability) * LEARNING >> 4
        for j, logit in enumerate(logits):
            weights[j] += (logit * error + 0x8000) >> 16
            _learn(self.states[j], indices[j], bit)
        return bit


def _shares(seen: tuple[Offset, ...]) -> list[NDArray[np.int64]]:
    """For each context, its bits that come from each code over the neighbours ``seen``."""
    codes = np.arange(1 << len(seen))
    shares = []
    for context in CONTEXTS:
        share = np.zeros_like(codes)
        for bit, offset in enumerate(context):
            if offset in seen:
                share |= (codes >> seen.index(offset) & 1) << bit
        shares.append(share)
    return shares


_CURRENT_SHARES = [share.tolist() for share in _shares(CURRENT)]
_PREVIOUS_SHARES = _shares(PREVIOUS)


def _walk(coder: _Writer | _Reader, shape: Shape, cells: Bool | None) -> Bool:
    """Code all cells in raster order: those of ``cells``, or, where it is ``None``, those that are read."""
    compiled = kernels()
    return (
        _walk_plain(coder, shape, cells)
        if compiled is None
        else _walk_compiled(compiled, coder, shape, cells)
    )


def _walk_compiled(compiled: Kernels, coder: _Writer | _Reader, shape: Shape, cells: Bool | None) -> Bool:
    """All cells by a compiled loop, slice by slice."""
    depth, height, width = shape
    known = np.zeros((depth + 2, height + 4, width + 4), np.uint8)
    state = np.array([0, 0xFFFFFFFF, 0, 0, FRESH, FRESH, *[FIRST_WEIGHT] * 9 * len(CONTEXTS)], np.int64)
    sizes = np.array([1 << len(context) for context in CONTEXTS], np.int64)
    states = np.full(sizes.sum(), FRESH, np.int32)
    if cells is not None:
        known[2:, 2:-2, 2:-2] = cells
    data = None
    if isinstance(coder, _Reader):
        state[2], data = coder.value, np.array(bytearray(coder.data), np.uint8)
    for z in range(depth):
        found = compiled.mask(known, z, data, state, _tables(), states, sizes)
        if isinstance(coder, _Writer):
            coder.out += found or b""
        elif found is None:
            raise coder.ends_wrong()
    coder.low, coder.high = int(state[0]), int(state[1])
    if isinstance(coder, _Reader):
        coder.shifts = int(state[3])
    return known[2:, 2:-2, 2:-2].astype(np.bool_)


@lru_cache(maxsize=1)
def _tables() -> Int32:
    """All tables, as the compiled loop reads them."""
    shares = [np.ravel(_CURRENT_SHARES), np.ravel(_PREVIOUS_SHARES)]
    return np.concatenate([RATES, STRETCH, SQUASH, *shares]).astype(np.int32)


def _walk_plain(coder: _Writer | _Reader, shape: Shape, cells: Bool | None) -> Bool:
    """The same loop in Python."""
    depth, height, width = shape
    mixer, agreed = _Mixer(), [FRESH, FRESH]
    known = np.zeros((depth + 2, height + 4, width + 4), dtype=np.uint8)
    for z in range(depth):
        before = np.zeros((height, width), dtype=np.int64)
        for bit, (dz, dy, dx) in enumerate(PREVIOUS):
            part = known[z + 2 + dz, 2 + dy : 2 + dy + height, 2 + dx : 2 + dx + width]
            before |= part.astype(np.int64) << bit
        above = higher = bytearray(width + 4)
        for y in range(height):
            row = bytearray(width + 4)
            if cells is not None:
                row[2 : 2 + width] = cells[z, y].tobytes()
            _code_row(coder, mixer, agreed, (higher, above, row), before[y])
            known[z + 2, y + 2] = np.frombuffer(row, dtype=np.uint8)
            higher, above = above, row
    return known[2:, 2:-2, 2:-2].astype(np.bool_)


def _code_row(
    coder: _Writer | _Reader,
    mixer: _Mixer,
    agreed: list[int],
    rows: tuple[bytearray, bytearray, bytearray],
    before: NDArray[np.int64],
) -> None:
    """Code one row, in place; rows have two cells of zeros on either side."""
    higher, above, row = rows
    shares = list(zip(*(share[before].tolist() for share in _PREVIOUS_SHARES), strict=True))
    window, narrow, left = above[2] << 1 | above[3], higher[2], 0
    for x, previous in enumerate(before.tolist()):
        window = (window << 1 | above[x + 4]) & 31
        narrow = (narrow << 1 | higher[x + 3]) & 7
        current = window << 5 | narrow << 2 | left
        if previous == current == 0 or (previous == ALL_PREVIOUS and current == ALL_CURRENT):
            side = previous & 1
            bit = coder.code(min(max(agreed[side] >> 13, 1), 65535), row[x + 2])
            _learn(agreed, side, bit)
        else:
            indices = [a[current] | b for a, b in zip(_CURRENT_SHARES, shares[x], strict=True)]
            bit = mixer.code(coder, indices, row[x + 2])
        row[x + 2] = bit
        left = (left << 1 | bit) & 3


def encode_mask(cells: Bool) -> bytes:
    """Code a grid of cells by context mixing; about 1 M cells a second in Python, 30 M compiled.

    Parameters
    ----------
    cells : ndarray, (z, y, x), bool

    Examples
    --------
    >>> cells = np.zeros((3, 20, 20), dtype=bool)
    >>> cells[:, 5:15, 4:16] = True
    >>> bool((decode_mask(encode_mask(cells), cells.shape) == cells).all())
    True
    """
    writer = _Writer()
    _walk(writer, cells.shape, np.asarray(cells, dtype=np.bool_))
    return writer.finish()


def decode_mask(data: bytes, shape: Shape) -> Bool:
    """Invert `encode_mask`.

    Parameters
    ----------
    shape : tuple of int
        (z, y, x) of the grid.

    Returns
    -------
    ndarray, (z, y, x), bool

    Raises
    ------
    CorruptFile
        The bytes are not exactly those of a grid of this shape.
    """
    reader = _Reader(data)
    cells = _walk(reader, shape, None)
    reader.finish()
    return cells
