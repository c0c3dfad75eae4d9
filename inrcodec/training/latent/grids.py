"""Grids of blocks, of voxels and of their surroundings, in torch: what the latent networks are built of.

In: tensors (batch, channels, z, y, x).  Out: tensors.
Invariant: differentiable; the integers of a decoder are those of :mod:`inrcodec.layers.base.latent.integers`.
"""

from __future__ import annotations

from math import log, sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inrcodec.layers.base.latent.analysis import dct

CHANNELS = 64  # of a block of 4 x 4 x 4 voxels


def to_channels(x: Tensor, stride: int) -> Tensor:
    """(batch, c, z, y, x) -> (batch, c * stride**3, z / stride, …)."""
    n, c, *shape = x.shape
    z, y, w = (edge // stride for edge in shape)
    x = x.reshape(n, c, z, stride, y, stride, w, stride).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return x.reshape(n, c * stride**3, z, y, w)


def to_voxels(x: Tensor, stride: int) -> Tensor:
    """The inverse of :func:`to_channels`."""
    n, c, z, y, w = x.shape
    x = x.reshape(n, c // stride**3, stride, stride, stride, z, y, w).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.reshape(n, c // stride**3, z * stride, y * stride, w * stride)


def dct_basis() -> Tensor:
    """The orthonormal DCT-II of 4 x 4 x 4 voxels, (frequency, voxel), low frequencies first."""
    return torch.from_numpy(dct()).float()


def convolution(inputs: int, outputs: int, width: int = 3, scale: float = 1.0) -> nn.Conv3d:
    """A convolution that keeps the grid; ``scale`` of its outputs at first, 0 for none."""
    layer = nn.Conv3d(inputs, outputs, width, padding=width // 2)
    nn.init.normal_(layer.weight, std=scale / sqrt(inputs * width**3))
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def mean_around(x: Tensor) -> Tensor:
    """Mean of 3 x 3 x 3 voxels, of those that there are."""
    return F.avg_pool3d(x, 3, 1, 1, count_include_pad=False)


def doubled(x: Tensor) -> Tensor:
    """Trilinear interpolation by 2, cell-centred, the edges repeated."""
    return F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)


def slopes(x: Tensor) -> Tensor:
    """Central differences along z, y and x, (batch, 3, z, y, x)."""
    p = F.pad(x, (1,) * 6, mode="replicate")
    along_z = p[:, :, 2:, 1:-1, 1:-1] - p[:, :, :-2, 1:-1, 1:-1]
    along_y = p[:, :, 1:-1, 2:, 1:-1] - p[:, :, 1:-1, :-2, 1:-1]
    along_x = p[:, :, 1:-1, 1:-1, 2:] - p[:, :, 1:-1, 1:-1, :-2]
    return torch.cat([along_z, along_y, along_x], 1) * 0.5


def checkerboard(shape: torch.Size, device: torch.device) -> Tensor:
    """1 where the sum of the indices is even, (1, 1, z, y, x)."""
    z, y, x = (torch.arange(n, device=device) for n in shape)
    return ((z[:, None, None] + y[:, None] + x) % 2 == 0).float()[None, None]


def straight_through(x: Tensor) -> Tensor:
    """Rounded; the gradient is that of x."""
    return x + (x.round() - x).detach()


def bits_of(difference: Tensor, log_scale: Tensor) -> Tensor:
    """Bits of an interval of 1 about a distance from the mean of a logistic distribution."""
    inverse, far = torch.exp(-log_scale.clamp(-3, 7)), difference.abs()
    below, above = (0.5 - far) * inverse, (0.5 + far) * inverse
    return -(F.logsigmoid(below) + F.logsigmoid(above) + torch.log(1e-12 - torch.expm1(-inverse))) / log(2)


def amplitude(*parts: Tensor) -> Tensor:
    """1 + half the sum of the magnitudes of all channels, the mean of 3 x 3 x 3 positions."""
    total = torch.stack([part.abs().sum(1, keepdim=True) for part in parts]).sum(0)
    return 1 + F.avg_pool3d(F.pad(total, (1,) * 6), 3, 1) * 0.5
