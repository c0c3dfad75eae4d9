"""Voxels and places of files that other packages write."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

ARRAY = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
FOUR = np.arange(5 * 24, dtype=np.int16).reshape(5, 2, 3, 4)
OBLIQUE = np.array([[0.4, -0.1, 0, -62.25], [0.1, 0.4, 0, 10.5], [0, 0, 1.5, 1234.5], [0, 0, 0, 1]])
FLIPPED = np.diag([-0.5, 0.5, -2.0, 1.0])
GREY = "minisblack"  # tifffile takes a last axis of three or four for colours


def nrrd(path: Path, fields: str, voxels: bytes = ARRAY.tobytes()) -> Path:
    start = f"NRRD0005\ntype: short\nendian: little\ndimension: 3\nsizes: 4 3 2\n{fields}\n\n"
    path.write_bytes(start.encode() + voxels)
    return path


def metaimage(path: Path, fields: str, voxels: bytes = b"", more: str = "") -> Path:
    start = "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
    start += f"ElementSpacing = 1 1 1\nDimSize = 4 3 2\nElementType = MET_SHORT\n{fields}\n{more}"
    path.write_bytes(start.encode() + voxels)
    return path


NOISE = np.random.default_rng(0).integers(0, 2**15, (2, 3, 4)).astype(np.int16)


def packed(path: Path) -> Path:
    if path.suffix == ".nrrd":
        return nrrd(path, "encoding: gzip", gzip.compress(NOISE.tobytes()))
    voxels = zlib.compress(NOISE.tobytes())
    fields = f"CompressedData = True\nCompressedDataSize = {len(voxels)}\nElementDataFile = LOCAL"
    return metaimage(path, fields, voxels)
