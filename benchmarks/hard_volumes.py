"""Volumes that a fit could stumble over: each a small array (z, y, x) made from a seed."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Array = NDArray[Any]
Float = NDArray[np.float64]

SHAPE = (20, 32, 32)


def grid(shape: tuple[int, int, int] = SHAPE) -> tuple[Float, Float, Float]:
    """Coordinates in [-1, 1] that broadcast."""
    z, y, x = (np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape)
    return z[:, None, None], y[:, None], x


def stored(values: Float, low: float = -1000, high: float = 2000, dtype: Any = np.int16) -> Array:
    """Values from 0 to 1, clipped, as ``low`` to ``high``."""
    return np.rint(low + np.clip(values, 0, 1) * (high - low)).astype(dtype)


def smooth(rng: Generator, shape: tuple[int, int, int] = SHAPE) -> Float:
    """A few long waves, 0 to 1."""
    z, y, x = grid(shape)
    waves = np.zeros(shape)
    for _ in range(4):
        a, b, c, phase = rng.uniform(-3, 3, 4)
        waves += np.sin(a * z + b * y + c * x + phase)
    return (waves / 4 + 1) / 2


def boxes(rng: Generator) -> Float:
    """Bodies with sharp edges."""
    values = np.zeros(SHAPE)
    for _ in range(12):
        a, b = np.sort(rng.integers(0, np.array(SHAPE)[:, None], (3, 2))).T
        values[a[0] : b[0] + 1, a[1] : b[1] + 1, a[2] : b[2] + 1] = rng.uniform()
    return values


def anatomy(rng: Generator) -> Float:
    """A shell of bone around something soft, in air: -1000 to 1500."""
    z, y, x = grid()
    radius = np.sqrt((z * 0.8) ** 2 + y**2 + x**2) + 0.04 * np.sin(5 * y + rng.uniform(0, 6))
    soft = np.where(radius < 0.85, 40 + 20 * np.sin(4 * x) * np.cos(3 * z), -1000.0)
    return np.where((radius > 0.7) & (radius < 0.85), 1500.0, soft)


def metal_clip(rng: Generator) -> Array:
    """One voxel that stretches the range forty times."""
    values = stored(smooth(rng), 0, 800)
    values[tuple(rng.integers(0, SHAPE))] = 32_000
    return values


def metal_clips(rng: Generator) -> Array:
    """A few far ones, both ways, in a scan."""
    values = anatomy(rng).astype(np.int32)
    for value in (30_000, 28_000, -30_000, 31_000):
        values[tuple(rng.integers(0, SHAPE))] = value
    return values


def points(rng: Generator) -> Array:
    """Three voxels in a thousand, in air."""
    return np.where(rng.random(SHAPE) < 0.003, 1000, -1000).astype(np.int16)


def one_point(rng: Generator) -> Array:
    values = np.zeros(SHAPE, dtype=np.int16)
    values[tuple(rng.integers(0, SHAPE))] = 500
    return values


def half_empty(rng: Generator) -> Array:
    """Fine structure on one side, nothing on the other: tiles of very different work."""
    values = rng.normal(size=SHAPE) * 0.05 + boxes(rng)
    values[..., SHAPE[2] // 2 :] = 0.0
    return stored(values)


def checkerboard(edge: int) -> Array:
    index = np.indices(SHAPE) // edge
    return np.where(index.sum(0) % 2, 1000, -1000).astype(np.int16)


def stripes(rng: Generator) -> Float:
    """Waves four voxels long along a slant."""
    z, y, x = np.indices(SHAPE)
    values: Float = 0.5 + 0.5 * np.sin(1.5 * x + 0.3 * y + 0.2 * z + rng.uniform(0, 6))
    return values


def ramp(rng: Generator) -> Float:
    """A plane gradient in any direction, 0 to 1."""
    values = np.zeros(SHAPE)
    for slope, axis in zip(rng.uniform(-1, 1, 3), grid(), strict=True):
        values += slope * axis
    values -= values.min()
    values /= values.max()
    return values


def noise(rng: Generator) -> Float:
    return rng.normal(0.5, 0.15, SHAPE)


def steep(rng: Generator) -> Array:
    """Six orders of magnitude: nearly all values lie at the bottom of the range."""
    return np.exp(14 * smooth(rng)).astype(np.float32)


HARD: dict[str, Callable[[Generator], Array]] = {
    "smooth": lambda rng: stored(smooth(rng)),
    "noise": lambda rng: stored(noise(rng)),
    "thin slice": lambda rng: stored(smooth(rng, (1, 96, 96))),
    "boxes": lambda rng: stored(boxes(rng)),
    "metal clip": metal_clip,
    "checkerboard of voxels": lambda rng: checkerboard(1),
    "long": lambda rng: stored(smooth(rng, (3, 4, 1500))),
    "constant": lambda rng: np.full(SHAPE, -1000, dtype=np.int16),
    "tiny": lambda rng: stored(rng.random((2, 3, 2))),
    "ramp": lambda rng: stored(ramp(rng)),
    "16 bits": lambda rng: stored(boxes(rng), 0, 65_535, np.uint16),
    "anatomy": lambda rng: anatomy(rng).astype(np.int16),
    "sparse points": points,
    "staircase": lambda rng: stored(np.floor(6 * ramp(rng)) / 6),
    "int32": lambda rng: stored(smooth(rng), -2e9, 2e9, np.int32),
    "half empty": half_empty,
    "steep": steep,
    "checkerboard of blocks": lambda rng: checkerboard(4),
    "smooth with noise": lambda rng: stored(0.7 * smooth(rng) + 0.3 * noise(rng)),
    "small floats": lambda rng: (1e-7 * smooth(rng)).astype(np.float32),
    "one point": one_point,
    "metal clips": metal_clips,
    "stripes": lambda rng: stored(stripes(rng)),
    "large floats": lambda rng: 1e12 * (boxes(rng) + 1e-3 * noise(rng)),
    "two levels": lambda rng: (smooth(rng) > 0.5).astype(np.uint8),
    "line": lambda rng: stored(smooth(rng, (1, 1, 400))),
    "one voxel": lambda rng: np.full((1, 1, 1), 7, dtype=np.int16),
}
