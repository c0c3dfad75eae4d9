"""Super-resolution of a low-res volume, block by block.

Invariant: a block is computed on one thread, so the result does not depend on slabs or threads.

A block (`inrcodec.layers.superres.blocks`) has a halo of ``HALO`` voxels, whose outputs are dropped; beyond
the volume the last voxel is repeated.  Background has no residual.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch

from inrcodec.layers.cache import Cache
from inrcodec.layers.decode_options import Precision
from inrcodec.layers.superres.blocks import HALO, meet, places_in
from inrcodec.layers.superres.blocks import Place as Place
from inrcodec.layers.superres.blocks import places_of as places_of
from inrcodec.layers.superres.blocks import spans_of as spans_of
from inrcodec.layers.superres.network import SRDenseNet
from inrcodec.parallel import InterruptiblePool, torch_pool
from inrcodec.volume.arrays import Active, Float, Float32
from inrcodec.volume.box import Box, Shape


@dataclass(frozen=True)
class Layer:
    """Residuals of the full-res slices ``[start, stop)``, where there are any.

    ``blocks`` are their first (y, x), full-res, and their values (z, y, x); they do not overlap.
    """

    start: int
    stop: int
    blocks: list[tuple[tuple[int, int], Float32]]

    def add_to(self, rows: Float, first: Shape, scale: float) -> None:
        """Add ``scale`` times the residual to rows (y, x) of a slice, in place; ``first`` is their corner."""
        z, *corner = first
        for origin, values in self.blocks:
            here, there = [], []
            for start, n, other, m in zip(corner, rows.shape, origin, values.shape[1:], strict=True):
                low, high = max(start, other), min(start + n, other + m)
                here.append(slice(low - start, max(high, low) - start))
                there.append(slice(low - other, max(high, low) - other))
            residual = values[z - self.start][tuple(there)]
            rows[tuple(here)] += np.multiply(residual, scale, dtype=np.float64)


class Upsampler:
    """Residuals of full-res slices, computed a layer of blocks at a time.

    Parameters
    ----------
    network : float32, in evaluation mode.
    low : ndarray, (z, y, x), low-res values in [-1, 1] of the network's window.
    active : which voxels of the grid are; where none is, there is no residual.
    threads : blocks computed at a time, on a CPU.
    noise : noise level of ``low``, its root mean square error; an input of networks with a noise map.
    precision : of the network's arithmetic; its weights are converted.
    ensemble : mirror images whose residuals are averaged, see :func:`residual_of`.
    kept : blocks of the same volume that are remembered.
    first : slice of the grid that ``low`` begins with; no layer may need others than it holds.
    """

    def __init__(
        self,
        network: SRDenseNet,
        low: Float32,
        active: Active,
        device: str,
        threads: int,
        noise: float = 0.0,
        precision: Precision = "float32",
        ensemble: int = 1,
        kept: Cache | None = None,
        first: int = 0,
    ) -> None:
        self.factor, self.device, self.threads = network.arch.factor, device, threads
        self.dtype = getattr(torch, precision)
        self.network = laid_out(network, device).to(self.dtype)
        self.halo = halo_of(network)
        self.low, self.active, self.noise, self.ensemble = low, active, noise, ensemble
        self.kept, self.way, self.first = kept, (device, precision, ensemble), first

    def layers(self, box: Box | None = None) -> Iterator[Layer]:
        """The residual, a layer after the other; the next is computed while one is in use.

        With a full-res ``box``, not empty, only the blocks that it needs.
        """
        spans = spans_of(len(self.active))
        if box is not None:
            spans = [z for z in spans if meet(z, self.factor[0], box, 0)]
        threads = 1 if self.device != "cpu" else self.threads
        with torch_pool(threads) as pool, InterruptiblePool(1) as ahead:
            upcoming = ahead.submit(self._layer, spans[0], box, pool)
            for span in [*spans[1:], None]:
                layer = upcoming.result()
                if span is not None:
                    upcoming = ahead.submit(self._layer, span, box, pool)
                yield layer

    def _layer(self, z: slice, box: Box | None, pool: InterruptiblePool) -> Layer:
        fz, fy, fx = self.factor
        places = places_in(self.active, z, box, self.factor)
        residuals = pool.map(self._known, places)
        blocks = [((y.start * fy, x.start * fx), r) for (_, y, x), r in zip(places, residuals, strict=True)]
        return Layer(z.start * fz, z.stop * fz, blocks)

    def _known(self, place: Place) -> Float32:
        """The residual of a block, computed or remembered."""
        key = self.way, *((part.start, part.stop) for part in place)
        found: Float32 | None = None if self.kept is None else self.kept.get(key)
        if found is None:
            found = self._block(place)
            if self.kept is not None:
                self.kept.put(key, found, found.nbytes)
        return found

    @torch.no_grad()
    def _block(self, place: Place) -> Float32:
        z, rows, columns = (
            np.arange(part.start - h, part.stop + h).clip(0, n - 1)
            for part, h, n in zip(place, self.halo, self.active.shape, strict=True)
        )
        part = self.low[np.ix_(z - self.first, rows, columns)]
        x = torch.from_numpy(part).to(self.device, self.dtype)
        # TF32 keeps ten bits of a product: not the reference decode.
        with torch.backends.cudnn.flags(allow_tf32=False) if self.device != "cpu" else nullcontext():
            result: Float32 = residual_of(self.network, x, self.noise, self.ensemble).float().cpu().numpy()
        return result


def laid_out(network: SRDenseNet, device: str) -> SRDenseNet:
    """The network on a device, its weights in the fastest memory layout."""
    network.to(device=device, memory_format=_memory(network))  # type: ignore[call-overload]
    return network


def halo_of(network: SRDenseNet) -> tuple[int, int, int]:
    """Voxels (z, y, x) around a block that the network reads."""
    return (0 if network.arch.dims == 2 else HALO), HALO, HALO


def residual_of(network: SRDenseNet, block: torch.Tensor, noise: float, ensemble: int = 1) -> torch.Tensor:
    """Full-res residual (z, y, x) of a low-res block (z, y, x) with its halo.

    With ``ensemble`` 2, 4 or 8 it is the mean over the block and its mirror images along x, then y, then z,
    each mirrored back (geometric self-ensemble; Timofte et al. 2016; Lim et al., EDSR, 2017).
    """
    axes = [2, 1, 0][: ensemble.bit_length() - 1]
    images = [m for n in range(len(axes) + 1) for m in combinations(axes, n)]
    total = _once(network, block, noise)
    for mirrored in images[1:]:
        total = total + _once(network, block.flip(mirrored), noise).flip(mirrored)
    return total / len(images)


def _once(network: SRDenseNet, block: torch.Tensor, noise: float) -> torch.Tensor:
    x = block[:, None] if network.arch.dims == 2 else block[None, None]
    y: torch.Tensor = network(x.to(memory_format=_memory(network)), HALO, noise)
    return y.reshape([-1, *y.shape[-2:]])


def _memory(network: SRDenseNet) -> torch.memory_format:
    return torch.channels_last_3d if network.arch.dims == 3 else torch.channels_last
