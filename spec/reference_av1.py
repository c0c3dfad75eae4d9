"""The low-res volume of INRV files of AV1, written from inrv-1.md alone (see reference_decoder).

AV1 itself is decoded by dav1d, as PyAV brings it along.
"""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np
from reference_coders import Invalid, need
from reference_header import lowres_shape


def decode_stream(stream: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """The codes of a stream, (z, y, x)."""
    import av

    need(len(stream) >= 4, "a stream without a checksum")
    depth, rows, columns = shape
    height, width = (max(64, math.ceil(n / 8) * 8) for n in (rows, columns))
    units = temporal_units(stream[4:], 2 * depth)
    decoder: Any = av.CodecContext.create("libdav1d", "r")
    decoder.options = {"max_pixels": str(height * width), "export_side_data": "film_grain"}
    decoder.thread_count = 1
    slices = []
    try:
        for unit in [*units, None]:
            for frame in decoder.decode(None if unit is None else av.Packet(unit)):
                need((frame.height, frame.width) == (height, width), "size of a frame")
                need(frame.format.name in ("yuv420p10le", "gray10le") and len(slices) < depth, "a frame")
                plane = np.frombuffer(frame.planes[0], np.uint16).reshape(height, -1)
                slices.append(plane[:rows, :columns].copy())
    except av.FFmpegError as error:
        raise Invalid("a stream of AV1") from error
    need(len(slices) == depth, "number of frames")
    codes = np.stack(slices)
    crc = int.from_bytes(stream[:4], "little")
    need(zlib.crc32(codes.astype("<u2").tobytes()) == crc, "checksum of codes")
    return codes


def temporal_units(data: bytes, most: int) -> list[bytes]:
    """The OBUs up to each frame."""
    units, begin, position, frames = [], 0, 0, 0
    while position < len(data):
        head = data[position]
        kind = head >> 3 & 15
        need(head & 0x87 == 2 and kind in (1, 3, 6), "an OBU that does not belong here")
        position, size, shift = position + 1, 0, 0
        while True:
            need(position < len(data) and shift < 56, "size of an OBU")
            size += (data[position] & 127) << shift
            position, shift = position + 1, shift + 7
            if data[position - 1] < 128:
                break
        position += size
        frames += kind == 6
        need(position <= len(data) and frames <= most, "end of an OBU, or too many frames")
        if kind != 1:
            units.append(data[begin:position])
            begin = position
    need(begin == position, "an OBU behind the last frame")
    return units


def active(codes: np.ndarray, flat: list[int]) -> np.ndarray:
    """Where a model may have a residual."""
    found = np.ones(codes.shape, dtype=bool)
    for z, y, x in np.ndindex(*(math.ceil(n / 2) for n in codes.shape)):
        cell = np.s_[2 * z : 2 * z + 2, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
        if flat:
            found[cell] = ((codes[cell] < flat[0]) | (codes[cell] > flat[1])).any()
    return found


def decode_av1(h: dict[str, Any], streams: list[bytes]) -> np.ndarray:
    """Codes of the low-res volume."""
    depth, *plane = lowres_shape(h)
    step = h["av1.slices"] or depth
    spans = [(z, min(z + step, depth)) for z in range(0, depth, step)]
    need(len(streams) == len(spans), "number of streams")
    return np.concatenate(
        [decode_stream(s, (b - a, *plane)) for s, (a, b) in zip(streams, spans, strict=True)]
    )
