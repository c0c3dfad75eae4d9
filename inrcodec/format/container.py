"""Sections to a file and back.

In: sections, or the bytes of a file. Out: the other. The one law: nothing is believed before its
checksum, nothing is read before its length was checked, and nothing follows the last byte.

Layout, little-endian: `PREFIX`, then an `ENTRY` for each section, the CRC-32 of all that, the sections'
bodies.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from math import prod
from struct import Struct
from typing import BinaryIO, NamedTuple
from zlib import crc32

from inrcodec.errors import CorruptFile, InputError, LimitExceeded, UnsupportedFile, UsageError
from inrcodec.format import limits
from inrcodec.format.header import Header

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO

MAGIC = b"\x89INRV\r\n\x1a"  # not UTF-8, shows text-mode damage, ends a listing: the PNG spirit
# What transfers in text mode make of it: line ends changed either way, the high bit cleared, or the first
# byte taken for Latin-1 or for no UTF-8.
TEXT_MODE = (
    *(b"\x89INRV\n\x1a", b"\x89INRV\r\r\n\x1a", b"\x89INRV\r\x1a", b"\x89INRV\n\n\x1a"),
    *(b"\tINRV\r\n\x1a", b"\tINRV\n\x1a", b"\xc2\x89INRV", b"\xef\xbf\xbdINRV"),
)
DAMAGED = 2  # bytes of the magic that may be wrong in what still counts as an .inrv file
MAJOR, MINOR = 1, 0
PREFIX = Struct("<8sHHIQ")  # magic, major, minor, number of sections, bytes of the file
ENTRY = Struct("<4sQI")  # ID, length, CRC-32
CHECK = Struct("<I")
STREAM = Struct("<II")  # row of LIDX: length, CRC-32
KNOWN = ("HEAD", "MASK", "PADM", "INDX", "WGHT", "LIDX", "LATT")
GRADUAL = "LATT"  # of use in part: its streams have checksums of their own
REQUIRED = ("HEAD", "INDX", "WGHT")
_ID = re.compile(r"[A-Za-z][A-Za-z0-9]{3}")
_CHUNK = 1 << 20
_ADVICE = "get the file again"


class Entry(NamedTuple):
    """A row of the section table."""

    name: str
    length: int
    crc: int


class Table(NamedTuple):
    """What precedes the first section."""

    minor: int
    total: int
    entries: list[Entry]


def pack(sections: Sequence[tuple[str, bytes]]) -> bytes:
    """A file of sections.

    Parameters
    ----------
    sections : sequence of (str, bytes)
        IDs and bodies, HEAD first. An ID is a letter and three letters or digits; a lower-case first
        letter says that a reader may skip the section.

    Returns
    -------
    bytes

    Examples
    --------
    >>> list(unpack(pack([("HEAD", b"..."), ("note", b"hello")])))
    ['HEAD', 'note']
    """
    head = PREFIX.pack(MAGIC, MAJOR, MINOR, len(sections), size(sections))
    head += b"".join(ENTRY.pack(name.encode(), len(body), crc32(body)) for name, body in sections)
    return b"".join([head, CHECK.pack(crc32(head)), *(body for _, body in sections)])


def size(sections: Sequence[tuple[str, bytes]]) -> int:
    """Bytes of the file that `pack` makes of the same sections, without making it.

    Examples
    --------
    >>> size([("HEAD", b"..."), ("note", b"hello")])
    68
    """
    return _start(len(sections)) + sum(len(body) for _, body in sections)


def _start(count: int) -> int:
    """Offset of the first body behind a table of ``count`` sections."""
    return PREFIX.size + ENTRY.size * count + CHECK.size


def unpack(data: bytes) -> dict[str, bytes]:
    """Sections of a file by ID, in their order; unknown ones that may be skipped are among them.

    Raises
    ------
    CorruptFile
        Wrong magic, truncated, extended, a wrong checksum, a table that does not add up.
    UnsupportedFile
        A newer major version, or an unknown section that may not be skipped.
    LimitExceeded
        A section or the file is longer than the format allows.
    """
    return _bodies(data, _read_table(BytesIO(data)))


def load(source: Source) -> bytes:
    """All bytes of a file, once its table was found sound.

    Parameters
    ----------
    source : path, bytes, or binary file object
        A file object is read from where it stands to its end.

    Returns
    -------
    bytes

    Raises
    ------
    InputError
        No such file, or it cannot be read.
    CorruptFile, UnsupportedFile, LimitExceeded
        See `unpack`; the bodies' checksums are not looked at here.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
        _read_table(BytesIO(data))
        return data
    try:
        if isinstance(source, str | os.PathLike):
            with open(source, "rb") as stream, _named(source):
                return _load(stream)
        return _load(source)
    except OSError as error:
        name = source if isinstance(source, str | os.PathLike) else getattr(source, "name", "the stream")
        raise InputError(f"cannot read {name}: {error.strerror or error}", value=str(name)) from error


