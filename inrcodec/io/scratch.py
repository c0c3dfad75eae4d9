"""What a write makes beside its target until it is whole, and what a killed process left of it.

In: a target.  Out: a file or folder beside it, under a lock that ends with the process.
Invariant: nothing is removed whose writer may be alive, and no content that the target once had is lost.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path

from inrcodec.errors import WriteError

if sys.platform != "win32":
    import fcntl

LONGEST = 200  # bytes of a target's name that is part of a scratch's, of the 255 that most systems take
ASIDE = ".old"  # behind the name of the scratch whose place the content of a target makes


@contextmanager
def scratch(target: Path, make: Callable[[Path], object]) -> Iterator[Path]:
    """A new name beside the target, so that a rename stays within a file system; removed on leaving.

    Parameters
    ----------
    make : makes the file or folder of that name.
    """
    lock, there = None, False
    path = target.with_name(f"{_stem(target)}{secrets.token_hex(6)}.part")
    try:
        while not there:  # another process may clear it away before it is locked
            make(path)
            lock = _locked(path, wait=True)
            there = os.path.lexists(path)  # where there are no locks, too
        yield path
    finally:
        _remove(path)
        if lock is not None:
            os.close(lock)


def clear(target: Path, ours: Callable[[Path], list[Path]] | None = None) -> None:
    """Remove what killed writes to a target left beside it, and put back a folder that was moved aside.

    Parameters
    ----------
    ours : lists the content of a folder if this package wrote it, else raises `WriteError`; of folders only.
    """
    with suppress(OSError):  # such as a folder that may not be listed: the write itself will say so
        pattern = re.compile(re.escape(_stem(target)) + r"[0-9a-f]{12}\.part")
        names = {name.removesuffix(ASIDE) for name in os.listdir(target.parent)}
        for name in filter(pattern.fullmatch, sorted(names)):
            _clear(target, target.with_name(name), ours)


def _clear(target: Path, path: Path, ours: Callable[[Path], list[Path]] | None) -> None:
    lock = _locked(path, wait=False)
    if lock is None and os.path.lexists(path):
        return  # its writer is alive
    try:
        if ours is not None:
            with suppress(OSError, WriteError):  # what is not ours stays
                _settle(path.with_name(path.name + ASIDE), target, ours)
        _remove(path)
    finally:
        if lock is not None:
            os.close(lock)


def _settle(aside: Path, target: Path, ours: Callable[[Path], list[Path]]) -> None:
    """Put a folder back that was moved aside, or remove it where what was to take its place has done so."""
    if not target.exists() or not any(target.iterdir()):
        os.rename(aside, target)
    else:
        discard(aside, [entry.name for entry in ours(aside)])


def discard(aside: Path, names: list[str]) -> None:
    """Remove what a folder holds, and the folder if nobody put anything else into it meanwhile."""
    for name in names:
        _remove(aside / name)
    with suppress(OSError):
        aside.rmdir()


def _locked(path: Path, *, wait: bool) -> int | None:
    """An open handle with the lock; ``None`` where another process has it, or nothing is there to lock."""
    if sys.platform == "win32":
        return None
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        if os.path.samestat(os.fstat(handle), os.lstat(path)):
            return handle
    os.close(handle)
    return None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _stem(target: Path) -> str:
    name = target.name
    if len(os.fsencode(name)) > LONGEST:
        name = blake2b(os.fsencode(name), digest_size=16).hexdigest()
    return f".{name}."
