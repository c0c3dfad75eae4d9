"""Random patches of training volumes, mirrored, transposed and degraded.

In: training volumes.  Out: batches of low-res patches, and the residuals of their Lanczos up-sampling.
Invariant: the batch of a step is a function of the seed and the step, so a resumed training is the same one.
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
from inrcodec.layers.superres.architectures import Architecture
from inrcodec.training.dataset import TrainingVolume
from inrcodec.training.degrade import simulated_error
from inrcodec.training.options import CLEAN
from inrcodec.volume.box import Shape

BORDER = 2  # low-res voxels at the border of a patch that see padding instead of data: not in the loss
RIM = 1  # low-res voxels around a patch: with the border as far as Lanczos reaches
SEED_STRIDE = 0x9E3779B1  # between the step numbers of two seeds; a torch generator takes 32 bits
# Weights of what degrades a patch: real fits, real streams, which have the most settings, and simulated
# errors, which are much like those of fits.
KINDS = {"siren": 3.0, "av1": 12.0, "latent": 12.0, "": 2.0}
LARGEST = 1.25  # times the error of a real fit: from none to coarser than any; a stream's is taken as it is
FLOOR = 1e-6  # mean squared error in unit values below which a smaller one has no larger weight
UNEVENNESS = 0.4  # largest log ratio of the noise level given to the network to the error of a patch
LEVELS = (1e-5, 2e-3)  # of the simulated error: low-res volumes of about 53 to 34 dB

Slices = tuple[slice, ...]


class Batch(NamedTuple):
    """One step's patches, float32.

    Attributes
    ----------
    low, target : (batch, 1, *low) and (batch, 1, *high).
    weight : (batch,), one over the squared error that Lanczos is expected to leave (of the volume, and of
        what the patch was degraded by), times the root of that of the volume alone.  A decibel then counts
        as much on a clean patch as on a coarse one, and more in a volume of which Lanczos loses more.
    noise : (batch,), root mean square error of the low-res volume of each patch: the noise-level input.
    """

    low: Tensor
    target: Tensor
    weight: Tensor
    noise: Tensor


class Patches:
    """Draws patches of all volumes: a large one more often, by the root of its foreground.

    Parameters
    ----------
    size : (z, y, x) of a patch in low-res voxels; reduced to what the smallest volume holds.
    clean : share of the patches that are not degraded, 0 to 1.
    """

    def __init__(
        self,
        volumes: Sequence[TrainingVolume],
        arch: Architecture,
        size: Shape,
        seed: int,
        clean: float = CLEAN,
    ) -> None:
        check_size(size, arch)
        check_volumes(volumes, arch)
        kinds = {kind: [v for v in volumes if v.coder == kind] for kind in KINDS}
        self.groups = {kind: found for kind, found in kinds.items() if found}
        self.weights = torch.tensor([KINDS[kind] for kind in self.groups])
        self.rims = _rims(arch)
        shortest = [min(v.lowres.shape[axis] for v in volumes) - 2 * r for axis, r in enumerate(self.rims)]
        z, y, x = map(min, size, shortest)
        self.size, self.factor, self.seed, self.clean = (z, y, x), arch.factor, seed, clean
        self.up = [_up_matrix(n, f, r) for n, f, r in zip(self.size, arch.factor, self.rims, strict=True)]

    def draw(self, step: int, batch: int) -> Batch:
        """The patches of one step."""
        generator = torch.Generator().manual_seed((self.seed * SEED_STRIDE + step) % 2**32)
        low, target, weight, noise = zip(*(self._one(generator) for _ in range(batch)), strict=True)
        pairs = torch.stack(low)[:, None], torch.stack(target)[:, None]
        return Batch(*pairs, torch.tensor(weight), torch.tensor(noise))

    def _one(self, generator: torch.Generator) -> tuple[Tensor, Tensor, float, float]:
        clean = _uniform(generator) < self.clean
        kind = "" if clean else list(self.groups)[_weighted(self.weights, generator)]
        volume = _chosen(self.groups[kind], generator)
        corner = self._corner(volume, generator)
        seen = tuple(slice(c - r, c + n + r) for c, n, r in zip(corner, self.size, self.rims, strict=True))
        lowres = volume.lowres[seen]
        error, noise = (torch.zeros_like(lowres), 0.0) if clean else self._degraded(volume, seen, generator)
        low, target = self._pair(volume, corner, lowres + error)
        flips = [axis for axis in range(3) if _integer(2, generator)]
        low, target = low.flip(flips), target.flip(flips)
        if self.size[1] == self.size[2] and self.factor[1] == self.factor[2] and _integer(2, generator):
            low, target = low.mT, target.mT
        expected = volume.lanczos_mse + float(error.square().mean()) + FLOOR
        return low, target, sqrt(volume.lanczos_mse + FLOOR) / expected, noise

    def _corner(self, volume: TrainingVolume, generator: torch.Generator) -> list[int]:
        """First low-res voxel (z, y, x) of a patch around a random foreground voxel."""
        centre = volume.foreground[_integer(len(volume.foreground), generator)]
        axes = zip(centre, self.size, volume.lowres.shape, self.rims, strict=True)
        return [min(max(int(c) - n // 2, r), full - n - r) for c, n, full, r in axes]

    def _pair(self, volume: TrainingVolume, corner: list[int], low: Tensor) -> tuple[Tensor, Tensor]:
        """A low-res patch without its rim, clipped as in the decoder, and the residual of Lanczos."""
        spans = zip(corner, self.size, self.factor, strict=True)
        target = volume.highres[tuple(slice(c * f, (c + n) * f) for c, n, f in spans)] - self._up(low)
        within = tuple(slice(r, r + n) for n, r in zip(self.size, self.rims, strict=True))
        return low[within].clamp(-1, 1), target

    def _degraded(
        self, volume: TrainingVolume, place: Slices, generator: torch.Generator
    ) -> tuple[Tensor, float]:
        """Error of a low-res patch with its rim at a random rate, and the noise level of its volume."""
        if volume.error is not None:
            share = LARGEST * _uniform(generator) if volume.coder == "siren" else 1.0
            return volume.error[place] * share, volume.noise * share
        first, last = map(log, LEVELS)
        level = exp(first + (last - first) * _uniform(generator))
        error = simulated_error(volume.lowres[place], level, generator)
        # The error of a patch is larger or smaller than that of its volume.
        return error, float(error.square().mean().sqrt()) * exp(UNEVENNESS * (2 * _uniform(generator) - 1))

    def _up(self, low: Tensor) -> Tensor:
        z, y, x = self.up
        up: Tensor = torch.tensordot(z, y @ (low @ x.T), 1)
        return up


def check_size(size: Shape, arch: Architecture) -> None:
    """Refuse patches that are all border."""
    least = _least(arch)
    if any(n < most for n, most in zip(size, least, strict=True)):
        raise UsageError(f"{size} is too small, allowed: at least {least}", value=size, option="patch")


def check_volumes(volumes: Sequence[TrainingVolume], arch: Architecture) -> None:
    """Refuse volumes that do not hold the smallest patch and its rim."""
    least, rims = _least(arch), _rims(arch)
    for v in volumes:
        shape = tuple(v.lowres.shape)
        if any(n - 2 * r < most for n, r, most in zip(shape, rims, least, strict=True)):
            raise InputError(
                f"{v.name} ({v.version}) has {shape} low-res voxels, too few for a patch of {least} and its "
                "rim; leave it out",
                value=shape,
            )


def _least(arch: Architecture) -> tuple[int, ...]:
    return tuple(1 + 2 * BORDER if axis >= 3 - arch.dims else 1 for axis in range(3))


def _rims(arch: Architecture) -> list[int]:
    return [RIM if f > 1 else 0 for f in arch.factor]


def _chosen(volumes: list[TrainingVolume], generator: torch.Generator) -> TrainingVolume:
    weights = torch.tensor([float(len(v.foreground)) for v in volumes]).sqrt()
    return volumes[_weighted(weights, generator)]


def _weighted(weights: Tensor, generator: torch.Generator) -> int:
    return int(torch.multinomial(weights, 1, generator=generator))


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
