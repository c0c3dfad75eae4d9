"""The promise: a layer behind the networks that brings every voxel as near as was asked, down to the bit.

In: a volume and a bound of its error, or a PSNR.  Out: sections and fields of a header, or stored values.
The one law: what is promised was decoded and compared before it is written, and no float that could be
another on another machine has a say in it.

The layer codes the volume itself and not what the networks leave: to predict from them was tried and brought
back less than they cost (crop of the dev head, 16 kB of networks: 12 kB fewer of 288 at 32 HU, 7 of 122 at
44 dB, none lossless).  Networks in front of it serve a preview.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import floor, log10, prod, sqrt
from os import cpu_count
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from inrcodec.container import STREAM
from inrcodec.errors import CorruptFile, TargetNotReached, UsageError
from inrcodec.header import LARGEST_STEP, Header
from inrcodec.integers import Scale
from inrcodec.lattice import coder, order
from inrcodec.lattice.coder import Lattice, Source
from inrcodec.metrics import Errors
from inrcodec.options import Progress
from inrcodec.volume import Volume

Array = NDArray[Any]
Shape = tuple[int, int, int]

STAGE = "refine"
ATTEMPTS = 4
FAR = 20.0  # dB from a PSNR, which is as far as the search looks
CLOSE = 0.1  # dB above a PSNR that is asked for, which is near enough
SLOPE = 0.7  # dB of the PSNR for one of the step, at first
COARSER = 4  # levels, each with steps of its own
DECAY = 2.0  # from a level's steps to the next finer one's, where a PSNR is asked for
ROUNDING = 0.35  # of a step, likewise: what is added before a magnitude is cut off; a half is plain rounding
LEVELS = 1 << 20  # that a float's range is cut in, where a PSNR is asked for


@dataclass(frozen=True, eq=False)
class Layer:
    """A refinement as it is written.

    Attributes
    ----------
    fields : of a header.
    sections : LIDX and LATT.
    stored : (z, y, x), what it decodes to.
    """

    fields: dict[str, Any]
    sections: dict[str, bytes]
    stored: Array

    @property
    def size(self) -> int:
        """Bytes of both sections."""
        return sum(map(len, self.sections.values()))


class Refiner:
    """Makes layers of one volume.

    Parameters
    ----------
    volume : the source.
    low, high : its smallest and largest stored value that is no padding.
    """

    def __init__(self, volume: Volume, low: float, high: float, threads: int | None = None) -> None:
        self.volume, self.low, self.high = volume, low, high
        self.threads = threads or cpu_count() or 1
        padding = volume.padding
        self.free = None if padding is None else np.asarray(volume.array == padding)

    def within(self, bound: float, progress: Progress | None = None) -> Layer:
        """A layer that errs by no more than ``bound`` in stored units; 0 loses nothing.

        Raises
        ------
        InputError
            The values cannot be counted in steps of the bound.
        UsageError
            The bound is finer than the values of the type are apart.
        """
        dtype = self.volume.array.dtype
        if dtype.kind != "f":
            return self._coded(1.0, [2 * floor(min(bound, self.high - self.low)) + 1], 0.5, progress)
        if bound == 0:
            return self._coded(0.0, [1], 0.5, progress)
        bound = min(bound, max(self.high - self.low, 1e-300))
        for unit in (2 * bound, 1.998 * bound, 1.9 * bound):  # a product is rounded, and the type rounds
            layer = self._coded(unit, [1], 0.5, progress)
            if self._errors(layer.stored).largest <= bound:
                return layer
        most = max(abs(self.low), abs(self.high))
        raise UsageError(
            f"values of {dtype.name} up to {most:g} are further apart than an error of {bound:g}; ask for a "
            "larger one, or for --lossless",
            value=bound,
        )

    def with_psnr(self, psnr: float, peak: float, progress: Progress | None = None) -> Layer:
        """The smallest of a few layers that reach a PSNR in dB.

        Raises
        ------
        InputError
            The values cannot be counted.
        TargetNotReached
            Floats would have to be told apart more finely than that.
        """
        floats = self.volume.array.dtype.kind == "f"
        unit = ((self.high - self.low) / LEVELS or 1.0) if floats else 1.0
        wished = sqrt(12) * peak / 10 ** (psnr / 20) / unit  # of a uniform error
        best, step, slope = None, max(1.0, wished), SLOPE
        tried: list[tuple[float, float]] = []  # decibels of a step, and of what it reaches
        for _ in range(ATTEMPTS):
            layer = self._coded(unit, [step / DECAY**k for k in range(COARSER)], ROUNDING, progress)
            reached = self._errors(layer.stored, peak).psnr
            if reached >= psnr and (best is None or layer.size < best.size):
                best = layer
            if psnr <= reached <= psnr + CLOSE or max(layer.fields["refine_steps"]) == 1:
                break
            reached = min(reached, psnr + FAR)
            tried.append((20 * log10(step), reached))
            if len(tried) > 1 and abs(tried[-1][0] - tried[-2][0]) > 0.1:
                slope = (tried[-2][1] - tried[-1][1]) / (tried[-1][0] - tried[-2][0])
            step = max(1.0, step * 10 ** ((reached - psnr - CLOSE / 2) / 20 / min(max(slope, 0.3), 1.2)))
        if best is None and floats:
            raise TargetNotReached(
                f"{psnr:g} dB are more than a refinement of floats is made for; ask for a --max-error",
                value=psnr,
            )
        if best is None:
            best = self.within(0.0, progress)
        exact = not floats and max(best.fields["refine_steps"]) == 1
        return replace(best, fields={**best.fields, "bound": 0.0}) if exact else best

    def _coded(self, unit: float, steps: list[float], up: float, progress: Progress | None) -> Layer:
        """A layer with the steps of the finest level and of the coarser ones, the last for all others."""
        scale = Scale(self.volume.array.dtype, self.low, self.high, unit)
        scale.check()
        spacing = self.volume.spacing
        axes = order.axes_for(self.volume.shape, spacing)
        lattice = Lattice(axes=axes, steps=_by_stage(axes, steps), most=scale.most)
        source = Source(
            values=scale.of(self.volume.array).astype(lattice.dtype, copy=False),
            lattice=lattice,
            up=tuple(int(up * s) for s in lattice.steps),
            free=self.free,
        )
        with threadpool_limits(1, "blas"):
            streams, known = coder.encode(source, self.threads, _staged(progress))
        index = b"".join(STREAM.pack(len(s), crc32(s)) for s in streams)
        fields = {"refine_axes": axes, "refine_steps": lattice.steps, "refine_unit": unit}
        stored = scale.stored(known)
        if self.free is not None:
            stored[self.free] = self.volume.padding
        return Layer(fields, {"LIDX": index, "LATT": b"".join(streams)}, stored)

    def _errors(self, stored: Array, peak: float = 1.0) -> Errors:
        """What a layer leaves."""
        found = Errors(peak)
        found.add(self.volume.array, stored)
        return found


def decode(
    header: Header,
    sections: Mapping[str, bytes],
    *,
    voxels: int | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Array:
    """Stored values of a refined file, without its padding.

    Parameters
    ----------
    sections : LATT may end early: what streams are whole are decoded, and the rest of the voxels lie half way
        between others.
    voxels : that are decoded at most.

    Returns
    -------
    ndarray, (z, y, x).

    Raises
    ------
    CorruptFile
        A stream has a wrong checksum, does not hold what it should, or not even the first is there.
    """
    lattice, scale = _lattice(header)
    streams = _streams(sections)[: None if voxels is None else stages_within(header, voxels)]
    with threadpool_limits(1, "blas"):
        known = coder.decode(streams, header.shape, lattice, threads or cpu_count() or 1, _staged(progress))
    return scale.stored(known)


def stages_within(header: Header, voxels: int) -> int:
    """How many streams bring at most so many voxels; one at least."""
    counts, left = 1, header.refine_axes
    while counts <= len(left) and prod(_lattice_shape(header, counts)) <= voxels:
        counts += 1
    return counts


def whole_streams(sections: Mapping[str, bytes]) -> int:
    """How many streams are there from end to end."""
    if not {"LIDX", "LATT"} <= sections.keys():
        return 0
    ends = np.cumsum([length for length, _ in STREAM.iter_unpack(sections["LIDX"])])
    return int(np.searchsorted(ends, len(sections["LATT"]), side="right"))


def coarse(header: Header, sections: Mapping[str, bytes], voxels: int, threads: int) -> Array:
    """Stored values of the lattice that the first streams bring, (z, y, x), without what lies between."""
    streams = min(stages_within(header, voxels), whole_streams(sections))
    left = header.refine_axes[streams - 1 :]
    return order.first(decode(header, sections, voxels=voxels, threads=threads), left)


def _lattice_shape(header: Header, streams: int) -> Shape:
    left = header.refine_axes[streams - 1 :]
    z, y, x = (-(-n // 2 ** left.count(k)) for k, n in enumerate(header.shape))
    return z, y, x


def _lattice(header: Header) -> tuple[Lattice, Scale]:
    scale = Scale(np.dtype(header.dtype), float(header.low), float(header.high), float(header.refine_unit))
    return Lattice(axes=header.refine_axes, steps=header.refine_steps, most=scale.most), scale


def _streams(sections: Mapping[str, bytes]) -> list[bytes]:
    """The streams that are whole, each checked."""
    streams: list[bytes] = []
    start, body = 0, sections["LATT"]
    for length, crc in STREAM.iter_unpack(sections["LIDX"]):
        stream = body[start : start + length]
        if len(stream) < length:
            break
        if crc32(stream) != crc:
            raise CorruptFile(
                f"stream {len(streams)} of the refinement has a wrong checksum, get the file again", value=crc
            )
        streams.append(stream)
        start += length
    if not streams:
        raise CorruptFile(
            f"the refinement ends after {len(body)} bytes, before its first stream does; get the file again",
            value=len(body),
        )
    return streams


def _by_stage(axes: tuple[int, ...], steps: list[float]) -> tuple[int, ...]:
    """Steps of the first lattice and of all stages, from those of levels, the finest first."""
    each = max(1, min(3, len(set(axes))))
    found = []
    for left in range(len(axes), -1, -1):  # stages that follow
        found.append(min(max(1, round(steps[min(left // each, len(steps) - 1)])), LARGEST_STEP))
    return tuple(found)


def _staged(progress: Progress | None) -> Callable[[float], None] | None:
    return None if progress is None else partial(progress, STAGE)
