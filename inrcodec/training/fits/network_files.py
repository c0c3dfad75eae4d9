"""Low-res volumes as files of networks decode them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from hashlib import blake2b

import numpy as np

from inrcodec import api, io
from inrcodec._version import __version__
from inrcodec.errors import CorruptFile
from inrcodec.io.npy import save
from inrcodec.layers.superres.registry import WINDOWS
from inrcodec.training.options import TrainOptions
from inrcodec.volume.arrays import Array, Float32
from inrcodec.volume.volume import Volume

STORED = 2000.0  # stored units per unit value: steps of half a HU in the CT window


def lowres(highres: Float32, width: int, options: TrainOptions) -> Float32:
    """The low-res volume that a file of networks of this width decodes to, (z, y, x), about [-1, 1].

    The networks are fitted to the plain low-res volume: which other target a model would want
    (``through_sr``) is not known before the model is trained.  Results are kept in the model's folder, named
    by their content.

    Parameters
    ----------
    highres : (z * fz, y * fy, x * fx), in [-1, 1].
    width : units of a hidden layer; sets the size of the file, and so how coarse the fit is.

    Raises
    ------
    CorruptFile
        The file of this fit in the folder holds something else.
    """
    stored, factor = np.rint((highres + 1) * STORED).astype(np.int16), options.factor
    modality = options.modality
    key = repr((__version__, modality, factor, width, options.fit_steps, options.seed, stored.shape)).encode()
    digest = blake2b(key + stored.tobytes(), digest_size=12).hexdigest()
    path = options.out / f"fit-{digest}.npy"
    if not path.exists():
        decoded = _decoded(volume_of(stored, options), width, options)
        io.atomic_write(path, partial(save, decoded))
    kept: Float32 = np.load(path, allow_pickle=False)
    if kept.shape != tuple(n // f for n, f in zip(stored.shape, factor, strict=True)):
        raise CorruptFile(f"{path} is not a fit of this volume", remedy="delete it", value=str(path))
    return kept / np.float32(STORED) - 1


def volume_of(stored: Array, options: TrainOptions) -> Volume:
    """Of stored units; of a CT as one, whose values are companded."""
    volume = Volume.from_array(stored)
    window = WINDOWS.get(options.modality)
    if window is None:
        return volume
    low, high = window
    return replace(volume, modality=options.modality, rescale=((high - low) / (2 * STORED), low))


def _decoded(volume: Volume, width: int, options: TrainOptions) -> Float32:
    """In stored units."""
    blob = api.encode(
        volume,
        factor=options.factor,
        width=width,
        steps=options.fit_steps,
        seed=options.seed,
        threads=options.threads,
        sr="lanczos",
        through_sr=False,
    )
    file = api.open(blob)
    low, high = file.header.low, file.header.high
    return (low + (file.lowres() + 1) * ((high - low) / 2)).astype(np.float32)
