"""The refinement layer: the volume itself within a bound of the error, down to lossless.

In: a header and its sections.  Out: stored values, all or a coarser version.
Invariant: no float that could differ on another machine takes part.

The layer codes the volume and not what the networks leave (docs/experiments/refinement.md); networks in front
of it serve as a preview.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import CorruptFile
from inrcodec.format.header import Header
from inrcodec.format.sections import Sections
from inrcodec.layers.lattice import codec, scan
from inrcodec.layers.lattice.codec import Lattice
from inrcodec.layers.lattice.integers import Scale
from inrcodec.parallel import one_blas_thread, thread_count
from inrcodec.progress import Progress
from inrcodec.volume.box import Shape

Array = NDArray[Any]

STAGE = "refine"


def decode(
    header: Header,
    sections: Sections,
    *,
    voxels: int | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Array:
    """Stored values of a file with a refinement, without its padding.

    Parameters
    ----------
    sections : LATT may end early: the complete streams are decoded, and all other voxels are interpolated.
    voxels : number of voxels to decode, at most; all by default.
    threads : one per core by default; they change no voxel.

    Returns
    -------
    ndarray, (z, y, x).

    Raises
    ------
    CorruptFile
        A stream has a wrong checksum or impossible content, or not even the first is complete.
    """
    lattice, scale = _lattice(header)
    streams = _streams(sections, None if voxels is None else stages_within(header, voxels))
    with one_blas_thread():
        report = None if progress is None else partial(progress, STAGE)
        integers = codec.decode(streams, header.shape, lattice, thread_count(threads), report)
    stored = np.empty(header.shape, header.dtype)
    for plane, values in zip(stored, integers, strict=True):  # intermediates are wide: few at a time
        plane[...] = scale.stored(values)
    return stored


def stages_within(header: Header, voxels: int) -> int:
    """Number of streams that hold at most so many voxels; one at least."""
    counts, left = 1, header.refine_axes
    while counts <= len(left) and prod(_lattice_shape(header, counts)) <= voxels:
        counts += 1
    return counts


def whole_streams(sections: Sections) -> int:
    """Number of complete streams."""
    return len(sections.streams())


def coarse(header: Header, sections: Sections, voxels: int, threads: int) -> Array:
    """Stored values of the lattice that the first streams hold, (z, y, x), without interpolated voxels."""
    streams = min(stages_within(header, voxels), whole_streams(sections))
    left = header.refine_axes[streams - 1 :]
    return scan.first(decode(header, sections, voxels=voxels, threads=threads), left)


def _lattice_shape(header: Header, streams: int) -> Shape:
    left = header.refine_axes[streams - 1 :]
    z, y, x = (-(-n // 2 ** left.count(k)) for k, n in enumerate(header.shape))
    return z, y, x


def _lattice(header: Header) -> tuple[Lattice, Scale]:
    scale = Scale(np.dtype(header.dtype), float(header.low), float(header.high), float(header.refine_unit))
    return Lattice(axes=header.refine_axes, steps=header.refine_steps, most=scale.most), scale


def _streams(sections: Sections, most: int | None) -> list[bytes]:
    """The first complete streams, each checked."""
    rows = sections.streams()[:most]
    if not rows:
        there = sections.lengths["LATT"]
        raise CorruptFile(
            f"the refinement ends after {there} bytes, within its first stream; get the file again",
            value=there,
        )
    return [sections.stream(row) for row in rows]
