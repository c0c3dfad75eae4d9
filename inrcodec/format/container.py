"""Sections to a file and back.

In: sections, or the bytes of a file.  Out: the other.
Invariant: nothing is trusted before its checksum, nothing is read before its length was checked, and
nothing follows the last byte.
Layout, little-endian: `PREFIX`, an `ENTRY` for each section, the CRC-32 of all that, the sections' bodies.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from struct import Struct
from typing import NamedTuple, TypeAlias
from zlib import crc32

from inrcodec import validate
from inrcodec.errors import CorruptFile, LimitExceeded, UnsupportedFile, UsageError
from inrcodec.format import limits
from inrcodec.format.header import AV1, LATENT, SIREN, Header
from inrcodec.format.remote import without_secrets
from inrcodec.format.sections import CHUNKED, Entry, Place, row_of
from inrcodec.format.sections import Sections as Sections
from inrcodec.format.source import ByteSource, opened
from inrcodec.format.source import Source as Source
from inrcodec.format.spool import Spool

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
KNOWN = (
    *("HEAD", "MASK", "PIDX", "PADM", "SIDX", "SPCL"),
    *("INDX", "WGHT", "AIDX", "AV1S", "GIDX", "LATG", "LIDX", "LATT"),
)
GRADUAL = "LATT"  # of use in part, where the end of a file was not read
_ID = re.compile(r"[A-Za-z][A-Za-z0-9]{3}")

Body: TypeAlias = bytes | Spool


class Table(NamedTuple):
    """What precedes the first section."""

    minor: int
    total: int
    entries: list[Entry]


def pack(sections: Sequence[tuple[str, Body]]) -> bytes:
    """A file of sections.

    Parameters
    ----------
    sections : sequence of (str, bytes or Spool)
        IDs and bodies, HEAD first. An ID is a letter and three letters or digits; a lower-case first
        letter says that a reader may skip the section.

    Examples
    --------
    >>> list(unpack(pack([("HEAD", b"..."), ("note", b"hello")])))
    ['HEAD', 'note']
    """
    return b"".join(chunks(sections))


def chunks(sections: Sequence[tuple[str, Body]]) -> Iterator[bytes]:
    """The bytes that `pack` makes of the same sections, one piece after the other."""
    head = PREFIX.pack(MAGIC, MAJOR, MINOR, len(sections), size(sections))
    head += b"".join(ENTRY.pack(*entry) for entry in _entries(sections))
    yield head + CHECK.pack(crc32(head))
    for _, body in sections:
        if isinstance(body, Spool):
            yield from body
        else:
            yield body


def check(sections: Sequence[tuple[str, Body]]) -> None:
    """Refuse sections that no reader would take, with the errors of `open_sections`."""
    entries = [Entry(name.decode(), length, crc) for name, length, crc in _entries(sections)]
    _check_entries(entries, size(sections))
    head = sections[0][1]
    assert isinstance(head, bytes)
    _check_header(Header.from_bytes(head), {entry.name: entry.length for entry in entries})


def _entries(sections: Sequence[tuple[str, Body]]) -> list[tuple[bytes, int, int]]:
    """The rows of the table."""
    return [
        (name.encode(), len(body), body.crc if isinstance(body, Spool) else crc32(body))
        for name, body in sections
    ]


def size(sections: Sequence[tuple[str, Body]]) -> int:
    """Bytes of the file that `pack` makes of the same sections, without making it.

    Examples
    --------
    >>> size([("HEAD", b"..."), ("note", b"hello")])
    68
    """
    return table_size(len(sections)) + sum(len(body) for _, body in sections)


def file_size(lengths: Mapping[str, int]) -> int:
    """Bytes of a file with sections of these lengths."""
    return table_size(len(lengths)) + sum(lengths.values())


def index_size(count: int, weights: int) -> int:
    """Bytes of the section INDX of so many chunks, which come to so many bytes of weights."""
    return count * row_of("INDX", {"WGHT": weights}).size


def table_size(count: int) -> int:
    """Bytes in front of the first body of ``count`` sections."""
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
    return dict(_sections(opened(data), None)[1])


def load(source: Source) -> bytes:
    """All bytes of a file whose table is sound; no section is checked yet.  Errors as for `open_sections`."""
    with _named(source):
        file = opened(source)
        table, _ = _sections(file, None)
        return file.read(0, table.total)


def read(source: Source) -> tuple[Header, Sections]:
    """Header and sections of a file, with the errors of `open_sections` and of `Sections.check`."""
    header, sections = open_sections(source)
    sections.check()
    return header, sections


def open_sections(source: Source, most: int | str | None = None) -> tuple[Header, Sections]:
    """Header and sections of a file, of which nothing but the table and the header was read and checked.

    Parameters
    ----------
    source : path, bytes, or binary file object.
    most : bytes that are read at most, as a number or with a unit; the file may end there.

    Raises
    ------
    InputError
        No such file, or it cannot be read.
    CorruptFile, UnsupportedFile, LimitExceeded
        See `unpack`, `Header.from_bytes`, `limits.check_header`.
    UsageError
        The header is not within the first ``most`` bytes.
    """
    front = None if most is None else validate.byte_count("max_bytes", most)
    with _named(source):
        table, sections = _sections(opened(source), front)
        stated = {entry.name: entry.length for entry in table.entries}
        if "HEAD" not in stated:
            raise CorruptFile("file has no section HEAD", value=list(stated))
        header = Header.from_bytes(sections["HEAD"], table.minor)
        _check_header(header, stated)
        return header, sections


def _sections(source: ByteSource, most: int | None) -> tuple[Table, Sections]:
    """The table, and the sections that lie within the first ``most`` bytes."""
    try:
        table = _read_table(source, most)
        extent = source.extent(table.total + 1 if most is None else min(most, table.total))
    finally:
        source.close()
    if most is None and extent != table.total:
        if extent < table.total:
            raise _truncated(extent, table.total)
        raise CorruptFile(
            f"file goes on after its {table.total} bytes",
            value=table.total,
            remedy="cut off what was added or get the file again",
        )
    places, start = {}, table_size(len(table.entries))
    for entry in table.entries:
        there = min(max(extent - start, 0), entry.length)
        if there == entry.length or (entry.name == GRADUAL and there):
            places[entry.name] = Place(start, there, entry)
        start += entry.length
    if table.entries and "HEAD" not in places:
        raise _cut(extent, most, table_size(len(table.entries)) + table.entries[0].length)
    return table, Sections({}, source, places)


@contextmanager
def _named(source: Source) -> Iterator[None]:
    """Say in an error about bytes which file they are of."""
    try:
        yield
    except (CorruptFile, UnsupportedFile, LimitExceeded) as error:
        name = without_secrets(str(source)) if isinstance(source, str | os.PathLike) else ""
        if name and not error.message.startswith(f"{name}: "):
            error.message = f"{name}: {error.message}"
        raise


def _check_header(header: Header, lengths: Mapping[str, int]) -> None:
    """Refuse a header beyond the limits, and sections that it does not describe."""
    limits.check_header(header, "MASK" in lengths, "PADM" in lengths)
    steps, bricks = header.refine_streams, len(header.bricks)
    padded, special = "PADM" in lengths, "SPCL" in lengths
    groups = {
        "low-res volume of networks": (header.coder == SIREN, ("INDX", "WGHT")),
        "low-res volume of AV1": (header.coder == AV1, ("AV1S",)),
        "low-res volume in several streams of AV1": (header.av1_slices > 0, ("AIDX",)),
        "low-res volume of latents": (header.coder == LATENT, ("LATG",)),
        "low-res volume in several streams of latents": (header.latent_slices > 0, ("GIDX",)),
        "refinement": (steps > 0, ("LIDX", "LATT")),
        "padding mask in bricks": (padded and bricks > 1, ("PIDX",)),
        "section of special values in bricks": (special and bricks > 1, ("SIDX",)),
    }
    for what, (is_there, names) in groups.items():
        if any((name in lengths) != is_there for name in names):
            raise CorruptFile(f"header and sections differ on whether there is a {what}", value=names)
    if "MASK" in lengths and header.coder != SIREN:
        raise CorruptFile("file has a mask of networks that it has not")
    if padded and header.padding is None:
        raise CorruptFile("file has a padding mask but no padding value")
    if special and not (steps and header.dtype.startswith("float")):
        raise CorruptFile("file has special values but no refinement of floats")
    rows = {"INDX": prod(header.tiles), "AIDX": header.streams, "GIDX": header.streams}
    rows |= {"LIDX": steps * bricks, "PIDX": bricks, "SIDX": bricks}
    for name, count in rows.items():
        if name in lengths and lengths[name] != row_of(name, lengths).size * count:
            length = lengths[name]
            raise CorruptFile(f"section {name} of {length} bytes does not index {count} chunks", value=length)


def _read_table(source: ByteSource, most: int | None) -> Table:
    def read(start: int, length: int) -> bytes:
        return source.read(start, length if most is None else max(0, min(length, most - start)))

    prefix = read(0, PREFIX.size)
    _check_magic(prefix)
    if len(prefix) < PREFIX.size:
        raise _cut(len(prefix), most, PREFIX.size)
    _, major, minor, count, total = PREFIX.unpack(prefix)
    if major != MAJOR:
        raise UnsupportedFile(
            f"file has format version {major}.{minor}, this reads {MAJOR}.x: update inrcodec", value=major
        )
    limits.check("number of sections", count, limits.SECTIONS)
    rows = read(PREFIX.size, ENTRY.size * count + CHECK.size)
    if len(rows) < ENTRY.size * count + CHECK.size:
        raise _cut(len(prefix) + len(rows), most, table_size(count), total)
    rows, stored = rows[: -CHECK.size], rows[-CHECK.size :]
    if crc32(prefix + rows) != CHECK.unpack(stored)[0]:
        raise CorruptFile("section table has a wrong checksum")
    entries = [Entry(name.decode("latin-1"), length, crc) for name, length, crc in ENTRY.iter_unpack(rows)]
    _check_entries(entries, total)
    return Table(minor, total, entries)


def _check_magic(prefix: bytes) -> None:
    magic = prefix[: len(MAGIC)]
    if not prefix:
        raise CorruptFile("file is empty", value=b"")
    if magic == MAGIC[: len(magic)]:
        return
    if prefix.startswith(TEXT_MODE):
        raise CorruptFile(
            f"file was damaged by a transfer in text mode (starts {magic.hex(' ')})",
            remedy="send it as binary",
            value=magic,
        )
    if len(magic) == len(MAGIC) and sum(a != b for a, b in zip(magic, MAGIC, strict=True)) <= DAMAGED:
        raise CorruptFile(f"file is damaged (starts {magic.hex(' ')})", value=magic)
    raise CorruptFile(
        f"not an .inrv file (starts {magic.hex(' ')})", remedy="pass one that inrv-enc wrote", value=magic
    )


def _check_entries(entries: list[Entry], total: int) -> None:
    """Refuse a table that is wrong in itself, before any body is read."""
    names = [entry.name for entry in entries]
    for name in names:
        if not _ID.fullmatch(name):
            raise CorruptFile(f"section ID {name!r} is not four letters or digits", value=name)
    if names[:1] != ["HEAD"]:
        raise CorruptFile(f"first section is {names[:1]}, not HEAD", value=names)
    if len(set(names)) != len(names):
        raise CorruptFile(f"a section is there twice: {names}", value=names)
    for name in names:
        if name[0].isupper() and name not in KNOWN:
            raise UnsupportedFile(f"file needs section {name}, unknown here: update inrcodec", value=name)
    for entry in entries:
        ceiling = limits.FILE if entry.name in CHUNKED else limits.SECTION
        ceiling = limits.HEADER if entry.name == "HEAD" else ceiling
        limits.check(f"length of section {entry.name}", entry.length, ceiling)
    limits.check("length of the file", total, limits.FILE)
    expected = table_size(len(entries)) + sum(entry.length for entry in entries)
    if total != expected:
        raise CorruptFile(f"sections add up to {expected} bytes, the file claims {total}", value=total)


def _cut(there: int, most: int | None, needed: int, total: int | None = None) -> CorruptFile | UsageError:
    """The file ends before ``needed`` bytes, or no more than ``most`` were to be read."""
    if most is None or there < most:
        return _truncated(there, needed if total is None else total)
    return UsageError(
        f"the first {most} bytes end within the header, read {needed} at least",
        value=most,
        option="max_bytes",
    )


def _truncated(there: int, needed: int) -> CorruptFile:
    return CorruptFile(f"file ends after {there} of {needed} bytes", value=there)
