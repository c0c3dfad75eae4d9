"""The two coders of INRV files, weights and masks, written from inrv-1.md alone (see reference_decoder)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import zstandard


class Invalid(Exception):
    """The file is corrupt, unsupported or beyond the limits."""


def need(condition: object, what: str) -> None:
    if not condition:
        raise Invalid(what)


# ------------------------------------------------------------------------------------------------- Weights

PHI = [
    *(4045453815, 4055731996, 4065598892, 4075069962, 4084160169, 4092883986, 4101255408, 4109287957),
    *(4116994699, 4124388246, 4131480777, 4138284039, 4144809366, 4151067684, 4157069526, 4162825044),
]


def frequencies(c: int) -> list[int]:
    """Zero, +1, -1, +2, -2, ..., escape."""
    squares = -(-(121 - c) // 16) if c < 121 else 0
    phi = PHI[c + 16 * squares - 121]
    for _ in range(squares):
        phi = phi**2 >> 32
    decay, tail, sides = phi * phi >> 32, phi, []
    while len(sides) < 127:
        nearer = tail * decay >> 32
        n = (((tail - nearer) >> 1) + 32768) >> 16
        if n == 0:
            break
        sides.append(n)
        tail = nearer
    escape = max(1, (tail + 32768) >> 16)
    return [65536 - 2 * sum(sides) - escape, *(n for n in sides for _ in "+-"), escape]


class Rans:
    """State of one stream of weights."""

    def __init__(self, data: bytes) -> None:
        need(data[:1] != b"\0", "stream of weights begins with 0")
        self.x, self.data, self.position = 0, data, 0
        self.refill()

    def refill(self) -> None:
        while self.x < 2**22 and self.position < len(self.data):
            self.x = 256 * self.x + self.data[self.position]
            self.position += 1
        need(self.x >= 65536, "stream of weights ends too early")

    def plain(self, n: int) -> int:
        value = self.x % 2**n
        self.x >>= n
        self.refill()
        return value

    def integers(self, count: int, spread: int) -> list[int]:
        h = max(0, -(-(spread - 136) // 16))
        frequency = frequencies(spread - 16 * h)
        start = np.cumsum([0, *frequency]).tolist()
        symbols = np.repeat(np.arange(len(frequency)), frequency).tolist()
        sides = len(frequency) // 2 - 1
        values = []
        for _ in range(count):
            t = self.x % 65536
            symbol = symbols[t]
            self.x = frequency[symbol] * (self.x >> 16) + t - start[symbol]
            self.refill()
            value = -(symbol // 2) if symbol % 2 == 0 else symbol // 2 + 1
            if symbol == len(frequency) - 1:
                v = self.plain(6)
                n = v >> 1
                m = self.plain(n) if n <= 16 else 65536 * self.plain(n - 16) + self.plain(16)
                value = (2**n + m + sides) * (-1 if v % 2 else 1)
            if h > 0:
                value = 2**h * value + self.plain(h) - 2 ** (h - 1)
            need(abs(value) < 2**31, "a weight beyond 32 bits")
            values.append(value)
        return values

    def finish(self) -> None:
        need(self.x == 65536 and self.position == len(self.data), "end of a stream of weights")


# --------------------------------------------------------------------------------------------------- Masks

N = [
    *((0, 0, -1), (-1, 0, 0), (0, -1, 0), (0, -1, 1), (0, -1, -1), (-1, 0, 1), (-1, 1, 0), (-1, 0, -1)),
    *((-1, -1, 0), (-2, 0, 0), (-1, 1, 1), (-1, 1, -1), (-1, -1, 1), (-1, -1, -1)),
    *((0, 0, -2), (0, -2, 0), (-2, 0, 1), (-2, 1, 0), (-2, 0, -1), (-2, -1, 0)),
]
C = [(0, 0, -1), (0, 0, -2), *((0, -2, dx) for dx in (1, 0, -1)), *((0, -1, dx) for dx in (2, 1, 0, -1, -2))]
A = [
    *((0, 0, -1), (-1, 0, 0), (-1, 0, 1), (-1, 1, 0), (-1, 0, -1), (-1, -1, 0)),
    *((-2, 0, 0), (-2, 0, 1), (-2, 1, 0), (-2, 0, -1), (-2, -1, 0)),
]
P = [
    *((-1, 0, 0), (-1, 0, 1), (-1, 1, 0), (-1, 0, -1), (-1, -1, 0), (-1, 1, 1), (-1, 1, -1), (-1, -1, 1)),
    *((-1, -1, -1), (-1, 0, 2), (-1, 2, 0), (-2, 0, 0), (-2, 0, 1), (-2, 1, 0), (-2, 0, -1), (-2, -1, 0)),
]
CONTEXTS = [N[:8], N[:14], N, C, A]
K = [
    *(3, 5, 8, 13, 22, 36, 60, 98, 162, 267, 439, 720, 1179, 1921, 3108, 4971, 7812, 11955, 17625, 24743),
    *(32768, 40793, 47911, 53581, 57724, 60565, 62428, 63615, 64357, 64816, 65097, 65269, 65374, 65438),
    *(65476, 65500, 65514, 65523, 65528, 65531, 65533),
]


def squash(d: int) -> int:
    i, f = (d >> 7) + 20, d % 128
    return (K[i] * (128 - f) + K[i + 1] * f + 64) >> 7


SQUASHED = np.array([squash(d) for d in range(-2559, 2560)])


def stretch(q: int) -> int:
    return max(int(np.count_nonzero(4 * q + 2 >= SQUASHED)) - 1, 0) - 2559


class Arithmetic:
    """Binary arithmetic decoder."""

    def __init__(self, data: bytes) -> None:
        self.data, self.dropped = data, 0
        self.low, self.high = 0, 2**32 - 1
        self.value = int.from_bytes((data + bytes(4))[:4], "big")

    def bit(self, probability: int) -> int:
        middle = self.low + ((self.high - self.low) * probability >> 16)
        bit = int(self.value <= middle)
        if bit:
            self.high = middle
        else:
            self.low = middle + 1
        while self.low >> 24 == self.high >> 24:
            following = self.data[self.dropped + 4 : self.dropped + 5] or b"\0"
            self.dropped += 1
            need(self.dropped <= len(self.data), "end of a mask")
            self.low = 256 * self.low % 2**32
            self.high = (256 * self.high + 255) % 2**32
            self.value = (256 * self.value + following[0]) % 2**32
        return bit

    def finish(self) -> None:
        for count in range(5):
            unit = 256 ** (4 - count)
            candidate = -(-self.low // unit) * unit
            if candidate <= self.high:
                break
        need(self.data[self.dropped :] == candidate.to_bytes(4, "big")[:count], "end of a mask")


def update(states: dict[int, tuple[int, int]], key: int, bit: int) -> None:
    p, n = states.get(key, (2**21, 0))
    r = 655360 // (10 * n + 13)
    p = p + ((2**22 - 1 - p) * r >> 16) if bit else p - (p * r >> 16)
    states[key] = p, min(n + 1, 127)


def decode_grid(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Cells, (z, y, x), bool."""
    decoder = Arithmetic(data)
    states: list[dict[int, tuple[int, int]]] = [{} for _ in CONTEXTS]
    unanimous: dict[int, tuple[int, int]] = {}
    weights = [[13107] * 5 for _ in range(9)]
    grid = np.zeros([n + 4 for n in shape], dtype=int)  # two cells of zeros on every side
    for z, y, x in np.ndindex(*shape):
        seen = {o: int(grid[z + 2 + o[0], y + 2 + o[1], x + 2 + o[2]]) for o in {*N, *C, *P}}
        around = {seen[o] for o in (*C, *P)}
        if len(around) == 1:
            side = around.pop()
            p, _ = unanimous.get(side, (2**21, 0))
            bit = decoder.bit(min(max(p >> 6, 1), 65535))
            update(unanimous, side, bit)
        else:
            keys = [sum(seen[o] << i for i, o in enumerate(context)) for context in CONTEXTS]
            logits = [stretch(s.get(key, (2**21, 0))[0] >> 8) for s, key in zip(states, keys, strict=True)]
            w = weights[sum(seen[o] for o in N[:8])]
            d = sum(a * b for a, b in zip(w, logits, strict=True)) >> 16
            probability = squash(min(max(d, -2559), 2559))
            bit = decoder.bit(probability)
            e = (65536 * bit - probability) * 100 >> 4
            for j, (key, logit) in enumerate(zip(keys, logits, strict=True)):
                w[j] += (logit * e + 32768) >> 16
                update(states[j], key, bit)
        grid[z + 2, y + 2, x + 2] = bit
    decoder.finish()
    return grid[2:-2, 2:-2, 2:-2].astype(bool)


