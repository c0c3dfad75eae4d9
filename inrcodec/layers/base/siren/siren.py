"""SIRENs (Sitzmann et al., NeurIPS 2020; paper, section 3.3), one for each tile.

Invariant: a decoded voxel's value does not depend on the slab or region that is decoded.

Training evaluates them in torch and float32 (`encoder.fit.backprop`).  Decoding evaluates one tile at a time
in NumPy float64, in chunks that are a function of the tile alone and always of the same shape: a voxel sits
in the same row of the same product whatever is decoded, so its bits are the same too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from inrcodec.layers.base.siren.tiles import Tile
from inrcodec.layers.cache import Cache
from inrcodec.volume.arrays import Float, Ints

if TYPE_CHECKING:
    from torch import Generator, Tensor


OMEGA = 30.0  # SIREN's reference value; the paper states none
KEPT = 1 << 25  # bytes of decoded chunks that are kept: 4 million low-res voxels
CHUNK = 1024  # rows of a product while decoding: activations stay within a core's cache, a box needs few


@dataclass(frozen=True)
class Layout:
    """Shapes of a network: 3 inputs, ``layers`` hidden layers of ``width``, one linear output."""

    layers: int
    width: int
    omega: float = OMEGA

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(in, out) of each tensor in stored order: W_0, b_0 (in = 1), W_1, b_1, …"""
        sizes = [3, *[self.width] * self.layers, 1]
        return [shape for n, m in pairwise(sizes) for shape in ((n, m), (1, m))]

    @property
    def sizes(self) -> list[int]:
        return [n * m for n, m in self.shapes]

    @property
    def weights(self) -> int:
        return sum(self.sizes)

    @property
    def bounds(self) -> list[float]:
        """Half-widths of the uniform initial values, a tensor each (SIREN, section 3.2)."""
        bounds = []
        for k, n in enumerate([3, *[self.width] * self.layers]):
            bounds += [
                1 / n if k == 0 else sqrt(6 / n) / self.omega,
                1 / 3 if k == 0 else 1 / sqrt(n) / self.omega,
            ]
        return bounds


def initial(layout: Layout, tiles: int, generator: Generator) -> Tensor:
    """Flat initial weights of all tiles, (tiles, layout.weights), float32."""
    import torch

    parts = [
        (torch.rand(tiles, size, generator=generator) * 2 - 1) * bound
        for size, bound in zip(layout.sizes, layout.bounds, strict=True)
    ]
    return torch.cat(parts, 1)


def tensors(layout: Layout, flat: Tensor) -> list[Tensor]:
    """Views (tiles, in, out) into flat weights (tiles, layout.weights)."""
    import torch

    pieces = torch.split(flat, layout.sizes, 1)
    return [p.view(-1, n, m) for p, (n, m) in zip(pieces, layout.shapes, strict=True)]


def memory() -> Cache:
    """Room for the chunks of one file."""
    return Cache(KEPT)


def decode(
    layout: Layout,
    weights: Sequence[Float],
    tile: Tile,
    rows: Ints | None = None,
    kept: Cache | None = None,
    number: int = 0,
) -> Float:
    """One tile's voxels in float64.

    Parameters
    ----------
    weights : sequence of ndarray
        One (in, out) for each tensor of ``layout.shapes``.
    rows : ndarray, (n,), int64, optional
        Of the tile's active voxels, ascending; by default all.  The chunks that have some are evaluated.
    kept, number : chunks that are remembered, under the number of the tile.

    Returns
    -------
    ndarray, (n,), float64, clipped to [-1, 1].
    """
    rows = np.arange(len(tile.index)) if rows is None else rows
    chunks, starts = np.unique(rows // CHUNK, return_index=True)
    out = np.empty(len(rows))
    for chunk, start, stop in zip(chunks.tolist(), starts, [*starts, len(rows)][1:], strict=True):
        values = None if kept is None else kept.get((number, chunk))
        if values is None:
            values = _chunk(layout, weights, tile, chunk * CHUNK)
            if kept is not None:
                kept.put((number, chunk), values, values.nbytes)
        out[start:stop] = values[rows[start:stop] - chunk * CHUNK]
    return np.clip(out, -1.0, 1.0)


def _chunk(layout: Layout, weights: Sequence[Float], tile: Tile, first: int) -> Float:
    """The voxels of a chunk, and what its last rows hold where a tile has no more."""
    x = np.zeros((CHUNK, 3))
    coordinates = tile.coordinates(slice(first, first + CHUNK))
    x[: len(coordinates)] = coordinates
    return _network(layout, weights, x)


def evaluate(layout: Layout, weights: Sequence[Float], x: Float, *, slopes: bool = False) -> Float:
    """One tile's network at any coordinates, (n, 3).

    Returns
    -------
    ndarray, float64, not clipped: (n, 1), or (n, 4) with the derivatives along the three coordinates.
    """
    if not slopes:
        return _network(layout, weights, x)[:, None]
    h, tangents = x, np.broadcast_to(np.eye(3)[:, None], (3, len(x), 3))
    for weight, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        phase = layout.omega * (h @ weight + bias)
        tangents = layout.omega * np.cos(phase) * (tangents @ weight)
        h = np.sin(phase)
    return np.concatenate([h @ weights[-2] + weights[-1], (tangents @ weights[-2])[..., 0].T], 1)


def _network(layout: Layout, weights: Sequence[Float], x: Float) -> Float:
    h = x
    for weight, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        h = h @ weight
        h += bias  # in place from here: it is memory that takes the time
        h *= layout.omega
        np.sin(h, out=h)
    return (h @ weights[-2] + weights[-1])[:, 0]
