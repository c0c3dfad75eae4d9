"""Files and folders that are whole or not there at all.

Invariant: until the last byte is on disk the target is what it was before, and nothing else is ever replaced.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from inrcodec.errors import WriteError, is_disk_full
from inrcodec.io.scratch import ASIDE, clear, discard, scratch

Location = str | os.PathLike[str]
Writer = Callable[[BinaryIO], object]
Ours = Callable[[Path], "list[Path]"]
"""Lists the content of a folder that this package wrote; raises `WriteError` if anything is not ours."""


def check_file(path: Location, force: bool = False) -> None:
    """Refuse a target file that could not be written, before the work is done.

    Raises
    ------
    WriteError
        It exists (and `force` is not set), is a folder, or its folder is missing or read-only.
    """
    target = Path(path)
    if target.is_dir():
        raise WriteError(f"{target} is a folder, name a file", value=str(target))
    if _is_stream(target):
        return
    clear(Path(os.path.realpath(target)))
    if target.exists() and not force:
        raise WriteError(f"needed to replace {target}, which exists", value=str(target), option="force")
    _check_parent(target)


def atomic_write(path: Location, data: bytes | Writer, force: bool = False) -> None:
    """Write a file whole: to a temporary file beside the target, then by one rename.

    Parameters
    ----------
    path : path
        Target. A symbolic link is followed; a device or pipe is written to directly.
    data : bytes or callable
        The content, or what writes it to the open binary file that it is given.
    force : bool
        Replace an existing file, and keep its permissions.

    Raises
    ------
    WriteError
        The target exists, or the system refused (disk full, read-only ...); nothing is left behind.
    """
    check_file(path, force)
    target = Path(os.path.realpath(path))
    fill = data if callable(data) else lambda stream: stream.write(data)
    with _as_write_error(target):
        if _is_stream(target):
            with target.open("wb") as stream:
                fill(stream)
            return
        old = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
        # The system applies the umask: to ask for it is to set it, for all threads.
        make = partial(
            os.open, flags=os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=0o666 if old is None else 0o600
        )
        with scratch(target, lambda path: os.close(make(path))) as path:
            with path.open("wb") as stream:
                fill(stream)
                stream.flush()
                os.fsync(stream.fileno())
            if old is not None:
                path.chmod(old)
            _publish(path, target, force)
        _sync(target.parent)


def check_folder(path: Location, ours: Ours, force: bool = False) -> None:
    """Refuse a target folder that could not be written, before the work is done.

    Raises `WriteError`: it is a file, or holds something (with `force`: something that is not ours).
    """
    target = Path(path)
    clear(Path(os.path.realpath(target)), ours)
    if target.exists() and not target.is_dir():
        cause = f"{target} is a file, name a folder that is empty or not there yet"
        raise WriteError(cause, value=str(target))
    if target.is_dir() and any(target.iterdir()):
        if not force:
            raise WriteError(f"needed to replace what is in {target}", value=str(target), option="force")
        ours(target)
    _check_parent(target)


@contextlib.contextmanager
def atomic_folder(path: Location, ours: Ours, force: bool = False) -> Iterator[Path]:
    """Fill a folder whole: yields a temporary folder beside the target, which takes its place on leaving.

    Raises `WriteError` as `check_folder`, or if the system refuses; the old folder is then still there.
    """
    check_folder(path, ours, force)
    target = Path(os.path.realpath(path))
    with _as_write_error(target):
        with scratch(target, Path.mkdir) as folder:
            yield folder
            for entry in (*folder.rglob("*"), folder):
                _sync(entry)
            _swap(folder, target, ours, force)
        _sync(target.parent)


def _swap(folder: Path, target: Path, ours: Ours, force: bool) -> None:
    if not target.exists() or not any(target.iterdir()):
        os.replace(folder, target)
        return
    if not force:
        raise FileExistsError
    old_files = [entry.name for entry in ours(target)]
    aside = folder.with_name(folder.name + ASIDE)
    os.rename(target, aside)
    try:
        os.rename(folder, target)
    except BaseException:
        os.rename(aside, target)
        raise
    discard(aside, old_files)


def _publish(path: Path, target: Path, force: bool) -> None:
    """Give a finished file its name; without `force` only where nothing has that name."""
    if force:
        os.replace(path, target)
        return
    try:
        os.link(path, target)  # unlike a rename it fails if the target appeared meanwhile
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: take the name with an empty file, which is ours
        target.touch(exist_ok=False)
        try:
            os.replace(path, target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise


def _sync(path: Path) -> None:
    """Have a file's content, or a folder's names, on disk; some systems cannot for folders."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _check_parent(target: Path) -> None:
    target = Path(os.path.realpath(target))
    if not target.parent.is_dir():
        raise WriteError(f"folder {target.parent} does not exist, make it first", value=str(target.parent))
    # Asking for permissions says yes on read-only file systems and to root.
    with _as_write_error(target), scratch(target, partial(Path.touch, exist_ok=False)):
        pass


@contextlib.contextmanager
def _as_write_error(target: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        message = f"needed to replace {target}, which appeared while it was being written"
        raise WriteError(message, value=str(target), option="force") from error
    except Exception as error:  # a writer of a foreign format may raise its own on top of the system's
        if not isinstance(error, OSError) and not is_disk_full(error):
            raise
        raise WriteError.of_system(error, str(target)) from error


def _is_stream(target: Path) -> bool:
    return target.exists() and not stat.S_ISREG(target.stat().st_mode)
