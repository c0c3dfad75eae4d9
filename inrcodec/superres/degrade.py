"""Low-res volumes as the decoder will see them, for the training of super-resolution networks.

In: a volume or a clean low-res patch.  Out: its low-res version after a real fit, or after an imitation.
The one law: what is trained on here is what :mod:`inrcodec.decoder` feeds the network.

A network that was trained on clean low-res only loses to Lanczos as soon as the fit is coarse, so most of the
training material is decoded from real files; the imitation varies what a handful of fits cannot.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool3d

from inrcodec import api
from inrcodec.volume import Volume

Shape = tuple[int, int, int]


def decoded(volume: Volume, factor: Shape, width: int, steps: int, seed: int = 0) -> NDArray[np.float64]:
    """The low-res volume that a real file of this volume decodes to, in stored units.

    Parameters
    ----------
    width, steps : of the fit: the width sets the size of the file, and so how coarse the fit is.

    Returns
    -------
    ndarray, (z, y, x), float64.
    """
    blob, _ = api.encode_report(volume, factor=factor, width=width, steps=steps, seed=seed, sr="lanczos")
    decoder = api.open(blob)
    span = decoder.span
    return span.low + (decoder.lowres() + 1) * ((span.high - span.low) / 2)


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
