"""NumPy files: a `Volume` of `.npy`, or `.npz` with one array, and `.npy` again; nothing is unpickled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import InputError, UsageError, reason
from inrcodec.io.atomic import Location, atomic_write
from inrcodec.io.choice import chosen_volume
from inrcodec.io.provenance import Provenance
from inrcodec.volume.padding import find_padding
from inrcodec.volume.volume import Volume


def read(source: Location, *, spacing: Sequence[float] | None = None, volume: int | None = None) -> Volume:
    """Volume of a `.npy` file, or of a `.npz` file that holds one array.

    Parameters
    ----------
    spacing : sequence of float, mm, optional
        In the order of the array's axes, (z, y, x) or (y, x).
    volume : int, optional
        Index along the first axis of an array of four dimensions.

    Raises
    ------
    InputError
        Not a NumPy file, pickled objects, several arrays, or an array that is not a volume.
    """
    path = Path(source)
    whole = from_array(_load(path), spacing=spacing, volume=volume)
    return replace(whole, source_bytes=path.stat().st_size) if volume is None else whole


def from_array(
    array: NDArray[Any], *, spacing: Sequence[float] | None = None, volume: int | None = None
) -> Volume:
    """Volume of an array, with the padding value that its corners show, if it is a CT."""
    if np.ndim(array) == 4:
        array = array[chosen_volume(volume, len(array), f"an array of shape {array.shape}")]
    elif volume is not None:
        raise UsageError(
            "has no meaning for an array of one volume: leave it out", value=volume, option="volume"
        )
    found = Volume.from_array(array, spacing=spacing)
    return replace(found, padding=find_padding(found.array))


def write(
    volume: Volume, path: Location, *, force: bool = False, provenance: Provenance | None = None
) -> None:
    """Write the stored values, (z, y, x) or, of an image, (y, x); `.npy` has no place for the rest.

    Of slices that have scales of their own, which would be lost, the physical values.
    """
    del provenance  # there is no place for it
    array = volume.uniform().array
    array = array[0] if volume.ndim == 2 else array
    atomic_write(path, partial(save, array), force)


def save(array: NDArray[Any], stream: BinaryIO) -> None:
    """Write an array to a stream; to a file NumPy would not say why a disk does not take it."""
    np.save(SimpleNamespace(write=stream.write), array, allow_pickle=False)


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
        raise InputError(
            f"{path} is not a valid NumPy file of numbers: {reason(error)}", value=str(path)
        ) from error
    raise InputError(
        f"{path} holds {len(names)} arrays ({', '.join(names) or 'none'}), save the right one as .npy",
        value=names,
    )
