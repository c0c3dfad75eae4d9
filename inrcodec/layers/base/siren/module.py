"""The continuous field of the tiles as a torch module: for registration, reconstruction and further fitting.

In: a `Field` and what makes millimetres and physical values of its units.  Out: a `torch.nn.Module`.
Invariant: its values are those of `Field`, to the rounding of the type that it computes in.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from inrcodec.format.header_checks import ONE
from inrcodec.layers.base.siren.field import Field, Frame


class SirenModule(nn.Module):
    """Physical values of the networks at points in LPS mm, differentiable in points and weights.

    Parameters are the weights of each tile's network, ``networks.N.K``: (in, out) of layer K // 2, and its
    bias for odd K.  What is not learned is no part of the state: it comes from the file.
    """

    owners: Tensor
    centres: Tensor
    extents: Tensor
    to_index: Tensor
    low: Tensor
    high: Tensor
    background: Tensor
    nodes: Tensor

    def __init__(self, field: Field, frame: Frame) -> None:
        super().__init__()
        header, numbers = field.coder.header, np.unique(field.owners)
        self.omega, self.frame_scale, self.frame_offset = header.omega, frame.scale, frame.offset
        found = list(field.networks([int(number) for number in numbers if number >= 0]).values())
        self.networks = nn.ModuleList(
            nn.ParameterList(nn.Parameter(torch.tensor(t)) for t in network.tensors) for network in found
        )
        places = np.full(len(field.coder.boxes) + 1, -1)  # the last is that of -1
        places[numbers[numbers >= 0]] = np.arange(len(found))
        self._keep("owners", torch.from_numpy(places[field.owners]))
        self._keep("centres", torch.tensor(np.array([n.centre for n in found]).reshape(-1, 3)))
        self._keep("extents", torch.tensor(np.array([n.extent for n in found]).reshape(-1, 3)))
        self._keep("to_index", torch.tensor(frame.to_index))
        self._keep("low", torch.tensor(frame.low))
        self._keep("high", torch.tensor(frame.high))
        self._keep("background", torch.tensor(float(header.background), dtype=torch.float64))
        nodes = np.array([-ONE, -ONE, *header.companding, ONE, ONE], np.float64).reshape(-1, 2) / ONE
        self._keep("nodes", torch.tensor(nodes))

    def _keep(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value, persistent=False)

    def forward(self, points: Tensor) -> Tensor:
        """Physical values, (n,), at points (n, 3) in LPS mm; NaN beyond the volume.

        The type is that of the module: float64 as it was made, float32 behind ``.float()``.
        """
        index = points.to(self.to_index.dtype) @ self.to_index[:3, :3].T + self.to_index[:3, 3]
        cells = (index.detach() + 0.5).floor().long()
        top = torch.tensor(self.owners.shape, device=cells.device) - 1
        cells = torch.minimum(cells.clamp(min=0), top)
        owners = self.owners[cells[:, 0], cells[:, 1], cells[:, 2]]
        inside = ((index >= self.low) & (index <= self.high)).all(1)
        owners = torch.where(inside, owners, len(self.networks))
        order, parts = [], [index[:0, 0]]  # tied to the points, also where no network is met
        for number in torch.unique(owners).tolist():
            rows = torch.nonzero(owners == number)[:, 0]
            order.append(rows)
            parts.append(self._values(number, index[rows]))
        return torch.cat(parts)[torch.argsort(torch.cat(order))] if order else parts[0]

    def _values(self, number: int, index: Tensor) -> Tensor:
        """Physical values of one tile's positions, of the background (-1) or beyond (the last)."""
        if number == len(self.networks):
            return index.new_full((len(index),), torch.nan)
        if number < 0:
            return self.background.expand(len(index)) * self.frame_scale + self.frame_offset
        *hidden, weight, bias = cast(Iterable[Tensor], self.networks[number])
        h = (2 * index - self.centres[number]) / self.extents[number]
        for inner, shift in zip(hidden[::2], hidden[1::2], strict=True):
            h = torch.sin(self.omega * (h @ inner + shift))
        return self._expanded((h @ weight + bias)[:, 0].clamp(-1, 1)) * self.frame_scale + self.frame_offset

    def _expanded(self, companded: Tensor) -> Tensor:
        """Companded unit values to linear ones, as `companding.expand`."""
        x, y = self.nodes[:, 1].contiguous(), self.nodes[:, 0]
        part = torch.searchsorted(x[1:-1], companded.detach(), right=True)
        slope = (y.diff() / x.diff())[part]
        return y[part] + (companded - x[part]) * slope
