"""FreeSurfer's volumes: `.mgz`, and `.mgh`, which is the same without compression.

Invariant: four types of values, an affine of float32 and no slope are all that there is; what does not fit
without loss is refused.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from inrcodec.errors import WriteError
from inrcodec.io.atomic import Location, atomic_write
from inrcodec.io.nifti import placed
from inrcodec.io.provenance import Provenance
from inrcodec.io.voxels import compressed, opened, read_array
from inrcodec.volume.affine import LPS_RAS
from inrcodec.volume.volume import Volume

_HEADER, _OFFSET = 90, 284  # bytes that are used of the header, and its length; a footer follows the voxels
_HELD = {"u1": "u1", "i1": "i2", "i2": "i2", "u2": "i4", "i4": "i4", "f4": "f4"}


def read(source: Location, *, volume: int | None = None) -> Volume:
    """Volume of a `.mgz` or `.mgh` file.

    Parameters
    ----------
    volume : int, optional
        Which one of several frames, from 0.

    Raises
    ------
    InputError
        Not such a file, several frames and none chosen, NaN or infinite values.
    """
    from nibabel.freesurfer.mghformat import MGHHeader

    make: Any = MGHHeader
    path = Path(source)
    with opened(path, "MGH") as stream:
        header = make(stream.read(_HEADER).ljust(_HEADER, b"\0"))
        array = read_array(
            stream,
            path,
            dtype=header.get_data_dtype(),
            shape=header.get_data_shape(),
            offset=_OFFSET,
            volume=volume,
        )
        found = placed(array, header, header.get_affine())
    return found if volume is not None else replace(found, source_bytes=path.stat().st_size)


def write(
    volume: Volume, path: Location, *, force: bool = False, provenance: Provenance | None = None
) -> None:
    """Write physical values; int8 as int16, uint16 as int32, float16 as float32; compressed as `.mgz`.

    Raises
    ------
    WriteError
        As `inrcodec.io.write`, and for values of 64 bits or unsigned ones of 32.
    """
    from nibabel.freesurfer.mghformat import MGHImage

    del provenance  # there is no place for it
    values = volume.values()
    held = _HELD.get(values.dtype.str[1:])
    if held is None:
        cause = f"MGH has no values of type {values.dtype}, write .nii.gz"
        raise WriteError(cause, value=values.dtype)
    make: Any = MGHImage
    image = make(np.broadcast_to(np.zeros((), held), values.shape[::-1]), LPS_RAS @ volume.affine)
    header = image.header.binaryblock

    def fill(stream: BinaryIO) -> None:
        stream.write(header[:_HEADER].ljust(_OFFSET, b"\0"))
        for plane in values:
            stream.write(np.ascontiguousarray(plane, f">{held}").data)
        stream.write(header[_HEADER:])

    def fill_compressed(stream: BinaryIO) -> None:
        with compressed(stream) as packed:
            fill(packed)

    atomic_write(path, fill_compressed if str(path).lower().endswith(".mgz") else fill, force)
