"""Volumes as training data: pairs of low-res and high-res, clean and as files decode.

In: volumes that :func:`inrcodec.io.read` takes.  Out: tensors in [-1, 1] of the network's window.
Invariant: a volume is for training or for evaluation, never for both; all are read before any is fitted.

A scanner's reconstruction kernel and its pixel size change what fine detail looks like, and a handful of
volumes shows few of them: each volume is also used sharpened, and scaled down.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
CODED = (48, 192, 192)  # of the part that is coded in streams: frames as large as real ones
EVALUATED = (24, 96, 96)  # of the part of a held-out volume that is brought back
# Each version of a volume has one in this many of the AV1 qualities and of the latent rates, as has what is
# held out; and each width of a fit has this many volumes at least, where there are as many.
TURNS = 3
MOST_PLACES = 1 << 18  # foreground voxels that are remembered
SLICES = 12  # on which the error of Lanczos is measured
EMPTY = 0.015  # above -1, in unit values: air, where no patch is centred


@dataclass(frozen=True, eq=False)
class TrainingVolume:
    """One version of a volume; float32 tensors on the CPU.

    Attributes
    ----------
    name, version : of the volume, and what was done to it: "clean", "sharper", "scaled", "w24" for what a
        file with networks of width 24 decodes to, "av1-120" for what AV1 of quality 120 does, or "latent-60"
        for latents of rate 60.
    highres : (z * fz, y * fy, x * fx), in [-1, 1].
    lowres, error : (z, y, x), clean, and what a base coder adds to it.
    foreground : (n, 3), low-res voxels that are not empty, or an even sample of them.
    lanczos_mse : mean squared error of Lanczos of the clean low-res volume, over an even sample of slices.
    """

    name: str
    version: str
    highres: Tensor
    lowres: Tensor
    error: Tensor | None
    foreground: Tensor
    lanczos_mse: float
    coder: str = ""  # "siren", "av1" or "latent" where there is an error

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

    def middle(self, most: Shape) -> TrainingVolume:
        """Its middle, of so many low-res voxels at most; shares its memory."""
        shape = self.lowres.shape
        if all(n <= m for n, m in zip(shape, most, strict=True)):
            return self
        first = [max(0, n - m) // 2 for n, m in zip(shape, most, strict=True)]
        low = tuple(slice(a, a + min(n, m)) for a, n, m in zip(first, shape, most, strict=True))
        factor = [n // m for n, m in zip(self.highres.shape, shape, strict=True)]
        high = tuple(slice(part.start * f, part.stop * f) for part, f in zip(low, factor, strict=True))
        lowres = self.lowres[low]
        return replace(self, highres=self.highres[high], lowres=lowres, foreground=_foreground(lowres))


@dataclass(frozen=True, eq=False)
class Source:
    """What one volume contributes: clean versions, which are coded, and the part of it that is fitted."""

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
        """All versions to train on and to evaluate on, with what base coders make of them."""
        training, number = [], 0
        turns = min(max(len(self.training) // TURNS, 1), max(len(options.fits), 1))
        for turn, source in enumerate(self.training):
            widths = options.fits[turn % turns :: turns]
            training += [*source.versions, *fitted(source.part, widths, options, progress)]
            for version in source.versions:
                training += coded(version.middle(CODED), options, number % TURNS)
                number += 1
        held_out = []
        for source in self.held_out:
            held_out += source.versions
            held_out += fitted(source.part, options.fits, options, progress)
            for version in source.versions:
                held_out += coded(version, options)
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
        _middle(name, highres, options.factor, FITTED),
    )


def to_evaluate_on(name: str, highres: Float32, options: TrainOptions) -> Source:
    """The middle of a volume in [-1, 1], (z, y, x)."""
    return Source(
        [_middle(name, highres, options.factor, EVALUATED)], _middle(name, highres, options.factor, FITTED)
    )


def fitted(
    part: TrainingVolume, widths: Sequence[int], options: TrainOptions, progress: Progress | None = None
) -> list[TrainingVolume]:
    """What files of a part decode to, one for each width of their networks."""
    versions = []
    for done, width in enumerate(widths, 1):
        error = torch.from_numpy(fits.lowres(part.highres.numpy(), width, options)) - part.lowres
        versions.append(replace(part, version=f"w{width}", error=error, coder="siren"))
        if progress:
            progress(f"fits of {part.name}", done / len(widths))
    return versions


def coded(volume: TrainingVolume, options: TrainOptions, turn: int = 0) -> Iterator[TrainingVolume]:
    """What streams of a volume decode to, one for each setting whose turn it is."""
    kind = "" if volume.version == "clean" else f"{volume.version} "
    for coder, settings, decoded in (
        ("av1", options.av1_qualities, fits.av1),
        ("latent", options.latent_rates, fits.latent),
    ):
        for setting in settings[turn::TURNS]:
            error = torch.from_numpy(decoded(volume.lowres.numpy(), setting, options)) - volume.lowres
            yield replace(volume, version=f"{kind}{coder}-{setting}", error=error, coder=coder)


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
    full, lowres = torch.from_numpy(highres), torch.from_numpy(low.astype(np.float32))
    foreground = _foreground(lowres)
    if not len(foreground):
        raise InputError(f"{name} is empty in the window of the model, leave it out", value=name)
    return TrainingVolume(name, version, full, lowres, None, foreground, _lanczos_mse(highres, low, factor))


def _foreground(lowres: Tensor) -> Tensor:
    """Voxels (n, 3) that are not empty, or an even sample of them."""
    places = np.flatnonzero(lowres.numpy() > EMPTY - 1)
    places = places[:: -(-len(places) // MOST_PLACES) or 1]
    return torch.from_numpy(np.stack(np.unravel_index(places, lowres.shape), 1))


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
    volume.refuse_special()
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


def _middle(name: str, highres: Float32, factor: Shape, most: Shape) -> TrainingVolume:
    """The middle of a volume, of so many low-res voxels at most."""
    spans = []
    for n, f, m in zip(highres.shape, factor, most, strict=True):
        length = min(n // f, m) * f
        first = (n - length) // 2
        spans.append(slice(first, first + length))
    return paired(name, "clean", highres[tuple(spans)], factor)


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
