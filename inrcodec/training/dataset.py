"""Volumes as training data: pairs of low-res and high-res, clean and as files decode.

In: volumes that :func:`inrcodec.io.read` takes.  Out: tensors in [-1, 1] of the network's window.
Invariant: a volume is for training or for evaluation, never for both; all are read before any is fitted.

A scanner's reconstruction kernel and its pixel size change what fine detail looks like, and a handful of
volumes shows few of them: each volume is also used sharpened, and scaled down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from inrcodec import io
from inrcodec.errors import InputError
from inrcodec.layers import resample
from inrcodec.layers.superres.registry import WINDOWS
from inrcodec.progress import Progress
from inrcodec.training import fits
from inrcodec.training.options import CT, TrainOptions
from inrcodec.volume.arrays import Float, Float32
from inrcodec.volume.box import Shape
from inrcodec.volume.value_range import window_of
from inrcodec.volume.volume import Volume
from inrcodec.volume.windows import looks_like_ct

SHARPENING = 0.8  # times what a Gaussian of one voxel takes away is added: about a bone kernel
SCALE = 0.7  # of the axes that are long enough
LONG_ENOUGH = 160  # voxels of an axis that is scaled
FITTED = (32, 80, 80)  # low-res voxels of the part that is fitted: seconds for each fit
SLICES = 12  # on which the error of Lanczos is measured
EMPTY = 0.015  # above -1, in unit values: air, where no patch is centred


@dataclass(frozen=True, eq=False)
class TrainingVolume:
    """One version of a volume; float32 tensors on the CPU.

    Attributes
    ----------
    name, version : of the volume, and what was done to it: "clean", "sharper", "scaled", or "w24" for what a
        file with networks of width 24 decodes to.
    highres : (z * fz, y * fy, x * fx), in [-1, 1].
    lowres, error : (z, y, x), clean, and what a real fit adds to it.
    foreground : (n, 3), low-res voxels that are not empty.
    lanczos_mse : mean squared error of Lanczos of the clean low-res volume, over an even sample of slices.
    """

    name: str
    version: str
    highres: Tensor
    lowres: Tensor
    error: Tensor | None
    foreground: Tensor
    lanczos_mse: float

    @cached_property
    def noise(self) -> float:
        """Root mean square error of the low-res foreground."""
        if self.error is None:
            return 0.0
        z, y, x = self.foreground.T
        return float(self.error[z, y, x].square().mean().sqrt())

    @property
    def decoded(self) -> Tensor:
        """The low-res volume as the decoder has it."""
        return self.lowres if self.error is None else self.lowres + self.error


@dataclass(frozen=True, eq=False)
class Source:
    """What one volume contributes: clean versions, and the part of it that fits are made of."""

    versions: list[TrainingVolume]
    part: TrainingVolume


@dataclass(frozen=True)
class Dataset:
    """Everything that was read: sources to train on, and sources to evaluate on."""

    training: list[Source]
    held_out: list[Source]

    def clean(self) -> list[TrainingVolume]:
        """What is trained on and needs no fit."""
        return [v for source in self.training for v in [*source.versions, source.part]]

    def volumes(
        self, options: TrainOptions, progress: Progress | None = None
    ) -> tuple[list[TrainingVolume], list[TrainingVolume]]:
        """All versions to train on and to evaluate on, with the real fits, which are made here."""
        training, held_out = (
            [v for source in side for v in [*source.versions, *fitted(source.part, options, progress)]]
            for side in (self.training, self.held_out)
        )
        return training, held_out


def read(options: TrainOptions) -> Dataset:
    """Read every volume; of a single one the last fifth of its slices is held out."""
    training, held_out = options.split()
    if not held_out:
        return _split_in_two(training[0], options)
    return Dataset(
        [to_train_on(options.names[path], load(path, options), options) for path in training],
        [to_evaluate_on(options.names[path], load(path, options), options) for path in held_out],
    )


def to_train_on(name: str, highres: Float32, options: TrainOptions) -> Source:
    """A volume in [-1, 1], (z, y, x), as it is, sharpened and scaled down."""
    versions = {"clean": highres, "sharper": _sharpened(highres), "scaled": _scaled(highres)}
    return Source(
        [paired(name, kind, array, options.factor) for kind, array in versions.items() if array is not None],
        _middle(name, highres, options),
    )


def to_evaluate_on(name: str, highres: Float32, options: TrainOptions) -> Source:
    """The middle of a volume in [-1, 1], (z, y, x)."""
    part = _middle(name, highres, options)
    return Source([part], part)


def fitted(
    part: TrainingVolume, options: TrainOptions, progress: Progress | None = None
) -> list[TrainingVolume]:
    """What files of a part decode to, one for each width of ``options.fits``."""
    versions = []
    for done, width in enumerate(options.fits, 1):
        error = torch.from_numpy(fits.lowres(part.highres.numpy(), width, options)) - part.lowres
        versions.append(replace(part, version=f"w{width}", error=error))
        if progress:
            progress(f"fits of {part.name}", done / len(options.fits))
    return versions


def paired(name: str, version: str, highres: Float32, factor: Shape) -> TrainingVolume:
    """A clean pair from a volume in [-1, 1], (z, y, x), cropped to whole low-res voxels."""
    if any(n < f for n, f in zip(highres.shape, factor, strict=True)):
        raise InputError(
            f"{name} has {highres.shape} voxels, too few for factor {factor}; leave it out",
            value=highres.shape,
        )
    whole = tuple(slice(n // f * f) for n, f in zip(highres.shape, factor, strict=True))
    highres = np.ascontiguousarray(highres[whole])
    low = resample.down(lambda z, rows: highres[z, rows].astype(np.float64), shape_of(highres), factor)
    foreground = np.argwhere(low > EMPTY - 1)
    if not len(foreground):
        raise InputError(f"{name} is empty in the window of the model, leave it out", value=name)
    return TrainingVolume(
        name,
        version,
        torch.from_numpy(highres),
        torch.from_numpy(low.astype(np.float32)),
        None,
        torch.from_numpy(foreground),
        _lanczos_mse(highres, low, factor),
    )


def to_unit(volume: Volume, offset: float = 0.0) -> Float32:
    """A volume in [-1, 1] of its modality's window, or of its own range; ``offset`` is added first."""
    low, high = WINDOWS.get(volume.modality) or window_of(volume)
    if low == high:
        raise InputError(f"the volume is {low:g} everywhere, leave it out", value=low)
    slope, intercept = volume.rescale
    physical = volume.array.astype(np.float32) * np.float32(slope) + np.float32(intercept + offset)
    if volume.padding is not None:
        physical[volume.array == volume.padding] = low
    above = np.clip(physical, low, high) - np.float32(low)
    unit: Float32 = above * np.float32(2 / (high - low)) - np.float32(1)
    return unit


