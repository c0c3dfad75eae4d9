"""nibabel: after ``import inrcodec.plugins.nibabel`` ``nibabel.load`` and ``save`` know `.inrv` files.

In: a path.  Out: an `InrvImage`, of which boxes are decoded when they are sliced; and files again.
Invariant: array (x, y, z) and affine RAS, as nibabel has them; values are the physical ones.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from nibabel import imageclasses
from nibabel.fileslice import canonical_slicers
from nibabel.spatialimages import SpatialHeader, SpatialImage

from inrcodec import api
from inrcodec.file import InrvFile
from inrcodec.format.container import MAGIC
from inrcodec.io.nifti import from_nibabel
from inrcodec.layers.decode_options import DecodeOptions
from inrcodec.plugins.geometry import ras, xyz
from inrcodec.plugins.physical import physical
from inrcodec.volume.arrays import Array


class InrvHeader(SpatialHeader):
    """Type, shape and zooms of an `.inrv` file."""

    @classmethod
    def may_contain_header(cls, data: bytes) -> bool:
        """Whether bytes are the first ones of such a file."""
        return data[: len(MAGIC)] == MAGIC


class InrvProxy:
    """The voxels of a level, decoded when they are sliced.

    Attributes
    ----------
    shape : (x, y, z).
    dtype : of the physical values.
    slope, inter : of the stored values, which `get_unscaled` gives.
    """

    is_proxy = True
    ndim = 3

    def __init__(self, file: InrvFile, level: int, options: DecodeOptions) -> None:
        self.file, self.level, self.options = file, level, options
        self.volume = physical(file, level, options, half=False)
        self.shape, self.dtype = self.volume.shape[::-1], self.volume.array.dtype
        self.slope, self.inter = (1.0, 0.0) if file.header.slice_rescale else file.header.rescale

    def get_unscaled(self) -> Array:
        """Stored values, (x, y, z); physical ones of a file whose slices have their own scales."""
        if self.file.header.slice_rescale:
            return np.asarray(self)
        stored = self.file.read(level=self.level, options=self.options)
        return xyz(stored.astype(np.float32) if stored.dtype == np.float16 else stored)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        values = xyz(np.asarray(self.volume.array))
        return values if dtype is None else values.astype(dtype, copy=False)

    def __getitem__(self, key: Any) -> Array:
        parts = canonical_slicers(key, self.shape)  # type: ignore[no-untyped-call]
        if any(part is None for part in parts):
            return np.asarray(np.asarray(self)[key])
        return xyz(np.asarray(self.volume.array[tuple(reversed(parts))]))

    def reshape(self, shape: Any) -> Array:
        """All voxels in another shape; nibabel calls this for trailing axes of one."""
        return np.asarray(self).reshape(shape)


class InrvImage(SpatialImage):
    """An `.inrv` file as an image of nibabel."""

    header_class = InrvHeader
    files_types = (("image", ".inrv"),)
    valid_exts = (".inrv",)
    _meta_sniff_len = len(MAGIC)
    makeable = True
    rw = True

    @classmethod
    def from_file_map(
        cls, file_map: Any, *, mmap: Any = None, keep_file_open: Any = None, level: int = 0, **keywords: Any
    ) -> Self:
        """As `nibabel.load`.

        Parameters
        ----------
        mmap, keep_file_open : have no meaning here.
        level : a number of the file's levels.
        keywords : those of :func:`inrcodec.decode`.
        """
        holder = file_map["image"]
        file = api.open(holder.filename if holder.filename is not None else holder.fileobj)
        proxy = InrvProxy(file, level, DecodeOptions.of(None, keywords))  # type: ignore[arg-type]
        header = cls.header_class(proxy.dtype, proxy.shape, proxy.volume.spacing[::-1])
        about = {"modality": proxy.volume.modality, "unit": proxy.volume.unit}
        array: Any = proxy
        return cls(array, ras(proxy.volume.affine), header, extra=about, file_map=file_map)

    @classmethod
    def from_filename(cls, filename: Any, **keywords: Any) -> Self:
        """As `nibabel.load`, see `from_file_map`."""
        return cls.from_file_map(cls.filespec_to_file_map(filename), **keywords)

    load = from_filename

    def to_file_map(self, file_map: Any = None, **options: Any) -> None:
        """Encode, as ``nibabel.save(image, "a.inrv", max_error=2)``; without options, without loss.

        Raises
        ------
        InrvError
            See :mod:`inrcodec.errors` for the kinds.
        """
        volume = from_nibabel(self)
        modality, unit = (str(self.extra.get(name) or "") for name in ("modality", "unit"))
        blob = api.encode(volume.relabelled(modality=modality, unit=unit), **(options or {"lossless": True}))
        with (file_map or self.file_map)["image"].get_prepare_fileobj("wb") as stream:
            stream.write(blob)


def register() -> None:
    """Add the class to those that nibabel tries; done once, when this module is imported."""
    if InrvImage not in imageclasses.all_image_classes:
        imageclasses.all_image_classes.append(InrvImage)
        imageclasses.KNOWN_SPATIAL_FIRST = (*imageclasses.KNOWN_SPATIAL_FIRST, InrvImage)


register()
