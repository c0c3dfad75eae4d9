"""What objects of other packages promise: their values and their place, and nothing that is guessed."""

from __future__ import annotations

import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

import inrcodec
from inrcodec.errors import InputError, UsageError
from inrcodec.io import read
from inrcodec.io.itk import to_simpleitk
from inrcodec.io.nifti import to_nibabel
from inrcodec.volume.volume import Volume

ARRAY = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
FOUR = np.arange(5 * 24, dtype=np.int16).reshape(5, 2, 3, 4)
OBLIQUE = np.array([[0.4, -0.1, 0, -62.25], [0.1, 0.4, 0, 10.5], [0, 0, 1.5, 1234.5], [0, 0, 0, 1]])
TILTED = np.array([[0.5, 0, 0, -10], [0, 0.5, 0.75, 20], [0, 0, 2, 30], [0, 0, 0, 1]])
FLIPPED = np.diag([-0.5, 0.5, -2.0, 1.0])
PLACES = pytest.mark.parametrize("affine", [OBLIQUE, TILTED, FLIPPED], ids=["oblique", "tilted", "flipped"])


def there_and_back(volume: Volume) -> Volume:
    return inrcodec.decode_volume(inrcodec.encode(volume, lossless=True))


@PLACES
@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32"])
def test_simpleitk_goes_there_and_back(affine, dtype):
    pytest.importorskip("SimpleITK")
    image = to_simpleitk(Volume(ARRAY.astype(dtype), affine))
    volume = there_and_back(image)
    assert volume.array.dtype == dtype
    np.testing.assert_array_equal(volume.array, ARRAY)
    np.testing.assert_allclose(volume.affine, affine, rtol=0, atol=1e-12)
    again = to_simpleitk(volume)
    for place in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(again, place)(), getattr(image, place)(), rtol=0, atol=1e-12)


@PLACES
@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32"])
def test_nibabel_goes_there_and_back(affine, dtype):
    image = to_nibabel(Volume(ARRAY.astype(dtype), affine))
    volume = there_and_back(image)
    assert volume.array.dtype == dtype
    np.testing.assert_array_equal(volume.array, ARRAY)
    np.testing.assert_allclose(to_nibabel(volume).affine, image.affine, rtol=0, atol=1e-6)


def test_an_image_of_nibabel_is_what_its_file_is(tmp_path):
    image = nib.Nifti1Image(ARRAY.T, np.diag([2.0, 2, 2, 1]))
    image.header.set_xyzt_units("micron")
    image.header.set_slope_inter(0.5, -7)
    nib.save(image, tmp_path / "a.nii")
    file, memory = read(tmp_path / "a.nii"), read(nib.load(tmp_path / "a.nii"))
    np.testing.assert_array_equal(memory.array, file.array)
    np.testing.assert_array_equal(memory.affine, file.affine)
    assert memory.rescale == file.rescale == (0.5, -7)
    assert memory.spacing == (0.002, 0.002, 0.002)
    assert read(image).rescale == (1, 0)  # its values are not stored yet


@pytest.mark.parametrize("kind", [nib.Nifti2Image, nib.MGHImage, nib.Spm99AnalyzeImage, nib.AnalyzeImage])
def test_any_kind_of_nibabel_is_taken(kind):
    image = kind(ARRAY.T, np.diag([2.0, 3, 4, 1]))
    assert read(image).spacing == (4, 3, 2)
    np.testing.assert_array_equal(read(image).array, ARRAY)


@pytest.mark.parametrize(
    ("image", "cause"),
    [
        (nib.Nifti1Image(np.zeros((2, 2, 2), [(c, "u1") for c in "RGB"]), np.eye(4)), "no grey image"),
        (nib.Nifti1Image(np.zeros((2, 2, 2), np.complex64), np.eye(4)), "complex64"),
        (nib.GiftiImage(), "GiftiImage is not an image on a grid"),
    ],
    ids=["colour", "complex", "surface"],
)
def test_what_is_not_a_volume_of_nibabel_is_refused(image, cause):
    with pytest.raises(InputError, match=cause):
        read(image)


def test_what_is_not_a_volume_of_simpleitk_is_refused():
    itk = pytest.importorskip("SimpleITK")
    for image, cause in (
        (itk.Image([4, 3, 2], itk.sitkVectorUInt8, 3), "colour image of 3"),
        (itk.Image([4, 3, 2], itk.sitkComplexFloat32), "complex of 32-bit float"),
        (itk.Image([4, 3, 2], itk.sitkVectorFloat32, 3), "holds 3 volumes"),
        (itk.Euler3DTransform(), "Euler3DTransform is not an image"),
    ):
        with pytest.raises(InputError, match=cause):
            read(image)


def test_one_of_several_volumes_is_chosen_in_every_package():
    itk = pytest.importorskip("SimpleITK")
    xarray = pytest.importorskip("xarray")
    dask = pytest.importorskip("dask.array")
    torch = pytest.importorskip("torch")
    sources = (
        itk.GetImageFromArray(FOUR, isVector=False),
        itk.GetImageFromArray(np.moveaxis(FOUR, 0, -1), isVector=True),
        nib.Nifti1Image(FOUR.T, np.eye(4)),
        xarray.DataArray(FOUR, dims=("t", "z", "y", "x")),
        xarray.DataArray(np.moveaxis(FOUR, 0, 2), dims=("z", "y", "echo", "x")),
        dask.from_array(FOUR),
        torch.from_numpy(FOUR),
        FOUR,
    )
    for source in sources:
        with pytest.raises(InputError, match="holds 5 volumes, choose one: 0 to 4"):
            read(source)
        np.testing.assert_array_equal(read(source, volume=3).array, FOUR[3])


