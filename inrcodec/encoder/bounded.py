"""Encodings with a refinement: on its own, or behind networks.

In: a volume and what was promised.  Out: an encoding and what it reaches, as without a refinement.
The one law: what is returned was decoded from its very sections and compared with the source.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from math import floor, log10, nextafter, sqrt
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from inrcodec.encoder.options import ResolvedOptions
from inrcodec.errors import InputError, TargetNotReached, UsageError
from inrcodec.format.header import LARGEST_STEP
from inrcodec.format.sections import STREAM
from inrcodec.layers.lattice import codec, scan
from inrcodec.layers.lattice.codec import Lattice, Source
from inrcodec.layers.lattice.integers import Scale
from inrcodec.layers.lattice.layer import STAGE
from inrcodec.parallel import one_blas_thread, thread_count
from inrcodec.progress import Progress
from inrcodec.volume import metrics
from inrcodec.volume.metrics import Errors
from inrcodec.volume.value_range import Range
from inrcodec.volume.volume import Volume

ATTEMPTS = 4


FAR = 20.0  # dB from a PSNR, which is as far as the search looks


CLOSE = 0.1  # dB above a PSNR that is asked for, which is near enough


SLOPE = 0.7  # dB of the PSNR for one of the step, at first


COARSER = 4  # levels, each with steps of its own


DECAY = 2.0  # from a level's steps to the next finer one's, where a PSNR is asked for


ROUNDING = 0.35  # of a step, likewise: what is added before a magnitude is cut off; a half is plain rounding


LEVELS = 1 << 20  # that a float's range is cut in, where a PSNR is asked for


def refiner(volume: Volume, span: Range, options: ResolvedOptions) -> Refiner:
    """Makes the layers of a volume."""
    return Refiner(volume, span.low, span.high, options.threads)


def guaranteed(
    volume: Volume, span: Range, options: ResolvedOptions, progress: Progress | None = None
) -> Layer:
    """The layer that keeps ``options.max_error``, in physical units.

    Raises
    ------
    InputError, UsageError
        See :meth:`inrcodec.layers.lattice.layer.Refiner.within`.
    """
    assert options.max_error is not None
    _refuse_two_zeros(volume, options.max_error)
    layer = refiner(volume, span, options).within(_stored_bound(volume, options.max_error), progress)
    return replace(layer, fields={**layer.fields, "bound": options.max_error})


def _stored_bound(volume: Volume, bound: float) -> float:
    """A physical bound in stored units, rounded such that it is not exceeded."""
    slope = abs(volume.rescale[0])
    found = bound / slope
    if volume.array.dtype.kind != "f":
        found = floor(found) + 1.0
    while found * slope > bound:
        found = found - 1 if volume.array.dtype.kind != "f" else nextafter(found, 0.0)
    return found


def _refuse_two_zeros(volume: Volume, bound: float) -> None:
    """Floats whose padding is one zero cannot keep the other beside it."""
    array = volume.array
    if bound == 0 and array.dtype.kind == "f" and volume.padding == 0:
        zeros = array[array == 0]
        if (np.signbit(zeros) != np.signbit(volume.padding)).any():
            raise InputError(
                "0 and -0 are both there and one is the padding: make them one to compress without loss",
                value=volume.padding,
            )


def with_psnr(
    volume: Volume, span: Range, options: ResolvedOptions, progress: Progress | None = None
) -> Layer:
    """The layer for ``options.psnr``."""
    assert options.psnr is not None
    peak = metrics.peak_of(float(span.low), float(span.high), volume.array.dtype) or 1.0
    return refiner(volume, span, options).with_psnr(options.psnr, peak, progress)


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
    stored: NDArray[Any]

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
        self.threads = thread_count(threads)
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
            "larger one, or for lossless",
            value=bound,
            option="max_error",
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
                f"{psnr:g} dB are more than a refinement of floats is made for; bound the error instead, "
                "with max_error",
                value=psnr,
                option="psnr",
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
        axes = scan.axes_for(self.volume.shape, spacing)
        lattice = Lattice(axes=axes, steps=_by_stage(axes, steps), most=scale.most)
        source = Source(
            values=scale.of(self.volume.array).astype(lattice.dtype, copy=False),
            lattice=lattice,
            up=tuple(int(up * s) for s in lattice.steps),
            dont_care=self.free,
        )
        with one_blas_thread():
            streams, known = codec.encode(
                source, self.threads, None if progress is None else partial(progress, STAGE)
            )
        index = b"".join(STREAM.pack(len(s), crc32(s)) for s in streams)
        fields = {"refine_axes": axes, "refine_steps": lattice.steps, "refine_unit": unit}
        stored = scale.stored(known)
        if self.free is not None:
            stored[self.free] = self.volume.padding
        return Layer(fields, {"LIDX": index, "LATT": b"".join(streams)}, stored)

    def _errors(self, stored: NDArray[Any], peak: float = 1.0) -> Errors:
        """What a layer leaves."""
        found = Errors(peak)
        found.add(self.volume.array, stored)
        return found


def _by_stage(axes: tuple[int, ...], steps: list[float]) -> tuple[int, ...]:
    """Steps of the first lattice and of all stages, from those of levels, the finest first."""
    each = max(1, min(3, len(set(axes))))
    found = []
    for left in range(len(axes), -1, -1):  # stages that follow
        found.append(min(max(1, round(steps[min(left // each, len(steps) - 1)])), LARGEST_STEP))
    return tuple(found)
