"""Low-res volumes as streams of latents decode them."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np

from inrcodec import io
from inrcodec._version import __version__
from inrcodec.encoder import curves
from inrcodec.encoder.bases import latent_values
from inrcodec.encoder.bases.latent_values import Way
from inrcodec.layers.base.latent import codec, models
from inrcodec.layers.base.latent.stream import read_stream, values_of, write_stream
from inrcodec.layers.superres.registry import WINDOWS
from inrcodec.training.options import TrainOptions
from inrcodec.volume.arrays import Float32

BRIGHT = 99.5  # percentile of values without a unit that is the brightest tissue
DARKEST = 0.01  # above -1: the brightest tissue of a volume that is next to empty


def latent(low: Float32, rate: int, options: TrainOptions) -> Float32:
    """What a stream of latents of a low-res volume, (z, y, x) in [-1, 1], decodes to.

    The model is the one that files are written with.

    Parameters
    ----------
    rate : of the stream, see :func:`inrcodec.layers.base.latent.stream.write_stream`.

    Raises
    ------
    CorruptFile
        The stream in the folder is of something else.
    """
    way = way_of(low, options)
    values = codec.from_unit(low.astype(np.float64), way.ends, way.curve)
    key = repr((__version__, way.manifest.sha256, rate, values.shape)).encode()
    path = options.out / f"latent-{blake2b(key + values.tobytes(), digest_size=12).hexdigest()}.latg"
    if not path.exists():
        io.atomic_write(path, write_stream(way.model, rate, values, threads=options.threads)[0])
    integers = read_stream(way.model, rate, path.read_bytes(), values.shape, options.threads)
    decoded = values_of(way.model, rate, integers)
    return codec.to_unit(decoded, way.ends, way.curve).astype(np.float32)


def way_of(low: Float32, options: TrainOptions) -> Way:
    """How a low-res volume becomes latents, as in files: without a unit its darkest value is -1."""
    window = WINDOWS.get(options.modality)
    if window:
        curve = curves.between(*window)
        return Way(models.usual(), latent_values.ends_in_hounsfield(window, curve), curve)
    bright = max(float(np.percentile(low, BRIGHT)), -1 + DARKEST)
    return Way(models.usual(), latent_values.ends_of_tissue((-1.0, 1.0), (-1.0, bright)))
