"""An open `.inrv` file: what it says of itself, before any voxel is decoded, and whether it is whole.

In: a path, bytes, a stream or a URL.  Out: header, sections, levels.
Invariant: opening reads the section table and the header, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np

from inrcodec.file.decoder import Decoder
from inrcodec.file.levels import Level
from inrcodec.format import container, summary
from inrcodec.format.digest import digest_of_parts
from inrcodec.format.header import Header
from inrcodec.layers import work
from inrcodec.layers.decode_options import REFERENCE, DecodeOptions
from inrcodec.volume.arrays import Array, Float
from inrcodec.volume.box import Box, Shape


class OpenFile:
    """A file whose table and header were read; parameters and errors are those of `InrvFile`."""

    def __init__(self, source: container.Source, *, max_bytes: int | str | None = None) -> None:
        header, sections = container.open_sections(source, max_bytes)
        self._decoder = Decoder(header, sections)

    @classmethod
    def from_sections(cls, header: Header, sections: Mapping[str, bytes]) -> Self:
        """What a file with these sections would hold; HEAD is not needed."""
        file = cls.__new__(cls)
        file._decoder = Decoder(header, container.Sections(sections))
        return file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget what was read; nothing more can be."""
        self.sections.close()

    def __repr__(self) -> str:
        facts = f"shape={self.shape}, dtype={self.dtype}, levels={len(self.levels)}"
        return f"{type(self).__name__}({facts}, modality={self.modality!r}, bytes={self.file_bytes})"

    # --- what the header says

    @property
    def header(self) -> Header:
        """All that the header says."""
        return self._decoder.header

    @property
    def sections(self) -> container.Sections:
        """The sections of the file, read when they are used."""
        return self._decoder.sections

    @property
    def shape(self) -> Shape:
        """Voxels along (z, y, x); an image has one slice."""
        return self.header.shape

    @property
    def lowres_shape(self) -> Shape:
        """Voxels of the low-res volume along (z, y, x)."""
        return self.header.lowres_shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the stored values."""
        return np.dtype(self.header.dtype)

    @property
    def ndim(self) -> int:
        """Axes of the array: three, also of an image."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Voxels."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes of all voxels, decoded."""
        return self.size * self.dtype.itemsize

    @property
    def affine(self) -> Float:
        """Voxel index (x, y, z, 1) to millimetres, LPS axes, (4, 4)."""
        return self.header.affine

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between voxels along (z, y, x), in mm."""
        return self.levels[0].spacing

    @property
    def modality(self) -> str:
        """DICOM term ("CT", "MR"), "" if unknown."""
        return self.header.modality

    @property
    def file_bytes(self) -> int:
        """Size of the file, or of what was read of one that is cut."""
        return container.file_size(self.sections.lengths)

    @property
    def levels(self) -> tuple[Level, ...]:
        """The grids that the volume can be read at, from fine to coarse; a level's number is its place.

        Level 0 is the full resolution.  Behind it come the low-res volume, if the file has a smaller one,
        and the lattices of its refinement, if it has one, by their voxels: as in the pyramids of OME-Zarr, a
        lattice is at most twice as coarse along an axis as the one before.  Lattice voxels are voxels of the
        full resolution, unfiltered, low-res ones are means.  Where the edges of the bricks are not multiples
        of a lattice's spacing, bricks have no lattice in common: such levels are left out.
        """
        return self._decoder.levels

    @property
    def decoder(self) -> Decoder:
        """The layers of the file, for those who write encoders and decoders."""
        return self._decoder

    @property
    def facts(self) -> dict[str, Any]:
        """Geometry, coding, quality, bytes, levels, and what decoding costs, in plain types."""
        found = summary.facts(self.header, self.sections.lengths, work.costs(self.header))
        return found | {"levels": [level.facts for level in self.levels]}

    # --- whether it is whole

    def digest(self, options: DecodeOptions = REFERENCE) -> bytes:
        """Of the decoded voxels, here and now; the header has the encoder's."""
        level = self._decoder.level(0, options)

        def slabs(box: Box) -> Iterator[Array]:
            return (slab.stored for slab in self._decoder.slabs(box, level, options))

        return digest_of_parts(self.header.bricks, slabs)

    def verify(self, options: DecodeOptions = REFERENCE) -> bool:
        """Compare every checksum, decode, and say whether the digest is the encoder's.

        Raises
        ------
        CorruptFile
            A checksum is wrong.
        """
        self.sections.check()
        return self.digest(options) == self.header.digest
