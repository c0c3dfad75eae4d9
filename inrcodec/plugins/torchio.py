"""TorchIO: ``torchio.ScalarImage("head.inrv", reader=inrcodec.plugins.torchio.read)``.

In: a path.  Out: a tensor (1, x, y, z) of physical values and an RAS affine, as TorchIO's readers have them.
Invariant: the same tensor and affine as by way of NIfTI.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from inrcodec import api
from inrcodec.layers.decode_options import DecodeKeywords, DecodeOptions
from inrcodec.plugins.geometry import ras, xyz
from inrcodec.plugins.physical import physical
from inrcodec.validate.rows import lists_keywords
from inrcodec.volume.affine import Affine

if TYPE_CHECKING:
    import torch

_SIGNED = {"uint16": np.int32, "uint32": np.int64, "uint64": np.int64}  # as TorchIO does


@lists_keywords(DecodeOptions)
def read(source: api.File, level: int = 0, **keywords: Unpack[DecodeKeywords]) -> tuple[torch.Tensor, Affine]:
    """What TorchIO asks of a reader.

    Parameters
    ----------
    source : path, URL or UPath.
    level : int
        A number of the file's levels; ``functools.partial(read, level=1)`` is a reader of a coarser one.
    {keywords}

    Returns
    -------
    tensor, (1, x, y, z)
        Physical values: integers where the file has them, else floats.
    affine : ndarray, (4, 4), voxel index (x, y, z, 1) to RAS mm.

    Examples
    --------
    >>> blob = api.encode(np.zeros((2, 3, 4), np.int16), lossless=True)
    >>> tensor, affine = read(blob)
    >>> tuple(tensor.shape), affine.diagonal().tolist()
    ((1, 4, 3, 2), [-1.0, -1.0, 1.0, 1.0])
    """
    import torch

    volume = physical(source, level, DecodeOptions.of(None, keywords), half=False)
    values: Any = np.asarray(volume.array)
    values = xyz(values.astype(_SIGNED.get(values.dtype.name, values.dtype), copy=False))
    return torch.from_numpy(np.ascontiguousarray(values))[None], ras(volume.affine)
