"""A disk that fails: reads, or writes, syncs and renames, that end with EIO.

In: a folder, and which access to what is below it fails.  Out: a context in which it does.
Invariant: only this process sees it, and files beside the folder are as they were.
"""

import builtins
import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

CALLS = ("fsync", "replace", "rename", "link")  # of `os`, that fail like a write


@contextmanager
def failing_disk(folder: Path, at: int, *, reads: bool, for_good: bool = False) -> Iterator[None]:
    """Let the ``at``-th read, or write, sync or rename, fail; ``for_good``: and all that follow."""
    left, plain_open = at, io.open

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0 or (for_good and left < 0):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    class Reading(io.FileIO):
        def readinto(self, buffer: Any) -> int | None:
            count()
            return super().readinto(buffer)

        def read(self, size: int | None = -1) -> bytes:
            count()
            return super().read(-1 if size is None else size)

        def readall(self) -> bytes:
            count()
            return super().readall()

    class Writing(io.FileIO):
        def write(self, data: Any) -> int:
            count()
            return super().write(data)

    def is_below(file: object) -> bool:
        name = os.fspath(file) if isinstance(file, str | os.PathLike) else ""
        return os.path.realpath(name).startswith(f"{os.path.realpath(folder)}{os.sep}")

    def opened(file: Any, mode: str = "r", buffering: int = -1, *words: Any, **more: Any) -> Any:
        writes = bool(set(mode) & set("wax+"))
        if writes == reads or not is_below(file):
            return plain_open(file, mode, buffering, *words, **more)
        raw = (Reading if reads else Writing)(file, mode.replace("b", "").replace("t", ""))
        if buffering == 0:
            return raw
        stream = io.BufferedReader(raw) if reads else io.BufferedWriter(raw)
        return stream if "b" in mode else io.TextIOWrapper(stream, *words, **more)

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def made(*words: Any, **more: Any) -> Any:
            count()
            return call(*words, **more)

        return made

    with ExitStack() as stack:
        for module in (io, builtins):
            stack.enter_context(patch.object(module, "open", opened))
        for name in () if reads else CALLS:
            stack.enter_context(patch.object(os, name, counted(getattr(os, name))))
        yield
