"""NumPy files.

In: `.npy`, or `.npz` with one array.  Out: a `Volume`, and `.npy` again.
Invariant: nothing is unpickled.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import InputError
from inrcodec.io.atomic import atomic_write
from inrcodec.io.provenance import Provenance
from inrcodec.volume.padding import find_padding
from inrcodec.volume.volume import Volume


def read(source: str | os.PathLike[str], *, spacing: Sequence[float] | None = None) -> Volume:
    """Volume of a `.npy` file, or of a `.npz` file that holds one array.

    Parameters
    ----------
    spacing : sequence of float, mm, optional
        In the order of the array's axes, (z, y, x) or (y, x).

    Raises
    ------
    InputError
        Not a NumPy file, pickled objects, several arrays, or an array that is not a volume.
    """
    path = Path(source)
    return from_array(_load(path), spacing=spacing, source_bytes=path.stat().st_size)


def from_array(
    array: NDArray[Any], *, spacing: Sequence[float] | None = None, source_bytes: int | None = None
) -> Volume:
    """Volume of an array, with the padding value that its corners show, if it is a CT."""
    plain = Volume.from_array(array, spacing=spacing)
    return Volume(
        plain.array,
        plain.affine,
        padding=find_padding(plain.array),
        ndim=plain.ndim,
        source_bytes=source_bytes,
    )


def write(
    volume: Volume, path: str | os.PathLike[str], *, force: bool = False, provenance: Provenance | None = None
) -> None:
    """Write the stored values, (z, y, x) or, of an image, (y, x); `.npy` has no place for the rest."""
    del provenance  # there is no place for it
    array = volume.array[0] if volume.ndim == 2 else volume.array
    atomic_write(path, lambda stream: np.save(stream, array, allow_pickle=False), force)


def _load(path: Path) -> NDArray[Any]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded as archive:
            names = list(archive.files)
            if len(names) == 1:
                array: NDArray[Any] = archive[names[0]]
                return array
    except Exception as error:  # zipfile and the parser of headers may raise anything
        raise InputError(f"{path} is not a valid NumPy file of numbers: {error}", value=str(path)) from error
    raise InputError(
        f"{path} holds {len(names)} arrays ({', '.join(names) or 'none'}), save the right one as .npy",
        value=names,
    )
