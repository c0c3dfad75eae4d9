"""What is to be done: the sources of a tree or a list, and the names of their outputs.

In: a folder, or paths.  Out: a `Source` for each series and file, with the name that its output has.
Invariant: the same tree gives the same names; what may be a volume is a source, and whether it is one is
found when it is read.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from inrcodec import io
from inrcodec.errors import InputError, UsageError, reason
from inrcodec.io.dicom.series import series_in

Location = str | os.PathLike[str]
SUFFIX = ".inrv"


@dataclass(frozen=True)
class Source:
    """One volume of a collection.

    Attributes
    ----------
    name : relative to the tree, or as the list has it, with ``/`` between folders.
    path : file, or folder of a series.
    files : all files that it is made of.
    stem : of the output: its path without an ending.
    series : number of a DICOM series, "" if it has none.
    is_series : whether `files` are those of a DICOM series.
    error : why it cannot be looked at.
    """

    name: str
    path: Path
    files: tuple[Path, ...]
    stem: str
    series: str = ""
    is_series: bool = False
    error: str = ""


@dataclass(frozen=True)
class Listing:
    """The sources of a collection, and what is to be said about them."""

    sources: tuple[Source, ...]
    notices: tuple[str, ...]


def volumes(tree: Location | Sequence[Location], out: Location) -> Listing:
    """Volumes to encode: every DICOM series of every folder, and every file of a known format.

    Parameters
    ----------
    tree : folder, searched with its subfolders; or several folders and files
        Hidden files, linked folders and what is in `out` are left out.
    out : folder of the outputs.

    Raises
    ------
    InputError
        The folder is not there, or holds no source.
    UsageError
        A path of several has ``..`` in it: its output would lie outside of `out`.
    """
    return _listed(tree, out, _volumes_in, _volume_at)


def files(tree: Location | Sequence[Location], out: Location | None) -> Listing:
    """Files to decode or to check, those that end in ``.inrv``; otherwise as `volumes`."""
    return _listed(tree, out, _files_in, _file_at)


def _listed(
    tree: Location | Sequence[Location],
    out: Location | None,
    within: Callable[[Path, list[Path], str], Iterator[Source]],
    at: Callable[[Path, str], Source],
) -> Listing:
    notices: list[str] = []
    if isinstance(tree, str | os.PathLike):
        root = Path(tree)
        if not root.is_dir():
            cause = "is not a folder" if root.exists() else "does not exist"
            raise InputError(f"{root} {cause}, name the folder of a tree", value=str(root))
        found = list(_walk(root, "", out, within, notices))
    else:
        found = []
        for path in map(Path, tree):
            name = _name_in_list(path)
            searched = path.is_dir() and io.format_of(path) is None
            if searched:
                found += _walk(path, name, out, within, notices)
            elif path.exists() and not path.is_file() and not path.is_dir():
                found.append(Source(name, path, (path,), name))  # a pipe, of which nothing is read
            else:
                found.append(at(path, name))
    if not found:
        raise InputError(f"nothing to do in {tree}: no source is there", value=str(tree))
    return Listing(tuple(_named_apart(found, notices)), tuple(notices))


def _walk(
    root: Path,
    prefix: str,
    out: Location | None,
    within: Callable[[Path, list[Path], str], Iterator[Source]],
    notices: list[str],
) -> Iterator[Source]:
    """Sources of a folder and its subfolders, in the order of their names."""
    outputs = None if out is None else os.path.realpath(out)
    inside = outputs is not None and outputs != os.path.realpath(root)
    failed: list[OSError] = []
    for parent, folders, names in os.walk(root, onerror=failed.append):
        here = Path(parent)
        name = _posix(prefix, *here.relative_to(root).parts)
        shown = {folder: Path(parent, folder) for folder in sorted(folders) if not folder.startswith(".")}
        linked = [path for path in shown.values() if path.is_symlink()]
        notices += [f"the linked folder {path} was not searched" for path in linked]
        within_out = [path for path in shown.values() if inside and os.path.realpath(path) == outputs]
        whole = [path for path in shown.values() if io.format_of(path) is not None]
        left_out = {*linked, *within_out, *whole}
        folders[:] = [folder for folder, path in shown.items() if path not in left_out]
        paths = [Path(parent, name) for name in sorted(names) if not name.startswith(".")]
        yield from within(here, [p for p in paths if p.is_file() or not p.exists()] + whole, name)
    for error in failed:
        path = Path(error.filename)
        name = _posix(prefix, *path.relative_to(root).parts)
        yield Source(
            name or ".", path, (), name or path.name, error=f"cannot look into {path}: {reason(error)}"
        )


def _volumes_in(folder: Path, paths: list[Path], name: str) -> Iterator[Source]:
    known = {path: io.parts(path) for path in paths if io.format_of(path) is not None}
    owned = {file for files in known.values() for file in files[1:]}
    for path, files in known.items():
        if path not in owned:
            yield _of_file(path, _posix(name, path.name), files)
    others = [path for path in paths if path not in known and path not in owned]
    series = series_in([path for path in others if path.suffix.lower() != SUFFIX])
    own = name or Path(os.path.realpath(folder)).name
    for one in series:
        stem = own if len(series) == 1 else f"{own}-{one.number or 0}"
        yield Source(name or ".", folder, one.files, stem, one.number, is_series=True)


def _volume_at(path: Path, name: str) -> Source:
    if io.format_of(path) is None and path.suffix.lower() != SUFFIX:
        return Source(name, path, (path,), _stem(path, name), is_series=True)
    return _of_file(path, name, io.parts(path))


def _files_in(folder: Path, paths: list[Path], name: str) -> Iterator[Source]:
    for path in paths:
        if path.suffix.lower() == SUFFIX:
            yield _file_at(path, _posix(name, path.name))


def _file_at(path: Path, name: str) -> Source:
    return Source(name, path, (path,), name[: -len(SUFFIX)] if name.lower().endswith(SUFFIX) else name)


def _of_file(path: Path, name: str, files: tuple[Path, ...]) -> Source:
    return Source(name, path, files, _stem(path, name))


def _stem(path: Path, name: str) -> str:
    """A name without its ending."""
    form, lower = io.format_of(path), name.lower()
    ending = max((end for end in (form.endings if form else ()) if lower.endswith(end)), key=len, default="")
    own = PurePosixPath(name)
    if not ending and not own.suffix[1:].isdecimal():  # digits are part of a UID
        ending = own.suffix
    short = own.name[: len(own.name) - len(ending)]
    return str(own.with_name(short or own.name))


def _name_in_list(path: Path) -> str:
    """A path as its output's: without root or drive, refused where it climbs."""
    if ".." in path.parts:
        cause = f"{path} has '..' in it, and its output would lie outside of the outputs' folder"
        raise UsageError(f"{cause}: name it without", value=str(path))
    return _posix(*path.parts[bool(path.anchor) :])


def _posix(*parts: str) -> str:
    """A relative path, "" for the folder itself."""
    return "" if (joined := PurePosixPath(*parts).as_posix()) == "." else joined


def _named_apart(found: Iterable[Source], notices: list[str]) -> Iterator[Source]:
    """Sources with names of their own: those that would share one keep their endings, or get a number."""
    listed = sorted(set(found), key=lambda source: (source.name, source.series, source.files))
    shared = Counter(source.stem.casefold() for source in listed)
    taken: set[str] = set()
    for source in listed:
        stem = source.stem
        if shared[stem.casefold()] > 1 and not source.is_series:
            stem = source.name
        number = 1
        while stem.casefold() in taken or (stem != source.stem and stem.casefold() in shared):
            number += 1
            stem = f"{source.stem}-{number}"
        taken.add(stem.casefold())
        if stem != source.stem:
            notices.append(f"several sources would be {source.stem}: {source.name} is {stem}")
        yield replace(source, stem=stem)
