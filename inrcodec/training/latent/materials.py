"""Low-res volumes as the latent networks see them.

In: volumes that :func:`inrcodec.io.read` takes.  Out: `Material`s, edges multiples of 16.
Invariant: a volume is for training or for evaluation, never for both; one full-res volume is held at a time.

The networks code low-res volumes of any factor, so each volume is used at all factors that an encoder might
choose for its spacing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inrcodec import io
from inrcodec.errors import InputError
from inrcodec.layers import resample
from inrcodec.layers.superres.registry import WINDOWS
from inrcodec.training.latent.network import MULTIPLE
from inrcodec.training.latent.options import LatentOptions
from inrcodec.training.options import CT
from inrcodec.volume.arrays import Float, Float32
from inrcodec.volume.box import Shape
from inrcodec.volume.modality import with_modality
from inrcodec.volume.volume import Volume

UNIT = 1000.0  # HU that are 1
PERCENTILE, BRIGHT = 99.5, 0.5  # of values without a unit: this percentile is this value, and 0 is -1
LEAST = 4  # low-res voxels along an axis: a block
# Weight of a volume by its in-plane factor, beside the root of its voxels: most files are reduced by 4.
SHARES = {5: 3.0, 4: 5.0, 3: 3.0, 2: 1.2, 1: 0.4}
FACTORS = (  # by the largest ratio of slice spacing to pixel size; those that leave about cubic voxels first
    (2.1, ((4, 4, 4), (3, 4, 4), (3, 3, 3), (2, 4, 4), (2, 2, 2), (1, 2, 2), (2, 3, 3), (1, 1, 1))),
    (4.0, ((2, 4, 4), (1, 4, 4), (1, 3, 3), (2, 3, 3), (1, 2, 2), (1, 1, 1))),
    (math.inf, ((1, 4, 4), (1, 5, 5), (1, 3, 3), (1, 2, 2), (1, 1, 1))),
)


@dataclass(frozen=True, eq=False)
class Material:
    """A low-res volume.

    Attributes
    ----------
    name, factor : of the volume, and what it was reduced by, (z, y, x).
    shape : voxels (z, y, x) of the low-res volume.
    values : network values, the last voxels repeated up to multiples of 16.
    """

    name: str
    factor: Shape
    shape: Shape
    values: Float32

    @property
    def weight(self) -> float:
        """How often it is drawn, beside others."""
        return SHARES[self.factor[1]] * math.sqrt(self.values.size)

    @property
    def whole(self) -> Float32:
        """Without what was repeated."""
        z, y, x = self.shape
        return self.values[:z, :y, :x]


def read(options: LatentOptions) -> tuple[list[Material], list[Material]]:
    """Volumes to train on at all factors, and those that are held out at their first.

    Of a single volume the last fifth of its slices is held out.  Where nothing is to be trained, only the
    latter are read.
    """
    training, held_out = options.split()
    if not held_out:
        return _split_in_two(training[0], options)
    seen = [material for path in training if options.steps for material in _materials(path, options)]
    return seen, [next(iter(_materials(path, options))) for path in held_out]


def network_values(volume: Volume, offset: float | None) -> Float32:
    """Values as the networks see them: 1 000 HU are 1; without a unit from -1 to 0.5 at a percentile.

    Parameters
    ----------
    offset : added to CT that is not in HU; ``None`` where the volume says what it is.
    """
    volume = volume.in_memory().uniform()
    volume.refuse_special()
    known = with_modality(volume, None if offset is None else CT)[0]
    slope, intercept = known.rescale
    physical = known.array.astype(np.float32) * np.float32(slope) + np.float32(intercept + (offset or 0.0))
    padding = known.array == known.padding if known.padding is not None else None
    if known.modality == CT:
        low, high = WINDOWS[CT]
        if padding is not None:
            physical[padding] = low
        windowed: Float32 = np.clip(physical, low, high) / np.float32(UNIT)
        return windowed
    signal = physical if padding is None else physical[~padding]
    bright = float(np.percentile(signal, PERCENTILE)) if signal.size else 0.0
    if not bright > 0:
        raise InputError(f"the volume has no signal above {bright:g}, leave it out", value=bright)
    if padding is not None:
        physical[padding] = 0.0
    values: Float32 = physical * np.float32((1 + BRIGHT) / bright) - np.float32(1)
    return values


def lowres(values: Float32, factor: Shape, threads: int = 1) -> Float32:
    """Down-sampled as the encoder does."""
    z, y, x = values.shape

    def rows_at(k: int, rows: slice) -> Float:
        return values[k, rows].astype(np.float64)

    return resample.down(rows_at, (z, y, x), factor, threads=threads).astype(np.float32)


def padded(values: Float32) -> Float32:
    """The last voxel repeated, up to a multiple of 16 along each axis."""
    return np.pad(values, [(0, -n % MULTIPLE) for n in values.shape], mode="edge")


def factors_for(spacing: tuple[float, float, float]) -> tuple[Shape, ...]:
    """Factors that an encoder might choose, those that leave about cubic voxels first."""
    ratio = spacing[0] / spacing[2]
    return next(factors for most, factors in FACTORS if ratio <= most)


def material(name: str, values: Float32, factor: Shape, threads: int = 1) -> Material:
    """A volume of network values, reduced."""
    low = lowres(values, factor, threads)
    z, y, x = low.shape
    return Material(name, factor, (z, y, x), padded(low))


def _materials(path: Path, options: LatentOptions) -> Iterable[Material]:
    values, factors = _loaded(path, options)
    return (material(options.names[path], values, factor, options.threads) for factor in factors)


def _loaded(path: Path, options: LatentOptions) -> tuple[Float32, list[Shape]]:
    volume, name = io.read(path), options.names[path]
    factors = _possible(name, volume.shape, factors_for(volume.spacing))
    return network_values(volume, options.offsets.get(name)), factors


def _possible(
    name: str, shape: tuple[int, ...], factors: Iterable[Shape], remedy: str = "leave it out"
) -> list[Shape]:
    """The factors that leave enough voxels."""
    found = [f for f in factors if all(n // k >= LEAST for n, k in zip(shape, f, strict=True))]
    if not found:
        raise InputError(f"{name} has {shape} voxels, too few: {remedy}", value=shape)
    return found


def _split_in_two(path: Path, options: LatentOptions) -> tuple[list[Material], list[Material]]:
    values, factors = _loaded(path, options)
    name, threads, cut = options.names[path], options.threads, len(values) * 4 // 5
    first, last = values[:cut], values[cut + resample.LOBES * (factors[0][0] - 1) :]  # which sees none of it
    held_out = f"{name} (last fifth)"
    factor = _possible(held_out, last.shape, factors, "add another volume")[0]
    seen = [material(name, first, f, threads) for f in _possible(name, first.shape, factors)]
    return seen, [material(held_out, last, factor, threads)]
