"""zarr 3: the codec ``inrv`` between an array's chunks and bytes, found by the entry point `zarr.codecs`.

In: chunks of an array.  Out: their bytes, a file each; and back, of a part of a chunk the bricks it meets.
Invariant: see `inrcodec.plugins.chunk`; a codec computes each chunk on one thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import SEEK_END, SEEK_SET, RawIOBase
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from inrcodec.errors import CorruptFile, MissingExtra
from inrcodec.format.container import MAGIC, PREFIX
from inrcodec.layers.cache import forgets_after_fork
from inrcodec.parallel import thread_count
from inrcodec.plugins.chunk import NAME, Chunks, check_chunk
from inrcodec.volume.arrays import Array

try:
    from zarr.abc.codec import ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin
    from zarr.abc.store import RangeByteRequest
    from zarr.core.common import parse_named_configuration
except ImportError as error:
    raise MissingExtra("zarr 3 is not installed", extra="zarr") from error

if TYPE_CHECKING:
    from zarr.abc.store import ByteGetter
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer

Result = TypeVar("Result")
FRONT = 1 << 16  # bytes of a chunk that are read at first: a smaller one is read in one go


@dataclass(frozen=True)
class InrvCodec(ArrayBytesCodecPartialDecodeMixin, ArrayBytesCodec):
    """A chunk as an `.inrv` file.

    Pass it as ``serializer``, with ``compressors=None``; within shards too.  Chunks are (z, y, x) or (y, x),
    behind any axes of one.  Chunks at the edge of an array are filled up: choose a ``fill_value`` that occurs
    next to it, such as -1024 for a CT.

    Parameters
    ----------
    configuration
        As keywords, see :class:`inrcodec.plugins.chunk.Chunks`.
    """

    configuration: tuple[tuple[str, Any], ...]
    chunks: Chunks = field(compare=False, repr=False)

    is_fixed_size = False

    def __init__(self, **configuration: Any) -> None:
        chunks = Chunks(configuration)
        object.__setattr__(self, "chunks", chunks)
        plain = {n: tuple(v) if isinstance(v, list) else v for n, v in chunks.configuration.items()}
        object.__setattr__(self, "configuration", tuple(sorted(plain.items())))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Of an array's metadata; raises `UsageError` for what it does not know."""
        _, configuration = parse_named_configuration(data, NAME, require_configuration=False)
        return cls(**(configuration or {}))

    def to_dict(self) -> dict[str, Any]:
        """For an array's metadata."""
        return {"name": NAME, "configuration": dict(self.configuration)}

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:
        """Refuse arrays that cannot be encoded, before anything is written."""
        check_chunk(_edges_of(chunk_grid, shape), np.dtype(dtype.to_native_dtype()))

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Unknown before a chunk is encoded."""
        raise NotImplementedError

    def _encode_sync(self, chunk_array: NDBuffer, chunk_spec: ArraySpec) -> Buffer | None:
        return chunk_spec.prototype.buffer.from_bytes(self.chunks.encoded(chunk_array.as_numpy_array()))

    def _decode_sync(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        return self._read(chunk_bytes.to_bytes(), None, chunk_spec)

    async def _encode_single(self, chunk_array: NDBuffer, chunk_spec: ArraySpec) -> Buffer | None:
        return await _POOL.run(self._encode_sync, chunk_array, chunk_spec)

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        return await _POOL.run(self._decode_sync, chunk_bytes, chunk_spec)

    async def _decode_partial_single(
        self, byte_getter: ByteGetter, selection: Any, chunk_spec: ArraySpec
    ) -> NDBuffer | None:
        prototype = chunk_spec.prototype
        if self.chunks.level or _is_whole(selection, chunk_spec.shape):
            front = await byte_getter.get(prototype)
        else:
            front = await byte_getter.get(prototype, RangeByteRequest(0, FRONT))
        if front is None:
            return None
        data = front.to_bytes()
        more = len(data) == FRONT and not self.chunks.level
        source = _Stored(byte_getter, prototype, data) if more else data
        return await _POOL.run(self._read, source, selection, chunk_spec)

    def _read(self, source: Any, selection: Any, spec: ArraySpec) -> NDBuffer:
        """Voxels of a chunk that zarr selects: by whole numbers, slices and lists, one for each axis."""
        dtype = spec.dtype.to_native_dtype()
        file = self.chunks.opened(source)
        box, within = _box_of(selection, spec.shape)
        found: Array = self.chunks.decoded(file, spec.shape, dtype, box)[within]
        return spec.prototype.nd_buffer.from_numpy_array(found.astype(dtype, copy=False))


class _Pool:
    """Threads of our own: those of the event loop read what the decoder waits for."""

    def __init__(self) -> None:
        self.forget()
        forgets_after_fork(self)

    def forget(self) -> None:
        """Begin anew, in a forked child."""
        self._threads = ThreadPoolExecutor(thread_count(None), "inrv-zarr")

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """What a function returns, computed on a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)


_POOL = _Pool()


class _Stored(RawIOBase):
    """The bytes of a chunk in a store, as a file that is read on another thread than its event loop's."""

    name = "the chunk"

    def __init__(self, getter: ByteGetter, prototype: Any, front: bytes) -> None:
        self._getter, self._prototype, self.front = getter, prototype, front
        self._loop, self._at = asyncio.get_running_loop(), 0
        if len(front) < PREFIX.size or front[: len(MAGIC)] != MAGIC:
            raise CorruptFile("a chunk is not an .inrv file", value=front[:8])
        self.total = PREFIX.unpack_from(front)[-1]

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        self._at = offset + {SEEK_SET: 0, SEEK_END: self.total}.get(whence, self._at)
        return self._at

    def read(self, size: int = -1) -> bytes:
        start, stop = self._at, self.total if size < 0 else min(self.total, self._at + size)
        if stop <= start:
            return b""
        if stop <= len(self.front):
            data = self.front[start:stop]
        else:
            request = self._getter.get(self._prototype, RangeByteRequest(start, stop))
            found = asyncio.run_coroutine_threadsafe(request, self._loop).result()
            data = b"" if found is None else found.to_bytes()
        self._at += len(data)
        return data


def _edges_of(grid: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Edges of the chunks of a regular grid."""
    return tuple(getattr(grid, "chunk_shape", None) or shape)


def _is_whole(selection: Any, shape: tuple[int, ...]) -> bool:
    parts = selection if isinstance(selection, tuple) else (selection,)
    return all(
        isinstance(part, slice) and part.indices(side) == (0, side, 1)
        for part, side in zip(parts, shape, strict=False)
    )


def _box_of(selection: Any, shape: tuple[int, ...]) -> tuple[tuple[slice, ...], Any]:
    """A box around a selection, and the selection within it."""
    parts = list(selection if isinstance(selection, tuple) else () if selection is None else (selection,))
    parts += [slice(None)] * (len(shape) - len(parts))
    box: list[slice] = []
    within: list[Any] = []
    for part in parts:
        if isinstance(part, slice):
            box.append(part)
            within.append(slice(None))
        elif isinstance(part, int | np.integer):
            box.append(slice(int(part), int(part) + 1))
            within.append(0)
        else:
            indices = np.asarray(part)
            indices = np.flatnonzero(indices) if indices.dtype == bool else indices
            low, high = (int(indices.min()), int(indices.max()) + 1) if indices.size else (0, 1)
            box.append(slice(low, high))
            within.append(indices - low)
    return tuple(box), tuple(within)