def read(source: Source) -> tuple[Header, dict[str, bytes]]:
    """Header and sections of a file; all that can be checked without decoding was checked.

    Raises
    ------
    InrvError
        See `load`, `unpack`, `Header.from_bytes`, `limits.check_header`.
    """
    data = load(source)
    with _named(source):
        return _read(data)


def _read(data: bytes) -> tuple[Header, dict[str, bytes]]:
    table = _read_table(BytesIO(data))
    sections = _bodies(data, table)
    return _header_of(table, sections), sections


def _header_of(table: Table, sections: Mapping[str, bytes]) -> Header:
    """The header, if what the table names is what it speaks of."""
    lengths = {entry.name: entry.length for entry in table.entries}
    missing = [name for name in REQUIRED if name not in lengths]
    if missing:
        raise CorruptFile(f"file has no section {missing[0]}, {_ADVICE}", value=missing)
    header = Header.from_bytes(sections["HEAD"], table.minor)
    limits.check_header(header, "MASK" in lengths)
    _check_fit(header, lengths, sections.get("LIDX"))
    return header


def read_beginning(source: Source, most: int) -> tuple[Header, dict[str, bytes]]:
    """Header and those sections that lie within the first bytes of a file, however long it is.

    The last section may be there in part, if it is one of streams that are checked one by one.

    Raises
    ------
    InputError, CorruptFile, UnsupportedFile, LimitExceeded
        As :func:`read`, but for what lies beyond.
    UsageError
        The header is not within the first bytes.
    """
    with _named(source):
        data = load_beginning(source, most)
        _refuse_too_few(data, most)
        table = _read_table(BytesIO(data))
        sections, position = {}, _start(len(table.entries))
        for name, length, crc in table.entries:
            body = data[position : position + length]
            position += length
            if len(body) == length and crc32(body) != crc:
                raise CorruptFile(f"section {name} has a wrong checksum, {_ADVICE}", value=name)
            if len(body) == length or (name == GRADUAL and body):
                sections[name] = body
        if "HEAD" not in sections:
            raise _too_few(most, _start(len(table.entries)) + table.entries[0].length)
        return _header_of(table, sections), sections


def _refuse_too_few(data: bytes, most: int) -> None:
    """Refuse to read less than the table."""
    if len(data) < most:  # the file ends before that: it is no matter of the wish
        return
    least = PREFIX.size
    if most >= least and data.startswith(MAGIC):
        least = _start(min(PREFIX.unpack_from(data)[3], limits.SECTIONS))
    if most < least:
        raise _too_few(most, least)


def _too_few(most: int, least: int) -> UsageError:
    return UsageError(
        f"the first {most} bytes end within the header, read {least} at least", value=most, option="max_bytes"
    )


def load_beginning(source: Source, most: int) -> bytes:
    """The first bytes of a file.

    Raises
    ------
    InputError
        No such file, or it cannot be read.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source[:most])
    try:
        if isinstance(source, str | os.PathLike):
            with open(source, "rb") as stream:
                return stream.read(most)
        return source.read(most)
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror or error}", value=str(source)) from error


@contextmanager
def _named(source: Source) -> Iterator[None]:
    """Say in an error about bytes which file they are of."""
    try:
        yield
    except (CorruptFile, UnsupportedFile, LimitExceeded) as error:
        if isinstance(source, str | os.PathLike):
            error.args = (f"{os.fspath(source)}: {error}",)
        raise


def _check_fit(header: Header, lengths: Mapping[str, int], streams: bytes | None) -> None:
    """Refuse sections that the header does not speak of; ``streams`` is the body of LIDX, if it was read."""
    tiles, steps = prod(header.tiles), len(header.refine_steps)
    if lengths["INDX"] != 4 * tiles:
        length = lengths["INDX"]
        raise CorruptFile(f"index of {length} bytes does not fit {tiles} tiles, {_ADVICE}", value=length)
    if not bool(steps) == ("LIDX" in lengths) == ("LATT" in lengths):
        raise CorruptFile(f"header and sections differ on whether there is a refinement, {_ADVICE}")
    if lengths.get("LIDX", 0) != STREAM.size * steps:
        length = lengths["LIDX"]
        raise CorruptFile(f"index of {length} bytes does not fit the refinement, {_ADVICE}", value=length)
    if streams is not None and sum(n for n, _ in STREAM.iter_unpack(streams)) != lengths["LATT"]:
        raise CorruptFile(f"index and streams of the refinement differ in length, {_ADVICE}")
    if "PADM" in lengths and header.padding is None:
        raise CorruptFile(f"file has a padding mask but no padding value, {_ADVICE}")


def _load(stream: BinaryIO) -> bytes:
    """Read a stream whole; never more than its table claims and one byte."""
    head = _Echo(stream)
    table = _read_table(head)
    left = table.total - len(head.seen)
    while left > 0:
        chunk = stream.read(min(left, _CHUNK))
        if not chunk:
            raise _truncated(len(head.seen), table.total)
        head.seen += chunk
        left -= len(chunk)
    if stream.read(1):
        raise _extended(table.total)
    return bytes(head.seen)


class _Echo:
    """Exact reads from a stream, kept, so that what was parsed need not be read again."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.seen = bytearray()

    def read(self, size: int) -> bytes:
        start = len(self.seen)
        while len(self.seen) - start < size:
            chunk = self.stream.read(size - (len(self.seen) - start))
            if not chunk:
                break
            self.seen += chunk
        return bytes(self.seen[start:])


