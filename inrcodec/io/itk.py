"""ITK, by itself or through SimpleITK: images in memory; all have LPS axes, so that no sign changes."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import InputError, MissingExtra
from inrcodec.io.choice import chosen_volume
from inrcodec.volume.checks import checked_array
from inrcodec.volume.padding import find_padding
from inrcodec.volume.volume import Volume

_COLOUR = ("vector of 8-bit unsigned integer", (3, 4))  # SimpleITK does not tell colours from other vectors


def from_simpleitk(image: Any, *, volume: int | None = None) -> Volume:
    """Volume of a `SimpleITK.Image`: values, spacing, origin and direction.

    Parameters
    ----------
    volume : int, optional
        Which one along the fourth dimension, or which component of a vector image, from 0.

    Raises
    ------
    InputError
        Not an image, complex, colour (three or four components of uint8), several volumes and none chosen.
    """
    if not hasattr(image, "GetNumberOfComponentsPerPixel"):
        raise InputError(f"SimpleITK.{type(image).__name__} is not an image, pass one", value=type(image))
    itk, name = simpleitk(), "the image"
    size, components = image.GetSize(), image.GetNumberOfComponentsPerPixel()
    index = chosen(image.GetPixelIDTypeAsString(), size, components, name, volume)
    if len(size) == 4:
        part = itk.Extract(image, [*size[:3], 0], [0, 0, 0, index])
    else:
        part = itk.VectorIndexSelectionCast(image, index) if components > 1 else image
    return placed(itk.GetArrayFromImage(part), image, name)


def to_simpleitk(volume: Volume) -> Any:
    """A 3-D `SimpleITK.Image` of a volume: physical values, spacing, origin and direction in mm.

    Raises
    ------
    MissingExtra
        SimpleITK is not installed (extra "itk").
    """
    image = simpleitk().GetImageFromArray(np.asarray(volume.values()))
    spacing = np.array(volume.spacing[::-1])
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(volume.affine[:3, 3].tolist())
    image.SetDirection((volume.affine[:3, :3] / spacing).ravel().tolist())
    return image


def from_itk(image: Any, *, volume: int | None = None) -> Volume:
    """Volume of an `itk.Image`: values, spacing, origin and direction.

    Parameters
    ----------
    volume : int, optional
        As for `from_simpleitk`.

    Raises
    ------
    InputError
        As `from_simpleitk`.
    """
    if not hasattr(image, "GetLargestPossibleRegion"):
        raise InputError(f"itk.{type(image).__name__} is not an image, pass one", value=type(image))
    name, array = "the image", np.asarray(_itk().array_from_image(image))
    components, ndim = int(image.GetNumberOfComponentsPerPixel()), int(image.GetImageDimension())
    kind = _COLOUR[0] if components > 1 and array.dtype == np.uint8 else str(array.dtype)
    size = tuple(int(side) for side in image.GetLargestPossibleRegion().GetSize())
    index = chosen(kind, size, components, name, volume)
    part = array[index] if ndim == 4 else array[..., index] if components > 1 else array
    axes = np.asarray(_itk().array_from_matrix(image.GetDirection()), np.float64)
    used = min(ndim, 3)
    affine = np.eye(4)
    affine[:used, :used] = axes[:used, :used] * np.asarray(image.GetSpacing(), np.float64)[:used]
    affine[:used, 3] = np.asarray(image.GetOrigin(), np.float64)[:used]
    return _volume_of(part, affine, name)


def to_itk(volume: Volume) -> Any:
    """A 3-D `itk.Image` of a volume: physical values, spacing, origin and direction in mm.

    Raises
    ------
    MissingExtra
        ITK is not installed: ``pip install itk``, or ``itk-io``.
    """
    itk = _itk()
    image = itk.image_from_array(np.ascontiguousarray(volume.values()))
    spacing = np.array(volume.spacing[::-1])
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(volume.affine[:3, 3].tolist())
    image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(volume.affine[:3, :3] / spacing)))
    return image


def chosen(kind: str, size: tuple[int, ...], components: int, name: str, volume: int | None) -> int:
    """Which volume is meant of an image with pixels of a kind, in SimpleITK's words; raises `InputError`."""
    if "complex" in kind or "label" in kind:
        raise InputError(f"{name} holds {kind} values, pass an image of one number a voxel", value=kind)
    if kind == _COLOUR[0] and components in _COLOUR[1]:
        raise InputError(f"{name} is a colour image of {components} components, pass a grey one", value=kind)
    if len(size) > 4 or (len(size) == 4 and components > 1):
        cause = f"{name} is {len(size)}-D {size} with {components} components, pass one volume"
        raise InputError(cause, value=size)
    return chosen_volume(volume, size[3] if len(size) == 4 else components, name)


def placed(array: NDArray[Any], image: Any, name: str) -> Volume:
    """Volume of an array (z, y, x) or (y, x) on the first three axes of an image, or of its reader."""
    dimensions, used = image.GetDimension(), min(image.GetDimension(), 3)
    direction = np.reshape(image.GetDirection(), (dimensions, dimensions))[:used, :used]
    affine = np.eye(4)
    affine[:used, :used] = direction * image.GetSpacing()[:used]
    affine[:used, 3] = image.GetOrigin()[:used]
    return _volume_of(array, affine, name)


def _volume_of(array: NDArray[Any], affine: NDArray[np.float64], name: str) -> Volume:
    found = checked_array(array, name)
    stack = found[np.newaxis] if found.ndim == 2 else found
    return Volume(array=stack, affine=affine, ndim=found.ndim, padding=find_padding(stack))


def _itk() -> Any:
    try:
        return import_module("itk")
    except ImportError as error:
        raise MissingExtra("ITK is not installed", extra="itk-python") from error


def simpleitk() -> Any:
    """The package; raises `MissingExtra` if it is not installed."""
    try:
        return import_module("SimpleITK")
    except ImportError as error:
        raise MissingExtra("SimpleITK is not installed", extra="itk") from error
