"""The sections of one file, each read and checked when it is first used.

In: bodies in memory, or places in a source of bytes.  Out: bodies, and parts of them.
Invariant: no body leaves unchecked, unless its parts have checksums of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from inrcodec.errors import CorruptFile, UsageError
from inrcodec.format.source import ByteSource

STREAM = Struct("<II")  # row of LIDX: length, CRC-32
_CHUNK = 1 << 20  # bytes of a section that are held while its checksum is computed


class Entry(NamedTuple):
    """A row of the section table."""

    name: str
    length: int
    crc: int


class Stream(NamedTuple):
    """A row of LIDX: where a stream of the refinement lies in LATT, and its CRC-32."""

    start: int
    length: int
    crc: int


class Place(NamedTuple):
    """Where a section lies in the file, as far as it is there."""

    start: int
    length: int
    entry: Entry


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
            for start in range(0, place.length, _CHUNK):
                crc = crc32(self.part(name, start, _CHUNK), crc)
            if place.length == place.entry.length and crc != place.entry.crc:
                raise self._damaged(f"section {name} has a wrong checksum", name)
        if "LIDX" in self:
            self.streams()

    def streams(self) -> list[Stream]:
        """The streams of the refinement that are there from end to end.

        Raises
        ------
        CorruptFile
            The index does not name every byte exactly once.
        """
        if "LIDX" not in self or "LATT" not in self:
            return []
        rows = list(STREAM.iter_unpack(self["LIDX"]))
        ends = list(accumulate(length for length, _ in rows))
        place, there = self._places.get("LATT"), self.lengths["LATT"]
        if (ends[-1] if ends else 0) != (place.entry.length if place else there):
            raise self._damaged("index and streams of the refinement differ in length", "LIDX")
        streams = [Stream(end - n, n, crc) for end, (n, crc) in zip(ends, rows, strict=True)]
        return [row for row in streams if row.start + row.length <= there]

    def bodies(self, rows: Sequence[Stream]) -> list[bytes]:
        """Streams of the refinement, read together; raises `CorruptFile`."""
        if "LATT" in self._bodies or self._source is None:
            found = [self.part("LATT", row.start, row.length) for row in rows]
        else:
            start = self._places["LATT"].start
            found = self._source.read_many([(start + row.start, row.length) for row in rows])
        for row, body in zip(rows, found, strict=True):
            if crc32(body) != row.crc:
                raise self._damaged("a stream of the refinement has a wrong checksum", row.start)
        return found

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
