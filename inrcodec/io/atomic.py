"""Files and folders that are whole or not there at all.

In: a target and what writes to it. Out: the target, complete. The one law: until the last byte is on disk the
target is what it was before, and nothing but the target is ever replaced.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from inrcodec.errors import WriteError

Writer = Callable[[BinaryIO], object]
Ours = Callable[[Path], "list[Path]"]


def check_file(path: str | os.PathLike[str], force: bool = False) -> None:
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
    if target.exists() and not force:
        raise WriteError(f"needed to replace {target}, which exists", value=str(target), option="force")
    _check_parent(target)


def atomic_write(path: str | os.PathLike[str], data: bytes | Writer, force: bool = False) -> None:
    """Write a file whole: to a temporary file beside the target, then by one rename.

    Parameters
    ----------
    path : path
        Target. A symbolic link is followed; a device or pipe is written to directly.
    data : bytes or callable
        The content, or what writes it to the open binary file that it is given.
    force : bool
        Replace an existing file.

    Raises
    ------
    WriteError
        The target exists, or the system refused (disk full, read-only ...); nothing is left behind.
    """
    check_file(path, force)
    target = Path(os.path.realpath(path))
    with _as_write_error(target):
        if _is_stream(target):
            with target.open("wb") as stream:
                _fill(stream, data)
            return
        handle, name = tempfile.mkstemp(prefix=f".{target.name[:100]}.", suffix=".part", dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                _fill(stream, data)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(name, _mode_for(target))
            _publish(name, target, force)
        finally:  # an interrupt leaves nothing behind either
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)


def check_folder(path: str | os.PathLike[str], ours: Ours, force: bool = False) -> None:
    """Refuse a target folder that could not be written, before the work is done.

    Parameters
    ----------
    ours : callable
        Lists the content of a folder that this package wrote; raises `WriteError` when anything in it is not
        ours.

    Raises
    ------
    WriteError
        It is a file, or holds something (without `force`: anything; with it: anything that is not ours).
    """
    target = Path(path)
    if target.exists() and not target.is_dir():
        raise WriteError(
            f"{target} is a file, name a folder that is empty or not there yet", value=str(target)
        )
    if target.is_dir() and any(target.iterdir()):
        if not force:
            raise WriteError(f"needed to replace what is in {target}", value=str(target), option="force")
        ours(target)
    _check_parent(target)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str], ours: Ours, force: bool = False) -> Iterator[Path]:
    """Fill a folder whole: yields a temporary folder beside the target, which takes its place on leaving.

    Raises
    ------
    WriteError
        As `check_folder`, or the system refused; the old folder is then still there.
    """
    check_folder(path, ours, force)
    target = Path(os.path.realpath(path))
    with _as_write_error(target):
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name[:100]}.", suffix=".part", dir=target.parent))
        try:
            yield scratch
            os.chmod(scratch, 0o777 & ~_umask())
            _swap(scratch, target, ours)
        finally:
            _remove(scratch, list(scratch.iterdir()) if scratch.exists() else [])


def _swap(scratch: Path, target: Path, ours: Ours) -> None:
    if not target.exists() or not any(target.iterdir()):
        os.replace(scratch, target)
        return
    old_files = [entry.name for entry in ours(target)]
    aside = scratch.with_name(scratch.name + ".old")
    os.rename(target, aside)
    try:
        os.rename(scratch, target)
    except BaseException:
        os.rename(aside, target)
        raise
    _remove(aside, [aside / name for name in old_files])


def _remove(folder: Path, files: list[Path]) -> None:
    """Remove the listed files, then the folder; what somebody else put there meanwhile stays."""
    for entry in files:
        entry.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _fill(stream: BinaryIO, data: bytes | Writer) -> None:
    if callable(data):
        data(stream)
    else:
        stream.write(data)


def _publish(name: str, target: Path, force: bool) -> None:
    if force:
        os.replace(name, target)
        return
    try:
        os.link(name, target)  # unlike a rename it fails if the target appeared meanwhile
    except FileExistsError as error:
        message = f"needed to replace {target}, which appeared while it was being written"
        raise WriteError(message, value=str(target), option="force") from error
    except OSError:  # a file system without hard links
        os.rename(name, target)


def _check_parent(target: Path) -> None:
    parent = Path(os.path.realpath(target)).parent
    if not parent.is_dir():
        raise WriteError(f"folder {parent} does not exist, make it first", value=str(parent))
    with _as_write_error(target):  # asking for permissions says yes on read-only file systems and to root
        handle, name = tempfile.mkstemp(prefix=".inrcodec-", suffix=".part", dir=parent)
        os.close(handle)
        os.unlink(name)


@contextlib.contextmanager
def _as_write_error(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        remedy = {errno.ENOSPC: "free some space", errno.EDQUOT: "free some space"}.get(
            error.errno or 0, "choose another place or check its permissions"
        )
        cause = (error.strerror or str(error)).lower()
        raise WriteError(f"cannot write {target}: {cause}, {remedy}", value=str(target)) from error


def _is_stream(target: Path) -> bool:
    return target.exists() and not stat.S_ISREG(target.stat().st_mode)


def _mode_for(target: Path) -> int:
    if target.exists():
        return stat.S_IMODE(target.stat().st_mode)
    return 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
