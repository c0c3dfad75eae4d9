"""Streams of slices: what coders share that code some slices of the low-res volume at a time.

In: a header and sections.  Out: integers of any box, and which voxels are active.
Invariant: a stream is decoded whole, by itself, and once while it is remembered.

Nothing of a stream can be left out as it is decoded, so that what was decoded last is remembered.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from inrcodec.format import limits
from inrcodec.format.header import Header
from inrcodec.format.sections import CHUNKED, Chunk, Sections, index_of
from inrcodec.layers.cache import forgets_after_fork
from inrcodec.progress import Progress
from inrcodec.volume.arrays import Array, Bool
from inrcodec.volume.box import Box, Shape, lowres_shape
from inrcodec.volume.bricks import Bricks

STAGE = "lowres"  # the name under which decoding reports its progress
CELL = 2  # edge of a cell, all of which is active where any of its voxels is
KEPT = 1 << 28  # bytes of decoded integers that are remembered: of two of the largest streams

Integers = NDArray[Any]


class SliceStreams(ABC):
    """The low-res volume of one file; threads may share it.

    Parameters
    ----------
    header : checked against the limits.
    sections : with the streams, and their index where there are several; others are ignored.

    Attributes
    ----------
    shape : (z, y, x)
        Low-res voxels along each axis.
    section, block : ID of the section with the streams; edge of what is coded apart within a slice at most.
    """

    section: str
    block: int

    def __init__(self, header: Header, sections: Sections) -> None:
        self.header, self.sections = header, sections
        self.shape: Shape = lowres_shape(header.shape, header.factor)
        self.forget()
        forgets_after_fork(self)

    def forget(self) -> None:
        """Begin anew, with a lock that nobody holds."""
        self._lock, self._kept = Lock(), dict[int, Integers]()

    @abstractmethod
    def decoded(self, body: bytes, shape: Shape, threads: int | None) -> Integers:
        """The integers of a stream; raises `CorruptFile`."""

    @abstractmethod
    def is_flat(self, integers: Integers) -> Bool | None:
        """Whether each voxel may be background; ``None`` where none is."""

    @property
    def active(self) -> ActiveCells:
        """Low-res voxels of cells that hold more than background, found out a few slices at a time."""
        return ActiveCells(self)

    @property
    def boxes(self) -> list[Box]:
        """Streams, in what is coded apart of them."""
        return list(Bricks.of(self.shape, (self.header.stream_slices, self.block, self.block)))

    @cached_property
    def chunks(self) -> Sequence[Chunk]:
        """Where each stream lies, if there are several."""
        return self.sections.chunks(self.section)

    def integers(self, box: Box, *, threads: int | None = None, progress: Progress | None = None) -> Integers:
        """What a box was coded as; only the streams that it crosses are decoded.

        Raises
        ------
        CorruptFile
            A stream is damaged, or not of this shape.
        MissingExtra, ModelNotFound
        """
        met = self._met(box)
        out: Integers | None = None
        for done, number in enumerate(met, 1):
            place = self._place(number)
            common, found = place & box, self._stream(number, threads)
            if out is None:
                out = np.empty(box.shape, found.dtype)
            out[common.slices_in(box)] = found[common.slices_in(place)]
            if progress:
                progress(STAGE, done / len(met))
        assert out is not None
        return out

    def bytes_needed(self, box: Box) -> int:
        """Bytes of the sections that a box of low-res voxels is read from."""
        if self.header.streams == 1:
            return self.sections.lengths[self.section]
        return self.sections.bytes_needed(self.section, [self.chunks[number] for number in self._met(box)])

    def _met(self, box: Box) -> range:
        """The streams that a box crosses."""
        slices = self.header.stream_slices
        return range(box.low[0] // slices, (box.high[0] - 1) // slices + 1)

    def _place(self, number: int) -> Box:
        """The voxels of a stream."""
        start, (depth, rows, columns) = number * self.header.stream_slices, self.shape
        return Box((start, 0, 0), (min(start + self.header.stream_slices, depth), rows, columns))

    def _stream(self, number: int, threads: int | None) -> Integers:
        """The integers of a stream, decoded or remembered."""
        with self._lock:  # decoded once, whoever is first
            found = self._kept.pop(number, None)
            if found is None:
                found = self.decoded(self._body(number), self._place(number).shape, threads)
            self._kept[number] = found  # the last of them
            held = sum(integers.nbytes for integers in self._kept.values())
            while held > KEPT:
                held -= self._kept.pop(next(iter(self._kept))).nbytes
            return found

    def _body(self, number: int) -> bytes:
        if self.header.streams > 1:
            (body,) = self.sections.bodies(self.section, [self.chunks[number]])
            return body
        limits.check(f"length of section {self.section}", self.sections.lengths[self.section], limits.SECTION)
        return self.sections[self.section]


class ActiveCells:
    """The active voxels of a file, of which no more are decoded than are asked for (`arrays.Active`)."""

    def __init__(self, coder: SliceStreams) -> None:
        self.coder, self.shape = coder, coder.shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, slices: slice) -> Bool:
        depth, rows, columns = self.shape
        start, stop, _ = slices.indices(depth)
        if stop <= start:
            return np.ones((0, rows, columns), np.bool_)
        whole = cells_around(Box((start, 0, 0), (stop, rows, columns)), self.shape)
        first = whole.low[0]
        flat = self.coder.is_flat(self.coder.integers(whole))
        if flat is None:
            return np.ones((stop - start, rows, columns), np.bool_)
        return ~flat_cells(flat)[start - first : stop - first]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        return self[:].astype(np.bool_ if dtype is None else dtype, copy=False)


def cells_around(box: Box, shape: Shape) -> Box:
    """The cells of a grid that a box meets."""
    low = [a // CELL * CELL for a in box.low]
    high = [min(-(-b // CELL) * CELL, n) for b, n in zip(box.high, shape, strict=True)]
    return Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))


def flat_cells(flat: Bool) -> Bool:
    """Voxels of cells all of whose voxels are flat; the first voxel begins a cell."""
    cells = flat
    for axis, n in enumerate(flat.shape):
        cells = np.logical_and.reduceat(cells, np.arange(0, n, CELL), axis)
    for axis in range(3):
        cells = cells.repeat(CELL, axis)
    z, y, x = flat.shape
    found: Bool = cells[:z, :y, :x]
    return found


def sections_of(section: str, streams: list[bytes]) -> dict[str, bytes]:
    """The sections of all streams, in their order."""
    index = {CHUNKED[section]: index_of(section, streams)} if len(streams) > 1 else {}
    return {**index, section: b"".join(streams)}


def slices_of(shape: Shape, most: int) -> int:
    """Slices of a stream of at most so many voxels, as the header states them: 0 where one holds all."""
    slices = max(1, most // (shape[1] * shape[2]))
    return 0 if slices >= shape[0] else slices
