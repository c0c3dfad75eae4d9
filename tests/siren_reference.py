"""SIRENs as the paper writes them, in torch, for autograd: what hand-written gradients are held against."""

import torch
from torch import Tensor

from inrcodec.layers.base.siren.siren import Layout, tensors


def evaluate(layout: Layout, flat: Tensor, coordinates: Tensor) -> Tensor:
    """All tiles at once: coordinates (tiles, samples, 3) -> values (tiles, samples)."""
    *hidden, weight, bias = tensors(layout, flat)
    h = coordinates
    for w, b in zip(hidden[::2], hidden[1::2], strict=True):
        h = torch.sin(layout.omega * (h @ w + b))
    return (h @ weight + bias)[..., 0]
