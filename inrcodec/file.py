"""From sections back to voxels: the second half of the corridor.

In: a header and its sections.  Out: the low-res volume, and slabs of stored values.
The one law: nothing here depends on threads, slabs or the part that was asked for; the encoder runs this
very code on what it is about to write.

The low-res half needs neither torch nor scipy, so that a preview does not wait for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from inrcodec.entropy.padding import Planes, decode_bits
from inrcodec.errors import UsageError
from inrcodec.format.header import Header
from inrcodec.format.sections import Sections
from inrcodec.layers.base.siren.codec import SirenTiles
from inrcodec.layers.decode_options import REFERENCE, DecodeOptions
from inrcodec.layers.lattice import layer
from inrcodec.layers.superres import registry
from inrcodec.layers.upsample import SLAB, Fullres, Slab
from inrcodec.progress import Progress
from inrcodec.validate import did_you_mean
from inrcodec.volume.affine import coarser
from inrcodec.volume.box import Box, Shape, lowres_shape
from inrcodec.volume.value_range import Range
from inrcodec.volume.volume import Volume

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

DIGEST_BYTES = 16
PREVIEW_VOXELS = 1 << 18  # of the lattice that a preview is made of, at most
FULL_RES_FACTS = ("thickness",)  # of a volume's description: not true of its low-res version


class Decoder:
    """Lazily decoded parts of one file.

    Parameters
    ----------
    header : checked against the limits.
    sections : bodies by section ID.
    """

    def __init__(self, header: Header, sections: Sections) -> None:
        self.header, self.sections = header, sections
        self.shape: Shape = header.shape
        self.low_shape = lowres_shape(header.shape, header.factor)
        self.base = SirenTiles(header, sections)
        self.span = Range(float(header.low), float(header.high))

    @property
    def active(self) -> Bool:
        """Low-res voxels that a network stands for."""
        return self.base.active

    @cached_property
    def padding(self) -> Planes | None:
        """Full-res voxels that hold the padding value."""
        if "PADM" not in self.sections:
            return None
        return decode_bits(self.sections["PADM"], self.shape)

    def lowres(
        self, threads: int | None = None, z: slice = slice(None), progress: Progress | None = None
    ) -> Float:
        """Low-res slices ``z`` in [-1, 1]; only the tiles that they cross are evaluated.

        Returns
        -------
        ndarray, (z, y, x), float64.
        """
        start, stop, _ = z.indices(self.low_shape[0])
        box = Box((start, 0, 0), (max(start, stop), *self.low_shape[1:]))
        return self.base.read(box, threads=threads, progress=progress)

    def slabs(
        self,
        lowres: Float,
        how: DecodeOptions = REFERENCE,
        *,
        plain: bool = False,
        progress: Progress | None = None,
    ) -> Iterator[Slab]:
        """All full-res slices, a slab at a time.

        Parameters
        ----------
        plain : whether the slabs are to hold the slices by Lanczos alone too.
        """
        stage = "upsample" if (how.sr or self.header.sr) == registry.LANCZOS else "superres"
        whole = Fullres(self.header, lowres, self.active, self.padding)
        for slab in whole.slabs(how, plain=plain):
            yield slab
            if progress:
                progress(stage, slab.stop / self.shape[0])

    def decoded(self, how: DecodeOptions = REFERENCE, progress: Progress | None = None) -> Iterator[Slab]:
        """All full-res slices of the quality that is wished, a slab at a time.

        Raises
        ------
        UsageError
            The networks are asked for, and there are none.
        """
        if self.is_from_lattice(how):
            coarse = PREVIEW_VOXELS if how.quality == "preview" else None
            yield from self._refined(coarse, how.threads, progress)
            return
        if not self.has_networks:
            where, more = (
                ("what was read of this file", ", of more bytes") if self.is_cut else ("this file", "")
            )
            raise UsageError(
                f"there are no networks in {where}: its quality is 'full' or 'preview'{more}",
                value=how.quality,
                option="quality",
            )
        how = replace(how, sr=registry.LANCZOS) if how.quality == "preview" else how
        if how.sr != registry.LANCZOS:
            registry.check_work(self.header, how.ensemble)  # before the networks are evaluated
        yield from self.slabs(self.lowres(how.threads, progress=progress), how, progress=progress)

    @property
    def has_networks(self) -> bool:
        """Whether there is anything but a refinement."""
        weights = self.sections.get("WGHT")
        return weights is not None and (bool(weights) or not self.header.refine_steps)

    @property
    def is_cut(self) -> bool:
        """Whether only the beginning of a file was read."""
        return self.missing > 0 or "WGHT" not in self.sections

    @property
    def missing(self) -> int:
        """Stages of the refinement that were not read."""
        return len(self.header.refine_steps) - layer.whole_streams(self.sections)

    def is_from_lattice(self, how: DecodeOptions) -> bool:
        """Whether the refinement serves a wish: all but its last stage has to be there, or no networks."""
        if (
            not self.header.refine_steps
            or how.quality == "base"
            or self.missing == len(self.header.refine_steps)
        ):
            return False
        return not self.has_networks or (how.quality == "full" and self.missing <= 1)

    def _refined(self, voxels: int | None, threads: int | None, progress: Progress | None) -> Iterator[Slab]:
        """Slabs of the refinement."""
        stored = layer.decode(self.header, self.sections, voxels=voxels, threads=threads, progress=progress)
        for start in range(0, len(stored), SLAB):
            part = stored[start : start + SLAB]
            for z, plane in enumerate(part, start):
                if self.padding is not None:
                    plane[self.padding[z]] = plane.dtype.type(self.header.padding or 0)
            yield Slab(start, start + len(part), part, part)

    def volume(self, how: DecodeOptions = REFERENCE, progress: Progress | None = None) -> Volume:
        """The full-res volume, as :func:`inrcodec.api.decode_volume` returns it."""
        self.refuse_other_model(how.sr)
        array = np.empty(self.shape, dtype=np.dtype(self.header.dtype))
        for slab in self.decoded(how, progress):
            array[slab.start : slab.stop] = slab.stored
        return self._volume(array, self.header.affine)

    def refuse_other_model(self, sr: str | None) -> None:
        """A file is decoded with its own model or with none."""
        if sr not in (None, registry.LANCZOS, self.header.sr):
            near = did_you_mean(sr, {registry.LANCZOS, self.header.sr})
            raise UsageError(
                f"{sr!r} is not the file's model, which is {self.header.sr!r}{near}; "
                "leave it out, or use 'lanczos'",
                value=sr,
                option="sr",
            )

    def lowres_volume(self, *, threads: int | None = None, progress: Progress | None = None) -> Volume:
        """The low-res volume in the source's dtype and units, on its coarser grid, without its padding."""
        if not self.has_networks:
            raise UsageError(
                "this file has no networks and so no low-res volume: its quality 'preview' is the nearest",
                value="lowres",
                option="lowres",
            )
        stored = self.span.to_stored(self.lowres(threads, progress=progress), np.dtype(self.header.dtype))
        volume = self._volume(stored, coarser(self.header.affine, self.header.factor))
        about = {k: v for k, v in volume.description.items() if k not in FULL_RES_FACTS}
        return replace(volume, padding=None, description=about)

    def preview(self) -> NDArray[np.uint8]:
        """The central low-res slice, (y, x), grey from its 1st to its 99.5th percentile."""
        if self.has_networks:
            middle = self.low_shape[0] // 2
            plane = self.lowres(1, slice(middle, middle + 1))[0]
        else:
            found = layer.coarse(self.header, self.sections, PREVIEW_VOXELS, 1)
            plane = found[len(found) // 2].astype(np.float64)
        low, high = np.percentile(plane, [1, 99.5])
        grey = np.clip((plane - low) / max(high - low, 1e-9), 0, 1)
        scaled: NDArray[np.uint8] = np.rint(255 * grey).astype(np.uint8)
        return scaled

    def _volume(self, array: NDArray[np.generic], affine: Float) -> Volume:
        h = self.header
        return Volume(
            array,
            affine,
            rescale=h.rescale,
            modality=h.modality,
            padding=h.padding,
            ndim=h.ndim,
            unit=h.unit,
            description=h.description,
        )


def digest(decoder: Decoder, *, device: str = "cpu", threads: int | None = None) -> bytes:
    """The digest of a file's decoded volume, here and now."""
    found = blake2b(digest_size=DIGEST_BYTES)
    how = DecodeOptions(device=device, threads=threads)
    for slab in decoder.decoded(how):
        found.update(raw_bytes(slab.stored))
    return found.digest()


def digest_of(array: NDArray[np.generic]) -> bytes:
    """The digest of a volume that has been decoded."""
    return blake2b(raw_bytes(array), digest_size=DIGEST_BYTES).digest()


def raw_bytes(stored: NDArray[np.generic]) -> memoryview:
    """C order, little-endian, whatever the machine; a view where the memory is that already."""
    little = stored.astype(stored.dtype.newbyteorder("<"), order="C", copy=False)
    return little.reshape(-1).view(np.uint8).data
