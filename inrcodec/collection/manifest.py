"""The manifest: what was done of a collection, a JSON object a line.

In: rows as they are done.  Out: rows of earlier runs, by command and output.
Invariant: a row is in the file whole or not at all, one process writes at a time, and of rows of an output
the last one counts.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

from inrcodec.errors import CorruptFile, InputError, UnsupportedFile, WriteError, reason

if sys.platform != "win32":
    import fcntl

VERSION = 1
NAME = "inrcodec-manifest.jsonl"
_BINARY = getattr(os, "O_BINARY", 0)  # Windows would write two bytes for the end of a line
Row: TypeAlias = dict[str, Any]
_BEGIN = b'{"manifest": '
_REMEDY = "repair it, or move it away and everything is done again"

_TYPES: dict[str, type | tuple[type, ...]] = {
    "command": str,
    "inrcodec": str,
    "source": str,
    "source_stamp": str,
    "source_digest": str,
    "options": dict,
    "output": str,
    "output_digest": str,
    "exit_code": int,
}


class Manifest:
    """Rows of a collection; made by `opened`.

    Attributes
    ----------
    rows : dict of (command, output) to the last row of it.
    torn : bytes of a last line that a killed process did not finish; they are gone.
    """

    def __init__(self, path: Path, handle: int) -> None:
        self.path, self._handle = path, handle
        self.rows: dict[tuple[str, str], Row] = {}
        self.torn = 0
        self._size = 0
        self._read()

    def _read(self) -> None:
        with self.path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                place = f"line {number} of the manifest {self.path}"
                if not line.endswith(b"\n"):
                    if not line.startswith(_BEGIN) and not _BEGIN.startswith(line):  # what else is never cut
                        cause = f"{place} is not of a manifest"
                        raise CorruptFile(cause, value=line[:80], remedy=_REMEDY)
                    self.torn = len(line)
                    break
                row: Row = _row(line, place)
                self.rows[row["command"], row["output"]] = row
                self._size += len(line)
        if self.torn:
            os.ftruncate(self._handle, self._size)

    def append(self, row: Row) -> None:
        """Add a row, on disk when this returns; raises `WriteError`, and the file is as it was."""
        row = Row(manifest=VERSION) | row
        line = json.dumps(row, allow_nan=False).encode() + b"\n"
        try:
            left = memoryview(line)
            while left:
                left = left[os.write(self._handle, left) :]
            os.fsync(self._handle)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._handle, self._size)
            raise WriteError.of_system(error, str(self.path)) from error
        self._size += len(line)
        self.rows[row["command"], row["output"]] = row


@contextmanager
def opened(path: Path) -> Iterator[Manifest]:
    """The manifest of a path, which is made if it is not there.

    Raises
    ------
    WriteError
        It cannot be written, or another process writes to it.
    CorruptFile
        A line is not a row, nor the beginning of one at the end.
    UnsupportedFile
        It is of another version.
    InputError
        It cannot be read.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | _BINARY, 0o666)
    except OSError as error:
        raise WriteError.of_system(error, str(path)) from error
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):  # of a device or a pipe there may be no end
            cause = f"{path} is not a regular file, name another manifest"
            raise WriteError(cause, value=str(path), option="manifest")
        if sys.platform != "win32":
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                cause = f"{path} is being written by another process: wait until that has ended"
                raise WriteError(cause, value=str(path)) from error
        yield _read(path, handle)
    finally:
        os.close(handle)


def _read(path: Path, handle: int) -> Manifest:
    try:
        return Manifest(path, handle)
    except OSError as error:
        raise InputError(f"cannot read the manifest {path}: {reason(error)}", value=str(path)) from error


def _row(line: bytes, place: str) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CorruptFile(f"{place} is damaged", value=line[:80], remedy=_REMEDY) from error
    if not isinstance(row, dict) or "manifest" not in row:
        raise CorruptFile(f"{place} is not of a manifest", value=line[:80], remedy=_REMEDY)
    if row["manifest"] != VERSION:
        raise UnsupportedFile(
            f"{place} is of version {row['manifest']!r:.20}, this is for version {VERSION}: "
            "use the inrcodec that wrote it, or name another manifest",
            value=row["manifest"],
        )
    for name, kind in _TYPES.items():
        if not isinstance(row.get(name), kind):
            raise CorruptFile(f"{place} has no valid {name!r}", value=row.get(name), remedy=_REMEDY)
    return row
