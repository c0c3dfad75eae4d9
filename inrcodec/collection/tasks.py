"""One source of a collection, done: what a worker runs.

In: a `Task`.  Out: a row of the manifest, also of what went wrong.
Invariant: no error leaves a task, and its output lies whole under a name of its own until the row is kept.
"""

from __future__ import annotations

import errno
import math
import os
import stat
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from inrcodec import api, io
from inrcodec._version import __version__
from inrcodec.collection.decode import decode_file
from inrcodec.collection.manifest import Row
from inrcodec.collection.sources import Source
from inrcodec.encoder.ledger import EncodeReport
from inrcodec.errors import IncompleteSeries, InputError, InrvError, WriteError, reason
from inrcodec.layers.decode_options import OPTIONS, DecodeOptions
from inrcodec.plugins.dask import task_threads
from inrcodec.progress import Stages

UNEXPECTED = 1  # exit code of an error that is not the package's
MACHINE = ("threads", "device")  # options that change no byte, or none that is promised
_BLOCK = 1 << 20  # bytes that are hashed at a time
_QUALITY = (
    *("shape", "dtype", "modality", "voxel_bytes", "file_bytes", "ratio", "bpv"),
    *("psnr", "peak", "max_error", "bound", "unit", "notices"),
)


@dataclass(frozen=True, eq=False)
class Task:
    """What is to be done with a source.

    Attributes
    ----------
    command : "encode", "decode" or "verify".
    output : its path relative to `out`, as in the manifest; "" where nothing is written.
    ending : of the output; "/" for the folder of a series.
    folder : whether the output is a folder.
    options : keywords of the command.
    on_cluster : whether others compute on this machine too.
    """

    command: str
    source: Source
    out: Path = Path()
    output: str = ""
    ending: str = ""
    folder: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    on_cluster: bool = False

    @property
    def target(self) -> Path:
        return self.out / self.output

    @property
    def staged(self) -> Path:
        """Where the output lies until its row is kept."""
        ending = self.ending.rstrip("/")
        return self.target.with_name(f".{self.target.name.removesuffix(ending)}.staged{ending}")

    @property
    def row(self) -> Row:
        """What its row says before anything was done."""
        told = {name: _plain(value) for name, value in self.options.items() if name not in MACHINE}
        row: Row = {"inrcodec": __version__, "command": self.command, "source": self.source.name}
        if self.source.is_series:
            row |= {"series": self.source.series, "files": len(self.source.files)}
        return row | {"options": told, "output": self.output}


def run(task: Task) -> Row:
    """Do it, and return its row."""
    began, source = time.monotonic(), task.source
    row = task.row | {"source_stamp": "", "source_digest": "", "output_bytes": 0, "output_digest": ""}
    try:
        if source.error:
            raise IncompleteSeries(source.error) if task.command == "encode" else InputError(source.error)
        stamp = stamp_of(source.files)
        if task.command != "verify":
            row["source_stamp"] = stamp
            row |= {"source_bytes": sum(map(os.path.getsize, source.files))}
            row["source_digest"] = digest_of(source.files)
        row |= _DO[task.command](task)
        if task.output:
            if stamp_of(source.files) != row["source_stamp"]:
                raise InputError(f"{source.path} was changed while it was read: do it again")
            kept = files_of(task.staged)
            row["output_bytes"] = sum(map(os.path.getsize, kept))
            row["output_digest"] = digest_of(kept)
        row |= {"exit_code": 0, "error": None}
    except Exception as error:  # one bad source does not stop the others
        row |= failure(error)
    return row | {"seconds": round(time.monotonic() - began, 3)}


def failure(error: BaseException) -> Row:
    """What a row says of an error: its first line, as more would list what is in a header."""
    if isinstance(error, InrvError):
        code, text = error.exit_code, str(error)
    elif isinstance(error, MemoryError):
        code, text = UNEXPECTED, "out of memory, free some or use fewer jobs"
    elif isinstance(error, FileNotFoundError) and error.filename is not None:
        code, text = InputError.exit_code, f"{error.filename} does not exist, check the path"
    elif isinstance(error, OSError) and error.filename is not None:
        code, text = InputError.exit_code, f"cannot read {error.filename}: {reason(error)}"
    else:
        code, text = UNEXPECTED, f"unexpected {type(error).__name__}: {reason(error)}"
    return {"exit_code": code, "error": text.partition("\n")[0]}


def files_of(path: Path) -> list[Path]:
    """A file, or all files of a folder in the order of their names."""
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def stamp_of(files: Iterable[Path]) -> str:
    """What tells in a moment that files have not been written since: names, sizes and times.

    Raises `OSError` for pipes and devices: who reads them may wait for ever.
    """
    digest = blake2b(digest_size=16)
    for file in files:
        about = file.stat()
        if not stat.S_ISREG(about.st_mode) and not stat.S_ISDIR(about.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(file))
        digest.update(f"{file.name}\0{about.st_size}\0{about.st_mtime_ns}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def digest_of(files: Iterable[Path]) -> str:
    """BLAKE2b-128 of the bytes of files, one after another; raises `OSError` with the name of a file."""
    digest = blake2b(digest_size=16)
    for file in files:
        try:
            with file.open("rb") as stream:
                while block := stream.read(_BLOCK):
                    digest.update(block)
        except OSError as error:  # what a read raises has no name
            raise OSError(error.errno, error.strerror, str(file)) from error
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _options(task: Task) -> dict[str, Any]:
    options = dict(task.options)
    if task.on_cluster:
        options.setdefault("threads", task_threads())
    return options


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError.of_system(error, str(folder)) from error


def _encode(task: Task) -> Row:
    options, source = _options(task), task.source
    spacing = options.pop("spacing", None)
    volume = (
        io.read_series(source.files, spacing=spacing)
        if source.is_series
        else io.read(source.path, spacing=spacing)
    )
    _make_folder(task.target.parent)
    report: EncodeReport = api.encode_file(volume, task.staged, force=True, **options)
    return {"quality": {name: _plain(getattr(report, name)) for name in _QUALITY}}


def _decode(task: Task) -> Row:
    options = _options(task)
    keywords = {name: options.pop(name) for name in tuple(options) if name in OPTIONS}
    options.pop("format")
    _make_folder(task.target.parent)
    target = f"{task.staged}{os.sep}" if task.ending == "/" else str(task.staged)
    made = DecodeOptions(**keywords)
    return decode_file(str(task.source.path), target, made, Stages(), force=True, **options)


def _verify(task: Task) -> Row:
    digest = api.verify(str(task.source.path), **_options(task))["digest"]
    return {"digest": digest}


_DO = {"encode": _encode, "decode": _decode, "verify": _verify}
