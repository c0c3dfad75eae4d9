"""The streams of a refinement while they are made: brick after brick, to be stored step after step.

In: the streams of each brick, in the order of the bricks.  Out: the sections LIDX and LATT.
Invariant: what is large lies in files without a name, which no process that ends leaves behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import IO
from zlib import crc32

from inrcodec.errors import WriteError
from inrcodec.format import limits
from inrcodec.format.sections import ROW

IN_MEMORY = 1 << 20  # bytes of a step; there are some twenty
CHUNK = 1 << 20  # bytes that are held while they are copied


class Spool:
    """The body of LATT before it has its place in a file.

    Parameters
    ----------
    steps : streams of each brick.
    folder : of the files that take what is large; memory takes everything without one.
    """

    def __init__(self, steps: int, folder: str | None = None) -> None:
        self.folder = folder
        self._files: list[IO[bytes]] = [self._file() for _ in range(steps)]
        self._rows: list[list[tuple[int, int, int]]] = [[] for _ in range(steps)]  # start, length, CRC-32

    def _file(self) -> IO[bytes]:
        return BytesIO() if self.folder is None else SpooledTemporaryFile(IN_MEMORY, dir=self.folder)

    def add(self, streams: Sequence[bytes]) -> None:
        """Take in the streams of the next brick, one for each step.

        Raises
        ------
        WriteError
            The disk is full, or the folder cannot be written to.
        LimitExceeded
            A stream is longer than a chunk may be.
        """
        for file, rows, stream in zip(self._files, self._rows, streams, strict=True):
            limits.check("length of a chunk", len(stream), limits.SECTION, "choose smaller bricks")
            start = rows[-1][0] + rows[-1][1] if rows else 0
            try:
                file.seek(start)
                file.write(stream)
            except OSError as error:
                raise WriteError.of_system(error, f"to {self.folder}") from error
            rows.append((start, len(stream), crc32(stream)))

    def streams(self, brick: int) -> list[bytes]:
        """The streams of a brick."""
        found = []
        for file, rows in zip(self._files, self._rows, strict=True):
            start, length, _ = rows[brick]
            file.seek(start)
            found.append(file.read(length))
        return found

    @property
    def index(self) -> bytes:
        """The section LIDX."""
        return b"".join(ROW.pack(length, crc) for rows in self._rows for _, length, crc in rows)

    def __len__(self) -> int:
        return sum(length for rows in self._rows for _, length, _ in rows)

    def __iter__(self) -> Iterator[bytes]:
        """The body, in chunks."""
        for file in self._files:
            file.seek(0)
            while chunk := file.read(CHUNK):
                yield chunk

    @cached_property
    def crc(self) -> int:
        """CRC-32 of the body, once all bricks are there."""
        crc = 0
        for chunk in self:
            crc = crc32(chunk, crc)
        return crc
