"""The continuous field of the tiles: their networks at any position, and how it changes there.

In: positions on the low-res grid.  Out: values in [-1, 1], and their derivatives.
Invariant: at the centre of a voxel it is what `codec` decodes there, to the rounding of float64.

A position belongs to the tile of the voxel that it is nearest to.  Nothing ties the networks of two tiles
together, so the field may jump where tiles meet, by about the error of the fit; where the voxel is inactive
it is the background.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from inrcodec.layers.base import companding
from inrcodec.layers.base.siren import siren, tiles
from inrcodec.layers.base.siren.codec import SirenTiles
from inrcodec.layers.base.siren.siren import CHUNK
from inrcodec.parallel import mapped, one_blas_thread, thread_count
from inrcodec.volume.arrays import Float, Int32


class Network(NamedTuple):
    """A tile's network, and the scale of its coordinates: ``(2 i - centre) / extent``."""

    tensors: list[Float]
    centre: Float
    extent: Float


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """Where a field lies and what its values mean.

    Attributes
    ----------
    to_index : ndarray, (4, 4), LPS mm (L, P, S, 1) to low-res voxels (z, y, x, 1).
    low, high : ndarray, (3,), low-res positions (z, y, x) of the volume's outer faces.
    scale, offset : physical value = unit value * scale + offset.
    """

    to_index: Float
    low: Float
    high: Float
    scale: float
    offset: float


class Field:
    """The networks of one file as a function of the position."""

    def __init__(self, coder: SirenTiles) -> None:
        self.coder = coder
        self._networks: dict[int, Network] = {}

    @cached_property
    def owners(self) -> Int32:
        """The tile that each low-res voxel belongs to, (z, y, x); -1 where none does."""
        owners = np.full(self.coder.shape, -1, np.int32)
        for number, box in enumerate(self.coder.boxes):
            part = owners[box.slices]
            part[self.coder.active[box.slices]] = number
        return owners

    def networks(self, numbers: Collection[int]) -> dict[int, Network]:
        """The networks of tiles that own voxels, those that are not known yet read together.

        Raises
        ------
        CorruptFile
            The bytes of a tile are damaged.
        """
        unknown = sorted(set(numbers) - self._networks.keys())
        for number, stream in zip(unknown, self.coder.streams(unknown), strict=True):
            tensors = self.coder.weights(stream)
            tile = tiles.tile(self.coder.active, self.coder.boxes[number])
            assert tile is not None
            centre, extent = tile.centre.astype(np.float64), tile.extent.astype(np.float64)
            self._networks[number] = Network(tensors, centre, extent)
        return {number: self._networks[number] for number in numbers}

    def values(self, index: Float, threads: int | None = None) -> Float:
        """Values at positions, which are (n, 3): (z, y, x) in low-res voxels, 0 the centre of the first.

        Positions beyond the grid by more than half a voxel have the value of the nearest within it.
        """
        return self._evaluated(index, 1, threads)[:, 0]

    def values_and_slopes(self, index: Float, threads: int | None = None) -> tuple[Float, Float]:
        """Values, (n,), and their derivatives along (z, y, x) per low-res voxel, (n, 3)."""
        found = self._evaluated(index, 4, threads)
        return found[:, 0], found[:, 1:]

    def _evaluated(self, index: Float, columns: int, threads: int | None) -> Float:
        cells = np.floor(index + 0.5).astype(np.int64).clip(0, np.array(self.coder.shape) - 1)
        owners = self.owners[tuple(cells.T)]
        out = np.zeros((len(index), columns))
        out[:, 0] = float(self.coder.header.background)
        order = np.argsort(owners, kind="stable")
        numbers, starts = np.unique(owners[order], return_index=True)
        work = [
            (int(number), rows[k : k + CHUNK])
            for number, rows in zip(numbers, np.split(order, starts[1:]), strict=True)
            for k in range(0, len(rows), CHUNK)
            if number >= 0
        ]
        networks = self.networks({number for number, _ in work})  # before the threads

        def fill(task: tuple[int, np.ndarray[tuple[int], np.dtype[np.int64]]]) -> None:
            number, rows = task
            network = networks[number]
            found = siren.evaluate(
                self.coder.layout,
                network.tensors,
                (2 * index[rows] - network.centre) / network.extent,
                slopes=columns > 1,
            )
            nodes = self.coder.header.companding
            clipped = np.clip(found[:, 0], -1.0, 1.0)
            out[rows, 0] = companding.expand(nodes, clipped)
            if columns > 1:
                inside = (clipped == found[:, 0]) * companding.slope_of_expand(nodes, clipped)
                out[rows, 1:] = found[:, 1:] * inside[:, None] * (2 / network.extent)

        with one_blas_thread():
            mapped(fill, work, thread_count(threads))
        return out