def shape_of(array: Float32) -> Shape:
    """The shape of a 3-D array, typed as three integers."""
    z, y, x = array.shape
    return z, y, x


def _split_in_two(path: Path, options: TrainOptions) -> Dataset:
    name, highres, factor = options.names[path], load(path, options), options.factor[0]
    cut = len(highres) * 4 // 5
    last = highres[cut + resample.LOBES * (factor - 1) :]  # no low-res voxel of one sees the other
    if len(last) < 2 * factor:
        raise InputError(
            f"{name} has {len(highres)} slices, too few to hold a fifth out; add another volume",
            value=len(highres),
        )
    return Dataset(
        [to_train_on(name, highres[:cut], options)], [to_evaluate_on(f"{name} (last fifth)", last, options)]
    )


def load(path: Path, options: TrainOptions) -> Float32:
    """A volume in [-1, 1] of the window of the model."""
    name, modality = options.names[path], options.modality
    volume = io.read(path).in_memory().uniform()
    if volume.modality not in ("", modality):
        raise InputError(
            f"{name} is {volume.modality}, the model is for {modality}: leave it out", value=volume.modality
        )
    offset = options.offsets.get(name)
    stated = volume.modality or offset is not None
    if modality == CT and not stated and not looks_like_ct(volume.value_range, volume):
        raise InputError(
            f"{name} does not say that it is CT, and its values do not look like HU: give {name}=HU, what "
            "has to be added (0 if they are HU)",
            value=name,
            option="offsets",
        )
    return to_unit(replace(volume, modality=modality), offset or 0.0)


def _middle(name: str, highres: Float32, options: TrainOptions) -> TrainingVolume:
    """The middle of a volume, at most ``FITTED`` low-res voxels."""
    spans = []
    for n, f, most in zip(highres.shape, options.factor, FITTED, strict=True):
        length = min(n // f, most) * f
        first = (n - length) // 2
        spans.append(slice(first, first + length))
    return paired(name, "clean", highres[tuple(spans)], options.factor)


def _lanczos_mse(highres: Float32, low: Float, factor: Shape) -> float:
    shape = shape_of(highres)
    errors = [
        float(np.square(resample.up(low, factor, shape, z, z + 1)[0] - highres[z]).mean())
        for z in range(0, len(highres), -(-len(highres) // SLICES))
    ]
    return sum(errors) / len(errors)


def _sharpened(highres: Float32) -> Float32:
    from scipy.ndimage import gaussian_filter

    sharp: Float32 = np.clip(highres + SHARPENING * (highres - gaussian_filter(highres, (0, 1, 1))), -1, 1)
    return sharp


def _scaled(highres: Float32) -> Float32 | None:
    """With larger voxels along the axes that are long enough; ``None`` where none is."""
    from scipy.ndimage import gaussian_filter, zoom

    scales: Sequence[float] = [SCALE if n >= LONG_ENOUGH else 1.0 for n in highres.shape]
    if prod(scales) == 1:
        return None
    smooth = gaussian_filter(highres, [0.4 / s if s < 1 else 0 for s in scales])
    scaled: Float32 = np.clip(zoom(smooth, scales, order=3), -1, 1)
    return scaled
