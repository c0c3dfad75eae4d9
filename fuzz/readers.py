"""Readers of other formats: whatever a file holds, a volume or a documented error comes of it.

In: the bytes of a file.  Out: what it declares to need, in bytes; or `Wrong`.
"""

from __future__ import annotations

import gzip
import io
import os
import tempfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from math import prod
from pathlib import Path
from random import Random
from struct import pack

import numpy as np

import inrcodec
from fuzz import forge
from fuzz.oracle import Target, Wrong, soon
from inrcodec.io import read as read_volume

DICOM = Path(__file__).parents[1] / "tests" / "data" / "vhf-head-dicom"
SCRATCH = "/dev/shm" if os.path.isdir("/dev/shm") else None
HELD = 1 << 24  # bytes of an array that is fetched


def reader(ending: str) -> Target:
    """What reads a file of an ending: a volume, or a documented error."""

    def run(data: bytes) -> int:
        with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
            path = Path(folder) / f"in{ending}"
            path.write_bytes(data)
            volume = soon(lambda: read_volume(path))
            size = prod(volume.array.shape) * volume.array.dtype.itemsize
            if size < HELD:
                array = volume.in_memory().array
                if array.shape != volume.array.shape:
                    raise Wrong("shape: the array has another one than the volume")
            return 3 * size

    return run


@cache
def written(ending: str) -> list[bytes]:
    made = []
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-9, 900, (4, 6, 5)).astype(np.int16), rng.random((3, 4, 5)).astype(np.float32)]
    with tempfile.TemporaryDirectory() as folder:
        for k, array in enumerate(arrays):
            path = Path(folder) / f"{k}{ending}"
            if ending == ".npz":
                np.savez_compressed(path, array)
            elif ending == ".mhd":
                path.write_bytes(_MHD)
            else:
                inrcodec.io.write(inrcodec.Volume.from_array(array, spacing=(2, 1, 1)), path)
            made.append(path.read_bytes())
    return made


_MHD = (
    b"ObjectType = Image\nNDims = 3\nDimSize = 5 4 3\nElementType = MET_SHORT\nElementDataFile = ../in.raw\n"
)


def inside_gzip(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """A change of what is packed, or of the packing."""
    with suppress(OSError, EOFError, ValueError, zlib.error):
        if random.random() < 0.8:
            plain = [gzip.decompress(one) for one in (data, random.choice(others))]
            return gzip.compress(forge.bent(plain[0], random, plain[1]), 1, mtime=0)
    return forge.bent(data, random, random.choice(others))


_WORDS = (
    b"0 1 -1 2 3 4 99999999999999999999 nan inf 1e308 short float double uchar raw gzip little big".split()
)


def words(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """A change of a word of a text header, or of any byte."""
    end = data.find(b"\n\n") if b"\n\n" in data else len(data) if len(data) < 1 << 12 else 400
    words = data[:end].split(b" ")
    if random.random() < 0.5 and len(words) > 1:
        k = random.randrange(len(words))
        words[k] = random.choice((*_WORDS, random.choice(words), words[k] + b"\n" + random.choice(_WORDS)))
        return b" ".join(words) + data[end:]
    return forge.bent(data, random, random.choice(others))


def dicom_seeds() -> list[bytes]:
    import pydicom

    path = sorted(DICOM.iterdir())[0]
    whole = pydicom.dcmread(path)
    seeds = []
    for rows in (4, 12):
        part = whole.pixel_array[:rows, :16]
        whole.Rows, whole.Columns, whole.PixelData = rows, 16, part.tobytes()
        stream = io.BytesIO()
        whole.save_as(stream)
        seeds.append(stream.getvalue())
    return seeds


def elements(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """A change of a type, length or value of a DICOM element."""
    places, at = [], 132
    while at + 8 < len(data):
        long = data[at + 4 : at + 6] in (b"OB", b"OW", b"SQ", b"UN", b"UT", b"OF", b"UC", b"UR")
        head = 12 if long else 8
        size = int.from_bytes(data[at + 8 : at + 12] if long else data[at + 6 : at + 8], "little")
        if at + head + size > len(data):
            break
        places.append((at, head, size))
        at += head + size
    if not places or random.random() < 0.2:
        return forge.bent(data, random, random.choice(others))
    start, head, size = random.choice(places)
    body, made = data[start + head : start + head + size], bytearray(data)
    kind = random.randrange(5)
    if kind == 0:
        made[start + 4 : start + 6] = random.choice(
            (b"SQ", b"OB", b"US", b"DS", b"IS", b"UI", b"LO", b"FD", b"UN")
        )
    elif kind == 1:
        del made[start : start + head + size]
    elif kind == 2:
        made[start:start] = made[start : start + head + size]
    else:
        value = random.choice((*_WORDS, b"\\".join(random.choices(_WORDS, k=6)), forge.bent(body, random)))[
            :60000
        ]
        value += b" " * (len(value) % 2)
        length = pack("<I" if head == 12 else "<H", len(value))
        made[start : start + head + size] = data[start : start + head - len(length)] + length + value
    return bytes(made)
