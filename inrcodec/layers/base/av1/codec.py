"""AV1 as a coder of the low-res volume: codes of 10 bits to sections, sections to any box.

In: a header and the bodies of ``AV1S`` and ``AIDX``.  Out: low-res values in [-1, 1]; and back.
Invariant: the codes are exact on every machine, and compared with the encoder's by a checksum.

A stream holds some slices, all of them where they are few; it begins with the CRC-32 of what it decodes to.
"""

from __future__ import annotations

from struct import Struct
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import CorruptFile
from inrcodec.format import limits
from inrcodec.layers.base import companding, streams
from inrcodec.layers.base.av1 import video
from inrcodec.layers.base.companding import Nodes
from inrcodec.layers.base.streams import SliceStreams
from inrcodec.progress import Progress
from inrcodec.volume.arrays import Bool, Float
from inrcodec.volume.box import Box, Shape

SECTION = "AV1S"
CHECK = Struct("<I")  # CRC-32 of the codes of a stream, u16 in raster order, little-endian
SUPERBLOCK = 64  # edge of what AV1 predicts and transforms by itself at most

Codes = NDArray[np.uint16]


class Av1Slices(SliceStreams):
    """The low-res volume of one file, as codes."""

    section, block = SECTION, SUPERBLOCK

    def decoded(self, body: bytes, shape: Shape, threads: int | None) -> Codes:
        """The codes of a stream, by one thread; raises `CorruptFile`, `MissingExtra`."""
        return read_stream(body, shape)

    def is_flat(self, integers: Codes) -> Bool | None:
        """Codes of background."""
        if not self.header.av1_flat:
            return None
        low, high = self.header.av1_flat
        return (integers >= low) & (integers <= high)

    def read(
        self, box: Box | None = None, *, threads: int | None = None, progress: Progress | None = None
    ) -> Float:
        """The values of a box, (z, y, x), float64, in [-1, 1]: see `Base.read`, `SliceStreams.integers`."""
        codes = self.integers(box or Box((0, 0, 0), self.shape), threads=threads, progress=progress)
        values: Float = levels(self.header.companding)[codes]
        return values


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


def sections_of(parts: list[bytes]) -> dict[str, bytes]:
    """The sections of all streams, in their order."""
    return streams.sections_of(SECTION, parts)


def slices_of(shape: Shape) -> int:
    """Slices of a stream of a low-res volume, as the header states them: 0 where one stream holds all."""
    return streams.slices_of(shape, limits.STREAM)


def crc_of(codes: Codes) -> int:
    return crc32(np.ascontiguousarray(codes, "<u2").data)
