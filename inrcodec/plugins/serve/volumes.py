"""The volumes of a folder by the paths of requests.

In: a file or a folder, and the path of a request.  Out: the bytes of an answer, or a file to send.
Invariant: a path leads to a file of the folder that ends in `.inrv`, or nowhere: no link leads out of it.

======================================  ===================================================
path                                    answer
======================================  ===================================================
``/a/head.inrv``                        the file itself
``/a/head.inrv/zarr.json``              an OME-Zarr image
``/a/head.inrv/LEVEL/zarr.json``        an array of it
``/a/head.inrv/LEVEL/c/Z/Y/X``          a chunk, little-endian, decoded
======================================  ===================================================
"""

from __future__ import annotations

import json
import os
import re
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from threading import Lock
from urllib.parse import unquote

import numpy as np

from inrcodec.errors import InputError, InrvError
from inrcodec.file import InrvFile
from inrcodec.layers.cache import Cache
from inrcodec.layers.decode_options import DecodeOptions
from inrcodec.layers.superres.registry import LANCZOS, network_of
from inrcodec.plugins.ome import METADATA, array, dtype, group
from inrcodec.plugins.physical import physical
from inrcodec.volume.box import Shape

ENDING = ".inrv"
EDGE = 64  # voxels of a chunk along each axis: half a megabyte of int16
MOST_OPEN = 4  # files whose decoders keep what they decoded: bricks of 64 MB, streams of 256 MB
_NUMBER = re.compile(r"0|[1-9]\d{0,6}")
_BYTES = {"name": "bytes", "configuration": {"endian": "little"}}


class NotThere(Exception):
    """No file, level or chunk lies at a path."""


@dataclass(frozen=True)
class Answer:
    """What a request is answered with: bytes, or a file that is sent as it is."""

    body: bytes | Path
    kind: str
    tag: str


class _Open:
    """An open file, decoded by one request at a time: the next ones find its bricks."""

    def __init__(self, path: Path) -> None:
        self.file, self.lock = InrvFile(path), Lock()


