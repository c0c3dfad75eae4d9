"""What a layer is: a step between sections and voxels that answers any box.

In: a header and sections.  Out: an object that reads boxes.
Invariant: the bits of a voxel depend on nothing that was read before, beside it, or on how many threads.

A layer is a module with both directions side by side: a class that is made from ``(header, sections)`` and
reads, and a function ``encode`` that makes the sections.  What the encoder writes it reads back through the
same class.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from inrcodec.progress import Progress
from inrcodec.volume.box import Box, Shape


class Layer(Protocol):
    """What is stored of a volume on one grid."""

    @property
    def shape(self) -> Shape:
        """Voxels of the grid, (z, y, x)."""

    def read(
        self, box: Box | None = None, *, threads: int | None = None, progress: Progress | None = None
    ) -> NDArray[Any]:
        """The values of a box, (z, y, x); of the whole grid by default.

        Raises
        ------
        CorruptFile
        """


class Base(Layer, Protocol):
    """A coder of the low-res volume: values are float64 in [-1, 1]."""

    @property
    def active(self) -> NDArray[np.bool_]:
        """Which voxels of the grid are coded, (z, y, x); the others are the header's background."""
