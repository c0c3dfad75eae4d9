"""What the fit makes small: the squared error of all tiles over their voxels, with its gradient.

In: weights of all tiles and a step's number.  Out: errors and gradients, computed in portions by a pool.
The one law: portions follow from the tiles and the batch, never from the threads, and are summed in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.encoder.fit import backprop, sampling
from inrcodec.encoder.fit.backprop import Workspace, compiled
from inrcodec.encoder.fit.sampling import Samples
from inrcodec.layers.base.siren.siren import Layout
from inrcodec.layers.base.siren.tiles import Tile
from inrcodec.parallel import Pool

CACHED = 1 << 17  # activations of a layer that a core works on at a time: half a megabyte


class Objective:
    """Errors of all tiles.

    Parameters
    ----------
    layout : shapes of every tile's network.
    tiles, values : the tiles and, for each, its voxels' targets, (n,), in [-1, 1].
    batch : samples a tile and step.
    seed : of the order of the samples.
    pool, workers : ``map`` over pieces of work, and how many it does at a time.
    """

    def __init__(
        self,
        layout: Layout,
        tiles: Sequence[Tile],
        values: Sequence[NDArray[np.float64]],
        *,
        batch: int,
        seed: int,
        device: str,
        pool: Pool[Any, Any],
        workers: int,
    ) -> None:
        self.layout, self.device, self.pool = layout, device, pool
        counts = [len(v) for v in values]
        together = device != "cpu"  # there all tiles are one batch
        least = 2 if len(tiles) in (1, 3) else 1  # portions of a tile, so that two cores have the same work
        batch = min(batch, max(counts))  # more would only repeat voxels
        self.parts = 1 if together else max(least, -(-batch * layout.width // CACHED))
        self.rows = -(-batch // self.parts)
        self.samples: list[Samples] = []
        for t, (tile, v) in enumerate(zip(tiles, values, strict=True)):
            seeds = np.random.SeedSequence([seed, t]).generate_state(self.parts).tolist()
            self.samples += sampling.of(tile, v, self.parts, self.rows, seeds, device)
        self.frames = torch.stack([s.frame for s in self.samples])
        shares = 1 if together else min(workers, len(self.samples))
        self.shares = [range(p[0], p[-1] + 1) for p in np.array_split(np.arange(len(self.samples)), shares)]
        self.batched = len(self.samples) if together else 1  # tiles in one product
        sizes = torch.tensor([len(s) for s in self.samples], device=device)
        self.counts = sizes.view(-1, self.parts).sum(1)
        self.share = (self.counts / sum(counts)).float()  # of all voxels, (tiles,)
        self.portion = (sizes / sum(counts)).float()  # the same of each portion
        self._spaces: SimpleQueue[Workspace] = SimpleQueue()

    def gradient(self, weights: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Mean squared error of each tile, (tiles,), and the gradient of that of all voxels."""
        tensors = backprop.scaled(self.layout, weights)
        slopes = [weights.new_empty(len(self.samples), n, m) for n, m in self.layout.shapes]

        def piece(share: range) -> Tensor:
            space = self._take()
            errors = (self._batch if self.batched > 1 else self._portions)(
                tensors, share, step, space, slopes
            )
            self._spaces.put(space)
            return errors

        errors = torch.cat(self.pool(piece, self.shares)) * self.portion
        found = backprop.unscaled(self.layout, slopes).mul_(self.portion[:, None])
        if self.parts == 1:
            return errors / self.share, found
        shape = (len(self.share), self.parts)
        return errors.view(shape).sum(1) / self.share, found.view(*shape, -1).sum(1)

    def errors(self, weights: Tensor) -> Tensor:
        """Mean squared error of each tile over all its voxels, (tiles,), float64."""
        tensors = backprop.scaled(self.layout, weights)

        def piece(k: int) -> Tensor:
            t, of, space = k // self.parts, self.samples[k], self._take()
            mine = [p[t : t + 1] for p in tensors]
            sines, cosines = ([b[:1] for b in found] for found in (space.sines, space.cosines))
            with torch.no_grad():
                total = compiled(backprop.squares)(
                    mine, of.index, of.values, self.frames[k], sines, cosines, space.out[:1]
                )
            self._spaces.put(space)
            return total

        sums = torch.stack(self.pool(piece, range(len(self.samples))))
        return sums.view(-1, self.parts).sum(1) / self.counts

    def _portions(
        self, tensors: list[Tensor], share: range, step: int, space: Workspace, slopes: list[Tensor]
    ) -> Tensor:
        """Errors of some portions, one after the other: their activations stay in a core's cache."""
        mine = self.samples[share.start : share.stop]
        with torch.no_grad():
            return compiled(backprop.portions)(
                tensors,
                [k // self.parts for k in share],
                [s.index for s in mine],
                [s.values for s in mine],
                [s.draw(step) for s in mine],
                self.frames[share.start : share.stop],
                space.sines,
                space.cosines,
                space.buffers,
                [s[share.start : share.stop] for s in slopes],
            )

    def _batch(
        self, tensors: list[Tensor], share: range, step: int, space: Workspace, slopes: list[Tensor]
    ) -> Tensor:
        """Errors of all tiles in one batch, on an accelerator."""
        rows = [s.draw(step) for s in self.samples]
        index = torch.stack([s.index[r] for s, r in zip(self.samples, rows, strict=True)])
        y = torch.stack([s.values[r] for s, r in zip(self.samples, rows, strict=True)])
        x = index.float() * self.frames[:, :1] - self.frames[:, 1:]
        return space.gradient(tensors, x, y, slopes)

    def _take(self) -> Workspace:
        """A workspace that nobody uses at the moment."""
        try:
            return self._spaces.get_nowait()
        except Empty:
            return Workspace(self.layout, self.batched, self.rows, self.device)
