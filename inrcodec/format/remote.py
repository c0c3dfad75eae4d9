"""Bytes behind a URL, through fsspec, which the extra "remote" brings.

In: a URL or a `UPath`, and ranges of bytes.  Out: those bytes.
Invariant: a range is asked for once, neighbouring ones together; what a server sends has the length that was
asked for, or is refused.
"""

from __future__ import annotations

import logging
import os
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from inrcodec.errors import CorruptFile, InputError, MissingExtra, reason
from inrcodec.format import limits

logger = logging.getLogger(__name__)

FRONT = 1 << 14  # bytes that are read when a file is opened: table, header and small sections
GAP = 1 << 14  # bytes between two ranges that are read along, rather than asking twice

_ADDRESS = re.compile(r"(\w+://)(?:[^/\s@]+@)?([^\s?'\")]*)(\?[^\s'\")]+)?")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]+://")  # one letter is a drive


class RemotePath(Protocol):
    """A path on a file system of fsspec, as a `UPath` is."""

    @property
    def fs(self) -> Any:
        """The file system."""

    @property
    def path(self) -> str:
        """The path on it."""


def without_secrets(text: str) -> str:
    """A text in which addresses have neither a password nor a query, which may be as good as one.

    Examples
    --------
    >>> without_secrets("https://me:secret@host/a.inrv?token=12 is not there")
    'https://host/a.inrv?… is not there'
    """
    return _ADDRESS.sub(lambda found: found[1] + found[2] + ("?…" if found[3] else ""), text)


def is_remote(source: object) -> bool:
    """Whether a source is a URL or a path on a file system of fsspec."""
    if isinstance(source, str):
        return _URL.match(source) is not None
    return hasattr(source, "fs") and hasattr(source, "path") and not hasattr(source, "read")


class Remote:
    """A file that is read by ranges; whole, and with a warning, where the server gives none."""

    def __init__(self, source: str | RemotePath) -> None:
        self.name = without_secrets(str(source))
        self._pid = os.getpid()
        with _reached(self.name):
            if isinstance(source, str):
                self._fs, self._path = import_module("fsspec.core").url_to_fs(source)
            else:
                self._fs, self._path = source.fs, source.path
            facts = self._fs.info(self._path)
            if facts.get("type") == "directory":
                raise IsADirectoryError("it is a folder")
        self._size: int | None = facts.get("size")
        self._front = self._whole = b""
        if self._size is None or facts.get("partial") is False:
            self._keep(self._fetch([(0, self._size)])[0])

    def __getstate__(self) -> dict[str, Any]:
        """Without what was read."""
        return self.__dict__ | {"_front": b"", "_whole": b""}

    def read(self, start: int, length: int) -> bytes:
        """As `ByteSource.read`."""
        return self.read_many([(start, length)])[0]

    def read_many(self, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """As `ByteSource.read_many`: side by side, where the file system can."""
        if not (self._whole or self._front):
            self._front = self._ranges([(0, min(FRONT, self._size or 0))])[0]
        held = self._whole or self._front
        if self._whole or all(start + length <= len(held) for start, length in spans):
            return [held[start : start + length] for start, length in spans]
        merged = _merged(spans)
        found, firsts = self._ranges(merged), [first for first, _ in merged]
        parts = []
        for start, length in spans:
            k = bisect_right(firsts, start) - 1
            parts.append(found[k][start - firsts[k] :][:length])
        return parts

    def extent(self, most: int) -> int:
        """As `ByteSource.extent`."""
        return min(len(self._whole) or self._size or 0, most)

    def close(self) -> None:
        """Nothing is held open."""

    def _ranges(self, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """Bytes of ranges that the file has; fewer only at its end."""
        size = self._size or 0
        wanted = [(min(start, size), min(start + length, size)) for start, length in spans]
        found = [b""] * len(spans)
        places = [k for k, (start, stop) in enumerate(wanted) if start < stop]
        for k, data in zip(places, self._fetch([wanted[k] for k in places]), strict=True):
            start, stop = wanted[k]
            if len(data) == size > stop - start:  # the server ignored the range
                self._keep(data)
                data = data[start:stop]
            if len(data) != stop - start:
                cause = f"{self.name} gave {len(data)} bytes of {stop - start}"
                raise CorruptFile(cause, remedy="try again, or download the file", value=start)
            found[k] = data
        return found

    def _fetch(self, spans: Sequence[tuple[int, int | None]]) -> list[bytes]:
        with _reached(self.name):
            if self._pid != os.getpid():  # forked: connections and their threads are the parent's
                made = type(self._fs)(*self._fs.storage_args, **self._fs.storage_options)
                self._fs, self._pid = made, os.getpid()
            if len(spans) == 1:
                start, stop = spans[0]
                return [bytes(self._fs.cat_file(self._path, start=start or None, end=stop))]
            starts, stops = ([span[side] for span in spans] for side in (0, 1))
            paths = [self._path] * len(spans)
            return [bytes(data) for data in self._fs.cat_ranges(paths, starts, stops, on_error="raise")]

    def _keep(self, data: bytes) -> None:
        limits.check("length of the file", len(data), limits.FILE)
        logger.warning("%s is not served by ranges: all of its %d bytes were read", self.name, len(data))
        self._whole, self._size = data, len(data)


def _merged(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges with no more than `GAP` between them as one, ascending."""
    merged: list[tuple[int, int]] = []
    for start, length in sorted(spans):
        if merged and start - sum(merged[-1]) <= GAP:
            first = merged[-1][0]
            merged[-1] = first, max(sum(merged[-1]), start + length) - first
        else:
            merged.append((start, length))
    return merged


@contextmanager
def _reached(name: str) -> Iterator[None]:
    """What a file system raises, which may be anything, as an error about a source."""
    try:
        yield
    except ImportError as error:
        if find_spec("fsspec") is None or name.startswith("http"):
            raise MissingExtra(f"{name} is a URL, and {reason(error)}", extra="remote", value=name) from error
        raise InputError(f"cannot read {name}: {reason(error)}", value=name) from error  # the package's name
    except Exception as error:
        raise InputError(f"cannot read {name}: {_why(error, name)}", value=name) from error


def _why(error: BaseException, name: str) -> str:
    """What an error says, or the one that it came of where it says nothing but the name."""
    cause: BaseException | None = error
    while cause is not None:
        if (said := without_secrets(reason(cause))).strip("/") not in name:
            return said
        cause = cause.__cause__
    return "no such file" if isinstance(error, FileNotFoundError) else type(error).__name__
