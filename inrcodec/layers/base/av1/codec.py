"""AV1 as a coder of the low-res volume: codes of 10 bits to sections, sections to any box.

In: a header and the bodies of ``AV1S`` and ``AIDX``.  Out: low-res values in [-1, 1]; and back.
Invariant: the codes are exact on every machine, and compared with the encoder's by a checksum.

A stream holds some slices, all of them where they are few; it begins with the CRC-32 of what it decodes to.
Nothing of a stream can be left out as it is decoded, so that what was decoded last is remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import prod
from struct import Struct
from threading import Lock
from zlib import crc32

import numpy as np
from numpy.typing import DTypeLike, NDArray

from inrcodec.errors import CorruptFile
from inrcodec.format import limits
from inrcodec.format.header import Header
from inrcodec.format.sections import CHUNKED, Chunk, Sections, index_of
from inrcodec.layers.base import companding
from inrcodec.layers.base.av1 import video
from inrcodec.layers.base.companding import Nodes
from inrcodec.layers.cache import forgets_after_fork
from inrcodec.progress import Progress
from inrcodec.volume.arrays import Array, Bool, Float
from inrcodec.volume.box import Box, Shape, lowres_shape
from inrcodec.volume.bricks import Bricks

SECTION = "AV1S"
STAGE = "lowres"  # the name under which decoding reports its progress
CHECK = Struct("<I")  # CRC-32 of the codes of a stream, u16 in raster order, little-endian
SUPERBLOCK = 64  # edge of what AV1 predicts and transforms by itself at most
CELL = 2  # edge of a cell, all of which is active where any of its voxels is
KEPT = 1 << 28  # bytes of decoded codes that are remembered: of two of the largest streams

Codes = NDArray[np.uint16]


class Av1Slices:
    """The low-res volume of one file; threads may share it.

    Parameters
    ----------
    header : checked against the limits.
    sections : with ``AV1S``, and ``AIDX`` where there are several streams; others are ignored.

    Attributes
    ----------
    shape : (z, y, x)
        Low-res voxels along each axis.
    """

    def __init__(self, header: Header, sections: Sections) -> None:
        self.header, self.sections = header, sections
        self.shape: Shape = lowres_shape(header.shape, header.factor)
        self.forget()
        forgets_after_fork(self)

    def forget(self) -> None:
        """Begin anew, with a lock that nobody holds."""
        self._lock, self._kept = Lock(), dict[int, Codes]()

    @property
    def active(self) -> ActiveCells:
        """Low-res voxels of cells that hold more than background, found out a few slices at a time."""
        return ActiveCells(self)

    @property
    def boxes(self) -> list[Box]:
        """Streams, in blocks of slices that AV1 codes apart."""
        streams = Bricks.of(self.shape, (self.header.av1_slices or self.shape[0], SUPERBLOCK, SUPERBLOCK))
        return list(streams)

    @cached_property
    def chunks(self) -> Sequence[Chunk]:
        """Where each stream lies, if there are several."""
        return self.sections.chunks(SECTION)

    def read(
        self, box: Box | None = None, *, threads: int | None = None, progress: Progress | None = None
    ) -> Float:
        """The values of a box; only the streams that it crosses are decoded.

        Parameters
        ----------
        box : Box, optional
            Low-res voxels, within the volume; by default all of it.
        threads : int, optional
            Of no use to this coder: a stream is decoded by one.
        progress : callable, optional
            Called with ``("lowres", fraction)``.

        Returns
        -------
        ndarray, (z, y, x), float64, in [-1, 1]

        Raises
        ------
        CorruptFile
            A stream is damaged, or not of this shape.
        MissingExtra
        """
        box = box or Box((0, 0, 0), self.shape)
        values: Float = levels(self.header.companding)[self.codes(box, progress)]
        return values

    def codes(self, box: Box, progress: Progress | None = None) -> Codes:
        """The codes of a box; errors are those of :meth:`read`."""
        out = np.empty(box.shape, np.uint16)
        met = self._met(box)
        for done, number in enumerate(met, 1):
            place = self._place(number)
            common = place & box
            out[common.slices_in(box)] = self._stream(number)[common.slices_in(place)]
            if progress:
                progress(STAGE, done / len(met))
        return out

    def bytes_needed(self, box: Box) -> int:
        """Bytes of the sections that a box of low-res voxels is read from."""
        if not self.header.av1_slices:
            return self.sections.lengths[SECTION]
        return self.sections.bytes_needed(SECTION, [self.chunks[number] for number in self._met(box)])

    def _met(self, box: Box) -> range:
        """The streams that a box crosses."""
        slices = self.header.stream_slices
        return range(box.low[0] // slices, (box.high[0] - 1) // slices + 1)

    def _place(self, number: int) -> Box:
        """The voxels of a stream."""
        start, (depth, rows, columns) = number * self.header.stream_slices, self.shape
        return Box((start, 0, 0), (min(start + self.header.stream_slices, depth), rows, columns))

    def _stream(self, number: int) -> Codes:
        """The codes of a stream, decoded or remembered."""
        with self._lock:  # decoded once, whoever is first
            found = self._kept.pop(number, None)
            if found is None:
                found = read_stream(self._body(number), self._place(number).shape)
            self._kept[number] = found  # the last of them
            held = sum(codes.nbytes for codes in self._kept.values())
            while held > KEPT:
                held -= self._kept.pop(next(iter(self._kept))).nbytes
            return found

    def _body(self, number: int) -> bytes:
        if self.header.av1_slices:
            (body,) = self.sections.bodies(SECTION, [self.chunks[number]])
            return body
        limits.check(f"length of section {SECTION}", self.sections.lengths[SECTION], limits.SECTION)
        return self.sections[SECTION]


class ActiveCells:
    """The active voxels of a file, of which no more are decoded than are asked for (`arrays.Active`)."""

    def __init__(self, coder: Av1Slices) -> None:
        self.coder, self.shape = coder, coder.shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, slices: slice) -> Bool:
        (depth, rows, columns), flat = self.shape, self.coder.header.av1_flat
        start, stop, _ = slices.indices(depth)
        if not flat or stop <= start:
            return np.ones((max(stop - start, 0), rows, columns), np.bool_)
        first = start // CELL * CELL
        whole = Box((first, 0, 0), (min(-(-stop // CELL) * CELL, depth), rows, columns))
        return active_voxels(self.coder.codes(whole), flat)[start - first : stop - first]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        return self[:].astype(np.bool_ if dtype is None else dtype, copy=False)


def levels(nodes: Nodes) -> Float:
    """The value of each code, in [-1, 1]."""
    return companding.expand(nodes, np.arange(video.LARGEST + 1, dtype=np.float64) * 2 / video.LARGEST - 1)


def to_codes(unit: Float, nodes: Nodes) -> Codes:
    """The codes of values in [-1, 1]; what lies beyond has the code of the end."""
    codes = np.empty(unit.shape, np.uint16)
    for plane, values in zip(codes.reshape(len(codes), -1), unit.reshape(len(codes), -1), strict=True):
        companded = companding.compress(nodes, values.clip(-1, 1))
        plane[:] = np.rint((companded + 1) * (video.LARGEST / 2)).clip(0, video.LARGEST)
    return codes


def flat_codes(background: float, tolerance: float, nodes: Nodes) -> tuple[int, int]:
    """The lowest and the highest code of what differs from a background by a tolerance at most."""
    low, high = to_codes(np.array([background - tolerance, background + tolerance]), nodes).tolist()
    return low, high


def active_voxels(codes: Codes, flat: tuple[int, ...]) -> Bool:
    """Voxels of cells that hold a code beyond the background's, (z, y, x); all where there is none."""
    if not flat:
        return np.ones(codes.shape, np.bool_)
    low, high = flat
    cells = (codes < low) | (codes > high)
    for axis, n in enumerate(codes.shape):
        cells = np.logical_or.reduceat(cells, np.arange(0, n, CELL), axis)
    for axis in range(3):
        cells = cells.repeat(CELL, axis)
    z, y, x = codes.shape
    active: Bool = cells[:z, :y, :x]
    return active