def _read_table(stream: BytesIO | _Echo) -> Table:
    """Parse and check what precedes the first section."""
    prefix = stream.read(PREFIX.size)
    _check_magic(prefix)
    if len(prefix) < PREFIX.size:
        raise _truncated(len(prefix), PREFIX.size)
    _, major, minor, count, total = PREFIX.unpack(prefix)
    if major != MAJOR:
        raise UnsupportedFile(
            f"file has format version {major}.{minor}, this reads {MAJOR}.x: update inrcodec", value=major
        )
    limits.check("number of sections", count, limits.SECTIONS)
    rows = stream.read(ENTRY.size * count)
    stored = stream.read(CHECK.size)
    if len(rows) + len(stored) < ENTRY.size * count + CHECK.size:
        raise _truncated(len(prefix) + len(rows) + len(stored), total)
    if crc32(prefix + rows) != CHECK.unpack(stored)[0]:
        raise CorruptFile(f"section table has a wrong checksum, {_ADVICE}")
    entries = [Entry(name.decode("latin-1"), length, crc) for name, length, crc in ENTRY.iter_unpack(rows)]
    _check_entries(entries, total)
    return Table(minor, total, entries)


def _check_magic(prefix: bytes) -> None:
    magic = prefix[: len(MAGIC)]
    if not prefix:
        raise CorruptFile("file is empty, get it again", value=b"")
    if magic == MAGIC[: len(magic)]:
        return
    if prefix.startswith(TEXT_MODE):
        raise CorruptFile(
            f"file was damaged by a transfer in text mode (starts {magic.hex(' ')}), send it as binary",
            value=magic,
        )
    if len(magic) == len(MAGIC) and sum(a != b for a, b in zip(magic, MAGIC, strict=True)) <= DAMAGED:
        raise CorruptFile(f"file is damaged (starts {magic.hex(' ')}), {_ADVICE}", value=magic)
    raise CorruptFile(
        f"not an .inrv file (starts {magic.hex(' ')}), pass one that inrv-enc wrote", value=magic
    )


def _check_entries(entries: list[Entry], total: int) -> None:
    """Refuse a table that is wrong in itself, before any body is read."""
    names = [entry.name for entry in entries]
    for name in names:
        if not _ID.fullmatch(name):
            raise CorruptFile(f"section ID {name!r} is no ID, {_ADVICE}", value=name)
    if names[:1] != ["HEAD"]:
        raise CorruptFile(f"first section is {names[:1]}, not HEAD, {_ADVICE}", value=names)
    if len(set(names)) != len(names):
        raise CorruptFile(f"a section is there twice: {names}, {_ADVICE}", value=names)
    for name in names:
        if name[0].isupper() and name not in KNOWN:
            raise UnsupportedFile(f"file needs section {name}, unknown here: update inrcodec", value=name)
    for entry in entries:
        ceiling = limits.HEADER if entry.name == "HEAD" else limits.SECTION
        limits.check(f"length of section {entry.name}", entry.length, ceiling)
    limits.check("length of the file", total, limits.FILE)
    expected = _start(len(entries)) + sum(entry.length for entry in entries)
    if total != expected:
        raise CorruptFile(
            f"sections add up to {expected} bytes, the file claims {total}, {_ADVICE}", value=total
        )


def _bodies(data: bytes, table: Table) -> dict[str, bytes]:
    if len(data) < table.total:
        raise _truncated(len(data), table.total)
    if len(data) > table.total:
        raise _extended(table.total)
    position = _start(len(table.entries))
    sections = {}
    for name, length, crc in table.entries:
        body = data[position : position + length]
        if crc32(body) != crc:
            raise CorruptFile(f"section {name} has a wrong checksum, {_ADVICE}", value=name)
        sections[name] = body
        position += length
    return sections


def _truncated(found: int, wanted: int) -> CorruptFile:
    return CorruptFile(f"file ends after {found} of {wanted} bytes, {_ADVICE}", value=found)


def _extended(total: int) -> CorruptFile:
    return CorruptFile(
        f"file goes on after its {total} bytes, cut off what was added or {_ADVICE}", value=total
    )
