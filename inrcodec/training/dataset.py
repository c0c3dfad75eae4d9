"""Volumes as training material: pairs of low-res and full-res, clean and as files decode.

In: volumes that :func:`inrcodec.io.read` takes.  Out: tensors in [-1, 1] of the network's window.
The one law: a volume is for training or for reporting, never for both.

A scanner's reconstruction kernel and its pixel size change what fine detail looks like, and a handful of
volumes shows few of them: each volume is also used sharpened, and scaled down.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from math import prod
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec import io
from inrcodec._version import __version__
from inrcodec.errors import CorruptFile, InputError
from inrcodec.layers import resample
from inrcodec.layers.superres.registry import WINDOWS
from inrcodec.progress import Progress
from inrcodec.training import degrade
from inrcodec.training.options import CT, TrainOptions
from inrcodec.volume.box import Shape
from inrcodec.volume.value_range import window_of
from inrcodec.volume.volume import Volume
from inrcodec.volume.windows import looks_like_ct

Float32 = NDArray[np.float32]

SHARPER = 0.8  # times what a Gaussian of one voxel takes away is added: about a bone kernel
SCALE = 0.7  # of the axes that have room for it
ROOM = 160  # voxels that an axis must have for that
STORED = 2000.0  # units that 1 is stored as for a fit: half a HU
FITTED = (32, 80, 80)  # low-res voxels of the part that real fits are made of: some seconds each
SLICES = 12  # that the ceiling is measured on
EMPTY = 0.015  # of [-1, 1] from the lowest value: air, and no place for a patch


@dataclass(frozen=True, eq=False)
class Material:
    """One version of one volume; float32 tensors on the CPU.

    Attributes
    ----------
    name, version : of the volume, and what was done to it: "clean", "sharper", "scaled", or "w24" for what a
        file with networks of width 24 decodes to.
    full : (z * fz, y * fy, x * fx), in [-1, 1].
    low : (z, y, x), clean.
    error : (z, y, x), what a real fit adds to ``low``; ``None`` where there is none.
    places : (n, 3), low-res voxels where something is.
    ceiling : mean squared error of Lanczos on the clean low-res volume: of an even sample of slices.
    """

    name: str
    version: str
    full: Tensor
    low: Tensor
    error: Tensor | None
    places: Tensor
    ceiling: float

    @cached_property
    def noise(self) -> float:
        """Root mean square error of the low-res volume, where something is."""
        if self.error is None:
            return 0.0
        z, y, x = self.places.T
        return float(self.error[z, y, x].square().mean().sqrt())

    @property
    def decoded(self) -> Tensor:
        """The low-res volume as the decoder has it."""
        return self.low if self.error is None else self.low + self.error


@dataclass(frozen=True)
class Loader:
    """How volumes become material: as the options say."""

    options: TrainOptions
    progress: Progress | None = None

    def all(self) -> tuple[list[Material], list[Material]]:
        """Material to train on and to report on."""
        training, kept = self.options.split()
        if not kept:
            return self.parted(training[0])
        return [m for v in training for m in self.varied(v)], [m for v in kept for m in self.plain(v)]

    def varied(self, path: Path) -> list[Material]:
        """All versions of a volume to train on."""
        return self._varied(self.options.names[path], self._full(path))

    def plain(self, path: Path) -> list[Material]:
        """The clean version of the middle of a volume and what fits of it decode to, to report on."""
        return self._plain(self.options.names[path], self._full(path))

    def parted(self, path: Path) -> tuple[list[Material], list[Material]]:
        """Material to train on and to report on where there is one volume: its last fifth is held out."""
        name, full = self.options.names[path], self._full(path)
        factor = self.options.factor[0]
        cut = len(full) * 4 // 5
        last = full[cut + resample.LOBES * (factor - 1) :]
        if len(last) < 2 * factor:
            raise InputError(
                f"{name} has {len(full)} slices, too few to hold a fifth out; pass another volume too",
                value=len(full),
            )
        return self._varied(name, full[:cut]), self._plain(f"{name} (last fifth)", last)

    def _varied(self, name: str, full: Float32) -> list[Material]:
        scaled = _scaled(full)
        versions = {"clean": full, "sharper": _sharper(full)} | ({} if scaled is None else {"scaled": scaled})
        found = [
            material_of(name, version, array, self.options.factor) for version, array in versions.items()
        ]
        return found + (self._fits(self._clean_part(name, full)) if self.options.fits else [])

    def _plain(self, name: str, full: Float32) -> list[Material]:
        clean = self._clean_part(name, full)
        return [clean, *self._fits(clean)]

    def _full(self, path: Path) -> Float32:
        """A volume in [-1, 1] of its window."""
        name, wished = self.options.names[path], self.options.modality
        volume = io.read(path)
        if volume.modality not in ("", wished):
            raise InputError(
                f"{name} is {volume.modality}, the model is for {wished}: leave it out", value=volume.modality
            )
        offset = self.options.offsets.get(name)
        if (
            wished == CT
            and offset is None
            and not volume.modality
            and not looks_like_ct(volume.value_range, volume)
        ):
            raise InputError(
                f"{name} does not say that it is CT, and its values do not look like HU; pass "
                f"{name}=HU, what has to be added (0 if they are HU)",
                value=name,
                option="offset",
            )
        return unit_of(replace(volume, modality=wished), offset or 0.0)

    def _clean_part(self, name: str, full: Float32) -> Material:
        """The middle of a volume, of as many voxels as a fit is to see."""
        spans = []
        for n, f, most in zip(full.shape, self.options.factor, FITTED, strict=True):
            length = min(n // f, most) * f
            first = (n - length) // 2
            spans.append(slice(first, first + length))
        return material_of(name, "clean", full[tuple(spans)], self.options.factor)

    def _fits(self, clean: Material) -> list[Material]:
        """What real files of it decode to."""
        stored = np.rint((clean.full.numpy() + 1) * STORED).astype(np.int16)
        found = []
        for done, width in enumerate(self.options.fits, 1):
            error = torch.from_numpy(self._fit(stored, width) / np.float32(STORED) - 1) - clean.low
            found.append(replace(clean, version=f"w{width}", error=error))
            if self.progress:
                self.progress(f"fits of {clean.name}", done / len(self.options.fits))
        return found

    def _fit(self, stored: NDArray[np.int16], width: int) -> Float32:
        """What a fit decodes to, from the folder where it is there."""
        o = self.options
        about = repr((__version__, o.factor, width, o.fit_steps, o.seed, stored.shape)).encode()
        path = o.out / f"fit-{blake2b(about + stored.tobytes(), digest_size=12).hexdigest()}.npy"
        if not path.exists():
            volume = Volume.from_array(stored)
            fitted = degrade.decoded(
                volume, o.factor, width=width, steps=o.fit_steps, seed=o.seed, threads=o.threads
            ).astype(np.float32)
            io.atomic_write(path, lambda stream: np.save(stream, fitted, allow_pickle=False))
        kept: Float32 = np.load(path, allow_pickle=False)
        if kept.shape != tuple(n // f for n, f in zip(stored.shape, o.factor, strict=True)):
            raise CorruptFile(f"{path} is no fit of this volume, delete it", value=str(path))
        return kept


def material_of(name: str, version: str, full: Float32, factor: Shape) -> Material:
    """Clean material of a volume in [-1, 1], (z, y, x); of whole low-res voxels only.

    Raises
    ------
    InputError
        There is nothing in it, or it is thinner than a low-res voxel.
    """
    if any(n < f for n, f in zip(full.shape, factor, strict=True)):
        raise InputError(
            f"{name} has {full.shape} voxels, too few for factor {factor}; leave it out", value=full.shape
        )
    full = np.ascontiguousarray(
        full[tuple(slice(n // f * f) for n, f in zip(full.shape, factor, strict=True))]
    )
    low = resample.down(lambda z, rows: full[z, rows].astype(np.float64), shape_of(full), factor)
    places = np.argwhere(low > EMPTY - 1)
    if not len(places):
        raise InputError(f"{name} is empty in the window of the model, leave it out", value=name)
    small = torch.from_numpy(low.astype(np.float32))
    whole, found = torch.from_numpy(full), torch.from_numpy(places)
    return Material(name, version, whole, small, None, found, _ceiling(full, low, factor))


def _ceiling(full: Float32, low: NDArray[np.float64], factor: Shape) -> float:
    squares = [
        float(np.square(resample.up(low, factor, shape_of(full), z, z + 1)[0] - full[z]).mean())
        for z in range(0, len(full), -(-len(full) // SLICES))
    ]
    return sum(squares) / len(squares)


def unit_of(volume: Volume, offset: float = 0.0) -> Float32:
    """A volume in [-1, 1] of its modality's window, or of its own; ``offset`` is added to physical values.

    Raises
    ------
    InputError
        All values are the same.
    """
    low, high = WINDOWS.get(volume.modality) or window_of(volume)
    if low == high:
        raise InputError(f"the volume is {low:g} everywhere, leave it out", value=low)
    slope, intercept = volume.rescale
    full = volume.array.astype(np.float32) * np.float32(slope) + np.float32(intercept + offset)
    if volume.padding is not None:
        full[volume.array == volume.padding] = low
    unit: Float32 = (np.clip(full, low, high) - np.float32(low)) * np.float32(2 / (high - low)) - np.float32(
        1
    )
    return unit


def shape_of(full: Float32) -> Shape:
    """Of three axes, as types want it."""
    z, y, x = full.shape
    return z, y, x


def _sharper(full: Float32) -> Float32:
    from scipy.ndimage import gaussian_filter

    sharp: Float32 = np.clip(full + SHARPER * (full - gaussian_filter(full, (0, 1, 1))), -1, 1)
    return sharp


def _scaled(full: Float32) -> Float32 | None:
    """With larger voxels along the axes that are long enough; ``None`` where none is."""
    from scipy.ndimage import gaussian_filter, zoom

    scales = [SCALE if n >= ROOM else 1.0 for n in full.shape]
    if prod(scales) == 1:
        return None
    smooth = gaussian_filter(full, [0.4 / s if s < 1 else 0 for s in scales])
    scaled: Float32 = np.clip(zoom(smooth, scales, order=3), -1, 1)
    return scaled
