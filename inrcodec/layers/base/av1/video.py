"""Slices of 10 bits as an AV1 video, by libsvtav1 and dav1d (PyAV).

In: integers of a stack of slices, (z, y, x).  Out: low-overhead OBUs without temporal delimiters; and back.
Invariant: what a stream decodes to is exact, on every machine and whatever the threads (AV1 specification,
section 7); nothing larger than the stack is allocated for a stream, whatever it says.

Frames are padded to what the encoder takes, by repeating the last row and column; chroma is grey.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import CorruptFile, MissingExtra, reason
from inrcodec.volume.box import Shape

ENCODER = "libsvtav1"
NEEDS = "AV1 as the coder of the low-res volume needs PyAV"
BITS = 10
LARGEST = (1 << BITS) - 1
QUALITIES = range(4, 281)  # quarters of libsvtav1's rate factor: 4 is nearly lossless, 280 the coarsest
PRESETS = range(-1, 11)  # efforts of libsvtav1: -1 is the slowest
SHORTEST, WHOLE = 64, 8  # pixels of an edge: at least, and a multiple of; others make the encoder hang
PIXELS = "yuv420p10le"
DECODED = (PIXELS, "gray10le")
GREY = 1 << (BITS - 1)
# No temporal filter, which smooths slices of no motion; infinite key-frame distance; tuned for PSNR.
PARAMETERS = "tune=1:enable-tf=0:keyint=-1"
SEQUENCE, SHOWN, FRAME = 1, 3, 6  # types of OBU: sequence header, header of a frame that is known, frame
KINDS = (SEQUENCE, SHOWN, FRAME)  # all that a stream is made of
MOST = 2  # frames for each slice: some are decoded before they are shown

Stack = NDArray[np.uint16]


def encode(stack: Stack, quality: int, preset: int = 2, threads: int = 1) -> bytes:
    """The stream of a stack.

    Parameters
    ----------
    stack : ndarray, (z, y, x), 0 to 1023.
    quality : one of `QUALITIES`; a larger one takes fewer bytes.
    preset : one of `PRESETS`.
    threads : change no byte.

    Raises
    ------
    MissingExtra
    """
    package = _av()
    height, width = _edges(stack.shape)
    encoder = package.CodecContext.create(ENCODER, "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, PIXELS
    encoder.framerate, encoder.time_base = 25, Fraction(1, 25)
    parameters = f"{PARAMETERS}:crf={quality / 4:g}:lp={threads}"
    encoder.options = {"preset": str(preset), "svtav1-params": parameters}
    packets = []
    with _scheduled_as_before():
        for number, plane in enumerate(stack):
            frame = package.VideoFrame(width, height, PIXELS)
            frame.pts = number
            _rows(frame.planes[0])[:, :width] = _padded(plane, height, width)
            for chroma in frame.planes[1:]:
                _rows(chroma)[:] = GREY
            packets += encoder.encode(frame)
        packets += encoder.encode(None)
    return b"".join(o for packet in packets for kind, o in _obus(bytes(packet)) if kind in KINDS)


@contextmanager
def _scheduled_as_before() -> Iterator[None]:
    """Undo what libsvtav1 does to the thread that calls it as root: it makes it a real-time thread."""
    if not hasattr(os, "sched_setscheduler"):  # not Linux
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        if os.sched_getscheduler(0) != policy:
            os.sched_setscheduler(0, policy, parameters)


def decode(stream: bytes, shape: Shape) -> Stack:
    """The stack, (z, y, x), of a stream.

    By one thread, which decodes 512 x 512 voxels a hundred times a second and more: with several, a damaged
    stream can bring dav1d to a halt.

    Raises
    ------
    CorruptFile
        It is no stream of this shape.
    MissingExtra
    """
    package = _av()
    depth, rows, columns = shape
    height, width = _edges(shape)
    decoder = package.CodecContext.create("libdav1d", "r")
    decoder.options = {"max_pixels": str(height * width), "export_side_data": "film_grain"}  # not applied
    decoder.thread_count = 1
    parts = _parts(stream, MOST * depth)
    stack, found = np.empty(shape, np.uint16), 0
    try:
        for part in [*parts, None]:
            for frame in decoder.decode(None if part is None else package.Packet(part)):
                if found == depth or (frame.height, frame.width) != (height, width):
                    raise CorruptFile(f"an AV1 stream has other frames than {depth} of {height} x {width}")
                if frame.format.name not in DECODED:
                    allowed = ", ".join(DECODED)
                    raise CorruptFile(f"an AV1 stream has frames of {frame.format.name}, not {allowed}")
                stack[found] = _rows(frame.planes[0])[:rows, :columns]
                found += 1
    except package.FFmpegError as error:
        raise CorruptFile(f"an AV1 stream cannot be decoded: {error}") from error
    if found != depth:
        raise CorruptFile(f"an AV1 stream has {found} frames, not {depth}", value=found)
    return stack


def _parts(stream: bytes, most: int) -> list[bytes]:
    """The parts of a stream that end with a frame each: none decodes to more than one.

    Raises
    ------
    CorruptFile
        There are more frames, or anything else.
    """
    parts, start, end, frames = [], 0, 0, 0
    for kind, obu in _obus(stream):
        end += len(obu)
        frames += kind == FRAME
        if kind not in KINDS or frames > most:
            raise CorruptFile(f"an AV1 stream has over {most} frames, or an OBU of type {kind}", value=kind)
        if kind != SEQUENCE:
            parts.append(stream[start:end])
            start = end
    if start < end:
        raise CorruptFile("an AV1 stream goes on behind its last frame", value=end - start)
    return parts


def _obus(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The OBUs, each with its type (AV1 specification, section 5.3); raises `CorruptFile`."""
    start = 0
    while start < len(data):
        head = data[start]
        if head & 0x85 or not head & 2:  # a reserved or forbidden bit, a layer, or no size
            raise CorruptFile("an AV1 stream has an OBU of a layer, or without a size", value=start)
        size, place = _leb128(data, start + 1)
        if place + size > len(data):
            raise CorruptFile("an AV1 stream ends within an OBU", value=start)
        yield head >> 3 & 15, data[start : place + size]
        start = place + size


