"""A super-resolution network run over a low-res volume, block by block.

In: the low-res volume in the network's window.  Out: the residual of any range of full-res slices.
The one law: the blocks are a function of the grid alone, always of one shape and each on one thread, so that
the result does not depend on slabs or threads.

A block is cut with a halo of ``HALO`` voxels, whose outputs are dropped; beyond the volume the last voxel is
repeated.  Blocks without an active voxel get no residual: flat background needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

from inrcodec import workers
from inrcodec.superres.network import SRDenseNet

Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]
Pool = Callable[[Callable[[tuple[int, int]], None], list[tuple[int, int]]], list[None]]

BLOCK = (16, 32, 32)  # low-res voxels: 26k with the halo, about 30 MB of activations a thread
HALO = 2  # voxels: what the training's loss leaves out at the rim of a patch


class Upsampler:
    """Residuals of full-res slices, computed a layer of blocks at a time.

    Parameters
    ----------
    network : float32, in evaluation mode.
    low : ndarray, (z, y, x), low-res values in [-1, 1] of the network's window.
    active : ndarray, (z, y, x), bool; blocks without any are skipped.
    threads : blocks computed at a time, on a CPU.
    """

    def __init__(self, network: SRDenseNet, low: Float32, active: Bool, device: str, threads: int) -> None:
        self.factor, self.device, self.threads = network.arch.factor, device, threads
        memory = torch.channels_last_3d if network.arch.dims == 3 else torch.channels_last
        self.network = network.to(device=device, memory_format=memory)  # type: ignore[call-overload]
        self.flat = network.arch.dims == 2
        self.block = BLOCK
        self.halo = (0 if self.flat else HALO, HALO, HALO)
        self.counts = [-(-n // b) for n, b in zip(low.shape, self.block, strict=True)]
        beyond = [
            (h, h + c * b - n)
            for h, c, b, n in zip(self.halo, self.counts, self.block, low.shape, strict=True)
        ]
        self.low, self.active = np.pad(low, beyond, mode="edge"), np.pad(active, beyond)

    def layers(self) -> Iterator[Float32]:
        """The residual, a layer of blocks after the other: (block z * factor z, y, x) float32."""
        with workers.single_threaded(1 if self.device != "cpu" else self.threads) as pool:
            for z in range(self.counts[0]):
                yield self._layer(z, pool)

    def _layer(self, z: int, pool: Pool) -> Float32:
        (bz, by, bx), (fz, fy, fx) = self.block, self.factor
        rows, columns = self.counts[1:]
        out = np.zeros((bz * fz, rows * by * fy, columns * bx * fx), dtype=np.float32)

        def fill(place: tuple[int, int]) -> None:
            y, x = place
            residual = self._block((z, y, x))
            if residual is not None:
                out[:, y * by * fy : (y + 1) * by * fy, x * bx * fx : (x + 1) * bx * fx] = residual

        pool(fill, list(product(range(rows), range(columns))))
        return out

    @torch.no_grad()
    def _block(self, place: tuple[int, int, int]) -> Float32 | None:
        starts = [p * b for p, b in zip(place, self.block, strict=True)]
        window = tuple(slice(s, s + b + 2 * h) for s, b, h in zip(starts, self.block, self.halo, strict=True))
        if not self.active[window].any():
            return None
        x = torch.from_numpy(np.ascontiguousarray(self.low[window])).to(self.device)
        x = x[:, None] if self.flat else x[None, None]
        x = x.to(memory_format=torch.channels_last if self.flat else torch.channels_last_3d)
        # TF32 keeps ten bits of a product: not the reference decode.
        with torch.backends.cudnn.flags(allow_tf32=False) if self.device != "cpu" else nullcontext():
            y = self.network(x)
        y = y.reshape([n * f for n, f in zip(self._whole(), self.factor, strict=True)])
        inside = tuple(
            slice(h * f, (h + b) * f) for h, b, f in zip(self.halo, self.block, self.factor, strict=True)
        )
        result: Float32 = y[inside].cpu().numpy()
        return result

    def _whole(self) -> tuple[int, int, int]:
        z, y, x = (b + 2 * h for b, h in zip(self.block, self.halo, strict=True))
        return z, y, x
