"""Coders of the low-res volume, found by the header's ``coder``.

In: a header and sections.  Out: a `Base`, which reads any box of the low-res volume.
Invariant: the bits of a voxel depend on nothing that was read before, beside it, or on how many threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from inrcodec.errors import UsageError
from inrcodec.format.header import AV1, LATENT, SIREN, Header
from inrcodec.format.sections import Sections
from inrcodec.layers.base.av1.codec import Av1Slices
from inrcodec.layers.base.latent.codec import LatentGrid
from inrcodec.layers.base.siren.codec import SirenTiles
from inrcodec.layers.base.siren.field import Field as SirenField
from inrcodec.layers.base.siren.field import Frame as Frame
from inrcodec.progress import Progress
from inrcodec.volume.arrays import Active, Float
from inrcodec.volume.box import Box, Shape

if TYPE_CHECKING:
    import torch


class Base(Protocol):
    """A coder of the low-res volume; the refinement (`lattice.layer`) reads boxes in the same way."""

    @property
    def shape(self) -> Shape:
        """Voxels of the grid, (z, y, x)."""

    @property
    def active(self) -> Active:
        """Which voxels of the grid hold more than background, (z, y, x)."""

    @property
    def boxes(self) -> list[Box]:
        """What was coded apart of the grid: where two meet, the error may jump."""

    def read(
        self, box: Box | None = None, *, threads: int | None = None, progress: Progress | None = None
    ) -> Float:
        """The values of a box, (z, y, x), float64, in [-1, 1]; of the whole grid by default.

        Raises
        ------
        CorruptFile
        """

    def bytes_needed(self, box: Box) -> int:
        """Bytes of the sections that a box is read from; indexes are read for that, if they were not."""


class Field(Protocol):
    """The low-res volume between its voxels."""

    def values(self, index: Float, threads: int | None = None) -> Float:
        """Values, (n,), float64, in [-1, 1], at positions (z, y, x) in low-res voxels, (n, 3)."""

    def values_and_slopes(self, index: Float, threads: int | None = None) -> tuple[Float, Float]:
        """Values, and their derivatives along (z, y, x) per low-res voxel, (n, 3)."""


class Coder(NamedTuple):
    """A row of the table."""

    section: str  # which a file of this coder has
    open: Callable[[Header, Sections], Base]


CODERS = {
    SIREN: Coder("WGHT", SirenTiles),
    AV1: Coder("AV1S", Av1Slices),
    LATENT: Coder("LATG", LatentGrid),
}


def coded_apart(header: Header, base: Base | None) -> tuple[list[Box], Shape]:
    """Boxes of the full grid that were coded apart, and the steps of the low-res grid in it.

    Parameters
    ----------
    base : that voxels come from; ``None`` where they come from the bricks of a refinement.
    """
    if base is None:
        return list(header.bricks), (1, 1, 1)
    return [box.scaled(header.factor, header.shape) for box in base.boxes], header.factor


def base_of(header: Header, sections: Sections) -> Base | None:
    """The low-res volume of a file; ``None`` where it, or what was read of it, has none."""
    coder = CODERS.get(header.coder)  # ``None`` where the header says that there is no low-res volume
    return coder.open(header, sections) if coder is not None and coder.section in sections else None


def module_of(field: Field, frame: Frame) -> torch.nn.Module:
    """A field as a torch module, of float64."""
    from inrcodec.layers.base.siren.module import SirenModule  # which needs torch

    assert isinstance(field, SirenField)
    return SirenModule(field, frame)


def is_field(base: Base | None) -> bool:
    """Whether a coder is a continuous function of the position."""
    return isinstance(base, SirenTiles)


def field_of(base: Base | None) -> Field:
    """A coder as a continuous function; raises `UsageError` where it is none."""
    if not isinstance(base, SirenTiles):
        raise UsageError(
            "this file has no networks, so it is no continuous field: interpolate its voxels, with sample "
            "and order 1 or 3, or encode the volume with base 'siren'"
        )
    return SirenField(base)