class Volumes:
    """The files below a folder, or one file.

    Parameters
    ----------
    root : a folder, or an `.inrv` file.
    memory : bytes of chunks that are kept.
    threads : of a decoder; one a core by default.

    Raises
    ------
    InputError
        There is no such file or folder, or the file does not end in ``.inrv``.
    """

    def __init__(self, root: str | os.PathLike[str], memory: int, threads: int | None = None) -> None:
        path = Path(root).resolve()
        if not path.exists():
            raise InputError(f"{os.fspath(root)} does not exist, name a file or a folder", value=str(root))
        self.only = None if path.is_dir() else path.name
        if self.only is not None and not self.only.lower().endswith(ENDING):
            raise InputError(
                f"{os.fspath(root)} is not an {ENDING} file, name one or a folder", value=str(root)
            )
        self.folder = path if path.is_dir() else path.parent
        self.threads, self._chunks = threads, Cache(memory)
        self._open: OrderedDict[tuple[object, ...], _Open] = OrderedDict()
        self._lock = Lock()

    def names(self) -> list[str]:
        """The paths of all files, relative to the folder."""
        if self.only is not None:
            return [self.only]
        found = sorted(self.folder.rglob("*"))
        names = (path.relative_to(self.folder) for path in found if path.name.lower().endswith(ENDING))
        return [name.as_posix() for name in names if self._resolved(name.parts) is not None]

    def warm(self, names: Sequence[str]) -> None:
        """Import what decodes the first file that names a model, before anyone waits: torch takes seconds."""
        for name in names:
            path = self._resolved(Path(name).parts)
            with suppress(InrvError, OSError):  # a request will say so
                header = None if path is None else InrvFile(path).header
                if header is not None and header.sr != LANCZOS and not header.refine_steps:
                    network_of(header)
                    return

    def answer(self, target: str) -> Answer:
        """What a path, with its percent signs, leads to; raises `NotThere`."""
        parts = _parts(target)
        for count, part in enumerate(parts, 1):
            if part.lower().endswith(ENDING):
                path = self._resolved(parts[:count])
                if path is not None:
                    return self._answer(path, parts[count:])
        raise NotThere(target)

    def _resolved(self, parts: Sequence[str]) -> Path | None:
        """The file that parts of a path lead to, if it is one and lies in the folder."""
        if self.only is not None and tuple(parts) != (self.only,):
            return None
        try:
            path = self.folder.joinpath(*parts).resolve(strict=True)
            regular = S_ISREG(path.stat().st_mode)
        except (OSError, RuntimeError, ValueError):  # not there, a loop of links, a name that cannot be
            return None
        inside = path.is_relative_to(self.folder) and path.name.lower().endswith(ENDING)
        return path if regular and inside else None

    def _answer(self, path: Path, rest: Sequence[str]) -> Answer:
        state = path.stat()
        key = (str(path), state.st_ino, state.st_size, state.st_mtime_ns)
        tag = f'"{state.st_mtime_ns:x}-{state.st_size:x}"'
        if not rest:
            return Answer(path, "application/octet-stream", tag)
        found = self._opened(path, key)
        if list(rest) == [METADATA]:
            return _document(group(found.file), tag)
        levels = found.file.levels
        if not _NUMBER.fullmatch(rest[0]) or int(rest[0]) >= len(levels):
            raise NotThere(rest)
        number = int(rest[0])
        edges = _edges(levels[number].shape)
        if list(rest[1:]) == [METADATA]:
            return _document(array(found.file, number, edges, _BYTES), tag)
        place = rest[2:]
        if len(rest) != 5 or rest[1] != "c" or not all(_NUMBER.fullmatch(part) for part in place):
            raise NotThere(rest)
        z, y, x = (int(part) for part in place)
        return Answer(self._chunk(found, key, number, (z, y, x)), "application/octet-stream", tag)

    def _opened(self, path: Path, key: tuple[object, ...]) -> _Open:
        """A file that is open; one that was changed is opened anew."""
        with self._lock:
            found = self._open.pop(key, None) or _Open(path)
            self._open[key] = found
            while len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)
            return found

    def _chunk(self, found: _Open, key: tuple[object, ...], number: int, place: Shape) -> bytes:
        """A chunk of a level, whole: beyond the volume it is zero."""
        file = found.file
        shape = file.levels[number].shape
        edges = _edges(shape)
        low = [k * edge for k, edge in zip(place, edges, strict=True)]
        if any(a >= side for a, side in zip(low, shape, strict=True)):
            raise NotThere(place)
        name = (*key, number, place)
        kept: bytes | None = self._chunks.get(name)
        if kept is not None:
            return kept
        with found.lock:
            kept = self._chunks.get(name)  # of a request that was here first
            if kept is None:
                slices = tuple(slice(a, min(a + e, n)) for a, e, n in zip(low, edges, shape, strict=True))
                kept = self._decoded(file, number, slices, edges)
                self._chunks.put(name, kept, len(kept))
            return kept

    def _decoded(self, file: InrvFile, number: int, slices: tuple[slice, ...], edges: Shape) -> bytes:
        volume = physical(file, number, DecodeOptions(threads=self.threads))
        voxels = np.asarray(volume.array[slices])
        whole = np.zeros(edges, dtype(file).newbyteorder("<"))
        whole[tuple(slice(side) for side in voxels.shape)] = voxels
        return whole.tobytes()


def _parts(target: str) -> list[str]:
    """The parts of a path; raises `NotThere` for any that could lead elsewhere."""
    parts = [unquote(part) for part in target.split("?")[0].split("#")[0].split("/") if part]
    if any(part in (".", "..") or set(part) & set("/\\\0:") for part in parts):
        raise NotThere(target)
    return parts


def _edges(shape: Shape) -> Shape:
    z, y, x = (min(EDGE, side) for side in shape)
    return z, y, x


def _document(content: object, tag: str) -> Answer:
    return Answer(json.dumps(content).encode(), "application/json", tag)
