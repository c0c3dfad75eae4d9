"""Low-res volumes as AV1 streams decode them."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np

from inrcodec import io
from inrcodec._version import __version__
from inrcodec.encoder import curves
from inrcodec.layers.base.av1 import codec, video
from inrcodec.layers.superres.registry import WINDOWS
from inrcodec.training.options import AV1_PRESET, TrainOptions
from inrcodec.volume.arrays import Float32


def av1(low: Float32, quality: int, options: TrainOptions) -> Float32:
    """What an AV1 stream of a low-res volume, (z, y, x) in [-1, 1], decodes to.

    Parameters
    ----------
    quality : of the stream, see :func:`inrcodec.layers.base.av1.video.encode`.

    Raises
    ------
    CorruptFile
        The stream in the folder is of something else.
    MissingExtra
    """
    window = WINDOWS.get(options.modality)
    nodes = curves.between(*window) if window else ()
    codes = codec.to_codes(low.astype(np.float64), nodes)
    key = repr((__version__, quality, AV1_PRESET, codes.shape)).encode()
    path = options.out / f"av1-{blake2b(key + codes.tobytes(), digest_size=12).hexdigest()}.obu"
    if not path.exists():
        io.atomic_write(path, video.encode(codes, quality, AV1_PRESET, options.threads))
    values: Float32 = codec.levels(nodes).astype(np.float32)[video.decode(path.read_bytes(), codes.shape)]
    return values
