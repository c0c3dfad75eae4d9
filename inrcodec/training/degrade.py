"""Low-res volumes as the decoder will see them, for the training of super-resolution networks.

In: a volume or a clean low-res patch.  Out: its low-res version after a real fit, or after an imitation.
The one law: what is trained on here is what :mod:`inrcodec.file` feeds the network.

A network that was trained on clean low-res only loses to Lanczos as soon as the fit is coarse.  Real fits
take minutes, so they are made of parts of volumes; the imitation takes no time, and serves everywhere else.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec import api
from inrcodec.volume.box import Shape
from inrcodec.volume.volume import Volume

BLOCK = 6  # low-res voxels of a block of cosines, as in the forecast of what a fit can give


def decoded(volume: Volume, factor: Shape, **knobs: Any) -> NDArray[np.float64]:
    """The low-res volume that a real file of this volume decodes to, in stored units.

    It is fitted to the plain low-res volume: which other one a model wants is not known before it is trained.

    Parameters
    ----------
    knobs : "width", which sets the size of the file and so how coarse the fit is, "steps", "seed", "threads".

    Returns
    -------
    ndarray, (z, y, x), float64.
    """
    blob, _ = api.encode_report(volume, factor=factor, sr="lanczos", through_sr=False, **knobs)
    file = api.open(blob)
    low, high = file.header.low, file.header.high
    return low + (file.lowres() + 1) * ((high - low) / 2)


def imitate(low: Tensor, level: float, generator: torch.Generator) -> Tensor:
    """What a fit at a given rate does to a low-res patch, by the theory of rate and distortion.

    Reverse water-filling over the cosines of blocks: a coefficient whose energy is below the level is lost;
    any other errs by the level, as through the forward test channel of a Gaussian source (Cover and Thomas,
    Elements of Information Theory, section 10.3): ``(1 - D/c^2) c + sqrt(D (1 - D/c^2)) n``.

    Parameters
    ----------
    low : Tensor, (z, y, x), in [-1, 1].
    level : D, the mean squared error of each coefficient that is coded.

    Returns
    -------
    Tensor, the error to add, same shape.
    """
    padded = low
    for axis, n in enumerate(low.shape):
        index = torch.arange(-(-n // BLOCK) * BLOCK).clamp(max=n - 1)
        padded = padded.index_select(axis, index)
    z, y, x = (n // BLOCK for n in padded.shape)
    blocks = padded.reshape(z, BLOCK, y, BLOCK, x, BLOCK)
    cosines = _transformed(blocks, _cosines())
    energy = cosines.square()
    kept = (1 - level / energy.clamp(min=1e-20)).clamp(min=0)
    noise = torch.randn(cosines.shape, generator=generator)
    error = (kept - 1) * cosines + (level * kept).sqrt() * noise
    whole = _transformed(error, _cosines().T).reshape(padded.shape)
    return whole[tuple(slice(n) for n in low.shape)]


def _transformed(blocks: Tensor, matrix: Tensor) -> Tensor:
    return torch.einsum("aibjck,pi,qj,rk->apbqcr", blocks, matrix, matrix, matrix)


@lru_cache(maxsize=1)
def _cosines() -> Tensor:
    """The orthonormal DCT-II as a matrix."""
    from scipy.fft import dct

    return torch.from_numpy(dct(np.eye(BLOCK), axis=0, norm="ortho").astype(np.float32))
