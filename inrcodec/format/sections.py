"""The sections of one file, each read and checked when it is first used.

In: bodies in memory, or places in a source of bytes.  Out: bodies, and parts of them.
Invariant: no body leaves unchecked, unless its parts have checksums of their own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from struct import Struct
from typing import NamedTuple, overload
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import CorruptFile, UsageError
from inrcodec.format import limits
from inrcodec.format.source import ByteSource

CHUNKED = {
    "PADM": "PIDX",
    "SPCL": "SIDX",
    "WGHT": "INDX",
    "AV1S": "AIDX",
    "LATG": "GIDX",
    "LATT": "LIDX",
}
"""Sections whose chunks can be read one by one, and the section with a row for each chunk."""

ROW = Struct("<II")  # length, CRC-32
SHORT = Struct("<I")  # length, in the index of weights that are read whole
WHOLE = 1 << 16  # bytes of weights that are read whole: a checksum each would make a small file 1 % larger
_PIECE = 1 << 20  # bytes of a section that are held while its checksum is computed


class Entry(NamedTuple):
    """A row of the section table."""

    name: str
    length: int
    crc: int


class Chunk(NamedTuple):
    """Where a chunk lies in its section, and its CRC-32; ``None`` in a section that is read whole."""

    start: int
    length: int
    crc: int | None


class Chunks(Sequence[Chunk]):
    """The chunks that an index names, in 16 bytes each: a file may have millions.

    Parameters
    ----------
    index : body of the index.
    row : of it, with a CRC-32 or without.
    there : bytes of the section that were read; chunks that end beyond are left out.
    """

    def __init__(self, index: bytes, row: Struct, there: int) -> None:
        rows = np.frombuffer(index, "<u4").reshape(-1, row.size // SHORT.size)
        self._lengths = rows[:, 0]
        self._crcs = rows[:, 1] if row is ROW else None
        self._ends: NDArray[np.int64] = np.cumsum(self._lengths, dtype=np.int64)
        self._count = bisect_right(self._ends, there)

    @property
    def longest(self) -> int:
        """Bytes of the longest chunk."""
        return int(self._lengths.max(initial=0))

    @property
    def length(self) -> int:
        """Bytes of all chunks, also of those that are left out."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Chunk: ...
    @overload
    def __getitem__(self, index: slice) -> list[Chunk]: ...
    def __getitem__(self, index: int | slice) -> Chunk | list[Chunk]:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(self._count))]
        index = range(self._count)[index]
        length = int(self._lengths[index])
        crc = None if self._crcs is None else int(self._crcs[index])
        return Chunk(int(self._ends[index]) - length, length, crc)


class Place(NamedTuple):
    """Where a section lies in the file, as far as it is there."""

    start: int
    length: int
    entry: Entry


def row_of(index: str, lengths: Mapping[str, int]) -> Struct:
    """The rows of an index, in a file whose sections have these lengths."""
    return SHORT if index == "INDX" and lengths["WGHT"] <= WHOLE else ROW


def index_of(name: str, bodies: Sequence[bytes]) -> bytes:
    """The index of a section that is made of these chunks."""
    index, length = CHUNKED[name], sum(map(len, bodies))
    if row_of(index, {name: length}) is SHORT:
        return b"".join(SHORT.pack(len(body)) for body in bodies)
    return b"".join(ROW.pack(len(body), crc32(body)) for body in bodies)


