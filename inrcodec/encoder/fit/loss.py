"""The distortion of all tiles: squared error over their voxels, with its gradient.

In: weights of all tiles and a step's number.  Out: errors and gradients, computed in portions by a pool.
Invariant: portions follow from the tiles and the batch, never from the threads, and are summed in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inrcodec.encoder.fit import backprop, sampling
from inrcodec.encoder.fit.backprop import Workspace
from inrcodec.encoder.fit.sampling import Sampler
from inrcodec.layers.base.siren.siren import Layout
from inrcodec.layers.base.siren.tiles import Tile
from inrcodec.parallel import Pool
from inrcodec.volume.arrays import Float

CACHED = 1 << 17  # activations of a layer that a core works on at a time: half a megabyte


class Distortion:
    """Squared errors of all tiles.

    Parameters
    ----------
    tiles, values : the tiles and, for each, its voxels' targets, (n,), in [-1, 1].
    batch : samples a tile and step.
    seed : of the order of the samples.
    pool : ``map`` over pieces of work; ``workers``: how many it does at a time.
    """

    def __init__(
        self,
        layout: Layout,
        tiles: Sequence[Tile],
        values: Sequence[Float],
        *,
        batch: int,
        seed: int,
        device: str,
        pool: Pool[Any, Any],
        workers: int,
    ) -> None:
        self.layout, self.device, self.pool = layout, device, pool
        self.kernels = backprop.kernels()
        counts = [len(v) for v in values]
        together = device != "cpu"  # there all tiles are one batch
        least = 2 if len(tiles) in (1, 3) else 1  # portions of a tile, so that two cores have the same work
        batch = min(batch, max(counts))  # more would only repeat voxels
        self.parts = 1 if together else max(least, -(-batch * layout.width // CACHED))
        self.rows = -(-batch // self.parts)
        self.samplers: list[Sampler] = []
        for t, (tile, v) in enumerate(zip(tiles, values, strict=True)):
            seeds = np.random.SeedSequence([seed, t]).generate_state(self.parts).tolist()
            self.samplers += sampling.samplers(tile, v, rows=self.rows, seeds=seeds, device=device)
        self.frames = torch.stack([s.frame for s in self.samplers])
        shares = 1 if together else min(workers, len(self.samplers))
        self.shares = [range(p[0], p[-1] + 1) for p in np.array_split(np.arange(len(self.samplers)), shares)]
        self.batched = len(self.samplers) if together else 1  # tiles in one product
        sizes = torch.tensor([len(s) for s in self.samplers], device=device)
        self.counts = sizes.view(-1, self.parts).sum(1)
        self.share = (self.counts / sum(counts)).float()  # of all voxels, (tiles,)
        self.portion = (sizes / sum(counts)).float()  # the same of each portion
        self._spaces: SimpleQueue[Workspace] = SimpleQueue()

    def gradient(self, weights: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Mean squared error of each tile, (tiles,), and the gradient of that of all voxels."""
        tensors = backprop.with_omega(self.layout, weights)
        gradients = [weights.new_empty(len(self.samplers), n, m) for n, m in self.layout.shapes]

        def piece(share: range) -> Tensor:
            space = self._take()
            run = self._batch if self.batched > 1 else self._portions
            errors = run(tensors, share, step, space, gradients)
            self._spaces.put(space)
            return errors

        errors = torch.cat(self.pool(piece, self.shares)) * self.portion
        whole = backprop.without_omega(self.layout, gradients).mul_(self.portion[:, None])
        if self.parts == 1:
            return errors / self.share, whole
        shape = (len(self.share), self.parts)
        return errors.view(shape).sum(1) / self.share, whole.view(*shape, -1).sum(1)

    def errors(self, weights: Tensor) -> Tensor:
        """Mean squared error of each tile over all its voxels, (tiles,), float64."""
        tensors = backprop.with_omega(self.layout, weights)

        def piece(k: int) -> Tensor:
            t, sampler, space = k // self.parts, self.samplers[k], self._take()
            own = [p[t : t + 1] for p in tensors]
            sines, cosines = ([b[:1] for b in buffers] for buffers in (space.sines, space.cosines))
            with torch.no_grad():
                total = self.kernels.squared_error(
                    own, sampler.index, sampler.values, self.frames[k], sines, cosines, space.out[:1]
                )
            self._spaces.put(space)
            return total

        sums = torch.stack(self.pool(piece, range(len(self.samplers))))
        return sums.view(-1, self.parts).sum(1) / self.counts

    def _portions(
        self, tensors: list[Tensor], share: range, step: int, space: Workspace, gradients: list[Tensor]
    ) -> Tensor:
        """Errors of some portions, one after the other: their activations stay in a core's cache."""
        own = self.samplers[share.start : share.stop]
        with torch.no_grad():
            return self.kernels.backward_portions(
                tensors,
                [k // self.parts for k in share],
                [s.index for s in own],
                [s.values for s in own],
                [s.draw(step) for s in own],
                self.frames[share.start : share.stop],
                space.sines,
                space.cosines,
                space.buffers,
                [g[share.start : share.stop] for g in gradients],
            )

    def _batch(
        self, tensors: list[Tensor], share: range, step: int, space: Workspace, gradients: list[Tensor]
    ) -> Tensor:
        """Errors of all tiles in one batch, on an accelerator."""
        rows = [s.draw(step) for s in self.samplers]
        index = torch.stack([s.index[r] for s, r in zip(self.samplers, rows, strict=True)])
        y = torch.stack([s.values[r] for s, r in zip(self.samplers, rows, strict=True)])
        x = index.float() * self.frames[:, :1] - self.frames[:, 1:]
        with torch.no_grad():
            return self.kernels.backward(tensors, x, y, space.sines, space.cosines, space.buffers, gradients)

    def _take(self) -> Workspace:
        """A workspace that is not in use."""
        try:
            return self._spaces.get_nowait()
        except Empty:
            return Workspace(self.layout, self.batched, self.rows, self.device)
