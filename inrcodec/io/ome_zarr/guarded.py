"""Chunks of a Zarr store that are not inflated before it is known to how many bytes.

In: a store, and how many bytes a chunk has.  Out: the same store, which refuses chunks of more.
Invariant: 100 kB of zeros in zstd are 3 GB: what inflates is asked for its size first, or measured in pieces.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zstandard
from zarr.abc.store import SuffixByteRequest
from zarr.storage import WrapperStore

from inrcodec.errors import InputError
from inrcodec.io.ome_zarr.package import METADATA

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

LARGEST = 1 << 28  # bytes that a chunk may have, whatever the size of its array
SHARDING = "sharding_indexed"
ROW, CRC = 16, 4  # bytes of a chunk's offset and length, and of the checksum behind them
EMPTY = (1 << 64) - 1  # offset and length of a chunk that is not there
_CHECKSUMS = ("crc32c",)  # which stand behind the bytes that they are of
_PIECE = 1 << 20  # bytes that are inflated at a time


class GuardedStore(WrapperStore[Any]):
    """A store whose chunks are looked at before zarr inflates them.

    Attributes
    ----------
    most : bytes of a chunk, inflated; 0 while only metadata are read.
    inflates : the codec that is the first to see the bytes of a chunk, if it makes more of them.
    shard : how the chunks of a shard are found, if there are shards.
    """

    most = 0
    inflates = ""
    shard: Shard | None = None

    def guard(self, array: Any, path: Path) -> None:
        """Learn what the chunks of an array are; raises `InputError` where no sound one has such chunks."""
        edges = getattr(array, "shards", None) or array.chunks
        self.most = prod(edges) * array.dtype.itemsize
        if self.most > max(LARGEST, 2 * array.nbytes):
            cause = f"{path} has chunks of {self.most} bytes for an array of {array.nbytes}: do not trust it"
            raise InputError(cause, value=edges)
        names, self.shard = _codecs(array, path)
        self.inflates = inflater(names, path)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """As of any store."""
        return self._checked(key, await self._store.get(key, prototype, byte_range), byte_range)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """As of any store."""
        ranges = list(key_ranges)
        found = await self._store.get_partial_values(prototype, ranges)
        return [self._checked(key, data, part) for (key, part), data in zip(ranges, found, strict=True)]

    def _checked(self, key: str, data: Buffer | None, part: ByteRequest | None) -> Buffer | None:
        if data is None or not self.inflates or key.endswith(METADATA):
            return data
        whole = data.to_bytes()
        frames = [whole] if self.shard is None else self.shard.chunks(key, whole, part)
        for frame in frames:
            _check(key, frame, self.inflates, self.most)
        return data


@dataclass(frozen=True)
class Shard:
    """Where the chunks of a shard are.

    Attributes
    ----------
    size : bytes of the index, of offsets and lengths as u64, with their CRC-32C.
    at_end : whether it stands behind the chunks.
    """

    size: int
    at_end: bool

    def chunks(self, key: str, data: bytes, part: ByteRequest | None) -> list[bytes]:
        """The chunks in what was read of a shard: all of it, its index, or a chunk."""
        is_index = isinstance(part, SuffixByteRequest) if self.at_end else getattr(part, "start", None) == 0
        if part is not None and not is_index:
            return [data]
        index = data[-self.size :] if self.at_end else data[: self.size]
        rows = np.frombuffer(index[: (self.size - CRC) // ROW * ROW], "<u8").reshape(-1, 2)
        rows = rows[(rows != EMPTY).any(1)]
        if not self.at_end and (rows[:, 0] < self.size).any():
            raise ValueError(f"shard {key} has a chunk within its index, do not trust it")
        return [] if is_index else [data[int(at) : int(at) + int(length)] for at, length in rows]


def _codecs(array: Any, path: Path) -> tuple[list[str], Shard | None]:
    """Names of the codecs of a chunk, in the order of encoding, and how it is found in a shard."""
    stored = array.metadata.to_dict()
    if "codecs" not in stored:
        chain = [*(stored.get("filters") or ()), stored.get("compressor")]
        return [str(codec["id"]) for codec in chain if codec], None
    names = [str(codec["name"]) for codec in stored["codecs"]]
    if SHARDING not in names:
        return names, None
    about = stored["codecs"][0]["configuration"]
    inner, index = ([str(codec["name"]) for codec in about[key]] for key in ("codecs", "index_codecs"))
    if len(names) > 1 or SHARDING in inner or index != ["bytes", "crc32c"]:
        raise InputError(f"{path} has shards within codecs, which are not read", value=names)
    count = prod(a // b for a, b in zip(array.shards, array.chunks, strict=True))
    return inner, Shard(count * ROW + CRC, about.get("index_location", "end") != "start")


def inflater(names: Sequence[str], path: Path) -> str:
    """The one of a chunk's codecs, in the order of encoding, that inflates; "" where none does.

    Raises
    ------
    InputError
        There are several, or others stand behind it: what it is given would not be what is stored.
    """
    found = [name.removeprefix("numcodecs.") for name in names]
    places = [k for k, name in enumerate(found) if name in _SIZES]
    if not places:
        return ""
    if len(places) > 1 or any(name not in _CHECKSUMS for name in found[places[0] + 1 :]):
        cause = f"{path} is compressed by {', '.join(found)} one after the other, which is not read"
        raise InputError(cause, value=found)
    return found[places[0]]


def _check(key: str, data: bytes, name: str, most: int) -> None:
    """Refuse a chunk; whoever reads the array knows its name."""
    if _SIZES[name](data, most) > most:
        raise ValueError(f"chunk {key} inflates to more than its {most} bytes, do not trust it")


def _of_zstd(data: bytes, most: int) -> int:
    stated = zstandard.get_frame_parameters(data).content_size
    if stated not in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR):
        return int(stated)
    with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(data) as stream:
        return _counted(iter(lambda: len(stream.read(_PIECE)), 0), most)


def _of_zlib(data: bytes, most: int, bits: int = zlib.MAX_WBITS | 32) -> int:
    """Of zlib and gzip, whose streams may follow each other."""

    def lengths() -> Iterator[int]:
        left = data
        while left:
            one = zlib.decompressobj(bits)
            while not one.eof:
                piece = one.decompress(left, _PIECE)
                if not piece and not one.unconsumed_tail and not one.eof:
                    return  # cut off, as zarr will say
                yield len(piece)
                left = one.unconsumed_tail
            left = one.unused_data

    return _counted(lengths(), most)


def _of(new: Callable[[], Any]) -> Callable[[bytes, int], int]:
    """Of bz2 and lzma."""

    def size(data: bytes, most: int) -> int:
        def lengths() -> Iterator[int]:
            left = data
            while left:
                one = new()
                piece = one.decompress(left, _PIECE)
                yield len(piece)
                while not one.eof and not one.needs_input:
                    yield len(one.decompress(b"", _PIECE))
                left = one.unused_data if one.eof else b""

        return _counted(lengths(), most)

    return size


def _counted(lengths: Iterator[int], most: int) -> int:
    """The sum of lengths, up to the first beyond ``most``."""
    total = 0
    for length in lengths:
        total += length
        if total > most:
            break
    return total


_SIZES: dict[str, Callable[[bytes, int], int]] = {
    "zstd": _of_zstd,
    "blosc": lambda data, most: int.from_bytes(data[4:8], "little"),
    "lz4": lambda data, most: int.from_bytes(data[:4], "little"),
    "gzip": _of_zlib,
    "zlib": _of_zlib,
    "bz2": _of(bz2.BZ2Decompressor),
    "lzma": _of(lambda: lzma.LZMADecompressor(memlimit=1 << 28)),
}