def read_stream(body: bytes, shape: Shape) -> Codes:
    """The codes of a stream, (z, y, x); raises `CorruptFile`, `MissingExtra`."""
    if len(body) < CHECK.size:
        raise CorruptFile(f"a stream of section {SECTION} has {len(body)} bytes", value=len(body))
    codes = video.decode(body[CHECK.size :], shape)
    if crc_of(codes) != CHECK.unpack_from(body)[0]:
        raise CorruptFile("an AV1 stream was decoded to other values than the encoder saw", value=shape)
    return codes


def write_stream(codes: Codes, quality: int, preset: int, threads: int = 1) -> tuple[bytes, Codes]:
    """The stream of some slices, (z, y, x), and what it decodes to; arguments are those of `video.encode`."""
    stream = video.encode(codes, quality, preset, threads)
    decoded = video.decode(stream, codes.shape)
    return CHECK.pack(crc_of(decoded)) + stream, decoded


def encode(codes: Codes, slices: int, quality: int, preset: int, threads: int = 1) -> dict[str, bytes]:
    """The sections of a low-res volume.

    Parameters
    ----------
    codes : ndarray, (z, y, x), of `to_codes`.
    slices : of each stream, the header's ``av1_slices``; 0: one stream holds all.
    quality, preset, threads : as for `video.encode`.
    """
    step = slices or len(codes)
    parts = [codes[z : z + step] for z in range(0, len(codes), step)]
    return sections_of([write_stream(part, quality, preset, threads)[0] for part in parts])


def sections_of(streams: list[bytes]) -> dict[str, bytes]:
    """The sections of all streams, in their order."""
    index = {CHUNKED[SECTION]: index_of(SECTION, streams)} if len(streams) > 1 else {}
    return {**index, SECTION: b"".join(streams)}


def slices_of(shape: Shape) -> int:
    """Slices of a stream of a low-res volume, as the header states them: 0 where one stream holds all."""
    most = max(1, limits.STREAM // prod(shape[1:]))
    return 0 if most >= shape[0] else most


def crc_of(codes: Codes) -> int:
    return crc32(np.ascontiguousarray(codes, "<u2").data)
