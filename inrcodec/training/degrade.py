"""Simulated coding error of low-res patches, for training a super-resolution network.

In: a clean low-res patch and a level.  Out: the error that coding at that level would add.
Invariant: a function of the patch, the level and the generator alone.

A network that is trained on clean low-res volumes alone is worse than Lanczos as soon as the fit is coarse.
Real fits (:mod:`inrcodec.training.fits`) take minutes; a simulated error costs nothing and covers all rates.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

BLOCK = 6  # low-res voxels along an edge of a DCT block, as in the encoder's forecast


def simulated_error(lowres: Tensor, level: float, generator: torch.Generator) -> Tensor:
    """Error of a low-res patch that is coded at a given distortion, by rate–distortion theory.

    Reverse water-filling over a block DCT: a coefficient whose energy is below the level is lost, any other
    passes the forward test channel of a Gaussian source (Cover and Thomas, Elements of Information Theory,
    section 10.3): ``(1 - D/c^2) c + sqrt(D (1 - D/c^2)) n``.

    Parameters
    ----------
    lowres : (z, y, x), float32 in [-1, 1]; what is returned is to be added to it.
    level : D, the mean squared error of each coded coefficient.
    generator : of the noise n.
    """
    padded = lowres
    for axis, n in enumerate(lowres.shape):
        index = torch.arange(-(-n // BLOCK) * BLOCK).clamp(max=n - 1)
        padded = padded.index_select(axis, index)
    z, y, x = (n // BLOCK for n in padded.shape)
    coefficients = _transformed(padded.reshape(z, BLOCK, y, BLOCK, x, BLOCK), _dct_matrix())
    gain = (1 - level / coefficients.square().clamp(min=1e-20)).clamp(min=0)
    noise = torch.randn(coefficients.shape, generator=generator)
    error = (gain - 1) * coefficients + (level * gain).sqrt() * noise
    whole = _transformed(error, _dct_matrix().T).reshape(padded.shape)
    return whole[tuple(slice(n) for n in lowres.shape)]


def _transformed(blocks: Tensor, matrix: Tensor) -> Tensor:
    return torch.einsum("aibjck,pi,qj,rk->apbqcr", blocks, matrix, matrix, matrix)


@lru_cache(maxsize=1)
def _dct_matrix() -> Tensor:
    """The orthonormal DCT-II, (BLOCK, BLOCK)."""
    from scipy.fft import dct

    return torch.from_numpy(dct(np.eye(BLOCK), axis=0, norm="ortho").astype(np.float32))
