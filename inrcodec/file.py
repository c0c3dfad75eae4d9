"""An `.inrv` file and what can be read of it.

In: a path, bytes, a stream or a URL.  Out: its header, and any part of its volume.
Invariant: a voxel does not depend on threads, slabs or the box that was read, and nothing is read or decoded
that a box does not need; the encoder runs this very code on what it is about to write.  The low-res volume
needs neither torch nor scipy, so that a preview does not wait for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import UsageError
from inrcodec.format import container
from inrcodec.format.container import Source as Source
from inrcodec.format.digest import Digest
from inrcodec.format.header import LANCZOS, Header
from inrcodec.layers.base.coders import Base, base_of
from inrcodec.layers.decode_options import REFERENCE, DecodeOptions
from inrcodec.layers.lattice.layer import Refinement
from inrcodec.layers.upsample import Planes, Slab, Upsampling, check_model, padding_of, slabs_of, span_of
from inrcodec.progress import Progress
from inrcodec.volume.affine import coarser, spacing_of
from inrcodec.volume.box import Box, BoxLike, Shape, bounds, ranges_of, within
from inrcodec.volume.volume import Volume

Array = NDArray[Any]
Float = NDArray[np.float64]

FULL, LOWRES = 0, 1  # levels of a volume
PREVIEW_VOXELS = 1 << 18  # of the refinement's lattice that a preview is made of, at most


class InrvFile:
    """What is in a file; its voxels are read and decoded on request.

    Opening reads and checks the section table and the header.  Every other section is read, and its checksum
    compared, when it is first needed: :meth:`verify` reads them all.  Threads may share the object.

    Parameters
    ----------
    source : path, bytes, binary file object, URL or UPath
        A path is not held open.  A file object is the caller's to close; one that cannot seek is read whole.
    max_bytes : int or str, optional
        Read no more of the file than this; it may end there.  What is whole by then can be decoded.

    Attributes
    ----------
    header : Header
    sections : Sections

    Raises
    ------
    InputError
        No such file, or it cannot be read.
    CorruptFile, UnsupportedFile, LimitExceeded
        Table or header are damaged, newer than this version, or describe more than the format allows.
    UsageError
        ``max_bytes`` ends within the header.

    Examples
    --------
    >>> import numpy as np, inrcodec
    >>> ramp = np.add.outer(np.arange(24), np.arange(32)).astype(np.int16)
    >>> with inrcodec.open(inrcodec.encode(ramp, lossless=True)) as file:
    ...     assert file.shape == (1, 24, 32) and file.dtype == ramp.dtype
    ...     assert (file.read((slice(None), slice(4, 20, 2)))[0] == ramp[4:20:2]).all()
    """

    def __init__(self, source: Source, *, max_bytes: int | str | None = None) -> None:
        self.header, self.sections = container.open_sections(source, max_bytes)

    @classmethod
    def from_sections(cls, header: Header, sections: Mapping[str, bytes]) -> InrvFile:
        """What a file with these sections would hold; HEAD is not needed."""
        file = cls.__new__(cls)
        file.header, file.sections = header, container.Sections(sections)
        return file

    def __enter__(self) -> InrvFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget what was read; nothing more can be."""
        self.sections.close()

    # --- what the header says

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
    def affine(self) -> Float:
        """Voxel index (x, y, z, 1) to millimetres, LPS axes, (4, 4)."""
        return self.header.affine

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between voxels along (z, y, x), in mm."""
        return spacing_of(self.affine)

    @property
    def modality(self) -> str:
        """DICOM term ("CT", "MR"), "" if unknown."""
        return self.header.modality

    @property
    def file_bytes(self) -> int:
        """Size of the file, or of what was read of one that is cut."""
        return container.file_size(self.sections.lengths)

    # --- what there is to decode

    @cached_property
    def base(self) -> Base | None:
        """The coder of the low-res volume; ``None`` where the file, or what was read of it, has none."""
        return base_of(self.header, self.sections)

    @cached_property
    def refinement(self) -> Refinement | None:
        """The layer that keeps a bound; ``None`` where the file, or what was read of it, has none."""
        found = Refinement(self.header, self.sections) if self.header.refine_steps else None
        return found if found is not None and found.there else None

    @cached_property
    def upsampling(self) -> Upsampling:
        """The step from the low-res volume to the stored slices."""
        return Upsampling(self.header, self._require_base().active, self._padding)

    @cached_property
    def _padding(self) -> Planes | None:
        return padding_of(self.header, self.sections)

    @property
    def missing(self) -> int:
        """Steps of the refinement that were not read, where a file was cut; each doubles the voxels."""
        steps = len(self.header.refine_steps)
        return steps if self.refinement is None else self.refinement.missing

    def uses_refinement(self, options: DecodeOptions = REFERENCE) -> bool:
        """Whether voxels come from the refinement: all but its last step are there, or nothing else is."""
        if options.lowres or options.quality == "base" or self.refinement is None:
            return False
        return self.base is None or (options.quality == "full" and self.missing <= 1)

    def check_options(self, options: DecodeOptions) -> None:
        """Refuse options that this file cannot serve, before anything is decoded.

        Raises
        ------
        UsageError
            Another model than the file's, or low-res or "base" quality of a file without networks.
        """
        check_model(self.header, options.sr)
        if not self.uses_refinement(options):
            self._require_base("lowres" if options.lowres else "quality", options.quality)

    def _require_base(self, option: str | None = None, value: object = None) -> Base:
        if self.base is None:
            cut = self.missing > 0 or "WGHT" not in self.sections
            cause = "what was read of this file has no networks" if cut else "this file has no networks"
            cause += " and so no low-res volume" if option != "quality" else ""
            remedy = ", or read more bytes" if cut else ""
            raise UsageError(f"{cause}: use quality 'full' or 'preview'{remedy}", value=value, option=option)
        return self.base

    # --- voxels

    def read(
        self,
        box: BoxLike = None,
        level: int = FULL,
        options: DecodeOptions = REFERENCE,
        progress: Progress | None = None,
    ) -> Array:
        """Stored values of any part of the volume.

        Only the tiles, rows and blocks of networks, and the bricks of a refinement, are read and decoded that
        the box needs.

        Parameters
        ----------
        box : Box, slice or up to three slices, optional
            Voxels of the level, along (z, y, x), steps too; all by default.
        level : {0, 1}
            0 is the full resolution, 1 the low-res volume, which ``options.lowres`` means too.
        options : DecodeOptions
        progress : as for :func:`inrcodec.decode`.

        Returns
        -------
        ndarray, (z, y, x), of the file's dtype

        Raises
        ------
        UsageError
            The box reaches beyond the level, the level is not there, or see :meth:`check_options`.
        CorruptFile
            A section that is needed is damaged.
        ModelNotFound
            The file's super-resolution model is not installed.

        Examples
        --------
        >>> import numpy as np, inrcodec
        >>> file = inrcodec.open(inrcodec.encode(np.zeros((8, 16, 16), np.int16)))
        >>> file.read((slice(2, 4), slice(None), slice(0, 16, 4))).shape
        (2, 16, 4)
        """
        if self._level(level, options) == LOWRES:
            unit = self.lowres(box, threads=options.threads, progress=progress)
            return span_of(self.header).to_stored(unit, self.dtype)
        ranges = ranges_of(box, self.shape)
        around = bounds(ranges)
        out = np.empty([len(part) for part in ranges], self.dtype)
        if around is None:
            return out
        _, *others = (within(part, low) for part, low in zip(ranges, around.low, strict=True))
        places = {index: k for k, index in enumerate(ranges[0])}
        for slab in self._slabs(around, options, progress):
            for index, plane in enumerate(slab.stored, slab.start):
                if index in places:
                    out[places[index]] = plane[tuple(others)]
        return out

    def slabs(
        self,
        options: DecodeOptions = REFERENCE,
        *,
        box: BoxLike = None,
        progress: Progress | None = None,
    ) -> Iterator[Slab]:
        """The slices of a box, a slab at a time, in order; errors are those of :meth:`read`.

        Parameters
        ----------
        box : as for :meth:`read`, without steps.

        Yields
        ------
        Slab
            Its slices and their stored values, (z, y, x).
        """
        lowres = self._level(FULL, options) == LOWRES
        ranges = ranges_of(box, self.lowres_shape if lowres else self.shape)
        if any(part.step != 1 for part in ranges):
            raise UsageError("slabs are contiguous: leave steps out, or use read", value=box, option="box")
        around = bounds(ranges)
        if around is not None and lowres:
            yield from slabs_of(self.read(around, LOWRES, options, progress), around.low[0])
        elif around is not None:
            yield from self._slabs(around, options, progress)

    def _level(self, level: int, options: DecodeOptions) -> int:
        if level not in (FULL, LOWRES):
            raise UsageError(f"{level!r} is not a level: 0 is full, 1 low-res", value=level, option="level")
        if level == LOWRES:
            self._require_base("level", level)
            return LOWRES
        self.check_options(options)
        return LOWRES if options.lowres else FULL

    def _slabs(self, box: Box, options: DecodeOptions, progress: Progress | None) -> Iterator[Slab]:
        if not self.uses_refinement(options) or self.refinement is None:
            yield from self._upsampled(box, options, progress)
            return
        steps = self.refinement.within(PREVIEW_VOXELS) if options.quality == "preview" else None
        stored = self.refinement.read(box, steps=steps, threads=options.threads, progress=progress)
        if self._padding is not None:
            for z, plane in enumerate(stored, box.low[0]):
                plane[self._padding[z][box.slices[1:]]] = plane.dtype.type(self.header.padding or 0)
        yield from slabs_of(stored, box.low[0])

    def _upsampled(self, box: Box, options: DecodeOptions, progress: Progress | None) -> Iterator[Slab]:
        if options.quality == "preview":
            options = replace(options, sr=LANCZOS)
        base, upsampling = self._require_base(), self.upsampling
        needed = upsampling.support(box, options)
        lowres = np.empty(base.shape)  # memory is taken only where it is filled
        lowres[needed.slices] = base.read(needed, threads=options.threads, progress=progress)
        stage = "upsample" if (options.sr or self.header.sr) == LANCZOS else "superres"
        for slab in upsampling.slabs(lowres, options, box=box):
            yield slab
            if progress:
                progress(stage, (slab.stop - box.low[0]) / box.shape[0])

    def lowres(
        self, box: BoxLike = None, *, threads: int | None = None, progress: Progress | None = None
    ) -> Float:
        """The low-res volume as the networks hold it.

        Parameters
        ----------
        box : low-res voxels, as for :meth:`read`; only the tiles that they cross are evaluated.

        Returns
        -------
        ndarray, (z, y, x), float64, in [-1, 1]: the ends of the header's range

        Raises
        ------
        UsageError
            The file has no networks.
        """
        base = self._require_base()
        ranges = ranges_of(box, base.shape)
        around = bounds(ranges)
        if around is None:
            return np.empty([len(part) for part in ranges])
        values: Float = base.read(around, threads=threads, progress=progress)
        z, y, x = (within(part, low) for part, low in zip(ranges, around.low, strict=True))
        return values[z, y, x]

    def volume(self, options: DecodeOptions = REFERENCE, progress: Progress | None = None) -> Volume:
        """The whole volume with its geometry; the low-res one if ``options.lowres``.

        Errors are those of :meth:`read`.
        """
        header, array = self.header, self.read(options=options, progress=progress)
        volume = Volume(
            array,
            coarser(header.affine, header.factor) if options.lowres else header.affine,
            rescale=header.rescale,
            slice_rescale=np.array(header.slice_rescale) if header.slice_rescale else None,
            modality=header.modality,
            padding=header.padding,
            ndim=header.ndim,
            unit=header.unit,
            description=header.description,
        )
        if not options.lowres:
            return volume
        return volume.of_any_grid()

    def lowres_volume(self, *, threads: int | None = None, progress: Progress | None = None) -> Volume:
        """The low-res volume in the source's dtype and units, on its coarser grid, without its padding."""
        return self.volume(DecodeOptions(lowres=True, threads=threads), progress)

    def preview(self) -> NDArray[np.uint8]:
        """The central low-res slice, (y, x), grey from its 1st to its 99.5th percentile.

        Of a file without networks, a slice of the refinement's coarse lattice.  Rows or columns repeat where
        one axis is coarser, so that the picture has the proportions of the volume.
        """
        if self.base is None and self.refinement is not None:
            coarse, spacing = self.refinement.coarse(PREVIEW_VOXELS, 1)
            plane = coarse[len(coarse) // 2].astype(np.float64)
        else:
            middle, spacing = self.lowres_shape[0] // 2, self.header.factor
            plane = self.lowres(slice(middle, middle + 1), threads=1)[0]
        pixel = gcd(*spacing[1:])  # full-res voxels along its edge
        for axis in (0, 1):
            plane = plane.repeat(spacing[1 + axis] // pixel, axis)
        plane = plane[: -(-self.shape[1] // pixel), : -(-self.shape[2] // pixel)]
        low, high = np.percentile(plane, [1, 99.5])
        grey = np.clip((plane - low) / max(high - low, 1e-9), 0, 1)
        scaled: NDArray[np.uint8] = np.rint(255 * grey).astype(np.uint8)
        return scaled

    def digest(self, options: DecodeOptions = REFERENCE) -> bytes:
        """BLAKE2b-128 of the decoded voxels, here and now; the header has the encoder's."""
        digest = Digest()
        for slab in self.slabs(options):
            digest.add(slab.stored)
        return digest.value

    def verify(self, options: DecodeOptions = REFERENCE) -> bool:
        """Compare every checksum, decode, and say whether the digest is the encoder's.

        Raises
        ------
        CorruptFile
            A checksum is wrong.
        """
        self.sections.check()
        return self.digest(options) == self.header.digest
