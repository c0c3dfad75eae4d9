"""One brick of a volume to the streams of its refinement, and back as a reader would.

In: stored values, and how they are counted and quantised.  Out: a stream for each step, or stored values.
Invariant: a brick is coded by itself, so that neither threads nor other bricks change a byte of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inrcodec.entropy.padding import decode_bits
from inrcodec.layers import padding
from inrcodec.layers.lattice import codec, lower_halves
from inrcodec.layers.lattice.codec import Lattice, Source
from inrcodec.layers.lattice.filter import filtered
from inrcodec.layers.lattice.integers import Scale as Scale
from inrcodec.layers.lattice.scan import spacing_of
from inrcodec.layers.special import Special
from inrcodec.layers.special import encode as encode_special
from inrcodec.parallel import mapped
from inrcodec.progress import Report
from inrcodec.volume.arrays import Array
from inrcodec.volume.box import Shape

PLANES = 4  # that are turned into stored values at a time


@dataclass(frozen=True)
class Apart:
    """What is stored of a brick beside its streams, bit for bit; empty where there is none."""

    mask: bytes = b""  # of its padding
    special: bytes = b""  # of voxels that the lattice does not give back


@dataclass(frozen=True, eq=False)
class Coded:
    """A brick that was coded."""

    streams: list[bytes]
    apart: Apart
    integers: Array  # (z, y, x), what the streams decode to before the filter
    stored: Array  # (z, y, x), the stored values that it comes to


@dataclass(frozen=True, kw_only=True)
class Coding:
    """How stored values are counted and quantised.

    Attributes
    ----------
    scale, lattice : shared by all bricks.
    trade : what a bit is worth, see `codec.Source`.
    padding : stored value of voxels that are restored from a mask.
    is_exact : whether every voxel comes back bit for bit.
    """

    scale: Scale
    lattice: Lattice
    trade: int = 0
    padding: float | None = None
    is_exact: bool = False

    def encode(self, values: Array, threads: int = 1, report: Report | None = None) -> Coded:
        """All that is stored of a brick, of values (z, y, x), and what it comes to."""
        padded = None if self.padding is None else np.asarray(values == self.padding)
        special = ~np.isfinite(values) if values.dtype.kind == "f" else np.zeros(values.shape, np.bool_)
        ignored, counted = padded, values
        if special.any():
            ignored = special if padded is None else special | padded
            counted = np.where(special, values.dtype.type(self.scale.low), values)
        integers = self.scale.of(np.ascontiguousarray(counted)).astype(self.lattice.dtype, copy=False)
        source = Source(values=integers, lattice=self.lattice, trade=self.trade, dont_care=ignored)
        streams, decoded = codec.encode(source, threads, report)
        stored = stored_of(decoded, self.scale, self.lattice, threads)
        if self.scale.has_lower_halves:
            streams.append(lower_halves.encode(counted))
            lower_halves.join(stored, streams[-1], stored.shape)
        if padded is not None:
            stored[padded] = self.padding
        if self.is_exact and values.dtype.kind == "f":
            special |= (values == 0) & (np.signbit(values) != np.signbit(stored))
        stored[special] = values[special]
        mask = b"" if padded is None else padding.encode_mask(padded & ~special)
        return Coded(streams, Apart(mask, encode_special(values, special)), decoded, stored)

    def decode(
        self,
        streams: Sequence[bytes],
        shape: Shape,
        apart: Apart,
        threads: int = 1,
        report: Report | None = None,
    ) -> Array:
        """The stored values of a brick, (z, y, x), that a reader gets from all that is stored of it."""
        count = len(self.lattice.steps)
        lower = b"".join(streams[count:])
        stored = values_of(streams[:count], shape, self.lattice, self.scale, threads, report, lower=lower)
        mask = apart.mask
        for plane, padded in zip(stored, decode_bits(mask, shape) if mask else (), strict=bool(mask)):
            plane[padded] = self.padding
        if apart.special:
            Special.decoded(apart.special, shape, stored.dtype).restore(stored)
        return stored


def values_of(
    streams: Sequence[bytes],
    shape: Shape,
    lattice: Lattice,
    scale: Scale,
    threads: int = 1,
    report: Report | None = None,
    *,
    lower: bytes = b"",
    spaced: bool = False,
) -> Array:
    """Stored values of a brick, (z, y, x), by its streams alone; errors are those of `codec.decode`.

    Parameters
    ----------
    streams : of the lattice, of all steps or of the first.
    lower : of the lower halves; where it is missing, these are 0.
    spaced : see `codec.decode`.
    """
    decoded = codec.decode(streams, shape, lattice, threads, report, spaced=spaced)
    is_whole = len(streams) == len(lattice.steps)
    stored = stored_of(decoded, scale, lattice if is_whole else None, threads)
    if lower:
        spacing = spacing_of(lattice.axes[len(streams) - 1 :]) if spaced else (1, 1, 1)
        lower_halves.join(stored, lower, shape, spacing)
    return stored


def stored_of(integers: Array, scale: Scale, lattice: Lattice | None = None, threads: int = 1) -> Array:
    """Stored values of integers, (z, y, x); a few planes at a time, as what lies between them is wide.

    Parameters
    ----------
    lattice : whose filter comes first; ``None`` where there is none.
    """
    stored = np.empty(integers.shape, scale.dtype)
    weights = () if lattice is None else lattice.filter

    def fill(start: int) -> None:
        planes = slice(start, min(start + PLANES, len(integers)))
        wide = integers[planes]
        if lattice is not None and weights:
            wide = filtered(integers, planes, weights, lattice.steps[-1], lattice.most)
        stored[planes] = scale.stored(wide)

    mapped(fill, range(0, len(integers), PLANES), threads)
    return stored
