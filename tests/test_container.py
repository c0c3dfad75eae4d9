"""The container: sections come back, and a file that is not whole is not read."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from struct import pack

import header_cases as headers
import pytest
from header_cases import FULL, PLAIN

from inrcodec.errors import CorruptFile, InputError, InrvError, LimitExceeded, UnsupportedFile
from inrcodec.format import container

SECTIONS = [
    ("HEAD", PLAIN.to_bytes()),
    ("INDX", bytes([5, 0, 0, 0])),
    ("note", b"a reader may skip me"),
    ("WGHT", b"12345"),
]
FILE = container.pack(SECTIONS)
ALONE = ("HEAD", headers.ALONE.to_bytes())  # a refinement of four bricks and three streams each
PADDED = ("HEAD", replace(headers.ALONE, padding=0.0).to_bytes())
STREAMS = [("LIDX", bytes(96)), ("LATT", b"")]
START = 24 + 16 * len(SECTIONS) + 4


def test_sections_come_back_in_order() -> None:
    assert list(container.unpack(FILE).items()) == SECTIONS


def test_layout_is_the_one_that_is_specified() -> None:
    head = bytes.fromhex("89494e52560d0a1a") + pack("<HHIQ", 1, 0, len(SECTIONS), len(FILE))
    for name, body in SECTIONS:
        head += name.encode() + pack("<QI", len(body), zlib.crc32(body))
    assert head + pack("<I", zlib.crc32(head)) + b"".join(body for _, body in SECTIONS) == FILE


@pytest.mark.parametrize("count", range(len(SECTIONS) + 1))
def test_size_is_known_without_packing(count: int) -> None:
    assert container.size(SECTIONS[:count]) == len(container.pack(SECTIONS[:count]))


def test_magic_is_not_text() -> None:
    with pytest.raises(UnicodeDecodeError):
        container.MAGIC.decode()


IN_TEXT_MODE = {
    "CRLF to LF": FILE.replace(b"\r\n", b"\n", 1),
    "LF to CRLF": FILE.replace(b"\n", b"\r\n", 1),
    "high bit": bytes(byte & 0x7F for byte in FILE),
    "Latin-1 to UTF-8": FILE.decode("latin-1").encode(),
    "no UTF-8": FILE.decode(errors="replace").encode(),
}


@pytest.mark.parametrize("case", IN_TEXT_MODE)
def test_text_mode_is_named_where_it_shows(case: str) -> None:
    with pytest.raises(CorruptFile, match="text mode"):
        container.unpack(IN_TEXT_MODE[case])


@pytest.mark.parametrize("place", range(8))
def test_a_flipped_byte_of_the_magic_is_damage_and_not_text_mode(place: int) -> None:
    damaged = FILE[:place] + bytes([FILE[place] ^ 0x40]) + FILE[place + 1 :]
    with pytest.raises(CorruptFile, match=r"file is damaged \(starts ([0-9a-f]{2} ){7}"):
        container.unpack(damaged)


def test_something_else_is_no_inrv_file() -> None:
    for start in (b"PK\x03\x04 and so on", b"x"):
        with pytest.raises(CorruptFile, match=r"not an \.inrv file"):
            container.unpack(start)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "scan.inrv"
    for damage in (b"", b"PK", FILE[:-1], FILE + b"0", FILE[:-1] + b"6"):
        path.write_bytes(damage)
        with pytest.raises(CorruptFile, match=r"scan\.inrv: ") as caught:
            container.read(path)
        assert str(caught.value).count("scan.inrv") == 1


class Slow(io.RawIOBase):
    """A stream that hands out three bytes at a time and cannot seek."""

    def __init__(self, data: bytes) -> None:
        self.data = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self.data.read(min(size, 3))


SOURCES: dict[str, Callable[[Path], container.Source]] = {
    "bytes": lambda path: path.read_bytes(),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "path": lambda path: path,
    "text": lambda path: str(path),
    "file object": lambda path: io.BytesIO(path.read_bytes()),
    "slow stream": lambda path: Slow(path.read_bytes()),  # type: ignore[dict-item,return-value]
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_is_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.inrv"
    path.write_bytes(FILE)
    assert container.load(SOURCES[kind](path)) == FILE
    header, sections = container.read(SOURCES[kind](path))
    assert header.to_bytes() == sections["HEAD"] and sections["WGHT"] == b"12345"


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("damage", ["cut", "extended"])
def test_every_source_is_read_to_its_end_and_no_further(kind: str, damage: str, tmp_path: Path) -> None:
    path = tmp_path / "a.inrv"
    path.write_bytes(FILE[:-1] if damage == "cut" else FILE + b"\0")
    with pytest.raises(CorruptFile):
        container.read(SOURCES[kind](path))


@pytest.mark.parametrize("name", ["missing.inrv", "."])
def test_source_that_cannot_be_opened_is_no_input(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        container.load(tmp_path / name)


def forged(change: Callable[[bytearray], None]) -> bytes:
    """A file whose table says something else, under a right checksum."""
    data = bytearray(FILE)
    change(data)
    count = min(int.from_bytes(data[12:16], "little"), 4)
    end = 24 + 16 * count
    data[end : end + 4] = pack("<I", zlib.crc32(data[:end]))
    return bytes(data)


def put(offset: int, value: bytes) -> bytes:
    def change(data: bytearray) -> None:
        data[offset : offset + len(value)] = value

    return forged(change)


def renamed(*names: str) -> bytes:
    return container.pack([(name, body) for name, (_, body) in zip(names, SECTIONS, strict=True)])


TEN_TB = pack("<Q", 10_000_000_000_000)
REFUSED: dict[str, tuple[bytes, type[InrvError]]] = {
    "empty": (b"", CorruptFile),
    "a zip file": (b"PK\3\4" + bytes(100), CorruptFile),
    "magic alone": (FILE[:8], CorruptFile),
    "line ends converted": (FILE.replace(b"\r\n", b"\n"), CorruptFile),
    "eighth bit stripped": (bytes([FILE[0] & 127]) + FILE[1:], CorruptFile),
    "decoded as Latin-1, stored as UTF-8": (FILE.decode("latin-1").encode(), CorruptFile),
    "newer major version": (put(8, b"\2\0"), UnsupportedFile),
    "major version 0": (put(8, b"\0\0"), UnsupportedFile),
    "no sections": (put(12, pack("<I", 0)), CorruptFile),
    "4 G sections": (put(12, b"\xff" * 4), LimitExceeded),
    "claims 10 TB": (put(16, TEN_TB), LimitExceeded),
    "section of 10 TB": (put(24 + 48 + 4, TEN_TB), LimitExceeded),
    "index of 1 GB": (put(24 + 16 + 4, pack("<Q", 1 << 30)), LimitExceeded),
    "section of 2**64 - 1 bytes": (put(24 + 48 + 4, b"\xff" * 8), LimitExceeded),
    "header of 2 MiB": (put(24 + 4, pack("<Q", 1 << 21)), LimitExceeded),
    "section longer than the file": (put(24 + 48 + 4, pack("<Q", 6)), CorruptFile),
    "sections overlap": (put(24 + 48 + 4, pack("<Q", 4)), CorruptFile),
    "hole before the end": (put(16, pack("<Q", len(FILE) + 1)) + b"\0", CorruptFile),
    "trailing byte": (FILE + b"\0", CorruptFile),
    "two files": (FILE + FILE, CorruptFile),
    "checksum of a body": (FILE[:-1] + b"6", CorruptFile),
    "checksum of what may be skipped": (FILE.replace(b"skip", b"read"), CorruptFile),
    "unknown critical section": (renamed("HEAD", "INDX", "Note", "WGHT"), UnsupportedFile),
    "header not first": (container.pack(SECTIONS[::-1]), CorruptFile),
    "section twice": (renamed("HEAD", "INDX", "INDX", "WGHT"), CorruptFile),
    "ID is no text": (renamed("HEAD", "INDX", "n\0te", "WGHT"), CorruptFile),
    "ID starts with a digit": (renamed("HEAD", "INDX", "1ote", "WGHT"), CorruptFile),
    "no weights": (container.pack(SECTIONS[:-1]), CorruptFile),
    "no index": (container.pack([SECTIONS[0], SECTIONS[3]]), CorruptFile),
    "index of another number of tiles": (
        container.pack([SECTIONS[0], ("INDX", bytes(8)), SECTIONS[3]]),
        CorruptFile,
    ),
    "networks without a low-res volume": (container.pack([ALONE, *SECTIONS[1:]]), CorruptFile),
    "mask without a low-res volume": (container.pack([ALONE, *STREAMS, ("MASK", b"")]), CorruptFile),
    "refinement that is not there": (container.pack([ALONE]), CorruptFile),
    "index of other bricks": (container.pack([ALONE, ("LIDX", bytes(88)), STREAMS[1]]), CorruptFile),
    "padding in bricks without an index": (container.pack([PADDED, *STREAMS, ("PADM", b"\1")]), CorruptFile),
    "index of padding that is not there": (
        container.pack([PADDED, *STREAMS, ("PIDX", bytes(32))]),
        CorruptFile,
    ),
    "index of padding of other bricks": (
        container.pack([PADDED, *STREAMS, ("PIDX", bytes(24)), ("PADM", b"")]),
        CorruptFile,
    ),
    "padding mask without padding": (container.pack([*SECTIONS, ("PADM", b"\1")]), CorruptFile),
    "header is not canonical": (container.pack([("HEAD", b"\x80\0"), *SECTIONS[1:]]), CorruptFile),
    "unknown field in version 1.0": (
        container.pack([("HEAD", PLAIN.to_bytes()[:-1]), *SECTIONS[1:]]),
        CorruptFile,
    ),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("as_stream", [False, True])
def test_file_is_refused(case: str, as_stream: bool) -> None:
    data, error = REFUSED[case]
    with pytest.raises(error):
        container.read(io.BytesIO(data) if as_stream else data)


ACCEPTED: dict[str, bytes] = {
    "newer minor version": put(10, b"\7\0"),
    "unknown section that may be skipped": FILE,
    "no low-res volume": container.pack([ALONE, *STREAMS]),
    "padding in bricks": container.pack([PADDED, *STREAMS, ("PIDX", bytes(32)), ("PADM", b"")]),
    "padding mask": container.pack(
        [("HEAD", FULL.to_bytes()), ("INDX", bytes(32)), ("WGHT", b""), ("PADM", b"\1")]
    ),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_file_is_read(case: str) -> None:
    assert container.read(ACCEPTED[case])[0].shape in (PLAIN.shape, headers.ALONE.shape)
