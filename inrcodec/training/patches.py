"""Random patches of training material, augmented and degraded.

In: material.  Out: batches of low-res patches, and what has to be added to their Lanczos up-sampling.
The one law: the batch of a step is a function of the seed and the step: a resumed run is the same run.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log, sqrt
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from inrcodec.errors import InputError, UsageError
from inrcodec.layers import resample
from inrcodec.layers.superres.network import Architecture
from inrcodec.training.dataset import Material
from inrcodec.training.degrade import imitate
from inrcodec.training.options import CLEAN
from inrcodec.volume.box import Shape

BORDER = 2  # low-res voxels at the rim of a patch that see padding instead of data: not in the loss
RIM = 1  # low-res voxels around a patch: with the border all that Lanczos reaches for
SPREAD = 0x9E3779B1  # from the steps of one seed to those of the next; a generator takes 32 bits
FITTED = 0.6  # share of the degraded patches that come from real fits, where there are any
MOST = 1.25  # times the error of a real fit: from nothing to coarser than any
FAINTEST = 1e-6  # mean squared error, of [-1, 1], below which nothing is worth more
UNEVEN = 0.4  # log of the largest ratio between the noise of an imitation and what the network is told
LEVELS = (1e-5, 2e-3)  # of the imitation: low-res volumes of about 53 to 34 dB


class Batch(NamedTuple):
    """Of one step, float32.

    Attributes
    ----------
    low, target : (batch, 1, *low) and (batch, 1, *high).
    weight : (batch,), one over the squared error that Lanczos is expected to leave: of the volume, and of
        what the patch was degraded by; times the root of that of the volume alone.  A decibel then counts as
        much on a clean patch as on a coarse one, and more in a volume of which Lanczos loses more.
    noise : (batch,), root mean square error of the low-res volume that the patch is from.
    """

    low: Tensor
    target: Tensor
    weight: Tensor
    noise: Tensor


class Patches:
    """Patches of all materials: a large one counts more, but not in proportion.

    Parameters
    ----------
    material : to draw from.
    arch : of the network.
    size : of a patch in low-res voxels; it shrinks to the smallest material.
    seed : of all randomness.
    clean : share of the patches that are not degraded.
    """

    def __init__(
        self, material: Sequence[Material], arch: Architecture, size: Shape, seed: int, clean: float = CLEAN
    ) -> None:
        self.groups = [g for g in _by_origin(material) if g]
        self.rims = [RIM if f > 1 else 0 for f in arch.factor]
        least = [1 + 2 * BORDER if axis >= 3 - arch.dims else 1 for axis in range(3)]
        if any(n < most for n, most in zip(size, least, strict=True)):
            raise UsageError(f"patch {size} is too small, allowed: at least {tuple(least)}", value=size)
        for m in material:
            if any(n - 2 * r < most for n, r, most in zip(m.low.shape, self.rims, least, strict=True)):
                raise InputError(
                    f"{m.name} ({m.version}) has {tuple(m.low.shape)} low-res voxels, too few for a patch of "
                    f"{tuple(least)} and its rim; leave it out",
                    value=tuple(m.low.shape),
                )
        shortest = [min(m.low.shape[axis] for m in material) - 2 * r for axis, r in enumerate(self.rims)]
        z, y, x = (min(n, most) for n, most in zip(size, shortest, strict=True))
        self.size, self.factor, self.seed, self.clean = (z, y, x), arch.factor, seed, clean
        self.up = [_up_matrix(n, f, r) for n, f, r in zip(self.size, arch.factor, self.rims, strict=True)]

    def draw(self, step: int, batch: int) -> Batch:
        """The patches of one step."""
        generator = torch.Generator().manual_seed((self.seed * SPREAD + step) % 2**32)
        low, target, weight, noise = zip(*(self._one(generator) for _ in range(batch)), strict=True)
        pairs = torch.stack(low)[:, None], torch.stack(target)[:, None]
        return Batch(*pairs, torch.tensor(weight), torch.tensor(noise))

    def _one(self, generator: torch.Generator) -> tuple[Tensor, Tensor, float, float]:
        clean = _uniform(generator) < self.clean
        fitted = not clean and len(self.groups) > 1 and _uniform(generator) < FITTED
        m = _chosen(self.groups[int(fitted)], generator)
        place = m.places[_integer(len(m.places), generator)]
        corner = [
            min(max(int(p) - n // 2, r), full - n - r)
            for p, n, full, r in zip(place, self.size, m.low.shape, self.rims, strict=True)
        ]
        seen = tuple(slice(c - r, c + n + r) for c, n, r in zip(corner, self.size, self.rims, strict=True))
        error, noise = (torch.zeros_like(m.low[seen]), 0.0) if clean else self._error(m, seen, generator)
        low = m.low[seen] + error
        spans = zip(corner, self.size, self.factor, strict=True)
        target = m.full[tuple(slice(c * f, (c + n) * f) for c, n, f in spans)] - self._up(low)
        within = tuple(slice(r, r + n) for n, r in zip(self.size, self.rims, strict=True))
        inner = low[within].clamp(-1, 1)  # as the decoder does
        flips = [axis for axis in range(3) if _integer(2, generator)]
        inner, target = inner.flip(flips), target.flip(flips)
        turned = self.size[1] == self.size[2] and self.factor[1] == self.factor[2] and _integer(2, generator)
        expected = m.ceiling + float(error.square().mean()) + FAINTEST
        weight = sqrt(m.ceiling + FAINTEST) / expected
        return (*((inner.mT, target.mT) if turned else (inner, target)), weight, noise)

    def _error(
        self, m: Material, place: tuple[slice, ...], generator: torch.Generator
    ) -> tuple[Tensor, float]:
        """What a file of some size would add to a low-res patch with its rim, and how much in the volume."""
        if m.error is not None:
            share = MOST * _uniform(generator)
            return m.error[place] * share, m.noise * share
        first, last = map(log, LEVELS)
        error = imitate(m.low[place], exp(first + (last - first) * _uniform(generator)), generator)
        # A patch errs more than its volume, or less.
        return error, float(error.square().mean().sqrt()) * exp(UNEVEN * (2 * _uniform(generator) - 1))

    def _up(self, low: Tensor) -> Tensor:
        z, y, x = self.up
        up: Tensor = torch.tensordot(z, y @ (low @ x.T), 1)
        return up


def _by_origin(material: Sequence[Material]) -> tuple[list[Material], list[Material]]:
    """Material without and with real fits."""
    return [m for m in material if m.error is None], [m for m in material if m.error is not None]


def _chosen(material: list[Material], generator: torch.Generator) -> Material:
    weights = torch.tensor([float(len(m.places)) for m in material]).sqrt()
    return material[int(torch.multinomial(weights, 1, generator=generator))]


def _integer(below: int, generator: torch.Generator) -> int:
    return int(torch.randint(below, (1,), generator=generator))


def _uniform(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))


def _up_matrix(n: int, factor: int, rim: int) -> Tensor:
    """Lanczos of an axis of n voxels and their rims, to the n alone."""
    low = n + 2 * rim
    inside = slice(rim * factor, (rim + n) * factor)
    matrix = resample.matrix_up(low, factor, low * factor, inside, slice(None))
    return torch.from_numpy(matrix.astype(np.float32))
