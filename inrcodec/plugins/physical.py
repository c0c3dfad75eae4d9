"""A level of a file as a volume of physical values, decoded when they are needed.

In: a file and a level.  Out: a `Volume` whose array is lazy.
Invariant: a voxel is what `inrcodec.decode_volume(file).physical()` has for it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from inrcodec import api
from inrcodec.file import InrvFile
from inrcodec.layers.decode_options import DecodeOptions
from inrcodec.volume.lazy import Changed, LazyArray
from inrcodec.volume.scaling import Scaling
from inrcodec.volume.volume import Volume


def opened(source: api.File | InrvFile) -> InrvFile:
    """A file, open."""
    return source if isinstance(source, InrvFile) else api.open(source)


def physical(
    source: api.File | InrvFile, level: int = 0, options: DecodeOptions | None = None, *, half: bool = True
) -> Volume:
    """A level with its geometry and units.

    Parameters
    ----------
    source : path, bytes, URL, UPath, or an open file.
    level : a number of the file's levels.
    options : how it is decoded.
    half : whether float16 stays; else it becomes float32, for projects that do not have it.

    Returns
    -------
    Volume
        Of stored values where they are the physical ones, else of float32, or float64 where float32 does not
        hold them all.
    """
    volume = opened(source).volume(level=level, late=True, options=options)
    array = volume.array
    assert isinstance(array, LazyArray)
    scaling = volume.scaling
    if volume.rescale == (1.0, 0.0) and volume.slice_rescale is None:
        if half or volume.array.dtype != np.float16:
            return volume
        scaling = Scaling(np.dtype(np.float32))
    changed = Changed(array, scaling.dtype, scaling)
    return replace(volume, array=changed, rescale=(1.0, 0.0), slice_rescale=None, padding=None)
