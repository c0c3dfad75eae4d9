"""Encodings of one volume and of its crop, each made once however many sections ask for it."""

import argparse
import re
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import numpy as np

from inrcodec import Volume, api
from inrcodec.encoder import pipeline
from inrcodec.encoder.ledger import EncodeReport
from inrcodec.file import InrvFile
from inrcodec.format import limits
from inrcodec.volume.value_range import Range

Shape = tuple[int, int, int]
Region = tuple[slice, slice, slice]

CLIP = (-1024.0, 3071.0)  # HU that 12 bits hold: with them the peak of every PSNR is 4095
PEAK = 4095.0
FACTOR = (4, 4, 4)


def with_report(source: api.Source, **options: Any) -> tuple[bytes, EncodeReport]:
    """The bytes of a file, and its report."""
    stream = BytesIO()
    report = api.encode_file(source, stream, **options)
    return stream.getvalue(), report


@dataclass(frozen=True)
class Encoding:
    """A file in memory, its ledger, and the volume that it was made of."""

    blob: bytes
    report: EncodeReport
    volume: Volume

    @property
    def decoder(self) -> InrvFile:
        return api.open(self.blob)

    def clean_lowres(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """What the networks were fitted to, in [-1, 1]."""
        return pipeline.downsample(self.volume, Range.of(self.volume), self.report.factor).values


class Encodings:
    """Encodings of a volume and of one region of it.

    Parameters
    ----------
    volume : of 12 bits (see :func:`twelve_bits`).
    region : the crop.
    knobs : of every encoding: preset, steps, threads, …
    """

    def __init__(self, volume: Volume, region: Region, knobs: dict[str, Any]) -> None:
        self.head, self.knobs = volume, knobs
        inside = all(s.stop <= n for s, n in zip(region, volume.shape, strict=True))
        self.crop = cropped(volume, region) if inside else None
        self._made: dict[tuple[Any, ...], Encoding] = {}

    def of(self, volume: Volume, *, factor: Shape | None = None, **wishes: Any) -> Encoding:
        """The encoding with some knobs more; without a factor, with the one that the encoder chooses."""
        if factor is None and "psnr" not in wishes:  # a quality's grid is known after its fits alone
            factor = api.plan(volume, **self.knobs, **wishes)["factor"]
        pinned = None if factor is None else within(factor, volume)
        key = (id(volume), pinned, *sorted(wishes.items()))
        if key not in self._made:
            blob, report = with_report(volume, factor=pinned, **self.knobs, **wishes)
            self._made[key] = Encoding(blob, report, volume)
        return self._made[key]


def within(factor: Shape, volume: Volume) -> Shape:
    """A factor that no axis is shorter than."""
    z, y, x = (min(f, n, limits.FACTOR) for f, n in zip(factor, volume.shape, strict=True))
    return z, y, x


def twelve_bits(volume: Volume) -> Volume:
    """Clipped to ``CLIP`` in physical units; padding stays what it is."""
    slope, intercept = volume.rescale
    low, high = sorted((bound - intercept) / slope for bound in CLIP)
    if volume.array.dtype.kind != "f":
        types = np.iinfo(volume.array.dtype)
        low, high = max(low, float(types.min)), min(high, float(types.max))
    clipped = np.clip(volume.array, low, high).astype(volume.array.dtype)
    if volume.padding is not None:
        clipped = np.where(volume.array == volume.padding, volume.array, clipped)
    return replace(volume, array=clipped)


def cropped(volume: Volume, region: Region) -> Volume:
    """A region of a volume; where it lies in space does not matter here."""
    return replace(volume, array=np.ascontiguousarray(volume.array[region]))


def parsed_region(text: str) -> Region:
    """``58:122,120:376,110:366`` as slices."""
    found = re.fullmatch(r"(\d+):(\d+),(\d+):(\d+),(\d+):(\d+)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no region z:z,y:y,x:x")
    a, b, c, d, e, f = map(int, found.groups())
    return slice(a, b), slice(c, d), slice(e, f)