def test_an_image_of_simpleitk_may_be_flat():
    itk = pytest.importorskip("SimpleITK")
    image = itk.GetImageFromArray(ARRAY[0])
    image.SetSpacing((0.5, 0.25))
    image.SetOrigin((7, 8))
    volume = read(image)
    assert (volume.ndim, volume.spacing, tuple(volume.affine[:3, 3])) == (2, (1, 0.25, 0.5), (7, 8, 0))


def test_an_array_of_xarray_has_its_place_in_its_coordinates():
    xarray = pytest.importorskip("xarray")
    x = xarray.DataArray(np.arange(4) * 0.0005, dims="X", attrs={"units": "m"})
    array = xarray.DataArray(
        ARRAY.transpose(2, 0, 1),
        dims=("X", "z", "y"),
        coords={"X": x, "y": [10.0, 8.0, 6.0], "z": [3, 7]},
        attrs={"modality": "CT", "units": "HU", "patient": "nobody"},
    )
    volume = read(array)
    np.testing.assert_array_equal(volume.array, ARRAY)
    np.testing.assert_allclose(volume.affine, [[0.5, 0, 0, 0], [0, -2, 0, 10], [0, 0, 4, 3], [0, 0, 0, 1]])
    assert (volume.modality, volume.unit, volume.description) == ("CT", "HU", {})


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ({"coords": {"y": [0.0, 1.0, 2.1]}}, "y is not evenly spaced"),
        ({"coords": {"y": [0.0, 0.0, 0.0]}}, "y is not evenly spaced"),
        ({"coords": {"y": ["a", "b", "c"]}}, "coordinate y is of type"),
        ({"coords": {"y": ("y", [0, 1, 2], {"units": "degrees"})}}, "units 'degree' of y are no length"),
        ({"dims": ("z", "row", "x")}, "no y and x"),
    ],
    ids=["uneven", "no step", "names", "degrees", "no y"],
)
def test_coordinates_that_are_no_grid_are_refused(words, cause):
    xarray = pytest.importorskip("xarray")
    with pytest.raises(InputError, match=cause):
        read(xarray.DataArray(ARRAY, **{"dims": ("z", "y", "x"), **words}))


def test_axes_without_names_count_in_their_order():
    xarray = pytest.importorskip("xarray")
    np.testing.assert_array_equal(read(xarray.DataArray(ARRAY)).array, ARRAY)
    with pytest.raises(InputError, match="Dataset is not a DataArray"):
        read(xarray.Dataset({"a": xarray.DataArray(ARRAY)}))


def test_a_tensor_is_taken_with_its_gradient_and_a_spacing():
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(ARRAY.astype(np.float32)).requires_grad_()
    volume = read(tensor, spacing=(3, 2, 1))
    np.testing.assert_array_equal(volume.array, ARRAY)
    assert volume.spacing == (3, 2, 1)
    with pytest.raises(InputError, match=r"cannot make an array of torch\.Tensor: .*BFloat16"):
        read(tensor.to(torch.bfloat16))


class Lazy:
    """What a chunked store looks like: only what is asked for is fetched."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.fetched = 0

    def __getitem__(self, index):
        return Lazy(self.array[index])

    def __array__(self, dtype=None, copy=None):
        if self.array.ndim == 4:
            raise AssertionError("fetched whole")
        return self.array


def test_anything_that_numpy_makes_an_array_of_is_taken():
    np.testing.assert_array_equal(read(Lazy(ARRAY)).array, ARRAY)
    np.testing.assert_array_equal(read(Lazy(FOUR), volume=1).array, FOUR[1])
    np.testing.assert_array_equal(read(ARRAY.tolist()).array, ARRAY)


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ({"a": 1}, "type dict is not a volume"),
        (None, "type NoneType is not a volume"),
        (b"bytes", "type bytes is not a volume"),
        (object(), "type object is not a volume"),
        (5, "type int is not a volume"),
        ([["a", "b"]], "type <U1"),
        ([[{}, {}]], "type object"),
        (np.ma.masked_array(ARRAY, ARRAY > 3), "masked"),
        ([[1, 2], [3]], "cannot make an array of builtins.list"),
        (FOUR.tolist(), "holds 5 volumes, choose one"),
    ],
    ids="dict None bytes object number strings objects masked ragged four".split(),
)
def test_anything_else_is_refused_by_its_name(source, cause):
    with pytest.raises(InputError, match=cause):
        read(source)


def test_a_tensor_without_data_is_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(InputError, match=r"cannot make an array of torch\.Tensor"):
        read(torch.zeros(2, 3, 4, device="meta"))


def test_a_spacing_means_nothing_where_there_is_one():
    with pytest.raises(UsageError, match="spacing: has no meaning for an image of nibabel"):
        read(nib.Nifti1Image(ARRAY.T, np.eye(4)), spacing=(1, 1, 1))


def test_no_other_package_is_imported_for_an_array():
    code = (
        "import sys, numpy, inrcodec.io as io; io.read(numpy.zeros((2, 3, 4)))\n"
        "print(sorted({'SimpleITK', 'nibabel', 'xarray', 'dask', 'torch', 'pydicom'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
