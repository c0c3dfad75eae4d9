"""The low-res volume: Lanczos down-sampling (paper, section 3.2), and which of its voxels need a network.

In: facts of a volume and a factor.  Out: a `Lowres`.
Invariant: deterministic; threads change no bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from inrcodec.encoder.facts import Facts
from inrcodec.entropy.mask import encode_mask
from inrcodec.layers import resample
from inrcodec.layers.base.siren import activity
from inrcodec.parallel import thread_count
from inrcodec.progress import Progress
from inrcodec.volume.arrays import Bool, Float
from inrcodec.volume.box import Shape, lowres_shape
from inrcodec.volume.value_range import unit_rows

CELL = 2  # edge of a mask cell in low-res voxels: on the head 0.5 kB where single voxels cost 1.9 kB (zstd)


@dataclass(frozen=True, eq=False)
class Lowres:
    """A low-res volume; arrays and edges are (z, y, x)."""

    values: Float  # in [-1, 1]; plain down-sampling
    factor: Shape
    background: float  # unit value of inactive voxels
    cell: Shape  # edges of a mask cell in voxels
    cells: Bool | None  # the active ones; ``None`` where every voxel is active
    projected: Float | None = None  # the volume to fit to where it is not ``values`` (`back_projection`)

    @property
    def shape(self) -> Shape:
        z, y, x = self.values.shape
        return z, y, x

    @cached_property
    def active(self) -> Bool:
        """Voxels that a network stands for, (z, y, x)."""
        return activity.active_voxels(self.cells, self.cell, self.shape)

    @cached_property
    def sections(self) -> Mapping[str, bytes]:
        """Section MASK, where there are inactive voxels."""
        return {} if self.cells is None else {"MASK": encode_mask(self.cells)}

    @property
    def target(self) -> Float:
        """What the networks are fitted to, (z, y, x)."""
        return self.values if self.projected is None else self.projected


def downsample(
    facts: Facts, factor: Shape, threads: int | None = None, progress: Progress | None = None
) -> Lowres:
    """The low-res volume of a factor."""
    values = resample.down(
        partial(unit_rows, facts.volume, facts.span),
        facts.volume.shape,
        factor,
        threads=thread_count(threads),
        progress=None if progress is None else partial(progress, "downsample"),
    )
    background = activity.background_of(values)
    cell = activity.cell_for(lowres_shape(facts.volume.shape, factor), CELL)
    return Lowres(values, factor, background, cell, activity.active_cells(values, background, cell))


NONE = Lowres(np.zeros((1, 1, 1)), (1, 1, 1), 0.0, (1, 1, 1), np.zeros((1, 1, 1), np.bool_))
"""Of a file without networks: nothing of it is active."""