class Sections(Mapping[str, bytes]):
    """Sections by ID, in their order; a body is read and checked when it is first used.

    Of a file of which only the beginning is read, a section that lies beyond it is not there, and LATT may
    be there in part.

    Parameters
    ----------
    bodies : what is in memory.
    source, places : where the other bodies are read from.
    """

    def __init__(
        self,
        bodies: Mapping[str, bytes],
        source: ByteSource | None = None,
        places: Mapping[str, Place] | None = None,
    ) -> None:
        self._bodies, self._source, self._places = dict(bodies), source, dict(places or {})
        self._closed = False

    def __getstate__(self) -> dict[str, object]:
        """Without the bodies that can be read again."""
        self.check_open()
        return self.__dict__ if self._source is None else self.__dict__ | {"_bodies": {}}

    @property
    def lengths(self) -> dict[str, int]:
        """Bytes of each section that are there."""
        bodies = {name: len(body) for name, body in self._bodies.items()}
        return {name: place.length for name, place in self._places.items()} | bodies

    def __getitem__(self, name: str) -> bytes:
        body = self._bodies.get(name)
        if body is None:
            place = self._places[name]
            body = self.part(name, 0, place.length)
            if place.length == place.entry.length and crc32(body) != place.entry.crc:
                raise self._damaged(f"section {name} has a wrong checksum", name)
            self._bodies[name] = body
        return body

    def __contains__(self, name: object) -> bool:
        return name in self.lengths  # without reading it

    def __iter__(self) -> Iterator[str]:
        return iter(self.lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def part(self, name: str, start: int, length: int) -> bytes:
        """Some bytes of a section, without a look at its checksum."""
        if name in self._bodies:
            return self._bodies[name][start : start + length]
        place = self._places[name]
        if self._source is None:
            raise UsageError("the file is closed, open it again", value=name)
        data = self._source.read(place.start + start, min(length, place.length - start))
        if len(data) < min(length, place.length - start):
            raise self._damaged(f"section {name} ends early", name)
        return data

    def check(self) -> None:
        """Read all that is there, and compare each checksum; raises `CorruptFile`."""
        for name, place in self._places.items():
            crc = 0
            for start in range(0, place.length, _PIECE):
                crc = crc32(self.part(name, start, _PIECE), crc)
            if place.length == place.entry.length and crc != place.entry.crc:
                raise self._damaged(f"section {name} has a wrong checksum", name)
        for name in CHUNKED:
            self.chunks(name)

    def chunks(self, name: str) -> Sequence[Chunk]:
        """The chunks of a section that are there from end to end; none of a section that has no index.

        Raises
        ------
        CorruptFile
            The index does not name every byte exactly once.
        LimitExceeded
            A chunk is longer than the format allows.
        """
        index = CHUNKED[name]
        if index not in self or name not in self:
            return []
        place, there = self._places.get(name), self.lengths[name]
        length = place.entry.length if place else there
        row = row_of(index, {name: length})
        if len(self[index]) % row.size:
            raise self._damaged(f"section {index} has {len(self[index])} bytes, no whole rows", index)
        found = Chunks(self[index], row, there)
        limits.check("length of a chunk", found.longest, limits.SECTION)
        if found.length != length:
            raise self._damaged(f"the index {index} and its section {name} differ in length", index)
        return found

    def bodies(self, name: str, chunks: Sequence[Chunk]) -> list[bytes]:
        """Chunks of a section, read together; raises `CorruptFile`."""
        if any(chunk.crc is None for chunk in chunks):
            whole = self[name]
            return [whole[chunk.start : chunk.start + chunk.length] for chunk in chunks]
        if name in self._bodies or self._source is None:
            found = [self.part(name, chunk.start, chunk.length) for chunk in chunks]
        else:
            start = self._places[name].start
            found = self._source.read_many([(start + chunk.start, chunk.length) for chunk in chunks])
        for chunk, body in zip(chunks, found, strict=True):
            if crc32(body) != chunk.crc:
                raise self._damaged(f"a chunk of section {name} has a wrong checksum", chunk.start)
        return found

    def bytes_needed(self, name: str, chunks: Sequence[Chunk]) -> int:
        """Bytes of chunks of a section, and of its index; all of the section where it is read whole."""
        whole = any(chunk.crc is None for chunk in chunks)
        length = self.lengths[name] if whole else sum(chunk.length for chunk in chunks)
        return self.lengths.get(CHUNKED[name], 0) + length

    def close(self) -> None:
        """Forget what was read, and read no more."""
        if self._source is not None:
            self._source.close()
            self._bodies, self._source = {}, None
        self._closed = True

    def check_open(self) -> None:
        """Refuse to go on after `close`, also with what is remembered; raises `UsageError`."""
        if self._closed:
            raise UsageError("the file is closed, open it again")

    def _damaged(self, cause: str, value: object) -> CorruptFile:
        name = self._source.name if self._source else ""
        return CorruptFile(f"{name}: {cause}" if name else f"{cause}", value=value)
