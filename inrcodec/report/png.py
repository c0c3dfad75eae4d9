"""Grey images as PNG files.

In: a uint8 image.  Out: the bytes of a PNG file (ISO/IEC 15948), 8-bit grey, unfiltered.
Invariant: no imaging library is imported, so that a preview costs milliseconds.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["enlarged", "png_bytes"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, BITS, NO_FILTER = 0, 8, b"\0"
LEGIBLE = 256  # pixels along the longer side; smaller pictures are enlarged


def enlarged(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A small image with each pixel as a square of several, not smoothed.

    Parameters
    ----------
    image : ndarray, (y, x), uint8

    Returns
    -------
    ndarray, (times y, times x), uint8, of at least `LEGIBLE` pixels along its longer side.
    """
    times = -(-LEGIBLE // max(image.shape))
    return image.repeat(times, axis=0).repeat(times, axis=1)


def png_bytes(image: NDArray[np.uint8]) -> bytes:
    """An image as a PNG file.

    Parameters
    ----------
    image : ndarray, (y, x), uint8
        0 is black, 255 white.

    Raises
    ------
    ValueError
        For another shape or type.
    """
    if image.ndim != 2 or image.dtype != "uint8" or 0 in image.shape:
        raise ValueError(f"expected a (y, x) uint8 image that is not empty, got {image.shape} {image.dtype}")
    height, width = image.shape
    rows = b"".join(NO_FILTER + row.tobytes() for row in image)
    header = struct.pack(">IIBBBBB", width, height, BITS, GREY, 0, 0, 0)
    return (
        SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows, 9)) + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
