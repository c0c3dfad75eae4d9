"""The low-res volume: Lanczos down-sampling (paper, section 3.2), and which of its voxels need a network.

In: facts of a volume and a factor.  Out: a `Lowres`.
Invariant: deterministic; threads change no bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from math import prod

import numpy as np

from inrcodec.encoder.facts import Facts
from inrcodec.encoder.tasks import HERE, Tasks
from inrcodec.entropy.mask import encode_mask
from inrcodec.layers import resample
from inrcodec.layers.base import activity
from inrcodec.progress import Progress, Report, shares
from inrcodec.volume.arrays import Array, Bool, Float
from inrcodec.volume.box import Box, Shape, lowres_shape
from inrcodec.volume.value_range import Range, filled_unit

CELL = 2  # edge of a mask cell in low-res voxels: on the head 0.5 kB where single voxels cost 1.9 kB (zstd)
SLAB = 1 << 26  # full-res voxels that are read at a time, beside what the kernels reach around them


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


def downsample(facts: Facts, factor: Shape, tasks: Tasks = HERE, progress: Progress | None = None) -> Lowres:
    """The low-res volume of a factor."""
    values = _down(facts, factor, tasks, progress)
    background = activity.background_of(values)
    cell = activity.cell_for(lowres_shape(facts.volume.shape, factor), CELL)
    return Lowres(values, factor, background, cell, activity.active_cells(values, background, cell))


def _down(facts: Facts, factor: Shape, tasks: Tasks, progress: Progress | None) -> Float:
    """Slab by slab, each with the slices that its kernels reach."""
    volume, (depth, *plane) = facts.volume, facts.volume.shape
    values = np.empty(lowres_shape(volume.shape, factor))
    thickness = max(1, SLAB // (prod(plane) * factor[0]))
    parts = [slice(a, min(a + thickness, len(values))) for a in range(0, len(values), thickness)]
    sources = [resample.reach(depth, factor[0], part) for part in parts]
    boxes = [Box((s.start, 0, 0), (s.stop, plane[0], plane[1])) for s in sources]
    work = partial(_slab, volume.shape, factor, facts.span, volume.padding, volume.rescale[0])
    reports = shares(progress, "downsample", [part.stop - part.start for part in parts])
    given = [(part, source.start) for part, source in zip(parts, sources, strict=True)]
    found = tasks.map(work, volume.array, boxes, given, reports, at_once=1)
    for part, slab in zip(parts, found, strict=True):
        values[part] = slab
    return values


def _slab(
    shape: Shape,
    factor: Shape,
    span: Range,
    padding: float | None,
    slope: float,
    stored: Array,
    given: tuple[slice, int],
    threads: int,
    report: Report | None,
) -> Float:
    """Some low-res slices, from stored values of which the first slice is given."""
    part, first = given

    def rows_at(z: int, rows: slice) -> Float:
        return filled_unit(stored[z - first, rows], span, padding, slope)

    return resample.down(rows_at, shape, factor, part=part, threads=threads, progress=report)


NONE = Lowres(np.zeros((1, 1, 1)), (1, 1, 1), 0.0, (1, 1, 1), np.zeros((1, 1, 1), np.bool_))
"""Of a file without networks: nothing of it is active."""