def _leb128(data: bytes, place: int) -> tuple[int, int]:
    """A size, and where what follows it begins."""
    size = 0
    for k, byte in enumerate(data[place : place + 8]):
        size |= (byte & 0x7F) << 7 * k
        if byte < 0x80:
            return size, place + k + 1
    raise CorruptFile("an AV1 stream has an OBU without a size", value=place)


def _edges(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of a frame."""
    height, width = (max(SHORTEST, -(-n // WHOLE) * WHOLE) for n in shape[1:])
    return height, width


def _padded(plane: Stack, height: int, width: int) -> Stack:
    rows, columns = plane.shape
    return np.pad(plane, ((0, height - rows), (0, width - columns)), mode="edge")


def _rows(plane: Any) -> Stack:
    """The samples of a plane of PyAV, one row a line; writable while it is encoded."""
    return np.frombuffer(plane, np.uint16).reshape(plane.height, -1)


def check_installed() -> None:
    """Raise `MissingExtra` where PyAV is not installed, or has no libsvtav1."""
    package = _av()
    try:
        package.Codec(ENCODER, "w")
    except ValueError as error:
        raise MissingExtra(
            f"{NEEDS} with {ENCODER}, which this one was built without", extra="av1"
        ) from error


def _av() -> Any:
    try:
        import av
    except ModuleNotFoundError as error:
        raise MissingExtra(NEEDS, extra="av1") from error
    except Exception as error:  # a library that does not fit this machine, or an import hook
        raise MissingExtra(f"{NEEDS}, which cannot be loaded here ({reason(error)})", extra="av1") from error
    os.environ.setdefault("SVT_LOG", "1")  # errors alone: libsvtav1 prints, whatever Python wants
    return av
