"""xarray: ``xarray.open_dataset("head.inrv")``, found by the entry point `xarray.backends`.

In: a file.  Out: a dataset with the variable ``image`` of dimensions z, y and x, decoded box by box.
Invariant: ``inrcodec.encode(dataset.image)`` has the place of what was opened, also of a part of it.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from inrcodec.errors import MissingExtra
from inrcodec.format.remote import is_remote
from inrcodec.io.memory import DIRECTION, STEP
from inrcodec.layers.decode_options import OPTIONS, DecodeOptions
from inrcodec.plugins.dask_tasks import chunks
from inrcodec.plugins.geometry import along_axes
from inrcodec.plugins.physical import opened, physical
from inrcodec.volume.arrays import Array
from inrcodec.volume.lazy import LazyArray

try:
    import xarray
    from xarray.backends import BackendArray, BackendEntrypoint
    from xarray.core import indexing
except ImportError as error:
    raise MissingExtra("xarray is not installed", extra="xarray") from error

IMAGE, AXES = "image", "zyx"


class InrvBackend(BackendEntrypoint):
    """Opens `.inrv` files as datasets.

    The variable ``image`` has physical values.  Coordinates are millimetres along the voxel axes: LPS where
    these are the patient's, else along the columns of the attribute ``direction_lps``, (3, 3) in rows, of the
    axes x, y and z.  With ``chunks={}`` the chunks are the file's bricks.
    """

    description = "CT and MR volumes as implicit neural representations (.inrv)"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "level", *OPTIONS)

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Whether a path or an address ends in ``.inrv``."""
        if not isinstance(filename_or_obj, str | os.PathLike) and not is_remote(filename_or_obj):
            return False
        name = str(filename_or_obj) if is_remote(filename_or_obj) else os.fspath(filename_or_obj)
        return str(name).partition("?")[0].lower().endswith(".inrv")

    def open_dataset(
        self, filename_or_obj: Any, *, drop_variables: Any = None, level: int = 0, **keywords: Any
    ) -> xarray.Dataset:
        """As `xarray.open_dataset`.

        Parameters
        ----------
        filename_or_obj : path, URL, UPath, bytes or binary file object.
        drop_variables : a name or names that are left out.
        level : a number of the file's levels.
        keywords : those of :func:`inrcodec.decode`; a chunk is decoded on one thread by default.
        """
        keywords.setdefault("threads", 1)
        file = opened(filename_or_obj)
        volume = physical(file, level, DecodeOptions.of(None, keywords))  # type: ignore[arg-type]
        first, step, direction = along_axes(volume.affine)
        about: dict[str, Any] = {"modality": volume.modality, "units": volume.unit}
        if not np.array_equal(direction, np.eye(3)):
            about[DIRECTION] = direction.ravel().tolist()
        assert isinstance(volume.array, LazyArray)
        encoding = {"preferred_chunks": dict(zip(AXES, chunks(file.header, volume.shape), strict=True))}
        image = xarray.Variable(
            tuple(AXES), indexing.LazilyIndexedArray(_Voxels(volume.array)), about, encoding
        )
        coordinates = {
            axis: (
                axis,
                first[k] + step[k] * np.arange(volume.shape[2 - k]),
                {"units": "mm", STEP: float(step[k])},
            )
            for k, axis in enumerate("xyz")
        }
        found = xarray.Dataset({IMAGE: image}, coordinates)
        dropped = [drop_variables] if isinstance(drop_variables, str) else drop_variables or ()
        return found.drop_vars([name for name in dropped if name in found.variables])


class _Voxels(BackendArray):
    """An array as xarray indexes it: it pickles as the place of its voxels, where that is a path."""

    def __init__(self, array: LazyArray) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        basic = indexing.IndexingSupport.BASIC
        return indexing.explicit_indexing_adapter(key, self.shape, basic, self._read)

    def _read(self, key: tuple[Any, ...]) -> Array:
        return np.asarray(self.array[key])
