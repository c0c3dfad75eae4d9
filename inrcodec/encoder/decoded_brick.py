"""A brick of a base, up-sampled both ways and compared with its source.

In: the stored values of a brick, and the low-res voxels that it depends on.  Out: errors and digests.
Invariant: it is the decoder that up-samples (`layers.upsample`), by all low-res voxels that it would see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from inrcodec.encoder.outcome import Outcome, Sum
from inrcodec.format.digest import Digest
from inrcodec.format.header import LANCZOS, Header
from inrcodec.format.sections import Sections
from inrcodec.layers.cache import Cache
from inrcodec.layers.decode_options import DecodeOptions
from inrcodec.layers.upsample import Padding, Upsampling
from inrcodec.progress import Report
from inrcodec.volume.arrays import Array, Float
from inrcodec.volume.box import Box
from inrcodec.volume.bricks import Bricks


@dataclass(frozen=True, eq=False)
class Seen:
    """The low-res voxels that a brick depends on."""

    brick: Box  # full-res
    box: Box  # low-res
    values: Float  # of the box, (z, y, x)


@dataclass(frozen=True, eq=False)
class Decoder:
    """What all bricks are decoded with."""

    header: Header
    coded: NDArray[np.uint8]  # the active low-res voxels, eight a byte: another process may be sent them
    padding: Mapping[str, bytes]  # sections
    nothing: Outcome  # of no voxel: what is measured
    kept: Cache | None = None  # blocks of super-resolution that are known; no other process is sent them

    @property
    def upsampling(self) -> Upsampling:
        """The decoder's."""
        header, shape = self.header, self.header.lowres_shape
        active = np.unpackbits(self.coded, count=prod(shape)).view(np.bool_).reshape(shape)
        return Upsampling(header, active, Padding.of(header, Sections(self.padding)), self.kept)


def decoded(decoder: Decoder, source: Array, seen: Seen, threads: int, report: Report | None) -> list[Sum]:
    """A brick by Lanczos, and by the model if there is one."""
    header, nothing = decoder.header, decoder.nothing
    lowres = np.zeros(header.lowres_shape)  # no more of it than is written takes memory
    lowres[seen.box.slices] = seen.values
    ways = range(1 + (header.sr != LANCZOS))
    whole = Bricks(seen.brick.shape, seen.brick.shape)
    outcomes, digests = [nothing for _ in ways], [Digest(whole) for _ in ways]
    first, depth = seen.brick.low[0], seen.brick.shape[0]
    for slab in decoder.upsampling.slabs(lowres, DecodeOptions(threads=threads), box=seen.brick, plain=True):
        part = source[slab.start - first : slab.stop - first]
        at = seen.brick.run(slab.start, slab.stop)
        for way, stored in zip(ways, (slab.plain, slab.stored), strict=False):
            outcomes[way] += nothing.of(part, stored, at)
            digests[way].add(stored)
        if report:
            report((slab.stop - first) / depth)
    return [Sum(outcomes[way], digests[way].bricks[0]) for way in ways]
