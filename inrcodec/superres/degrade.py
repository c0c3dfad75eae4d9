"""Low-res volumes as the decoder will see them, for the training of super-resolution networks.

In: a clean low-res volume or patch.  Out: the same after a real SIREN fit, or after a fast imitation of one.
The one law: what is trained on here is what :mod:`inrcodec.api` feeds the network.

A network that was trained on clean low-res only loses to Lanczos as soon as the fit is coarse, so most of the
training material is decoded from real fits; the imitation varies what a handful of fits cannot.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool3d

Float = NDArray[np.float64]


def imitate(low: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """What a fit does to a low-res patch: fine detail is damped, and smooth noise grows where detail is.

    Parameters
    ----------
    low : Tensor, (batch, 1, z, y, x), in [-1, 1].
    strength : 0 (clean) to 1 (about the error of a SIREN at 0.3 bits per active voxel).

    Returns
    -------
    Tensor, the error to add, same shape.
    """
    detail = low - _smooth(low)
    activity = _smooth(detail.abs())
    noise = torch.randn(low.shape, generator=generator)
    noise = noise - 0.5 * _smooth(noise)
    return strength * (0.8 * activity * noise - 0.35 * detail)


def _smooth(x: Tensor) -> Tensor:
    return avg_pool3d(x, 3, 1, 1, count_include_pad=False)
