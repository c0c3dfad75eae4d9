"""Bombs: few bytes that inflate to gigabytes are refused before they do."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from struct import pack

import numpy as np
import pytest
import zstandard
from conftest import little_memory

from inrcodec import io
from inrcodec.errors import InputError

LARGE = 120 << 20  # bytes of zeros


def streamed(name: str) -> bytes:
    """Zeros, compressed a piece at a time."""
    piece = bytes(1 << 20)
    if name == "blosc":
        return (
            b"\2\1\x93\1"
            + (1 << 30).to_bytes(4, "little")
            + bytes(4)
            + (32).to_bytes(4, "little")
            + bytes(16)
        )
    if name == "lz4":
        return pack("<I", 1 << 30) + bytes(32)
    if name == "zstd":
        return zstandard.ZstdCompressor().compress(bytes(LARGE))
    makers = {
        "zstd without a size": zstandard.ZstdCompressor(write_content_size=False).compressobj,
        "gzip": lambda: zlib.compressobj(9, zlib.DEFLATED, 31),
        "zlib": lambda: zlib.compressobj(9),
        "bz2": bz2.BZ2Compressor,
        "lzma": lambda: lzma.LZMACompressor(preset=0),
    }
    packer = makers[name]()
    return b"".join([packer.compress(piece) for _ in range(LARGE >> 20)] + [packer.flush()])


KINDS = ["zstd", "zstd without a size", "gzip", "zlib", "bz2", "lzma", "blosc", "lz4"]


@pytest.fixture(scope="module")
def bombs() -> dict[str, bytes]:
    return {name: streamed(name) for name in KINDS}


def array(folder: Path, codecs: list[dict[str, object]], chunk: bytes, edge: int = 16) -> Path:
    """A Zarr array of one chunk."""
    about = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [16, 16, 16],
        "data_type": "int16",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [edge] * 3}},
        "chunk_key_encoding": {"name": "default"},
        "fill_value": 0,
        "codecs": codecs,
    }
    (folder / "c" / "0" / "0").mkdir(parents=True)
    (folder / "zarr.json").write_text(json.dumps(about))
    (folder / "c" / "0" / "0" / "0").write_bytes(chunk)
    return folder


BYTES = {"name": "bytes", "configuration": {"endian": "little"}}


def codec(kind: str) -> dict[str, object]:
    name = kind.split()[0]
    plain = {
        "zstd": {"level": 1, "checksum": False},
        "gzip": {"level": 1},
        "blosc": {"cname": "zstd", "clevel": 1, "shuffle": "noshuffle", "typesize": 2, "blocksize": 0},
    }
    known = {"name": name, "configuration": plain[name]} if name in plain else None
    return known or {"name": f"numcodecs.{name}", "configuration": {}}


@pytest.mark.parametrize("kind", KINDS)
def test_a_chunk_of_zarr_inflates_to_no_more_than_its_size(
    kind: str, bombs: dict[str, bytes], tmp_path: Path, frugal: None
) -> None:
    path = array(tmp_path / "a.zarr", [BYTES, codec(kind)], bombs[kind])
    with pytest.raises(InputError, match="inflates to more than its 8192 bytes"):
        io.read(path)


@pytest.mark.parametrize("place", ["end", "start"])
def test_nor_does_a_chunk_of_a_shard(
    place: str, bombs: dict[str, bytes], tmp_path: Path, frugal: None
) -> None:
    inner = {
        "chunk_shape": [8, 16, 16],
        "codecs": [BYTES, codec("zstd")],
        "index_codecs": [BYTES, {"name": "crc32c"}],
        "index_location": place,
    }
    body, size = bombs["zstd"], 2 * 16 + 4
    rows = np.array([[0 if place == "end" else size, len(body)], [2**64 - 1] * 2], "<u8").tobytes()
    index = rows + int(_crc32c(rows)).to_bytes(4, "little")
    shard = body + index if place == "end" else index + body
    path = array(tmp_path / "a.zarr", [{"name": "sharding_indexed", "configuration": inner}], shard)
    with pytest.raises(InputError, match="inflates to more than"):
        io.read(path)


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_an_index_that_is_a_chunk_too_is_refused(tmp_path: Path) -> None:
    inner = {
        "chunk_shape": [8, 16, 16],
        "codecs": [BYTES, codec("zstd")],
        "index_codecs": [BYTES, {"name": "crc32c"}],
        "index_location": "start",
    }
    rows = np.array([[0, 36], [2**64 - 1] * 2], "<u8").tobytes()
    index = rows + _crc32c(rows).to_bytes(4, "little")
    path = array(tmp_path / "a.zarr", [{"name": "sharding_indexed", "configuration": inner}], index)
    with pytest.raises(InputError, match="within its index"):
        io.read(path)


def test_two_codecs_that_inflate_are_refused(tmp_path: Path) -> None:
    path = array(tmp_path / "a.zarr", [BYTES, codec("zstd"), codec("gzip")], b"")
    with pytest.raises(InputError, match="one after the other"):
        io.read(path)


def test_a_chunk_is_not_far_larger_than_its_array(tmp_path: Path, frugal: None) -> None:
    path = array(tmp_path / "a.zarr", [BYTES], b"", edge=4096)
    with pytest.raises(InputError, match="chunks of 137438953472 bytes"):
        io.read(path)


def test_a_file_of_an_archive_of_zarr_is_no_larger_than_a_chunk(tmp_path: Path, frugal: None) -> None:
    folder = array(tmp_path / "a.zarr", [BYTES], b"")
    path = tmp_path / "b.zarr.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "zarr.json", "zarr.json")
        with archive.open("c/0/0/0", "w") as stream:
            for _ in range(LARGE >> 20):
                stream.write(bytes(1 << 20))
    with pytest.raises(InputError, match="do not trust it"):
        io.read(path)


def test_what_is_no_array_in_an_archive_of_numpy_is_not_inflated(tmp_path: Path, frugal: None) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a", "w") as stream:
        for _ in range(LARGE >> 20):
            stream.write(bytes(1 << 20))
    with pytest.raises(InputError, match="not a valid NumPy file"):
        io.read(path)


NIFTI = bytearray(352)
NIFTI[:4] = pack("<i", 348)
NIFTI[40:56] = pack("<8h", 3, 4, 4, 4, 1, 1, 1, 1)
NIFTI[70:74] = pack("<2h", 4, 16)
NIFTI[76:112] = pack("<9f", *[1.0] * 8, 352)
NIFTI[344:348] = b"n+1\0"
NRRD = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 4 4 4\nendian: little\nencoding: gzip\n\n"
MHA = b"ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_SHORT\n"
MHA += b"BinaryData = True\nCompressedData = True\nElementDataFile = LOCAL\n"
HEADS = {
    ".nii.gz": (gzip.compress(bytes(NIFTI), mtime=0), "gzip"),
    ".nrrd": (NRRD, "gzip"),
    ".mha": (MHA, "zlib"),
}


@pytest.mark.parametrize("ending", HEADS)
def test_a_compressed_volume_takes_no_more_than_its_header_says(
    ending: str, bombs: dict[str, bytes], tmp_path: Path
) -> None:
    """What goes on behind the voxels is read to its end, a piece at a time, or refused."""
    head, kind = HEADS[ending]
    path = tmp_path / f"a{ending}"
    pack = zlib.compress if kind == "zlib" else gzip.compress
    path.write_bytes(head + pack(bytes(128)))
    assert io.read(path).array.shape == (4, 4, 4)  # and imports what reads it
    path.write_bytes(head + bombs[kind])
    with little_memory(), suppress(InputError):
        assert io.read(path).array.shape == (4, 4, 4)
