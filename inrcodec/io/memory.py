"""Images and arrays of other packages, in memory: SimpleITK, nibabel, xarray, torch, dask, zarr ...

In: an object.  Out: a `Volume` with the geometry that the object has.
Invariant: a package is recognised by the module of the object's class; none is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from mmap import mmap
from numbers import Real
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import InputError
from inrcodec.io import npy
from inrcodec.io.choice import chosen_volume
from inrcodec.io.fetched import fetched, volume_of
from inrcodec.io.large import in_order, is_large
from inrcodec.volume.lazy import LazyArray, RawArray
from inrcodec.volume.padding import find_padding
from inrcodec.volume.volume import LONGEST_MODALITY, Volume

_AXES = "zyx"
_MILLIMETRES = {"": 1.0, "mm": 1.0, "millimeter": 1.0, "millimetre": 1.0, "cm": 10.0, "m": 1e3, "um": 1e-3}
_FETCH = ("__array__", "__getitem__")
DIRECTION = "direction_lps"  # attribute of an array of xarray, see `from_xarray`
STEP = "step"  # attribute of a coordinate: what a single one of an array of more cannot tell
_UNEVEN = 1e-3  # of a step: further off, coordinates are not those of a grid


class Shaped(Protocol):
    """An array or image with a shape: of nibabel, xarray, torch, dask, zarr, h5py ..."""

    @property
    def shape(self) -> Any:
        """Its sides in voxels."""


class SimpleITKImage(Protocol):
    """An image of SimpleITK."""

    def GetSize(self) -> Any:
        """Its sides in voxels, (x, y, z)."""


class Kind(NamedTuple):
    """How the objects of a package are taken."""

    name: str
    convert: Callable[..., Volume]
    options: tuple[str, ...]  # keywords of `inrcodec.io.read` that mean something


def kind_of(source: object) -> Kind:
    """How an object is taken.

    Raises
    ------
    InputError
        It is no array and no image.
    """
    packages = [cls.__module__.partition(".")[0] for cls in type(source).__mro__]
    if isinstance(source, np.ndarray | LazyArray):
        return _ARRAY
    if isinstance(source, list | tuple):
        return _LISTS
    for package in packages:
        if package in _KINDS:
            return _KINDS[package]
    if hasattr(source, "shape") and hasattr(source, "dtype") and any(hasattr(source, n) for n in _FETCH):
        return _LAZY
    name = f"{type(source).__module__}.{type(source).__qualname__}".removeprefix("builtins.")
    cause = f"an object of type {name} is not a volume, pass a path, an array or an image"
    raise InputError(cause, value=source)


def from_lazy(source: Any, *, spacing: Sequence[float] | None = None, volume: int | None = None) -> Volume:
    """Volume of what NumPy can make an array of; of four dimensions only what is chosen is fetched.

    A large one is fetched box by box, when it is needed.
    """
    place: tuple[int, ...] = ()
    if len(source.shape) == 4:
        place = (chosen_volume(volume, source.shape[0], f"an array of shape {tuple(source.shape)}"),)
        volume = None
    return npy.from_array(volume_of(source, place), spacing=spacing, volume=volume)


def from_ndarray(source: Any, *, spacing: Sequence[float] | None = None, volume: int | None = None) -> Volume:
    """Volume of an array in memory; a large file that is mapped, and not changed, is read when it is needed.

    Pages of a mapped file would count as memory of the process, all of them in the end.
    """
    mapped = isinstance(source, np.memmap) and source.mode == "r" and isinstance(source.base, mmap)
    if mapped and source.ndim == 3 and source.filename and is_large(source.nbytes):
        place = source.shape, source.dtype, source.strides
        source = in_order(RawArray(source.filename, source.offset, *place))
    return npy.from_array(source, spacing=spacing, volume=volume)


def from_lists(source: Any, *, spacing: Sequence[float] | None = None, volume: int | None = None) -> Volume:
    """Volume of nested lists."""
    return npy.from_array(fetched(source), spacing=spacing, volume=volume)


def from_torch(source: Any, *, spacing: Sequence[float] | None = None, volume: int | None = None) -> Volume:
    """Volume of a tensor, wherever it is and whether or not a gradient is kept."""
    return from_lazy(source.detach(), spacing=spacing, volume=volume)


def from_xarray(source: Any, *, volume: int | None = None) -> Volume:
    """Volume of a `xarray.DataArray` with dimensions named z, y and x, in any order.

    Coordinates that are evenly spaced give spacing and origin; they are LPS millimetres unless their
    attribute "units" is another length. Dimensions of other names count volumes. The attributes "modality"
    ("CT") and "units" ("HU") are taken over; a coordinate of one voxel has its spacing in the attribute
    "step", else it is 1 mm; "direction_lps", nine numbers, are the rows of a matrix whose columns are the
    directions of x, y and z, along which coordinates count then. Without any of the three names the axes
    count in their order.

    Raises
    ------
    InputError
        A `Dataset`, other dimensions, uneven coordinates, units that are no length, a direction that is none.
    """
    if not hasattr(source, "dims") or hasattr(source, "data_vars"):
        raise InputError(f"xarray.{type(source).__name__} is not a DataArray, pass one of its variables")
    named = {str(dim).lower(): dim for dim in source.dims if str(dim).lower() in _AXES}
    if not named:
        named = dict(zip(reversed(_AXES), reversed(source.dims), strict=False))
    if not {"y", "x"} <= set(named):
        raise InputError(f"dimensions {source.dims} have no y and x, rename them to z, y and x")
    inner = [named[axis] for axis in _AXES if axis in named]
    others = [dim for dim in source.dims if dim not in inner]
    sides = [int(source.sizes[dim]) for dim in others]
    index = chosen_volume(volume, int(np.prod(sides)), f"an array of dimensions {source.dims}")
    place = dict(zip(others, np.unravel_index(index, sides) if sides else (), strict=True))
    part = source.isel({dim: int(at) for dim, at in place.items()}).transpose(*inner)
    found = Volume.from_array(volume_of(part), affine=_affine(part, named))
    modality, unit = (str(source.attrs.get(name) or "") for name in ("modality", "units"))
    modality = modality if len(modality) <= LONGEST_MODALITY and modality.isascii() else ""
    found = found.relabelled(modality=modality, unit="HU" if unit == "HU" else "")
    return replace(found, padding=find_padding(found.array))


def _affine(part: Any, named: Mapping[str, Any]) -> NDArray[np.float64]:
    affine = np.eye(4)
    single = {str(name).lower(): name for name, found in part.coords.items() if found.ndim == 0}
    for column, axis in enumerate("xyz"):
        name = named.get(axis, single.get(axis))  # of one slice alone its place is left
        if name is not None and name in part.coords:
            first, step = _grid(part.coords[name], axis)
            affine[column, [column, 3]] = step, first
    return _turned(affine, part.attrs.get(DIRECTION))


def _turned(affine: NDArray[np.float64], direction: Any) -> NDArray[np.float64]:
    """An affine whose axes have the directions that an attribute states."""
    if direction is None:
        return affine
    turn = np.eye(4)
    try:
        turn[:3, :3] = np.reshape(np.asarray(direction, np.float64), (3, 3))
    except (TypeError, ValueError) as error:
        cause = f"attribute {DIRECTION} is {direction!r:.80}, pass nine numbers or drop it"
        raise InputError(cause, value=direction) from error
    return np.asarray(turn @ affine)


def _grid(coordinate: Any, axis: str) -> tuple[float, float]:
    """First coordinate and step in mm."""
    units = str(coordinate.attrs.get("units") or "").lower().removesuffix("s").replace("µ", "u")
    if units not in _MILLIMETRES:
        raise InputError(f"units {units!r} of {axis} are no length, drop the coordinate", value=units)
    values = np.atleast_1d(np.asarray(coordinate))
    if values.dtype.kind not in "iuf" or values.ndim != 1:
        raise InputError(f"coordinate {axis} is of type {values.dtype}, drop it", value=values.dtype)
    scale = _MILLIMETRES[units]
    values = values.astype(np.float64) * scale
    stated = coordinate.attrs.get(STEP)
    alone = float(stated) * scale if isinstance(stated, Real) else 1.0
    step = float(values[-1] - values[0]) / (len(values) - 1) if len(values) > 1 else alone
    off = np.abs(values - values[0] - step * np.arange(len(values))).max()
    if not (step != 0 and off <= _UNEVEN * abs(step)):
        cause = f"coordinate {axis} is not evenly spaced, interpolate to a grid or drop it"
        raise InputError(cause, value=axis)
    return float(values[0]), step


def _from_simpleitk(source: Any, **options: Any) -> Volume:
    from inrcodec.io.itk import from_simpleitk

    return from_simpleitk(source, **options)


def _from_itk(source: Any, **options: Any) -> Volume:
    from inrcodec.io.itk import from_itk

    return from_itk(source, **options)


def _from_nibabel(source: Any, **options: Any) -> Volume:
    from inrcodec.io.nifti import from_nibabel

    return from_nibabel(source, **options)


_OPTIONS = ("spacing", "volume")
_ARRAY = Kind("an array", from_ndarray, _OPTIONS)
_LISTS = Kind("an array", from_lists, _OPTIONS)
_LAZY = Kind("an array", from_lazy, _OPTIONS)
_KINDS = {
    "SimpleITK": Kind("an image of SimpleITK", _from_simpleitk, ("volume",)),
    "itk": Kind("an image of ITK", _from_itk, ("volume",)),
    "nibabel": Kind("an image of nibabel", _from_nibabel, ("volume",)),
    "torch": Kind("a tensor", from_torch, _OPTIONS),
    "xarray": Kind("an array with coordinates", from_xarray, ("volume",)),
}
