"""The latent grid as a coder of the low-res volume: values to sections, sections to any box.

In: a header and the bodies of ``LATG`` and ``GIDX``.  Out: low-res values in [-1, 1]; and back.
Invariant: the integers are exact on every machine, and compared with the encoder's by a checksum.

A stream holds some slices, all of them where they are few.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from inrcodec.format import limits
from inrcodec.layers.base import companding, streams
from inrcodec.layers.base.companding import Nodes
from inrcodec.layers.base.latent import models
from inrcodec.layers.base.latent.model import BLOCK, EDGE, Model
from inrcodec.layers.base.latent.stream import SECTION, read_stream, values_of
from inrcodec.layers.base.streams import SliceStreams, cells_around, flat_cells
from inrcodec.parallel import thread_count
from inrcodec.progress import Progress
from inrcodec.volume.arrays import Bool, Float, Int32
from inrcodec.volume.box import Box, Shape


class LatentGrid(SliceStreams):
    """The low-res volume of one file, as integers in quantisation steps."""

    section, block = SECTION, BLOCK

    @cached_property
    def model(self) -> Model:
        """The model that the file names; raises `ModelNotFound`."""
        return models.load(self.header.latent_model, self.header.latent_sha256)

    def decoded(self, body: bytes, shape: Shape, threads: int | None) -> Int32:
        """The integers of a stream; raises `CorruptFile`, `ModelNotFound`."""
        return read_stream(self.model, self.header.latent_rate, body, shape, thread_count(threads))

    def is_flat(self, integers: Int32) -> Bool | None:
        """Voxels whose value is within a tolerance of the background's."""
        tolerance = self.header.latent_flat
        if tolerance is None:
            return None
        found: Bool = np.abs(self._unit(integers) - self.header.background) <= tolerance
        return found

    def read(
        self, box: Box | None = None, *, threads: int | None = None, progress: Progress | None = None
    ) -> Float:
        """The values of a box, (z, y, x), float64, in [-1, 1]: see `Base.read`, `SliceStreams.integers`."""
        box = box or Box((0, 0, 0), self.shape)
        whole = cells_around(box, self.shape)
        integers = self.integers(whole, threads=threads, progress=progress)
        unit, flat = self._unit(integers), self.is_flat(integers)
        if flat is not None:
            unit[flat_cells(flat)] = self.header.background
        return np.ascontiguousarray(unit[box.slices_in(whole)])

    def _unit(self, integers: Int32) -> Float:
        """Unit values, before any of them are the background's."""
        values = values_of(self.model, self.header.latent_rate, integers)
        return to_unit(values, self.header.latent_ends, self.header.companding)


def to_unit(values: Float, ends: tuple[float, float], nodes: Nodes) -> Float:
    """Unit values of network values: -1 and +1 are coded as ``ends``, companded."""
    low, high = ends
    coded = (values - low) * (2 / (high - low)) - 1
    return np.asarray(companding.expand(nodes, coded.clip(-1, 1)), np.float64)


def from_unit(unit: Float, ends: tuple[float, float], nodes: Nodes) -> Float:
    """The inverse of `to_unit`."""
    low, high = ends
    compressed = np.asarray(companding.compress(nodes, unit.clip(-1, 1)), np.float64)
    return (compressed + 1) * ((high - low) / 2) + low


def sections_of(parts: list[bytes]) -> dict[str, bytes]:
    """The sections of all streams, in their order."""
    return streams.sections_of(SECTION, parts)


def slices_of(shape: Shape) -> int:
    """Slices of a stream of a low-res volume, as the header states them: 0 where one stream holds all."""
    slices = streams.slices_of(shape, limits.LATENT_STREAM)
    return slices - slices % EDGE or slices
