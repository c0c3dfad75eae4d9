"""What the fit makes small: the squared error of all tiles over their voxels, with its gradient.

In: weights of all tiles and a step's number.  Out: errors and gradients, computed in portions by a pool.
The one law: portions follow from the tiles and the batch, never from the threads, and are summed in order.
"""

from __future__ import annotations

from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec import gradient, samples
from inrcodec.gradient import Workspace
from inrcodec.samples import Samples
from inrcodec.siren import Layout
from inrcodec.tiles import Tile
from inrcodec.workers import Pool

CACHED = 1 << 17  # activations of a layer that a core works on at a time: half a megabyte


class Objective:
    """Errors of all tiles.

    Parameters
    ----------
    layout : shapes of every tile's network.
    tiles, values : the tiles and, for each, its voxels' targets, (n,), in [-1, 1].
    batch : samples a tile and step.
    seed : of the order of the samples.
    pool : ``map`` over pieces of work.
    """

    def __init__(
        self,
        layout: Layout,
        tiles: list[Tile],
        values: list[NDArray[np.float64]],
        *,
        batch: int,
        seed: int,
        device: str,
        pool: Pool[Any, Any],
    ) -> None:
        self.layout, self.device, self.pool = layout, device, pool
        counts = [len(v) for v in values]
        together = device != "cpu"  # there all tiles are one piece of work
        least = 2 if len(tiles) in (1, 3) else 1  # pieces of a tile, so that two cores have the same work
        batch = min(batch, max(counts))  # more would only repeat voxels
        self.parts = 1 if together else max(least, -(-batch * layout.width // CACHED))
        self.rows = -(-batch // self.parts)
        self.samples: list[Samples] = []
        for t, (tile, v) in enumerate(zip(tiles, values, strict=True)):
            seeds = np.random.SeedSequence([seed, t]).generate_state(self.parts).tolist()
            self.samples += samples.of(tile, v, self.parts, self.rows, seeds, device)
        size = len(self.samples)
        self.pieces = [slice(0, size)] if together else [slice(k, k + 1) for k in range(size)]
        sizes = torch.tensor([len(s) for s in self.samples], dtype=torch.float32, device=device)
        self.share = sizes.view(-1, self.parts).sum(1) / sum(counts)  # of all voxels, (tiles,)
        self.portion = sizes / sum(counts)  # the same of each portion
        self._spaces: SimpleQueue[Workspace] = SimpleQueue()

    def gradient(self, weights: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Mean squared error of each tile, (tiles,), and the gradient of that of all voxels."""
        tensors = gradient.scaled(self.layout, weights)
        slopes = weights.new_empty(len(self.samples), self.layout.weights)

        def piece(rows: slice) -> Tensor:
            x, y = zip(*[s.draw(step) for s in self.samples[rows]], strict=True)
            space, mine = self._take(), self._of(tensors, rows)
            errors = space.gradient(mine, torch.stack(x), torch.stack(y), slopes[rows])
            self._spaces.put(space)
            return errors

        errors = torch.cat(self.pool(piece, self.pieces)) * self.portion
        slopes *= self.portion[:, None]
        if self.parts == 1:
            return errors / self.share, slopes
        shape = (len(self.share), self.parts)
        return errors.view(shape).sum(1) / self.share, slopes.view(*shape, -1).sum(1)

    def errors(self, weights: Tensor) -> Tensor:
        """Mean squared error of each tile over all its voxels, (tiles,), float64."""
        tensors = gradient.scaled(self.layout, weights)

        def piece(k: int) -> Tensor:
            space = self._take()
            mine = self._of(tensors, slice(k, k + 1))
            squares = [
                (space.values(mine, x[None])[0, :, 0] - y).square().sum(dtype=torch.float64)
                for x, y in self.samples[k].all()
            ]
            self._spaces.put(space)
            return torch.stack(squares).sum()

        sums = torch.stack(self.pool(piece, range(len(self.samples))))
        counts = torch.tensor([len(s) for s in self.samples], device=sums.device).view(-1, self.parts)
        return sums.view(-1, self.parts).sum(1) / counts.sum(1)

    def _of(self, tensors: list[Tensor], portions: slice) -> list[Tensor]:
        """The tiles' tensors that some portions are evaluated with."""
        if self.parts > 1:  # one portion at a time
            portions = slice(portions.start // self.parts, portions.start // self.parts + 1)
        return [p[portions] for p in tensors]

    def _take(self) -> Workspace:
        """A workspace that nobody uses at the moment."""
        try:
            return self._spaces.get_nowait()
        except Empty:
            return Workspace(self.layout, self.pieces[0].stop - self.pieces[0].start, self.rows, self.device)
