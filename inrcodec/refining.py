"""Encodings with a refinement: on its own, or behind networks.

In: a volume and what was promised.  Out: an encoding and what it reaches, as without a refinement.
The one law: what is returned was decoded from its very sections and compared with the source.
"""

from __future__ import annotations

from dataclasses import replace
from math import floor, nextafter

import numpy as np

from inrcodec import check, encoder, focus, metrics, streams
from inrcodec.check import Reached
from inrcodec.encoder import Encoded, Lowres
from inrcodec.errors import InputError, TargetNotReached
from inrcodec.normalize import Range
from inrcodec.options import Progress, ResolvedOptions
from inrcodec.refinement import Layer, Refiner
from inrcodec.superres import candidate
from inrcodec.volume import Volume

COARSEST = 8  # factor of a file without networks: the fewest low-res voxels to say nothing about


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
        See :meth:`inrcodec.refinement.Refiner.within`.
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


def bare(volume: Volume, span: Range, options: ResolvedOptions) -> Encoded:
    """An encoding without networks: nothing of its low-res volume is active."""
    z, y, x = (min(COARSEST, n) for n in volume.shape)
    nothing = np.zeros([-(-n // f) for n, f in zip(volume.shape, (z, y, x), strict=True)])
    cell = (nothing.shape[0], nothing.shape[1], nothing.shape[2])
    low = Lowres(nothing, (z, y, x), 0.0, cell, np.zeros((1, 1, 1), np.bool_))
    header = encoder.header_of(volume, span, low, candidate.PLAIN, options)
    index, weights = streams.join([b""])
    sections = {**encoder.masks_of(volume, low), "INDX": index, "WGHT": weights}
    return Encoded(header, sections, nothing, nothing, focus.told(options.focus, volume, span))


def refined(
    volume: Volume,
    encoded: Encoded,
    before: Reached | None,
    layer: Layer,
    options: ResolvedOptions,
    progress: Progress | None = None,
) -> tuple[Encoded, Reached]:
    """An encoding with a layer behind it, decoded and measured.

    Parameters
    ----------
    before : what the networks reach; ``None`` without any.

    Raises
    ------
    TargetNotReached
        A voxel is further off than was promised: an error of this program, never a file.
    """
    if before is not None and before.best != encoded.header.sr:
        encoded = replace(encoded, header=replace(encoded.header, **candidate.PLAIN))
    header = replace(encoded.header, **layer.fields)
    sections = encoded.sections | layer.sections
    outcome = check.decoded(header, sections, volume, encoded.windows, progress, options.threads)
    bound = header.bound
    if bound is not None and outcome.errors.largest * abs(header.rescale[0]) > bound:
        raise TargetNotReached(
            f"a voxel is off by {outcome.errors.largest * abs(header.rescale[0]):g}, {bound:g} was promised: "
            "nothing is written, please report it",
            value=outcome.errors.largest,
        )
    found = before or Reached({"lanczos": outcome}, None, outcome.windows, 0.0)
    return replace(encoded, header=header, sections=sections), replace(found, refined=outcome)


def size_of(encoded: Encoded, layer: Layer) -> int:
    """Bytes of a file of an encoding without quality and a layer, about."""
    return layer.size + sum(map(len, encoded.sections.values())) + len(encoded.header.to_bytes())