def inflate(data: bytes, size: int) -> bytes:
    """A Zstandard frame of so many bytes."""
    frame = zstandard.get_frame_parameters(data)
    need(frame.content_size == size and frame.window_size <= max(size, 1024), "Zstandard frame")
    inflater = zstandard.ZstdDecompressor().decompressobj()
    content = inflater.decompress(data)
    need(len(content) == size and inflater.eof and not inflater.unused_data, "Zstandard frame")
    return bytes(content)


def read_padding(body: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Voxels that hold the padding value."""
    depth, height, width = shape
    area = height * width
    if body[:1] == b"\1":
        size = -(-depth // 8)
        need(len(body) > size, "padding mask")
        flags = np.unpackbits(np.frombuffer(body[1 : 1 + size], np.uint8)).astype(bool)
        need(flags[0] and not flags[depth:].any() and flags.sum() * area <= 2**20, "padding mask")
        slices = decode_grid(body[1 + size :], (int(flags.sum()), height, width))
        need(all((a != b).any() for a, b in pairwise(slices)), "padding mask repeats a slice")
        return slices[np.cumsum(flags[:depth]) - 1]
    need(body[:1] == b"\0", "padding method")
    content = inflate(body[1:], depth * -(-area // 8))
    packed = np.bitwise_xor.accumulate(np.frombuffer(content, np.uint8).reshape(depth, -1), axis=0)
    bits = np.unpackbits(packed, axis=1).astype(bool)
    need(not bits[:, area:].any(), "bits behind a slice")
    return bits[:, :area].reshape(shape)
