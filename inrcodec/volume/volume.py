"""A volume: an array and what its numbers mean.

Invariant: it knows no file format and nothing about a patient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inrcodec.errors import InputError, UsageError
from inrcodec.volume.affine import checked_affine, spacing_of
from inrcodec.volume.box import Shape, run_of
from inrcodec.volume.checks import DTYPES as DTYPES
from inrcodec.volume.checks import LARGEST_INTEGER, checked_array, refuse_special
from inrcodec.volume.description import (
    ALLOCATED,
    LABELS,
    STORED,
    THICKNESS,
    Fact,
    bits_of,
    facts_from,
    facts_of_any_grid,
    length_of,
)
from inrcodec.volume.lazy import Changed, LazyArray
from inrcodec.volume.scaling import Scaling
from inrcodec.volume.value_range import Range

LONGEST_MODALITY = 16  # characters of DICOM's code strings


@dataclass(frozen=True, eq=False, repr=False)
class Volume:
    """Stored values on a grid in space.

    Parameters
    ----------
    array : ndarray or LazyArray, (z, y, x), any type of `DTYPES`
        Stored values, integers within ±2^53. Copied only if it is not in native byte order and C
        order: do not change it afterwards. Values of a `LazyArray` are checked when they are first passed
        over, for `value_range`.
    affine : ndarray, (4, 4), float64
        Voxel index (x, y, z, 1) to millimetres, LPS axes (DICOM's and ITK's).
    rescale : (slope, intercept)
        physical = stored * slope + intercept.
    modality : str
        DICOM term ("CT", "MR"), "" if unknown; at most 16 characters of ASCII.
    padding : float, optional
        Stored value that means "no signal here", such as outside the scan circle; one that the array's
        type holds.
    ndim : int
        2 if the source was one 2-D image (the array is (1, y, x)), else 3.
    unit : str
        Unit of the physical values: "HU" or "" (unknown).
    source_bytes : int, optional
        Bytes of the source on disk; None for arrays in memory.
    description : mapping of str to int, float or str
        Technical facts that identify nobody and that a sink needs to write the same kind again; a key such as
        "decay_factor@47" holds from slice 47 on, and "labels" says that values are numbers of segments.
    notices : tuple of str
        Choices of the reader that the user should know; not stored in a file.
    slice_rescale : ndarray, (z, 2), float64, optional
        Slope and intercept of each slice, in place of `rescale`, where they differ (PET); None if they are
        all equal, and `rescale` is what they are.

    Raises
    ------
    InputError
        The array is not 3-D, is empty, has an unsupported type or integers beyond ±2^53; the affine is
        singular or not finite; the modality or the padding is not possible.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    rescale: tuple[float, float] = (1.0, 0.0)
    modality: str = ""
    padding: float | None = None
    ndim: int = 3
    unit: str = ""
    source_bytes: int | None = None
    description: Mapping[str, Fact] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    slice_rescale: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        array = checked_array(self.array)
        if array.ndim != 3 or (self.ndim == 2 and array.shape[0] != 1):
            raise InputError(f"a volume is (z, y, x), or (1, y, x) for an image, got shape {array.shape}")
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "padding", checked_padding(self.padding, array.dtype))
        check_modality(self.modality)
        rescale, of_slices = checked_rescale(self.rescale, self.slice_rescale, len(array))
        object.__setattr__(self, "rescale", rescale)
        object.__setattr__(self, "slice_rescale", of_slices)
        object.__setattr__(self, "affine", checked_affine(self.affine))
        object.__setattr__(self, "description", dict(self.description))

    def __repr__(self) -> str:
        """One line about the voxels, none of them."""
        spacing = ", ".join(f"{edge:.6g}" for edge in self.spacing)
        facts = f"shape={self.shape}, dtype={self.array.dtype}, spacing=({spacing})"
        return f"Volume({facts}, modality={self.modality!r}, unit={self.unit!r}, padding={self.padding})"

    @classmethod
    def from_array(
        cls,
        array: ArrayLike,
        *,
        spacing: Sequence[float] | None = None,
        affine: ArrayLike | None = None,
        modality: str = "",
        padding: float | None = None,
    ) -> Volume:
        """Volume of an array in memory.

        Parameters
        ----------
        array : array_like, (z, y, x) or (y, x), any integer or float type, byte order and memory order
        spacing : sequence of float, mm, optional
            Voxel edges in the order of the array's axes; 1 mm if neither this nor `affine` is given.
        affine : array_like, (4, 4), optional
            Voxel index (x, y, z, 1) to LPS millimetres; excludes `spacing`.

        Raises
        ------
        InputError
            As for the class itself; also for other than 2 or 3 dimensions.
        UsageError
            `spacing` and `affine` together, or a spacing that does not fit the array.

        Examples
        --------
        >>> volume = Volume.from_array(np.zeros((4, 8, 8), np.int16), spacing=(3.0, 0.5, 0.5))
        >>> volume.shape, volume.spacing
        ((4, 8, 8), (3.0, 0.5, 0.5))
        """
        as_it_is = isinstance(array, np.ma.MaskedArray | LazyArray)
        values: NDArray[Any] = array if as_it_is else np.asarray(array)  # type: ignore[assignment]
        ndim = values.ndim
        if ndim not in (2, 3):
            cause = f"the array has {ndim} dimensions {values.shape}"
            raise InputError(f"{cause}, pass one volume (z, y, x) or image (y, x)", value=values.shape)
        if affine is None:
            affine = _affine_of(spacing, ndim)
        elif spacing is not None:
            raise UsageError("the affine holds the spacing: pass one of them", option=("spacing", "affine"))
        return cls(
            array=values.reshape((1, *values.shape)) if ndim == 2 else values,
            affine=np.asarray(affine, dtype=np.float64),
            modality=modality,
            padding=padding,
            ndim=ndim,
        )

    @property
    def shape(self) -> Shape:
        """Voxels along (z, y, x)."""
        z, y, x = self.array.shape
        return z, y, x

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxels along (z, y, x) in mm."""
        return spacing_of(self.affine)

    @property
    def labels(self) -> bool:
        """Whether values are numbers of segments, or parts of one, between which nothing lies."""
        return bool(self.description.get(LABELS))

    @property
    def thickness(self) -> float | None:
        """Thickness of a slice in mm, where the source states one that is not the distance of slices."""
        return length_of(self.description, THICKNESS)

    @property
    def bits_allocated(self) -> int:
        """Bits that a voxel takes in the source; of the array where the source does not say it."""
        return bits_of(self.description, ALLOCATED, 8 * self.array.dtype.itemsize)

    @property
    def bits_stored(self) -> int:
        """Bits of a voxel in the source that hold its value: 12 of 16 in many CT."""
        return bits_of(self.description, STORED, self.bits_allocated)

    @property
    def voxel_bytes(self) -> int:
        """Bytes of the voxels as the source allocates them: what compression ratios are of."""
        return self.array.size * self.bits_allocated // 8

    @property
    def scaling(self) -> Scaling:
        """How stored values become physical ones, of a type that holds every stored value."""
        wide = self.array.dtype in (np.float64, np.int32, np.uint32, np.int64, np.uint64)
        return Scaling(np.dtype(np.float64 if wide else np.float32), self.rescale, self.slice_rescale)

    def physical(self) -> NDArray[Any]:
        """Rescaled values, (z, y, x): float32, or float64 if float32 does not hold every stored value."""
        return self.scaling(np.asarray(self.array))

    def values(self) -> NDArray[Any]:
        """Physical values for programs without half floats: integers stay integers where they can.

        Returns
        -------
        ndarray, (z, y, x), or a `LazyArray` if the volume's is one
            The stored array (float16 as float32) where slope and intercept are 1 and 0; integers of the
            nearest type that holds them where both are whole numbers; else `physical`. Of a `LazyArray`
            that knows its ends, the nearest type that holds these.
        """
        dtype, same = self.array.dtype, self.rescale == (1.0, 0.0) and self.slice_rescale is None
        if same and dtype != np.float16:
            return self.array
        scaling = Scaling(np.dtype(np.float32)) if same else self.scaling
        whole = self.slice_rescale is None and all(value.is_integer() for value in self.rescale)
        if whole and dtype.kind != "f":
            slope, intercept = (int(value) for value in self.rescale)
            ends = [end * slope + intercept for end in _ends_of(self.array)]
            dtypes = (dtype, *(np.dtype(name) for name in ("int16", "int32", "int64")))
            held = (kind for kind in dtypes if all(is_held(float(end), kind) for end in ends))
            scaling = replace(scaling, dtype=next(held, scaling.dtype))
        return self._scaled(scaling)

    def _scaled(self, scaling: Scaling) -> NDArray[Any]:
        if isinstance(self.array, LazyArray):
            return Changed(self.array, scaling.dtype, scaling)
        values = np.empty(self.shape, scaling.dtype)
        for z in range(len(values)):  # no second copy, nor one of wider integers
            values[z : z + 1] = scaling(self.array[z : z + 1], z)
        return values

    def in_memory(self) -> Volume:
        """The same with its voxels in memory, for what needs all of them more than once."""
        late = isinstance(self.array, LazyArray)
        return replace(self, array=np.asarray(self.array)) if late else self

    def uniform(self) -> Volume:
        """The same values on one scale: physical ones where slices have their own scales, else this volume.

        The padding stays where it is one physical value.
        """
        if self.slice_rescale is None:
            return self
        array = self._scaled(self.scaling)
        slopes, intercepts = self.slice_rescale.T
        padding = self.padding
        if padding is not None:
            values = padding * slopes + intercepts
            padding = float(values[0]) if (values == values[0]).all() else None
        facts = {ALLOCATED: self.bits_allocated, **self.description}
        return replace(self, array=array, slice_rescale=None, padding=padding, description=facts)

    @cached_property
    def value_range(self) -> Range:
        """The smallest and largest stored value that is not padding; computed once."""
        return Range.of(self)

    def refuse_special(self) -> None:
        """Refuse values that are not finite, for what cannot take them; raises `InputError`."""
        refuse_special(self.array, self.value_range.special)

    def part(self, slices: slice) -> Volume:
        """A run of its slices, in place: the affine's origin moves to the first of them.

        Raises
        ------
        UsageError
            No slice is left, or `slices` has a step.
        """
        chosen = run_of(slices, len(self.array))
        affine = self.affine.copy()
        affine[:3, 3] += chosen.start * affine[:3, 2]
        return replace(
            self,
            array=self.array.part(slices) if isinstance(self.array, LazyArray) else self.array[slices],
            affine=affine,
            source_bytes=None,
            description=facts_from(self.description, chosen.start, chosen.stop),
            slice_rescale=None if self.slice_rescale is None else self.slice_rescale[slices],
        )

    def of_any_grid(self) -> Volume:
        """Without what is true of the full resolution alone: its padding, and facts of its slices."""
        return replace(self, padding=None, description=facts_of_any_grid(self.description))

    def relabelled(self, *, modality: str, unit: str) -> Volume:
        """The same voxels with another modality and unit; nothing is copied, checked or computed again."""
        check_modality(modality)
        volume = copy(self)
        object.__setattr__(volume, "modality", modality)
        object.__setattr__(volume, "unit", unit)
        return volume


def checked_rescale(
    rescale: tuple[float, float], of_slices: ArrayLike | None, count: int
) -> tuple[tuple[float, float], NDArray[np.float64] | None]:
    """One scale for all slices, or one each where they differ; raises `InputError` if any does not scale."""
    pairs = np.asarray([rescale] if of_slices is None else of_slices, np.float64)
    if of_slices is not None and (pairs.shape != (count, 2) or tuple(rescale) != (1.0, 0.0)):
        cause = f"scales of slices are of shape {pairs.shape}, beside a common one of {tuple(rescale)}"
        raise InputError(f"{cause}: pass {count} slopes and intercepts, or one of both", value=pairs.shape)
    bad = pairs[(pairs[:, 0] == 0) | ~np.isfinite(pairs).all(axis=1)]
    if len(bad):
        slope, intercept = bad[0].tolist()
        cause = f"rescale slope {slope} and intercept {intercept} do not scale"
        raise InputError(cause, value=(slope, intercept))
    if (pairs == pairs[0]).all():
        slope, intercept = pairs[0].tolist()
        return (slope, intercept), None
    return (1.0, 0.0), pairs


def limits_of(dtype: np.dtype[Any]) -> tuple[float, float]:
    """Smallest and largest value of a type, as floats; of integers within ±2^53, as float64 has them all."""
    if dtype.kind == "f":
        return -float(np.finfo(dtype).max), float(np.finfo(dtype).max)
    limits = np.iinfo(dtype)
    return float(max(limits.min, -LARGEST_INTEGER)), float(min(limits.max, LARGEST_INTEGER))


def is_held(value: float, dtype: np.dtype[Any]) -> bool:
    """Whether an array of a type can hold a value, of floats up to rounding."""
    smallest, largest = limits_of(dtype)
    return smallest <= value <= largest and (dtype.kind == "f" or value.is_integer())


def checked_padding(padding: float | None, dtype: np.dtype[Any]) -> float | None:
    """Padding value as a float; raises `InputError` if an array of this type cannot hold it."""
    if padding is None:
        return None
    if not is_held(float(padding), dtype):
        cause = f"padding {padding:g} is not a value of {dtype}, pass one that the array can hold, or none"
        raise InputError(cause, value=padding)
    return float(padding) + 0.0  # of a file, -0 is 0


def check_modality(modality: str) -> None:
    """Refuse a modality that DICOM could not write; raises `InputError`."""
    if len(modality) > LONGEST_MODALITY or not (modality.isascii() and modality.isprintable()):
        raise InputError(
            f"modality {modality!r:.80} is not a DICOM term, pass at most {LONGEST_MODALITY} printable ASCII "
            "characters such as 'CT', or ''",
            value=modality,
        )


def _ends_of(array: NDArray[Any]) -> tuple[int, int]:
    """The smallest and the largest integer; of a late array what it knows of them, as all would be read."""
    if isinstance(array, LazyArray) and array.ends is not None:
        low, high = array.ends
        return int(low), int(high)
    ends = [(int(plane.min()), int(plane.max())) for plane in array]
    return min(low for low, _ in ends), max(high for _, high in ends)


def _affine_of(spacing: Sequence[float] | None, ndim: int) -> NDArray[np.float64]:
    edges = [1.0] * ndim if spacing is None else [float(v) for v in spacing]
    if len(edges) != ndim:
        order = "(z, y, x)" if ndim == 3 else "(y, x)"
        cause = f"{tuple(edges)} for an array of {ndim} dimensions, pass {order} in mm"
        raise UsageError(cause, value=edges, option="spacing")
    if not all(np.isfinite(v) and v > 0 for v in edges):
        raise UsageError(f"{tuple(edges)} must be positive millimetres", value=edges, option="spacing")
    return np.diag([*reversed(edges), *[1.0] * (4 - ndim)])
