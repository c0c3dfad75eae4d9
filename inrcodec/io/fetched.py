"""Arrays of other packages, of which parts are fetched: zarr, dask, h5py and whatever is indexed like them.

In: an object with a shape, a dtype and an index.  Out: ndarrays of it, at once or when they are needed.
Invariant: what another package raises is an `InputError` that names its type.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import InputError, InrvError, reason
from inrcodec.io.large import is_large
from inrcodec.volume.arrays import Array
from inrcodec.volume.box import Box
from inrcodec.volume.checks import checked_array
from inrcodec.volume.lazy import LazyArray


class FetchedArray(LazyArray):
    """A volume of an array of another package.

    Parameters
    ----------
    source : array, (..., z, y, x), which threads may share if the package says so.
    place : index along each axis before these three.
    name : for messages; that of its type by default.
    """

    def __init__(self, source: Any, place: tuple[int, ...] = (), name: str = "") -> None:
        z, y, x = (int(n) for n in source.shape[len(place) :])
        depth, height = _chunk(source, z, y)
        super().__init__((z, y, x), np.dtype(source.dtype), name or name_of(source), depth)
        self.source, self.place, self.rows = source, place, height
        self.travels = _is_place(source)

    def read(self, box: Box) -> Array:
        """As `LazyArray.read`; a row of chunks at a time, as packages hold all that they decode."""
        out = np.empty(box.shape, self.dtype)
        z, y, x = box.slices
        start = y.start
        while start < y.stop:
            stop = min((start // self.rows + 1) * self.rows, y.stop)
            index = (*self.place, z, slice(start, stop), x)
            part = out[:, start - y.start : stop - y.start]
            part[...] = as_told(fetched(self.source, index, self.name), part.shape, self.dtype, self.name)
            start = stop
        return out


def as_told(part: Array, shape: tuple[int, ...], dtype: np.dtype[Any], name: str) -> Array:
    """A part of an array, if it is what the array says of itself; else raises `InputError`."""
    if part.shape != shape or part.dtype.newbyteorder("=") != dtype:
        told, given = f"{dtype} of {shape}", f"{part.dtype} of {part.shape}"
        raise InputError(f"{name} says {told} and gives {given}, correct its shape or type", value=part.shape)
    return part


def fetched(source: Any, index: Any = (), name: str = "") -> NDArray[Any]:
    """An array, or what an index gives of it, from wherever it is; ``name`` is for messages."""
    try:
        if index == () and hasattr(source, "shape") and not hasattr(source, "__array__"):
            index = (slice(None),) * len(source.shape)
        part = source if index == () else source[index]
        array: NDArray[Any] = np.asarray(part.cpu() if callable(getattr(part, "cpu", None)) else part)
    except InrvError:
        raise
    except Exception as error:  # of another package, which may compute, read or refuse a type
        cause = f"cannot make an array of {name or name_of(source)}: {reason(error)}"
        raise InputError(cause, value=type(source)) from error
    return array


def volume_of(source: Any, place: tuple[int, ...] = (), name: str = "") -> NDArray[Any]:
    """A volume or image of an array, fetched at once, or when it is needed where it is large."""
    try:
        size = np.dtype(source.dtype).itemsize * int(np.prod(source.shape[len(place) :], dtype=np.int64))
    except TypeError:  # a type that NumPy does not have: what it makes of it shows when it is fetched
        size = 0
    if len(source.shape) - len(place) == 3 and is_large(size):
        return checked_array(FetchedArray(source, place, name))
    return fetched(source, place, name)


def name_of(source: object) -> str:
    """The name of an object's type, for messages."""
    return f"{type(source).__module__}.{type(source).__qualname__}"


def _is_place(source: Any) -> bool:
    """Whether an array pickles as the place of its voxels: zarr's do, but for those in memory."""
    is_zarr = type(source).__module__.partition(".")[0] == "zarr"
    return is_zarr and type(getattr(source, "store", None)).__name__ != "MemoryStore"


def _chunk(source: Any, depth: int, height: int) -> tuple[int, int]:
    """Planes and rows of a chunk: zarr's and h5py's are of one shape, dask's may differ."""
    chunks = getattr(source, "chunks", None)
    if not isinstance(chunks, tuple) or len(chunks) < 3:
        return 1, height
    z, y = (max(edge) if isinstance(edge, tuple) else int(edge) for edge in chunks[-3:-1])
    return max(1, min(z, depth)), max(1, min(y, height))
