"""Arrays that are read when they are needed: volumes larger than memory.

In: where voxels are, and their shape and type.  Out: any box of them, as an ndarray.
Invariant: nothing is held but what was asked for, equal boxes give equal voxels, and threads may share an
array; so may processes where it `travels`: it then pickles as the place of its voxels.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from math import prod
from typing import Any, BinaryIO, ClassVar, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import as_strided

from inrcodec.errors import InputError, reason
from inrcodec.volume.arrays import Array
from inrcodec.volume.box import Box, Shape, bounds, within

Index: TypeAlias = int | slice | tuple[int | slice, ...]

SPARSE = (
    8  # times the bytes that are needed of a plane: up to it, it is faster to read it in one go than by rows
)
SMALL = 1 << 16  # bytes that are read in one go however few of them are needed
TOGETHER = 1 << 28  # bytes of planes that are read in one go because they are stored together, at most


class LazyArray(ABC):
    """An array (z, y, x) of which only what is indexed is read.

    Integers and slices, steps too, index it as they do an ndarray, and give one; ``numpy.asarray`` reads all.
    Iteration gives its planes.

    Parameters
    ----------
    shape : voxels along (z, y, x).
    dtype : of the values that are read; native byte order.
    name : of the source, for messages.
    thickness : planes, from the first on, that are stored together: one takes as long to read as all of them.
        Where they are more than `TOGETHER`, fewer are read at a time, though each takes as long.
    """

    ndim: ClassVar[int] = 3
    travels: bool = True
    """Whether another process can read it, without its voxels being sent there."""
    ends: tuple[float, float] | None = None
    """The values that none lies beyond, where they are known before any is read."""

    def __init__(
        self, shape: Shape, dtype: np.dtype[Any], name: str = "the array", thickness: int = 1
    ) -> None:
        self.shape, self.dtype = shape, dtype.newbyteorder("=")
        plane = shape[1] * shape[2] * dtype.itemsize
        self.name, self.thickness = name, max(1, min(thickness, TOGETHER // max(1, plane)))

    @abstractmethod
    def read(self, box: Box) -> Array:
        """The voxels of a box within the array, (z, y, x), in C order; they are the caller's to change.

        Raises
        ------
        InputError
            The source is gone, shorter than it was, or broken.
        """

    @property
    def size(self) -> int:
        """Voxels."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all voxels."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Array]:
        for z in range(0, len(self), self.thickness):
            together: Array = self[z : z + self.thickness]
            for plane in together:  # one that is kept must not keep the others
                yield plane.copy() if len(together) > 1 else plane
            del together, plane

    def __getitem__(self, index: Index) -> Any:
        parts = index if isinstance(index, tuple) else (index,)
        parts += (slice(None),) * (self.ndim - len(parts))
        z, y, x = (_indices(part, n) for part, n in zip(parts, self.shape, strict=True))
        found = self._part(z, y, x)
        return found[tuple(slice(None) if isinstance(part, slice) else 0 for part in parts)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("an array that is not in memory is copied")
        found: Array = self[:]
        return found if dtype is None else found.astype(dtype, copy=False)

    def part(self, slices: slice) -> LazyArray:
        """A run of its slices, without a step, as another such array."""
        return SomeSlices(self, range(len(self))[slices])

    def _part(self, z: range, y: range, x: range) -> Array:
        """The voxels of these indices: planes that nobody asked for are not read."""
        around = bounds((z, y, x))
        if around is not None and z.step == y.step == x.step == 1:
            return self.read(around)
        out = np.empty((len(z), len(y), len(x)), self.dtype)
        if around is None:
            return out
        (_, *low), (_, *high) = around.low, around.high
        together: dict[int, list[int]] = {}
        for place, index in enumerate(z):
            together.setdefault(index // self.thickness, []).append(place)
        for places in together.values():
            first, stop = min(z[p] for p in places), max(z[p] for p in places) + 1
            found = self.read(Box((first, low[0], low[1]), (stop, high[0], high[1])))
            for place in places:
                out[place] = found[z[place] - first, within(y, low[0]), within(x, low[1])]
        return out


class SomeSlices(LazyArray):
    """A run of slices of another array."""

    def __init__(self, source: LazyArray, run: range) -> None:
        thickness = source.thickness if run.start % source.thickness == 0 else 1
        super().__init__((len(run), *source.shape[1:]), source.dtype, source.name, thickness)
        self.source, self.first = source, run.start
        self.travels, self.ends = source.travels, source.ends

    def read(self, box: Box) -> Array:
        """As `LazyArray.read`."""
        (z, y, x), (zz, yy, xx) = box.low, box.high
        return self.source.read(Box((z + self.first, y, x), (zz + self.first, yy, xx)))


class Changed(LazyArray):
    """Voxels that are made of those of another array.

    Parameters
    ----------
    dtype : of what is made.
    change : makes it of slices (z, y, x) of the other, given these and the index of the first of them.
    """

    def __init__(
        self, source: LazyArray, dtype: np.dtype[Any], change: Callable[[Array, int], Array]
    ) -> None:
        super().__init__(source.shape, dtype, source.name, source.thickness)
        self.source, self.change, self.travels = source, change, source.travels

    def read(self, box: Box) -> Array:
        """As `LazyArray.read`."""
        return self.change(self.source.read(box), box.low[0])

    def __iter__(self) -> Iterator[Array]:
        for z, plane in enumerate(self.source):  # which may know a faster way than plane by plane
            yield self.change(plane[np.newaxis], z)[0]


class RawArray(LazyArray):
    """Voxels as they are in a file, plain.

    Parameters
    ----------
    path : of the file, which is opened anew for each read.
    offset : of the first voxel, in bytes.
    shape : voxels along (z, y, x).
    dtype : of the stored values, any byte order.
    strides : bytes from one voxel to the next along (z, y, x); C order by default.
    name : of the source, for messages; the path by default.

    Raises
    ------
    InputError
        The file is gone or ends before its voxels do.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> stored = np.arange(24, dtype=">i2").reshape(2, 3, 4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "voxels.raw")
    ...     _ = path.write_bytes(stored.tobytes())
    ...     array = RawArray(path, 0, (2, 3, 4), stored.dtype)
    ...     array[1, 1:, ::2]
    array([[16, 18],
           [20, 22]], dtype=int16)
    """

    def __init__(
        self,
        path: os.PathLike[str] | str,
        offset: int,
        shape: Shape,
        dtype: np.dtype[Any],
        strides: Shape | None = None,
        name: str = "",
    ) -> None:
        self.path, self.offset, self.stored = os.path.abspath(path), offset, dtype
        row = shape[2] * dtype.itemsize
        self.strides = strides or (shape[1] * row, row, dtype.itemsize)
        super().__init__(shape, dtype, name or os.fspath(path))

    def read(self, box: Box) -> Array:
        """As `LazyArray.read`; plane by plane where a box is not one run of bytes."""
        out = np.empty(box.shape, self.stored)
        order = sorted(range(self.ndim), key=lambda axis: -self.strides[axis])  # the outermost first
        begin = self.offset + sum(s * a for s, a in zip(self.strides, box.low, strict=True))
        sides, steps = [box.shape[a] for a in order], [self.strides[a] for a in order]
        try:
            with open(self.path, "rb", buffering=0) as stream:
                self._fill(stream, begin, out.transpose(order), sides, steps)
        except OSError as error:
            raise InputError(f"cannot read {self.name}: {reason(error)}", value=self.path) from error
        return out.astype(self.dtype, copy=False)

    def _fill(self, stream: BinaryIO, begin: int, out: Array, sides: list[int], steps: list[int]) -> None:
        """Voxels from the byte ``begin`` on, with these strides; in one go if few bytes lie between them."""
        extent = sum((n - 1) * step for n, step in zip(sides, steps, strict=True)) + self.stored.itemsize
        if extent == out.nbytes and out.flags.c_contiguous:
            self._take(stream, begin, out.reshape(-1).view(np.uint8).data)
        elif len(sides) == 1 or (len(sides) < self.ndim and extent <= max(SPARSE * out.nbytes, SMALL)):
            run = np.empty(extent, np.uint8)
            self._take(stream, begin, run.data)
            voxels = run[: self.stored.itemsize].view(self.stored)
            out[...] = as_strided(voxels, sides, steps)
        else:
            for k in range(sides[0]):
                self._fill(stream, begin + k * steps[0], out[k], sides[1:], steps[1:])

    def _take(self, stream: BinaryIO, begin: int, view: memoryview) -> None:
        stream.seek(begin)
        while view:
            taken: int = stream.readinto(view)  # type: ignore[attr-defined]
            if not taken:
                raise InputError(f"{self.name} ends before its voxels do, get it again", value=self.path)
            view = view[taken:]


def _indices(part: int | slice, count: int) -> range:
    return range(count)[part] if isinstance(part, slice) else range(count)[part : part + 1 or None]
