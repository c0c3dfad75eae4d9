"""The SIREN tiles as a coder of the low-res volume: fitted integers to sections, sections to any box.

In: a header and the bodies of ``MASK``, ``INDX`` and ``WGHT``.  Out: low-res values in [-1, 1]; and back.
Invariant: a voxel's bits depend on neither the box that was read nor the threads.

Neither torch nor scipy is needed here, so that a preview does not wait for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import CorruptFile
from inrcodec.format.header import Header
from inrcodec.format.sections import Chunk, Sections, index_of
from inrcodec.layers.base import activity, companding
from inrcodec.layers.base.siren import siren, tiles, weights
from inrcodec.layers.base.siren.siren import Layout
from inrcodec.layers.base.siren.tiles import Tile
from inrcodec.parallel import InterruptiblePool, one_blas_thread, thread_count
from inrcodec.progress import Progress
from inrcodec.volume.arrays import Bool, Float, Int32
from inrcodec.volume.box import Box, Shape, lowres_shape

STAGE = "lowres"  # the name under which decoding reports its progress


class SirenTiles:
    """The low-res volume of one file.

    Parameters
    ----------
    header : Header
        Checked against the limits.
    sections : Sections
        With ``INDX`` and ``WGHT``, and ``MASK`` where the file has one; others are ignored.

    Attributes
    ----------
    shape : (z, y, x)
        Low-res voxels along each axis.
    """

    def __init__(self, header: Header, sections: Sections) -> None:
        self.header, self.sections = header, sections
        self.shape: Shape = lowres_shape(header.shape, header.factor)
        self.layout = Layout(header.layers, header.width, header.omega)
        self._kept = siren.memory()

    @cached_property
    def active(self) -> Bool:
        """Low-res voxels that a network stands for, (z, y, x); the others are background."""
        return activity.decoded(self.sections.get("MASK"), self.header.cell, self.shape)

    @cached_property
    def boxes(self) -> list[Box]:
        """The box of each tile, z slowest."""
        return tiles.boxes(self.shape, self.header.tiles, self.header.cuts)

    @cached_property
    def chunks(self) -> Sequence[Chunk]:
        """Where the bytes of each tile lie; none for a box of pure background."""
        return self.sections.chunks("WGHT")

    def streams(self, tiles: Sequence[int]) -> list[bytes]:
        """The bytes of some tiles, read together; raises `CorruptFile`."""
        return self.sections.bodies("WGHT", [self.chunks[tile] for tile in tiles])

    def weights(self, stream: bytes) -> list[Float]:
        """The float64 tensors, (in, out), of one tile's network, from its own bytes; raises `CorruptFile`."""
        codes, integers = weights.read_tile(stream, self.layout.sizes)
        return weights.dequantize(self.layout, integers, codes)

    def read(
        self, box: Box | None = None, *, threads: int | None = None, progress: Progress | None = None
    ) -> Float:
        """The values of a box; only the tiles that it crosses are evaluated.

        Parameters
        ----------
        box : Box, optional
            Low-res voxels, within the volume; by default all of it.
        threads : int, optional
            By default one a core.
        progress : callable, optional
            Called with ``("lowres", fraction)``.

        Returns
        -------
        ndarray, (z, y, x), float64, in [-1, 1]

        Raises
        ------
        CorruptFile
            A tile's stream is damaged, or does not belong to what the mask says.
        """
        box = box or Box((0, 0, 0), self.shape)
        out = np.full([b - a for a, b in zip(box.low, box.high, strict=True)], float(self.header.background))
        crossed = [k for k, b in enumerate(self.boxes) if b.meets(box)]
        self.active  # noqa: B018 - decoded once, before the threads

        def fill(k: int, data: bytes) -> None:
            places, values = self._values(k, data, box)
            out[tuple((places - np.array(box.low)).T)] = values

        # One thread a product: the bits then cannot depend on how a BLAS shares the work out.
        with one_blas_thread(), InterruptiblePool(thread_count(threads)) as pool:
            for done, _ in enumerate(pool.map(fill, crossed, self.streams(crossed)), 1):
                if progress:
                    progress(STAGE, done / len(crossed))
        return out

    def bytes_needed(self, box: Box) -> int:
        """Bytes of the sections that a box of low-res voxels is read from."""
        crossed = [self.chunks[k] for k, tile in enumerate(self.boxes) if tile.meets(box)]
        return self.sections.lengths.get("MASK", 0) + self.sections.bytes_needed("WGHT", crossed)

    def _values(self, k: int, data: bytes, box: Box) -> tuple[NDArray[np.int64], Float]:
        """One tile's active voxels in a box, (n, 3), and their values."""
        tensors = self.weights(data) if data else []  # first: nothing is laid out for a damaged stream
        tile = tiles.tile(self.active, self.boxes[k])
        if (tile is None) != (not data):
            raise CorruptFile(
                f"tile {k} has a stream of {len(data)} bytes but "
                f"{'no' if tile is None else 'some'} active voxels",
                value=k,
            )
        if tile is None:
            return np.empty((0, 3), dtype=np.int64), np.empty(0)
        low, high = np.array(box.low), np.array(box.high)
        inside = np.flatnonzero(((tile.index >= low) & (tile.index < high)).all(1))
        if not len(inside):
            return np.empty((0, 3), dtype=np.int64), np.empty(0)
        values = siren.decode(self.layout, tensors, tile, inside, self._kept, k)
        values = companding.expand(self.header.companding, values)
        return tile.index[inside].astype(np.int64), values


def encode(
    boxes: Sequence[Tile | None], codes: Sequence[Sequence[int]], integers: Sequence[Sequence[Int32]]
) -> dict[str, bytes]:
    """The sections ``INDX`` and ``WGHT`` of fitted networks.

    Parameters
    ----------
    boxes : the tile of every box, ``None`` for one of pure background, whose stream is empty.
    codes, integers : step codes and integers of the tensors of each network, for those that are not ``None``.
    """
    streams = map(weights.write_tile, codes, integers)
    each = [next(streams) if tile is not None else b"" for tile in boxes]
    return {"INDX": index_of("WGHT", each), "WGHT": b"".join(each)}
