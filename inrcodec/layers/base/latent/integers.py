"""Arithmetic of the latent grid: integers with a stated number of bits behind the point.

In: integers, (z, y, x, channels).  Out: integers.
Invariant: equal on every machine; nothing here is rounded but by a shift, or by a division rounded down.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from inrcodec.volume.arrays import Bool, Int32

Int16 = NDArray[np.int16]
Int64 = NDArray[np.int64]

LATENT, MAP, FINE = 6, 8, 12  # bits behind the point: of latents, of maps, of what is finer than a map
LARGEST = 1 << 20  # latent, either way
SHORT = (1 << 15) - 1  # largest map
SLAB = 1 << 18  # integers


def down(x: NDArray[np.signedinteger], bits: int) -> Int64:
    """Divided by a power of two, to the nearest; halves go up."""
    found: Int64 = np.add(x, 1 << bits >> 1, dtype=np.int64)
    found >>= bits
    return found


def slabs(shape: tuple[int, ...]) -> list[slice]:
    """Planes of a grid, as many at a time as 64-bit copies of all their channels take little memory for."""
    step = max(1, SLAB // max(1, prod(shape[1:])))
    return [slice(first, min(first + step, shape[0])) for first in range(0, shape[0], step)]


def short(x: Int64) -> Int16:
    """Clipped to 16 bits."""
    return x.clip(-SHORT, SHORT).astype(np.int16)


def rectified(x: Int64) -> Int16:
    """Clipped to 16 bits from 0 on."""
    return x.clip(0, SHORT).astype(np.int16)


def latents(x: Int64) -> Int32:
    """Clipped to what a latent may be."""
    return x.clip(-LARGEST, LARGEST).astype(np.int32)


def bordered(x: NDArray[np.signedinteger], mode: str) -> NDArray[np.signedinteger]:
    """A grid with one position more on each side: of zeros ("constant"), or of the nearest ("edge")."""
    width = [(1, 1)] * 3 + [(0, 0)]
    return np.pad(x, width) if mode == "constant" else np.pad(x, width, mode="edge")


def sum_around(x: Int64) -> Int64:
    """Sum of 3 x 3 x 3 positions, those beyond the grid zeros."""
    x = bordered(x, "constant").astype(np.int64)
    for axis in range(3):
        x = np.moveaxis(x, axis, 0)
        x = np.moveaxis(x[:-2] + x[1:-1] + x[2:], 0, axis)
    return x


def mean_around(x: Int64) -> Int64:
    """Mean of 3 x 3 x 3 positions, of those that there are, rounded down."""
    return sum_around(x) // sum_around(np.ones((*x.shape[:3], 1), np.int64))


def amplitude(*parts: Int32) -> Int64:
    """1 + half the mean, of 3 x 3 x 3 positions, of the sum of all magnitudes, (z, y, x, 1)."""
    total = sum(np.abs(part).sum(-1, keepdims=True, dtype=np.int64) for part in parts)
    return (1 << LATENT) + sum_around(np.asarray(total)) // 54


def relative(x: Int32, scale: Int64) -> Int16:
    """Latents in units of an amplitude, as maps, rounded down."""
    return short((x.astype(np.int64) << MAP) // scale)


def doubled(x: Int32) -> Int32:
    """Trilinear interpolation by 2 along each axis, cell-centred, beyond the edges the nearest."""
    wide = x.astype(np.int64)
    for axis in range(3):
        p = np.moveaxis(wide, axis, 0)
        p = np.concatenate([p[:1], p, p[-1:]])
        pair = np.stack([p[:-2] + 3 * p[1:-1], 3 * p[1:-1] + p[2:]], 1)
        wide = np.moveaxis(pair.reshape(-1, *pair.shape[2:]), 0, axis)
    return latents(down(wide, 6))


def slopes(level: Int32) -> Int32:
    """Central differences along (z, y, x), (z, y, x, 3), beyond the edges the nearest."""
    p = bordered(level, "edge")[..., 0].astype(np.int64)
    inner = slice(1, -1)
    found = [
        p[2:, inner, inner] - p[:-2, inner, inner],
        p[inner, 2:, inner] - p[inner, :-2, inner],
        p[inner, inner, 2:] - p[inner, inner, :-2],
    ]
    return latents(down(np.stack(found, -1), 1))


@dataclass(frozen=True, eq=False)
class Companding:
    """The inverse hyperbolic sine of a latent, as a map.

    Attributes
    ----------
    table : (n,), int16, from 0 on; larger latents have the last.
    """

    table: Int16

    @classmethod
    def of(cls, thresholds: Int32) -> Companding:
        """From the smallest latent of each value from 1 on; raises `ValueError` where they do not rise."""
        ends = np.concatenate([[0], thresholds.astype(np.int64)])
        if thresholds.ndim != 1 or not 0 < len(thresholds) <= SHORT or (np.diff(ends) < 0).any():
            raise ValueError("thresholds of the companding do not rise")
        if ends[1] < 1 or ends[-1] > LARGEST:
            raise ValueError("a threshold of the companding is beyond all latents")
        counts = np.diff(np.append(ends, ends[-1] + 1))
        return cls(np.repeat(np.arange(len(counts), dtype=np.int16), counts))

    def __call__(self, x: NDArray[np.signedinteger]) -> Int16:
        """Maps of latents."""
        magnitudes = self.table[np.minimum(np.abs(x), len(self.table) - 1)]
        found: Int16 = np.where(x < 0, -magnitudes, magnitudes)
        return found


def even(shape: tuple[int, ...]) -> Bool:
    """Whether the sum of the indices is even, (z, y, x)."""
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    result: Bool = (z + y + x) % 2 == 0
    return result


def to_voxels(x: NDArray[np.signedinteger]) -> NDArray[np.signedinteger]:
    """(z, y, x, 8 c) -> (2 z, 2 y, 2 x, c): of each 8 channels, those of the octants, z slowest."""
    z, y, w, n = x.shape
    parts = x.reshape(z, y, w, n // 8, 2, 2, 2).transpose(0, 4, 1, 5, 2, 6, 3)
    return np.ascontiguousarray(parts).reshape(2 * z, 2 * y, 2 * w, n // 8)
