"""numcodecs, and version 2 of zarr: the codec ``inrv``, found by the entry point `numcodecs.codecs`.

In: chunks of an array.  Out: their bytes, a file each; and back.
Invariant: see `inrcodec.plugins.chunk`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from inrcodec.errors import MissingExtra
from inrcodec.plugins.chunk import NAME, Chunks

try:
    from numcodecs.abc import Codec
    from numcodecs.compat import ensure_bytes, ndarray_copy
except ImportError as error:
    raise MissingExtra("numcodecs is not installed", extra="zarr") from error


class Inrv(Codec):
    """A chunk as an `.inrv` file.

    Parameters
    ----------
    configuration
        As keywords, see :class:`inrcodec.plugins.chunk.Chunks`.

    Examples
    --------
    >>> codec = Inrv(max_error=2)
    >>> chunk = np.arange(6 * 8 * 8, dtype=np.int16).reshape(6, 8, 8)
    >>> int(abs(codec.decode(codec.encode(chunk)) - chunk).max()) <= 2
    True
    """

    codec_id = NAME

    def __init__(self, **configuration: Any) -> None:
        self._chunks = Chunks(configuration)

    def encode(self, buf: Any) -> bytes:
        """The file of a chunk, (z, y, x) or (y, x) behind any axes of one."""
        return self._chunks.encoded(np.asarray(buf))

    def decode(self, buf: Any, out: Any = None) -> Any:
        """The chunk, (z, y, x) or (y, x)."""
        file = self._chunks.opened(ensure_bytes(buf))
        shape = file.decoder.level(self._chunks.level).shape
        return ndarray_copy(self._chunks.decoded(file, shape[1:] if file.header.ndim == 2 else shape), out)

    def get_config(self) -> dict[str, Any]:
        """What makes the same codec again."""
        return {"id": self.codec_id, **self._chunks.configuration}

    def __repr__(self) -> str:
        words = ", ".join(f"{name}={value!r}" for name, value in self._chunks.configuration.items())
        return f"{type(self).__name__}({words})"
