"""Volumes as training material: pairs of low-res and full-res, clean and as files decode.

In: volumes that :func:`inrcodec.io.read` takes.  Out: tensors in [-1, 1] of the network's window.
The one law: a volume is for training or for reporting, never for both.

A scanner's reconstruction kernel and its pixel size change what fine detail looks like, and a handful of
volumes shows few of them: each volume is also used sharpened, and scaled down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec import io, lanczos
from inrcodec.errors import InputError
from inrcodec.modality import settled
from inrcodec.normalize import window_of
from inrcodec.superres.registry import WINDOWS
from inrcodec.superres.training import degrade
from inrcodec.volume import Volume

Float32 = NDArray[np.float32]
Shape = tuple[int, int, int]
Window = tuple[float, float]

SHARPER = 0.8  # times what a Gaussian of one voxel takes away is added: about a bone kernel
SCALE = 0.7  # of the axes that have room for it
ROOM = 160  # voxels that an axis must have for that
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

    @property
    def decoded(self) -> Tensor:
        """The low-res volume as the decoder has it."""
        return self.low if self.error is None else self.low + self.error


@dataclass(frozen=True)
class Loader:
    """How volumes become material.

    Parameters
    ----------
    factor : (z, y, x).
    modality : of volumes that do not say it.
    widths, steps : of the real fits, of which each is kept as a file in ``folder``.
    offsets : to HU, by file name, of CT volumes in other units.
    """

    factor: Shape
    modality: str
    folder: Path
    widths: Sequence[int]
    steps: int
    offsets: Mapping[str, float] = field(default_factory=dict)

    def varied(self, path: Path) -> list[Material]:
        """All versions of a volume to train on."""
        name, full = self._full(path)
        versions = {"clean": full, "sharper": _sharper(full), "scaled": _scaled(full)}
        found = [material_of(name, version, array, self.factor) for version, array in versions.items()]
        return found + self._fits(name, full)

    def plain(self, path: Path) -> list[Material]:
        """The clean version of a part of a volume and what fits of it decode to, to report on."""
        name, full = self._full(path)
        return [material_of(name, "clean", self._part(full), self.factor), *self._fits(name, full)]

    def split(self, path: Path) -> tuple[list[Material], list[Material]]:
        """Material to train on and to report on where there is one volume: its last fifth is held out."""
        name, full = self._full(path)
        cut, gap = len(full) * 4 // 5, lanczos.LOBES * (self.factor[0] - 1)
        first, last = full[:cut], full[cut + gap :]
        if len(last) < 2 * self.factor[0]:
            raise InputError(
                f"{name} has {len(full)} slices, too few to hold a fifth out; pass another volume too",
                value=len(full),
            )
        versions = {"clean": first, "sharper": _sharper(first), "scaled": _scaled(first)}
        found = [material_of(name, version, array, self.factor) for version, array in versions.items()]
        held = f"{name} (last fifth)"
        return (
            found + self._fits(name, first),
            [material_of(held, "clean", self._part(last), self.factor), *self._fits(held, last)],
        )

    def _full(self, path: Path) -> tuple[str, Float32]:
        """A volume in [-1, 1] of its window."""
        volume, _ = settled(io.read(path), None)
        volume = volume if volume.modality else replace(volume, modality=self.modality)
        if volume.modality != self.modality:
            raise InputError(
                f"{path.name} is {volume.modality}, the model is for {self.modality}; leave it out, or train "
                "another model for it",
                value=volume.modality,
            )
        return path.name, unit_of(volume, self.offsets.get(path.name, 0.0))

    def _part(self, full: Float32) -> Float32:
        """The middle of a volume, of as many voxels as a fit is to see."""
        spans = []
        for n, f, most in zip(full.shape, self.factor, FITTED, strict=True):
            length = min(n // f, most) * f
            first = (n - length) // 2
            spans.append(slice(first, first + length))
        return full[tuple(spans)]

    def _fits(self, name: str, full: Float32) -> list[Material]:
        if not self.widths:
            return []
        part = self._part(full)
        clean = material_of(name, "clean", part, self.factor)
        volume = Volume.from_array(np.rint((part + 1) * 2000).astype(np.int16))
        found = []
        for width in self.widths:
            low = self._kept(
                f"{name}.{'x'.join(map(str, self.factor))}.w{width}.s{self.steps}", volume, width
            )
            error = torch.from_numpy((low / 2000 - 1).astype(np.float32)) - clean.low
            found.append(replace(clean, version=f"w{width}", error=error))
        return found

    def _kept(self, name: str, volume: Volume, width: int) -> NDArray[np.float32]:
        """What a fit decodes to, from the folder where it is there."""
        path = self.folder / f"{name.replace(' ', '_')}.npy"
        if not path.exists():
            fitted = degrade.decoded(volume, self.factor, width, self.steps).astype(np.float32)
            io.atomic_write(path, lambda stream: np.save(stream, fitted, allow_pickle=False))
        kept: NDArray[np.float32] = np.load(path, allow_pickle=False)
        return kept


def material_of(name: str, version: str, full: Float32, factor: Shape) -> Material:
    """Clean material of a volume in [-1, 1], (z, y, x); of whole low-res voxels only.

    Raises
    ------
    InputError
        There is nothing in it.
    """
    full = np.ascontiguousarray(
        full[tuple(slice(n // f * f) for n, f in zip(full.shape, factor, strict=True))]
    )
    low = lanczos.down(lambda z, rows: full[z, rows].astype(np.float64), _shape(full), factor)
    places = np.argwhere(low > EMPTY - 1)
    if not len(places):
        raise InputError(f"{name} is empty in the window of the model, leave it out", value=name)
    small = torch.from_numpy(low.astype(np.float32))
    whole, found = torch.from_numpy(full), torch.from_numpy(places)
    return Material(name, version, whole, small, None, found, _ceiling(full, low, factor))


def _ceiling(full: Float32, low: NDArray[np.float64], factor: Shape) -> float:
    squares = [
        float(np.square(lanczos.up(low, factor, _shape(full), z, z + 1)[0] - full[z]).mean())
        for z in range(0, len(full), -(-len(full) // SLICES))
    ]
    return sum(squares) / len(squares)


def unit_of(volume: Volume, offset: float = 0.0) -> Float32:
    """A volume in [-1, 1] of its modality's window, or of its own; ``offset`` is added to physical values."""
    low, high = WINDOWS.get(volume.modality) or window_of(volume)
    slope, intercept = volume.rescale
    full = volume.array.astype(np.float32) * np.float32(slope) + np.float32(intercept + offset)
    if volume.padding is not None:
        full[volume.array == volume.padding] = low
    unit: Float32 = (np.clip(full, low, high) - np.float32(low)) * np.float32(2 / (high - low)) - np.float32(
        1
    )
    return unit


def _shape(full: Float32) -> Shape:
    z, y, x = full.shape
    return z, y, x


def _sharper(full: Float32) -> Float32:
    from scipy.ndimage import gaussian_filter

    sharp: Float32 = np.clip(full + SHARPER * (full - gaussian_filter(full, (0, 1, 1))), -1, 1)
    return sharp


def _scaled(full: Float32) -> Float32:
    """With larger voxels along the axes that are long enough."""
    from scipy.ndimage import gaussian_filter, zoom

    scales = [SCALE if n >= ROOM else 1.0 for n in full.shape]
    if prod(scales) == 1:
        return full
    smooth = gaussian_filter(full, [0.4 / s if s < 1 else 0 for s in scales])
    scaled: Float32 = np.clip(zoom(smooth, scales, order=3), -1, 1)
    return scaled
