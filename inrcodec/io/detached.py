"""Voxels behind a text header, or in files that it names.

In: names and bytes that a header gives.  Out: files beside the header, and inflated bytes.
Invariant: nothing outside the header's folder is read, and a compressed stream is checked to its end.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from inrcodec.errors import InputError

MILLIMETRES = {"mm": 1.0, "cm": 10.0, "m": 1e3, "um": 1e-3, "nm": 1e-6}

_BLOCK = 1 << 14  # bytes that are inflated at a time, to at most 16 MiB
_MOST_FILES = 100_000


def files_of(path: Path, named: str) -> tuple[Path, ...]:
    """Files of voxels that a header names: one, one a line, or a pattern such as ``slice%03d.raw 1 10 1``.

    Raises
    ------
    InputError
        One of them lies outside the header's folder or is not there.
    """
    names = [line.strip() for line in named.splitlines() if line.strip()]
    if len(names) == 1 and "%" in names[0]:
        names = _numbered(names[0])
    for name in names:
        if ".." in re.split(r"[/\\]", name) or re.match(r"[A-Za-z]:|[/\\]", name):
            cause = f"{path} has its voxels in {name!r:.80}, outside its folder, move them beside it"
            raise InputError(cause, value=name)
    files = tuple(path.parent / name for name in names)
    missing = [file for file in files if not file.is_file()]
    if missing or not files:
        raise InputError(f"{path} has its voxels in {[*missing, named][0]}, which is not there", value=named)
    return files


def inflated(stream: BinaryIO) -> Iterator[bytes]:
    """What a zlib or gzip stream inflates to; raises `ValueError` or `zlib.error` unless it is whole."""
    inflater = zlib.decompressobj(47)  # either kind, by its first bytes
    while block := stream.read(_BLOCK):
        while block:
            if inflater.eof:
                if not block.strip(b"\0"):
                    break
                if not block.startswith(b"\x1f\x8b"):
                    raise ValueError("there is something behind its compressed voxels")
                inflater = zlib.decompressobj(47)
            yield inflater.decompress(block)
            block = inflater.unused_data
    if not inflater.eof:
        raise ValueError("its compressed voxels end early")


def _numbered(pattern: str) -> list[str]:
    words = pattern.split()
    numbers = [int(word) for word in words[1:]] if all(re.fullmatch(r"-?\d+", w) for w in words[1:]) else []
    place = re.fullmatch(r"[^%]*%(0?\d?)d[^%]*", words[0])
    if place is None or len(numbers) < 3 or not numbers[2]:
        raise ValueError(f"{pattern!r:.80} is no name and two ends and a step")
    first, last, step = numbers[:3]
    chosen = range(first, last + (1 if step > 0 else -1), step)
    if len(chosen) > _MOST_FILES:
        raise ValueError(f"{pattern!r:.80} is too many files")
    return [words[0] % number for number in chosen]
