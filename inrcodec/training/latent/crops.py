"""Random crops of low-res volumes, mirrored, transposed, scaled and made noisy.

In: low-res volumes.  Out: batches of crops, the rate and the noise of each.
Invariant: the batch of a step is a function of the seed and the step, so a resumed training is the same one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from inrcodec.errors import InputError
from inrcodec.training.latent.materials import Material
from inrcodec.volume.arrays import Float32
from inrcodec.volume.box import Shape

SHAPES: tuple[Shape, ...] = ((32, 48, 48), (16, 64, 64))  # the second where a volume has fewer slices
FLAT, AIR = 0.02, 0.1  # standard deviation below which a crop is mostly one value, and how many of these stay
SCALED, SPREAD = 0.35, 0.4  # share of crops whose contrast is another, and the spread of its logarithm
NOISY, NOISIEST = 0.1, 0.02  # share of crops that are made noisy, and the largest standard deviation
NEGATIVE = 0.05  # share of crops that are turned upside down


class Batch(NamedTuple):
    """One step's crops.

    Attributes
    ----------
    values : (batch, 1, z, y, x), float32.
    rates : (batch,), float32, in [-1, 1].
    seed : of the noise that stands for rounding.
    """

    values: Tensor
    rates: Tensor
    seed: int


class Crops:
    """Draws crops of all volumes: a large one more often, by the root of its voxels."""

    def __init__(self, materials: Sequence[Material], seed: int) -> None:
        if not materials:
            raise InputError("no volume to train on, name one", value=0)
        self.materials, self.seed = materials, seed
        groups = {shape: [m for m in materials if _holds(m, shape)] for shape in SHAPES}
        self.groups = {shape: found for shape, found in groups.items() if found}
        if not self.groups:  # as large a crop as there is in all
            z, y, x = (min(n) for n in zip(SHAPES[1], *(m.values.shape for m in materials), strict=True))
            self.groups = {(z, y, x): list(materials)}

    def draw(self, step: int, batch: int) -> Batch:
        """The crops of one step, all of one shape."""
        rng = np.random.default_rng((self.seed, step))
        shapes = list(self.groups)
        shape = shapes[rng.integers(len(shapes))]
        crops = [_augmented(self._crop(shape, rng), rng) for _ in range(batch)]
        rates = rng.uniform(-1, 1, batch).astype(np.float32)
        return Batch(
            torch.from_numpy(np.stack(crops))[:, None], torch.from_numpy(rates), int(rng.integers(1 << 62))
        )

    def _crop(self, shape: Shape, rng: np.random.Generator) -> Float32:
        group = self.groups[shape]
        weights = np.array([material.weight for material in group])
        while True:
            values = group[rng.choice(len(group), p=weights / weights.sum())].values
            first = [int(rng.integers(0, n - m + 1)) for n, m in zip(values.shape, shape, strict=True)]
            crop = values[tuple(slice(a, a + m) for a, m in zip(first, shape, strict=True))]
            if crop.std() >= FLAT or rng.random() < AIR:
                return crop


def _holds(material: Material, shape: Shape) -> bool:
    return all(n >= m for n, m in zip(material.values.shape, shape, strict=True))


def _augmented(crop: Float32, rng: np.random.Generator) -> Float32:
    for axis in range(3):
        if rng.random() < 0.5:
            crop = np.flip(crop, axis)
    if crop.shape[1] == crop.shape[2] and rng.random() < 0.5:
        crop = crop.transpose(0, 2, 1)
    if rng.random() < SCALED:
        crop = (crop + 1) * np.float32(np.exp(rng.normal() * SPREAD)) - 1
    if rng.random() < NOISY:
        noise = rng.normal(size=crop.shape).astype(np.float32)
        crop = crop + noise * np.float32(rng.random() * NOISIEST)
    if rng.random() < NEGATIVE:
        crop = -crop
    return np.ascontiguousarray(crop, dtype=np.float32)
