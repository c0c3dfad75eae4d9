"""A chunk of an array as an `.inrv` file: what the codecs of zarr and numcodecs share.

In: a configuration of plain types, and chunks or their bytes.  Out: the other.
Invariant: nothing is rescaled or converted silently, and what is lost was named in the configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from inrcodec import api
from inrcodec.encoder.options import OPTIONS, EncodeOptions
from inrcodec.errors import InputError, UsageError
from inrcodec.file import InrvFile
from inrcodec.layers.decode_options import DecodeOptions
from inrcodec.plugins.physical import physical
from inrcodec.validate.rows import refuse_unknown
from inrcodec.volume.arrays import Array
from inrcodec.volume.checks import DTYPES

NAME = "inrv"
_HERE = ("threads", "device", "resume")  # of who computes, not of what is stored
_DECODING = ("level", "physical")
_ONE = DecodeOptions(threads=1)  # zarr and dask compute several chunks at a time


class Chunks:
    """How chunks are encoded and decoded.

    Parameters
    ----------
    configuration : mapping of str to plain types
        Keywords of :func:`inrcodec.encode`, such as ``lossless=True`` or ``max_error=2``, in stored units;
        without any, chunks can only be decoded.  For files that were not made chunk by chunk: ``level``, the
        number of one of the file's levels, and ``physical=True``, for values with slope and intercept.

    Raises
    ------
    UsageError
        Unknown or conflicting keywords, or ones out of range.
    """

    def __init__(self, configuration: Mapping[str, Any]) -> None:
        known = {name: row for name, row in OPTIONS.items() if name not in _HERE}
        given = {name: value for name, value in configuration.items() if name not in _DECODING}
        refuse_unknown(given, known)
        EncodeOptions(**given).resolved()
        level = configuration.get("level", 0)
        if isinstance(level, bool) or not isinstance(level, int) or level < 0:
            raise UsageError(f"{level!r} is not a level, pass a whole number from 0 on", option="level")
        self.level, self.physical = level, bool(configuration.get("physical", False))
        self.encoding = given
        self.configuration = given | ({"level": level} if level else {})
        self.configuration |= {"physical": True} if self.physical else {}

    def encoded(self, array: Array) -> bytes:
        """The file of a chunk, (z, y, x) or (y, x) behind any axes of one."""
        if not self.encoding:
            cause = "a codec without options decodes only: pass lossless=True or max_error=…"
            raise UsageError(cause, option="lossless")
        if self.level or self.physical:
            raise UsageError("a codec of a level or of physical values decodes only", option=_DECODING)
        check_chunk(array.shape, array.dtype)
        values = np.ascontiguousarray(array.reshape(array.shape[-3:]))
        return api.encode(values, threads=1, **self.encoding)

    def opened(self, source: bytes | BinaryIO) -> InrvFile:
        """A chunk's file; one of a coarse level may be the beginning of a file."""
        cut = isinstance(source, bytes) and self.level > 0
        return api.open(source, max_bytes=max(1, len(source)) if cut else None)  # type: ignore[arg-type]

    def decoded(
        self,
        file: InrvFile,
        shape: tuple[int, ...],
        dtype: np.dtype[Any] | None = None,
        box: tuple[slice, ...] | None = None,
    ) -> Array:
        """Voxels of a chunk.

        Parameters
        ----------
        file : the chunk's.
        shape : of the chunk; where it has fewer axes than three, it ends in those of an image.
        dtype : of the array that the chunk belongs to.
        box : along the axes of the chunk; all by default.

        Returns
        -------
        ndarray, of the box's shape.

        Raises
        ------
        InputError
            The file is one of another shape or type.
        """
        volume = physical(file, self.level, _ONE) if self.physical else None
        kept = np.dtype(file.dtype) if volume is None else volume.array.dtype
        sides = file.decoder.level(self.level).shape
        padded = ((1,) * 3 + tuple(shape))[-max(3, len(shape)) :]
        if padded[-3:] != sides or any(side != 1 for side in padded[:-3]):
            raise InputError(f"a chunk of shape {shape} holds a volume of {sides}", value=sides)
        if dtype is not None and dtype.newbyteorder("=") != kept:
            raise InputError(f"a chunk of type {dtype} holds values of {kept}", value=kept)
        inner = ((slice(None),) * 3 + tuple(box or (slice(None),) * len(shape)))[-3:]
        found = volume.array[inner] if volume is not None else file.read(inner, self.level, options=_ONE)
        sizes = [len(range(side)[part]) for side, part in zip(shape, box or (), strict=False)]
        return np.asarray(found).reshape(sizes or shape)


def check_chunk(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Refuse chunks that no file can be made of; raises `UsageError`."""
    if len(shape) < 2 or any(side != 1 for side in shape[:-3]):
        cause = f"a chunk of shape {tuple(shape)} is no volume, choose chunks (z, y, x) of 1 along other axes"
        raise UsageError(cause, value=shape)
    if dtype.newbyteorder("=") not in DTYPES:
        cause = f"an array of {dtype} cannot be encoded, convert it to integers or float16/32/64"
        raise UsageError(cause, value=dtype)
