"""Where the bytes of a file come from: a path, bytes in memory, a binary stream, or a URL (`remote`).

In: a source, and ranges of bytes.  Out: those bytes.
Invariant: no byte is read that was not requested, and none twice from what cannot be rewound.

A path is opened for each read and closed again, so that no handle is left open, a fork or a thread shares
none, and a file that was replaced in between is noticed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from stat import S_ISREG
from threading import Lock
from typing import BinaryIO, NoReturn, Protocol, cast

from inrcodec.errors import InputError, UsageError, reason
from inrcodec.format.remote import Remote, RemotePath, is_remote

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | RemotePath

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/+")  # one letter is a drive
_CHUNK = 1 << 20  # bytes of one read: a stream that ends early costs no more memory than it holds


class ByteSource(Protocol):
    """Ranges of a file's bytes; safe to use from several threads."""

    name: str
    """Of the file, for messages; "" for bytes in memory."""

    def read(self, start: int, length: int) -> bytes:
        """The bytes from ``start`` on; fewer than ``length`` where the file ends before."""

    def read_many(self, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes of several ranges, (start, length) each."""
        return [self.read(start, length) for start, length in spans]

    def extent(self, most: int) -> int:
        """How many bytes the file has, or ``most`` if it has more; no byte beyond is read afterwards."""

    def close(self) -> None:
        """Let go of a handle, if one is held."""
        return


def refuse_url(name: str) -> None:
    """Refuse an address, also one whose slashes `pathlib` made one; raises `InputError`."""
    if (found := _URL.match(name)) is not None and not os.path.exists(name):
        address = f"{found[0].rstrip('/')}//{name[found.end() :]}"
        raise InputError(f"{address} is a URL, which is not read: download the file first", value=address)


def opened(source: Source) -> ByteSource:
    """The bytes of a source.

    Parameters
    ----------
    source : path, bytes, binary file object, URL or UPath
        A file object is read from its current position on, and belongs to the reader until that is done.  A
        URL has a scheme that fsspec knows.

    Raises
    ------
    InputError
        There is no such file, or it cannot be read.
    MissingExtra
        A URL, and fsspec or what it needs for the scheme is not installed.
    """
    if is_remote(source):
        return Remote(cast(RemotePath, source))
    source = cast(str | os.PathLike[str] | bytes | BinaryIO, source)
    if isinstance(source, bytes | bytearray | memoryview):
        return _Memory(bytes(source))
    if not isinstance(source, str | os.PathLike):
        name = str(getattr(source, "name", "the stream"))
        with _readable(name):
            seekable = bool(getattr(source, "seekable", bool)())
            return _Seekable(source, name) if seekable else _Pipe(source, name)
    name = os.fspath(source)
    refuse_url(name)
    with _readable(name):
        if S_ISREG(os.stat(name).st_mode):
            return _File(name)
        return _Pipe(open(name, "rb"), name, owned=True)  # a folder is refused here


class _Memory(ByteSource):
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self.name, self._data = "", data

    def read(self, start: int, length: int) -> bytes:
        return self._data[start : start + length]

    def extent(self, most: int) -> int:
        return min(len(self._data), most)


class _File(ByteSource):
    """A regular file, which must not change between two reads."""

    def __init__(self, name: str) -> None:
        self.name = name
        with open(name, "rb") as file:
            self._state = _state(file)

    def __reduce__(self) -> tuple[object, ...]:
        return _same_file, (os.path.abspath(self.name), self._state[2:])

    def read(self, start: int, length: int) -> bytes:
        with _readable(self.name), open(self.name, "rb") as file:
            if _state(file) != self._state:
                raise InputError(
                    f"{self.name} has changed since it was opened, open it again", value=self.name
                )
            file.seek(start)
            return file.read(length)

    def extent(self, most: int) -> int:
        return min(self._state[2], most)


def _same_file(name: str, expected: tuple[int, int]) -> _File:
    """A file that another process opened, perhaps on another machine, where its device has another number."""
    with _readable(name):
        file = _File(name)
    if file._state[2:] != expected:
        raise InputError(f"{name} has changed since it was opened, open it again", value=name)
    return file


def _state(file: BinaryIO) -> tuple[int, int, int, int]:
    state = os.fstat(file.fileno())
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


class _Stream(ByteSource):
    """What only this process can read."""

    def __reduce__(self) -> NoReturn:
        cause = f"{self.name} is an open file, which no other process can read: pass its path or its bytes"
        raise UsageError(cause, value=self.name)


class _Seekable(_Stream):
    """A file object; what lies before its position when it came is not part of the file."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self.name, self._stream, self._lock = name, stream, Lock()
        self._origin = stream.tell()

    def read(self, start: int, length: int) -> bytes:
        with self._lock, _readable(self.name):
            self._stream.seek(self._origin + start)
            return _read(self._stream, length)

    def extent(self, most: int) -> int:
        with self._lock, _readable(self.name):
            return min(self._stream.seek(0, os.SEEK_END) - self._origin, most)


class _Pipe(_Stream):
    """A stream that cannot be rewound: what was read is kept."""

    def __init__(self, stream: BinaryIO, name: str, *, owned: bool = False) -> None:
        self.name, self._stream, self._lock = name, stream, Lock()
        self._seen, self._owned = bytearray(), owned

    def read(self, start: int, length: int) -> bytes:
        with self._lock, _readable(self.name):
            self._fill(start + length)
            return bytes(self._seen[start : start + length])

    def extent(self, most: int) -> int:
        with self._lock, _readable(self.name):
            self._fill(most)
        self.close()
        return min(len(self._seen), most)

    def close(self) -> None:
        if self._owned:
            self._stream.close()

    def _fill(self, count: int) -> None:
        if count > len(self._seen) and not getattr(self._stream, "closed", False):
            self._seen += _read(self._stream, count - len(self._seen))


def _read(stream: BinaryIO, length: int) -> bytes:
    """Up to ``length`` bytes of a stream that may hand out fewer at a time."""
    data = bytearray()
    while len(data) < length:
        chunk = stream.read(min(length - len(data), _CHUNK))
        if not chunk:
            break
        data += chunk
    return bytes(data)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # the second is of a closed stream
        raise InputError(f"cannot read {name}: {reason(error)}", value=name) from error
