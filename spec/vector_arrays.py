"""The voxels of the conformance cases (see make_vectors): small volumes with something to be coded."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def blob(shape: tuple[int, int, int], radius: float = 0.8) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """An off-centre ellipsoid, and a smooth texture in [-1, 1]."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape), indexing="ij")
    inside = (z / 1.3 + 0.1) ** 2 + (y - 0.1) ** 2 + (1.3 * x) ** 2 < radius**2
    return inside, np.sin(3 * x + 2 * z) * np.cos(4 * y - z)


def ct(shape: tuple[int, int, int], radius: float = 0.6) -> NDArray[np.int16]:
    inside, texture = blob(shape, radius)
    return np.where(inside, np.rint(40 + 300 * texture), -1024).astype(np.int16)


def padded() -> NDArray[np.int16]:
    array = ct((8, 24, 28))
    y, x = np.ogrid[-1:1:24j, -1:1:28j]
    array[:, x**2 + y**2 > 1] = -2000
    return array


def cornered() -> NDArray[np.int16]:
    array = noisy((9, 20, 20))
    array[:3, :6, :5] = -2000
    return array


def noisy(shape: tuple[int, int, int]) -> NDArray[np.int16]:
    noise = np.random.default_rng(0).normal(scale=12, size=shape)
    return np.where(blob(shape, 0.6)[0], ct(shape) + np.rint(noise), -1024).astype(np.int16)


def spiky() -> NDArray[np.uint32]:
    rng = np.random.default_rng(1)
    quiet = rng.integers(0, 3, (12, 30, 31)) + 2**31
    return np.where(rng.random(quiet.shape) < 0.003, rng.integers(0, 2**32, quiet.shape), quiet).astype(
        np.uint32
    )


def mr() -> NDArray[np.uint8]:
    inside, texture = blob((12, 20, 20))
    return np.where(inside, np.rint(130 + 90 * texture), 3).astype(np.uint8)


def image() -> NDArray[np.uint16]:
    _, texture = blob((1, 40, 36))
    return np.rint(3000 + 2500 * texture[0]).astype(np.uint16)


def texture(shape: tuple[int, int, int]) -> NDArray[np.float32]:
    return (0.25 * blob(shape)[1]).astype(np.float32)


def special(shape: tuple[int, int, int], dtype: str = "float32") -> NDArray[np.floating[Any]]:
    """Whole numbers, NaN in a corner, others with bits of their own, infinities, and both zeros."""
    values = np.rint(300 * blob(shape)[1]).astype(dtype) + np.dtype(dtype).type(0)
    values[:3, :5, :7], values[4:6, 8:, :9] = np.nan, 0
    values[-1, -3:, -3:], values[-2, -1, -1], values[0, -1, -1] = np.inf, -np.inf, -0.0
    if dtype == "float32":
        values.view(np.uint32)[-1, 0, :4] = (0x7FC00001, 0xFFC00000, 0xFF812345, 0x7F800000)
    return values


def half(shape: tuple[int, int, int]) -> NDArray[np.float16]:
    return (300 * blob(shape)[1]).astype(np.float16)
