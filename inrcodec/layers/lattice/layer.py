"""The promise: a layer behind the networks that brings every voxel as near as was asked, down to the bit.

In: a volume and a bound of its error, or a PSNR.  Out: sections and fields of a header, or stored values.
The one law: what is promised was decoded and compared before it is written, and no float that could be
another on another machine has a say in it.

The layer codes the volume itself and not what the networks leave: to predict from them was tried and brought
back less than they cost (crop of the dev head, 16 kB of networks: 12 kB fewer of 288 at 32 HU, 7 of 122 at
44 dB, none lossless).  Networks in front of it serve a preview.
"""

from __future__ import annotations

from collections.abc import Callable
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
    streams = _streams(sections, None if voxels is None else stages_within(header, voxels))
    with one_blas_thread():
        known = codec.decode(streams, header.shape, lattice, thread_count(threads), _staged(progress))
    return scale.stored(known)


def stages_within(header: Header, voxels: int) -> int:
    """How many streams bring at most so many voxels; one at least."""
    counts, left = 1, header.refine_axes
    while counts <= len(left) and prod(_lattice_shape(header, counts)) <= voxels:
        counts += 1
    return counts


def whole_streams(sections: Sections) -> int:
    """How many streams are there from end to end."""
    return len(sections.streams())


def coarse(header: Header, sections: Sections, voxels: int, threads: int) -> Array:
    """Stored values of the lattice that the first streams bring, (z, y, x), without what lies between."""
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
    """The first streams that are whole, each checked."""
    rows = sections.streams()[:most]
    if not rows:
        there = sections.lengths["LATT"]
        raise CorruptFile(
            f"the refinement ends after {there} bytes, before its first stream does; get the file again",
            value=there,
        )
    return [sections.stream(row) for row in rows]


def _staged(progress: Progress | None) -> Callable[[float], None] | None:
    return None if progress is None else partial(progress, STAGE)
