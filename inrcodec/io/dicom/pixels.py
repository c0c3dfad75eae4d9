"""Pixels of the planes as one array.

Invariant: no value changes on the way: integers stay exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from io import BytesIO
from itertools import groupby
from math import prod
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from inrcodec.errors import IncompleteSeries, InputError, MissingExtra, reason
from inrcodec.io.dicom.files import UNDEFINED
from inrcodec.io.dicom.frames import Frame
from inrcodec.io.large import is_large, spooled
from inrcodec.volume.checks import checked_array
from inrcodec.volume.padding import confirm_padding, find_padding

if TYPE_CHECKING:
    from pydicom import Dataset

Array = NDArray[Any]
Rescale = tuple[float, float]  # slope, intercept

_LARGEST_SCALE = 2.0**31  # of a whole slope or intercept: times 16 bits it stays within int64


def read_pixels(frames: list[Frame], name: str) -> tuple[Array, list[Rescale], float | None]:
    """Pixels of planes that are in order; ``name`` is that of the source, for messages.

    Whole slopes and intercepts are applied to integers of up to 16 bits (int16, or int32 where int16 is too
    small); others are kept beside the stored values.

    Returns stored values (z, y, x), slope and intercept of each plane, and the padding value. Raises
    `InputError` for pixels that cannot be read or a compression that nothing decodes, `MissingExtra` where
    the decoder is not installed.
    """
    for syntax in {str(frame.header.file_meta.TransferSyntaxUID) for frame in frames}:
        _check_decoder(UID(syntax), frames[0])
    for frame in {frame.path: frame for frame in frames}.values():  # before memory is asked for
        _check_length(frame)
    stored = np.result_type(*(_stored_type(frame.header) for frame in frames))
    scales = {frame.rescale for frame in frames}
    whole = all(number.is_integer() and abs(number) < _LARGEST_SCALE for scale in scales for number in scale)
    exact = whole and stored.kind != "f" and stored.itemsize <= 2
    apply = scales != {(1.0, 0.0)} and exact
    array = _stack(frames, np.dtype(np.int16) if apply else stored, name, apply=apply)
    rescale = [(1.0, 0.0) if apply else frame.rescale for frame in frames]
    return array, rescale, _padding(frames, array, rescale[0], applied=apply)


def _stack(frames: list[Frame], dtype: np.dtype[Any], name: str, *, apply: bool) -> Array:
    """Values of all planes, scaled or as they are stored; in a temporary file where they are many."""
    shape = (len(frames), *frames[0].shape)
    if not is_large(prod(shape) * dtype.itemsize):
        array = np.empty(shape, dtype)
        for place, values in _values(frames, apply=apply):
            if apply and not _fits(values, array.dtype):
                array = array.astype(np.int32)
                _check_fit(values, frames[place])
            array[place] = values
        return checked_array(array, name)

    def fill(stream: BinaryIO, dtype: np.dtype[Any]) -> None:
        for place, values in _values(frames, apply=apply):
            if apply and not _fits(values, dtype):
                _check_fit(values, frames[place])
                raise _Wider
            stream.seek(place * values.size * dtype.itemsize)
            stream.write(np.ascontiguousarray(values, dtype).data)

    try:
        late = spooled(partial(fill, dtype=dtype), shape, dtype, name)
    except _Wider:
        wide = np.dtype(np.int32)
        late = spooled(partial(fill, dtype=wide), shape, wide, name)
    return checked_array(late)


class _Wider(Exception):
    """Values do not fit in 16 bits."""


def _values(frames: list[Frame], *, apply: bool) -> Iterator[tuple[int, Array]]:
    """Place in the stack and values of each plane; integers that are scaled are wide."""
    for place, plane in _planes(frames):
        values, (slope, intercept) = _one_padding_value(plane, frames[place].header), frames[place].rescale
        yield place, values.astype(np.int64) * int(slope) + int(intercept) if apply else values


def _check_fit(values: Array, frame: Frame) -> None:
    if not _fits(values, np.dtype(np.int32)):
        cause = f"rescaled values {values.min()} to {values.max()} of {frame.path} do not fit in 32 bits"
        raise InputError(cause)


def _fits(values: Array, dtype: np.dtype[Any]) -> bool:
    limits = np.iinfo(dtype)
    return bool(values.min() >= limits.min and values.max() <= limits.max)


def _planes(frames: list[Frame]) -> Iterator[tuple[int, Array]]:
    """Place in the stack and stored pixels of each plane; every file is opened once."""
    by_file = sorted(range(len(frames)), key=lambda place: (str(frames[place].path), frames[place].index))
    for path, group in groupby(by_file, key=lambda place: frames[place].path):
        places = list(group)
        header = frames[places[0]].header
        by_index = [list(part) for _, part in groupby(places, key=lambda place: frames[place].index)]
        try:
            planes = _decoded(frames[places[0]], [frames[part[0]].index for part in by_index])
            for part, plane in zip(by_index, planes, strict=True):
                values = _significant(plane, header)
                for place in part:  # several of a mosaic
                    yield place, values[frames[place].window or ...]
        except Exception as error:  # plug-ins may raise anything
            syntax = UID(header.file_meta.TransferSyntaxUID)
            remedy = f"; it is {syntax.name}: decompress it first (dcmdjpeg, gdcmconv --raw)"
            cause = f"cannot read the pixels of {path}: {' '.join(reason(error).split())}"
            raise InputError(cause + remedy * syntax.is_encapsulated, value=str(path)) from error


def _decoded(first: Frame, indices: list[int]) -> Iterator[Array]:
    """Stored pixels of the given frames of a file, as they are in it.

    The parser that read the header says where they start: its idea of the encoding is the only one.
    """
    header, pixels = first.header, first.pixels
    syntax = UID(header.file_meta.TransferSyntaxUID)
    options = as_pixel_options(
        header,
        transfer_syntax_uid=syntax,
        pixel_keyword=pixels.keyword,
        pixel_vr=pixels.vr or "OW",
        # Unused bits are cleared in `_significant`, which also knows a high bit that is not the last one.
        correct_unused_bits=syntax.is_encapsulated,
    )
    if int(header.BitsAllocated) == 1 and not syntax.is_encapsulated:
        yield from _unpacked(first, indices)
        return
    decode = get_decoder(syntax).iter_array
    if syntax == DeflatedExplicitVRLittleEndian:  # which cannot be read from its middle
        stored = pydicom.dcmread(first.path, force=True)[pixels.keyword].value
        yield from (plane for plane, _ in decode(stored, indices=indices, raw=True, **options))
        return
    with first.path.open("rb") as stream:
        stream.seek(pixels.start)
        yield from (plane for plane, _ in decode(stream, indices=indices, raw=True, **options))


def _unpacked(first: Frame, indices: list[int]) -> Iterator[Array]:
    """Frames of single bits, which follow each other without a gap, so that few begin with a byte."""
    rows, columns, pixels = int(first.header.Rows), int(first.header.Columns), first.pixels
    size = rows * columns
    deflated = first.header.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian
    whole = pydicom.dcmread(first.path, force=True)[pixels.keyword].value if deflated else None
    with BytesIO(whole) if whole is not None else first.path.open("rb") as stream:
        for index in indices:
            skipped, start = index * size % 8, index * size // 8
            stream.seek(start if deflated else pixels.start + start)
            packed = np.frombuffer(stream.read(-(-(skipped + size) // 8)), np.uint8)
            yield np.unpackbits(packed, bitorder="little")[skipped : skipped + size].reshape(rows, columns)


def _check_length(frame: Frame) -> None:
    """Refuse uncompressed pixels that do not fill the image, or that would fill another one."""
    header, length = frame.header, frame.pixels.length
    if length == UNDEFINED:
        return
    size = int(header.Rows) * int(header.Columns) * int(header.get("BitsAllocated") or 0) / 8
    count = int(header.get("NumberOfFrames") or 1)
    even = count * size + 1  # with the byte that fills up an odd length
    if not 0 < count * size <= length < max((count + 1) * size, even + 1):
        cause = (
            f"cannot read the pixels of {frame.path}: {length} bytes are there, {count} x {size:g} should be"
        )
        raise IncompleteSeries(cause, value=str(frame.path))


def _significant(plane: Array, header: Dataset) -> Array:
    """The bits that hold the value: unused ones may hold overlays."""
    if plane.dtype.kind == "f" or UID(header.file_meta.TransferSyntaxUID).is_encapsulated:
        return plane
    allocated, stored = int(header.BitsAllocated), int(header.get("BitsStored") or header.BitsAllocated)
    if stored >= allocated or allocated < 8:
        return plane
    high = int(header.get("HighBit", stored - 1))
    plane = np.left_shift(plane, allocated - 1 - high)
    return np.right_shift(plane, allocated - stored)


def _stored_type(header: Dataset) -> np.dtype[Any]:
    """Smallest type of 8, 16, 32 or 64 bits that holds the stored values."""
    if "PixelRepresentation" not in header:  # float pixels have none
        return np.dtype(np.float64 if int(header.get("BitsAllocated") or 0) == 64 else np.float32)
    bits = int(header.get("BitsStored") or header.BitsAllocated)
    size = next((size for size in (1, 2, 4) if bits <= 8 * size), None)
    if size is None or bits < 1:
        cause = f"pixels of {bits} bits are not supported, export the series with at most 32"
        raise InputError(cause, value=bits)
    return np.dtype(f"{'i' if header.PixelRepresentation else 'u'}{size}")


def _one_padding_value(plane: Array, header: Dataset) -> Array:
    """Where a range of values means padding, all of it becomes the padding value."""
    limits = _declared(header, "PixelPaddingValue"), _declared(header, "PixelPaddingRangeLimit")
    if limits[0] is None or limits[1] is None:
        return plane
    inside = (plane >= min(limits[0], limits[1])) & (plane <= max(limits[0], limits[1]))
    return np.where(inside, plane.dtype.type(limits[0]), plane)


def _declared(header: Dataset, word: str) -> int | None:
    value = header.get(word)
    if value is None or value == "" or "PixelRepresentation" not in header:
        return None
    number = int.from_bytes(value, "little") if isinstance(value, bytes) else int(value)
    # Many files write a signed value as if it were unsigned, or the other way round.
    limits = np.iinfo(_stored_type(header))
    span = 1 << int(header.get("BitsAllocated"))
    if number > limits.max:
        number -= span
    elif number < limits.min:
        number += span
    return number if limits.min <= number <= limits.max else None


def _padding(frames: list[Frame], array: Array, rescale: Rescale, *, applied: bool) -> float | None:
    values = set()
    for frame in frames:
        value, (slope, intercept) = _declared(frame.header, "PixelPaddingValue"), frame.rescale
        values.add(value if value is None or not applied else value * slope + intercept)
    declared = values.pop() if len(values) == 1 else None
    padding = None if declared is None else confirm_padding(array, declared, rescale)
    if padding is None and str(frames[0].header.get("Modality") or "CT") == "CT":
        padding = find_padding(array, rescale)
    return padding


def _check_decoder(syntax: UID, frame: Frame) -> None:
    cause = f"{frame.path} is compressed as {syntax.name}"
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        remedy = "which no decoder reads: export it uncompressed"
        raise InputError(f"{cause}, {remedy}", value=str(syntax)) from error
    if not decoder.is_available:
        raise MissingExtra(f"{cause}, its decoder is not installed", extra="dicom", value=str(syntax))
