"""What a volume promises: it holds what it was given, knows where it is, and refuses what is not a volume."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from inrcodec.errors import InputError, MissingExtra, UsageError
from inrcodec.io.itk import to_simpleitk
from inrcodec.io.nifti import to_nibabel
from inrcodec.volume.affine import is_singular, plane_of
from inrcodec.volume.value_range import Range
from inrcodec.volume.volume import DTYPES, Volume

TILTED = np.array([[0.5, 0, 0, -10], [0, 0.5, 0.3, 20], [0, 0, 2, 30], [0, 0, 0, 1]])


@pytest.mark.parametrize("dtype", sorted(map(str, DTYPES)))
def test_every_supported_type_comes_back(dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    volume = Volume.from_array(array)
    assert volume.array.dtype == dtype
    np.testing.assert_array_equal(volume.array, array)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=">i2").reshape(2, 3, 4),
        np.asfortranarray(np.arange(24, dtype=np.int16).reshape(2, 3, 4)),
        np.arange(48, dtype=np.int16).reshape(2, 3, 8)[:, :, ::2],
        np.arange(24, dtype=">f4").reshape(4, 3, 2).T,
    ],
    ids=["big-endian", "Fortran", "strided", "big-endian Fortran"],
)
def test_memory_layout_does_not_matter(array):
    for volume in (Volume.from_array(array), Volume(array, np.eye(4))):
        assert volume.array.dtype.isnative
        assert volume.array.flags.c_contiguous
        np.testing.assert_array_equal(volume.array, array)


def test_plain_arrays_are_not_copied():
    array = np.zeros((2, 3, 4), np.int16)
    assert np.shares_memory(Volume.from_array(array).array, array)


@pytest.mark.parametrize(
    ("array", "cause"),
    [
        (np.zeros((2, 2, 2), bool), "bool"),
        (np.zeros((2, 2, 2), np.complex64), "complex64"),
        (np.zeros((2, 2, 2), np.longdouble), "longdouble|float128"),
        (np.array([[[object()]]]), "object"),
        (np.array([[["1"]]]), "<U1"),
        (np.zeros((0, 2, 2)), "no voxels"),
        (np.zeros((2, 2, 2, 2)), "4 dimensions"),
        (np.zeros(8), "1 dimension"),
        (np.ma.masked_equal(np.zeros((2, 2, 2)), 0), "masked"),
    ],
)
def test_what_is_not_a_volume_is_refused(array, cause):
    with pytest.raises(InputError, match=cause):
        Volume.from_array(array)


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_what_is_not_finite_is_no_part_of_the_range(special, dtype):
    array = np.arange(24.0).reshape(2, 3, 4).astype(dtype)
    array[1, 2, 3] = special
    for padding, low in ((None, 0.0), (0.0, 1.0)):
        found = Volume(array, np.eye(4), padding=padding).value_range
        assert (found.low, found.high, found.special) == (low, 22.0, 1)
    assert Volume(np.full((1, 2, 2), special, dtype), np.eye(4)).value_range.special == 4


BEYOND = 2**53 + 1  # the smallest integer that float64 does not have


@pytest.mark.parametrize(
    ("dtype", "value"), [("int64", BEYOND), ("int64", -BEYOND), ("int64", -(2**63)), ("uint64", 2**64 - 1)]
)
def test_integers_that_float64_does_not_hold_are_refused(dtype, value):
    with pytest.raises(InputError, match=rf"{value}.* 2\^53: subtract an offset or scale down"):
        Volume(np.array([[[0, value]]], dtype), np.eye(4))


@pytest.mark.parametrize(("dtype", "value"), [("int64", 2**53), ("int64", -(2**53)), ("uint64", 2**53)])
def test_integers_that_float64_holds_are_kept(dtype, value):
    assert Volume(np.array([[[0, value]]], dtype), np.eye(4)).array[0, 0, 1] == value


@pytest.mark.parametrize(
    ("dtype", "padding"),
    [
        *(("uint8", -1), ("uint8", 256), ("int16", 0.5), ("int16", 40_000), ("uint64", 2.0**60)),
        *(("int16", np.nan), ("float32", np.inf), ("float16", 70_000), ("float32", -1e300)),
    ],
)
def test_padding_that_no_voxel_can_have_is_refused(dtype, padding):
    with pytest.raises(InputError, match=f"is not a value of {dtype}"):
        Volume.from_array(np.zeros((2, 2, 2), dtype), padding=padding)


@pytest.mark.parametrize(
    ("dtype", "padding"), [("uint8", 255), ("int16", -2000), ("float32", -3024.0), ("float64", -1e300)]
)
def test_padding_is_kept(dtype, padding):
    assert Volume.from_array(np.zeros((2, 2, 2), dtype), padding=padding).padding == padding


@pytest.mark.parametrize("modality", ["C" * 17, "CT\n", "\0", "磁気", "é"])
def test_a_modality_that_dicom_cannot_write_is_refused(modality):
    with pytest.raises(InputError, match="not a DICOM term"):
        Volume.from_array(np.zeros((2, 2, 2)), modality=modality)


@pytest.mark.parametrize(
    "affine",
    [
        np.diag([1.0, 1.0, 0.0, 1.0]),
        np.diag([1.0, 1.0, np.nan, 1.0]),
        np.eye(3),
        np.ones((4, 4)),
        np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
        np.diag([1.0, 1e300, 1.0, 1.0]),
        np.diag([1.0, 1.0, 1e-300, 1.0]),
        np.array([[1, 0, 0, -2e12], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    ],
    ids=["zero edge", "nan", "3x3", "last row", "parallel axes", "long edge", "short edge", "far away"],
)
def test_an_impossible_affine_is_refused(affine):
    with pytest.raises(InputError, match="affine"):
        Volume.from_array(np.zeros((2, 2, 2)), affine=affine)


@pytest.mark.parametrize(
    ("shape", "spacing", "cause"),
    [
        ((2, 3, 4), (1, 1), "3 dimensions"),
        ((3, 4), (1, 1, 1), r"\(y, x\)"),
        ((2, 3, 4), (1, 0, 1), "positive"),
        ((2, 3, 4), (1, float("inf"), 1), "positive"),
    ],
)
def test_an_impossible_spacing_is_refused(shape, spacing, cause):
    with pytest.raises(UsageError, match=cause):
        Volume.from_array(np.zeros(shape), spacing=spacing)


def test_spacing_and_affine_exclude_each_other():
    with pytest.raises(UsageError, match="pass one of them"):
        Volume.from_array(np.zeros((2, 2, 2)), spacing=(1, 1, 1), affine=np.eye(4))


@pytest.mark.parametrize(("slant", "refused"), [(0.9e-6, True), (1.1e-6, False)])
def test_axes_are_parallel_below_the_tolerance_of_the_specification(slant, refused):
    """Alike for volumes and for headers, in micrometres and in metres."""
    for size in (1e-3, 1.0, 1e3):
        axes = size * np.array([[1, 1, 0], [0, slant, 0], [0, 0, 1]])
        assert is_singular(axes) == refused


@pytest.mark.parametrize(
    ("columns", "plane"),
    [
        ([(0.5, 0, 0), (0, 0.5, 0), (0, 0, 3)], "axial"),
        ([(0.5, 0, 0), (0, 0.46, 0.2), (0, -1, 3)], "axial"),
        ([(0.5, 0, 0), (0, 0, -0.5), (0, 3, 0)], "coronal"),
        ([(0, 0.5, 0), (0, 0, -0.5), (-3, 0, 0)], "sagittal"),
    ],
    ids=["axial", "tilted", "coronal", "sagittal"],
)
def test_the_affine_says_which_plane_the_slices_are(columns, plane):
    affine = np.eye(4)
    affine[:3, :3] = np.array(columns).T
    affine[:3, 3] = -100
    assert plane_of(affine) == plane


def test_an_array_without_a_place_has_no_plane():
    assert plane_of(Volume.from_array(np.zeros((2, 3, 4)), spacing=(3, 1, 1)).affine) == ""


def test_the_range_is_looked_for_once_and_kept_by_a_new_label(monkeypatch):
    volume = Volume.from_array(np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    assert volume.value_range == Range(0.0, 23.0)
    monkeypatch.setattr(Range, "of", None)
    labelled = volume.relabelled(modality="CT", unit="HU")
    assert (labelled.modality, labelled.unit, labelled.value_range) == ("CT", "HU", Range(0.0, 23.0))
    assert (volume.modality, volume.unit) == ("", "") and labelled.array is volume.array


def test_spacing_is_in_the_order_of_the_array():
    volume = Volume.from_array(np.zeros((2, 3, 4)), spacing=(3.0, 0.5, 0.25))
    assert volume.spacing == (3.0, 0.5, 0.25)
    np.testing.assert_array_equal(volume.affine @ [4, 2, 1, 1], [1.0, 1.0, 3.0, 1.0])


def test_micrometre_voxels_are_voxels():
    assert Volume.from_array(np.zeros((2, 3, 4)), spacing=(1e-4, 1e-4, 1e-4)).spacing == (1e-4, 1e-4, 1e-4)


def test_an_image_is_a_volume_of_one_slice():
    volume = Volume.from_array(np.zeros((3, 4)), spacing=(0.5, 0.25))
    assert (volume.ndim, volume.shape, volume.spacing) == (2, (1, 3, 4), (1.0, 0.5, 0.25))


def test_a_volume_prints_as_one_line_without_its_voxels():
    """Its voxels said nothing, and printing them took a page."""
    volume = Volume.from_array(np.zeros((30, 40, 50), np.int16), spacing=(2.5, 0.1 + 0.2, 1), modality="CT")
    facts = "shape=(30, 40, 50), dtype=int16, spacing=(2.5, 0.3, 1), modality='CT', unit='', padding=None"
    assert repr(volume) == str(volume) == f"Volume({facts})"


def test_a_volume_is_frozen():
    volume = Volume.from_array(np.zeros((2, 3, 4)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        volume.modality = "CT"  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        volume.affine[0, 0] = 2


@pytest.mark.parametrize("rescale", [(0.0, 1.0), (float("nan"), 0.0), (1.0, float("inf"))])
def test_a_slope_of_zero_and_what_is_not_finite_are_refused(rescale):
    with pytest.raises(InputError, match="do not scale"):
        Volume(np.zeros((2, 2, 2)), np.eye(4), rescale=rescale)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("int16", "float32"), ("uint8", "float32"), ("int32", "float64"), ("float64", "float64")],
)
def test_physical_values_are_rescaled(dtype, expected):
    values = Volume(np.array([[[0, 1, 100]]], dtype), np.eye(4), rescale=(0.5, -10)).physical()
    assert values.dtype == expected
    np.testing.assert_array_equal(values, [[[-10, -9.5, 40]]])


@pytest.mark.parametrize(
    ("dtype", "rescale", "expected"),
    [
        ("uint16", (1, -1024), "int16"),
        ("int16", (1, -1024), "int16"),
        ("uint8", (-1, 0), "int16"),
        ("uint16", (40_000, 5), "int32"),
        ("int32", (2**30, 0), "int64"),
        ("int32", (2.0**60, 0), "float64"),
        ("int16", (0.5, 0), "float32"),
        ("float32", (2, 0), "float32"),
        ("float16", (1, 0), "float32"),
    ],
)
def test_values_are_integers_where_they_can_be(dtype, rescale, expected):
    stored = np.array([[[0, 1, 100]]], dtype)
    values = Volume(stored, np.eye(4), rescale=rescale).values()
    assert values.dtype == expected
    np.testing.assert_array_equal(values, stored.astype(np.float64) * rescale[0] + rescale[1])


@pytest.mark.parametrize("dtype", ["int16", "float16", "int64"])
def test_nibabel_gets_the_same_place_and_values(dtype):
    volume = Volume(np.arange(24).reshape(2, 3, 4).astype(dtype), TILTED)
    image = to_nibabel(volume)
    np.testing.assert_allclose(np.diag([-1, -1, 1, 1]) @ image.affine, volume.affine, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, volume.array)


def test_simpleitk_gets_the_same_place_and_values():
    pytest.importorskip("SimpleITK")
    affine = np.array([[0.0, 0.5, 0, -10], [-0.25, 0, 0, 20], [0, 0, 2, 30], [0, 0, 0, 1]])
    volume = Volume(np.arange(24, dtype=np.int16).reshape(2, 3, 4), affine, rescale=(2, -1))
    image = to_simpleitk(volume)
    np.testing.assert_allclose(
        image.TransformIndexToPhysicalPoint((3, 2, 1)), (volume.affine @ [3, 2, 1, 1])[:3], atol=1e-12
    )
    assert image.GetPixel(3, 2, 1) == volume.array[1, 2, 3] * 2 - 1


def test_a_missing_simpleitk_names_its_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "SimpleITK", None)
    with pytest.raises(MissingExtra, match=r"inrcodec\[itk\]"):
        to_simpleitk(Volume.from_array(np.zeros((2, 2, 2))))
