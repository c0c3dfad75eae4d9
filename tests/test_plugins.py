"""Other projects open a file and find what NIfTI would have told them: the packages are the real ones."""

from __future__ import annotations

import functools
import pickle
import tomllib
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import nibabel
import numpy as np
import pytest
from plugged import AFFINE, ARRAY, CLOSE, CT, SCALED, files

import inrcodec
from inrcodec.errors import InputError, MissingExtra, UsageError
from inrcodec.io.itk import from_simpleitk, to_simpleitk
from inrcodec.plugins import geometry

ROOT = Path(__file__).parents[1]
TILTED = np.array([[0.5, 0, 0, -10], [0, 0.5, 0.75, 20], [0, 0, 2, 30], [0, 0, 0, 1]])
TURNED = np.array([[0, 0, 3.0, -40], [0.5, 0, 0, -90], [0, -0.5, 0, 120], [0, 0, 0, 1]])
FLIPPED = np.array([[-0.5, 0, 0, 7], [0, 0.5, 0, 8], [0, 0, -2.0, 9], [0, 0, 0, 1]])


def installed(group, name="inrv"):
    """Skip where the installation is older than pyproject.toml: others look there, not in the checkout."""
    if name not in {point.name for point in entry_points(group=group)}:
        pytest.skip(f"the installation has no entry point {group}: make test installs it")


def test_entry_points_lead_somewhere():
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    assert len(groups) == 4
    for group in groups.values():
        for target in group.values():
            module, _, name = target.partition(":")
            if name.endswith(".yaml"):
                assert (ROOT / module.replace(".", "/") / name).is_file()
                continue
            try:
                assert isinstance(getattr(import_module(module), name), type)
            except MissingExtra as error:
                assert error.extra in ("zarr", "xarray")


# --- geometry


@pytest.mark.parametrize("affine", [AFFINE, TILTED, TURNED, FLIPPED])
def test_axes_lead_there_and_back(affine):
    np.testing.assert_allclose(geometry.lps(geometry.ras(affine)), affine)
    np.testing.assert_allclose(geometry.zyx(geometry.zyx(affine)), affine)
    np.testing.assert_allclose(geometry.from_axes(*geometry.along_axes(affine)), affine, atol=1e-12)


def test_positions_along_the_patients_axes_are_lps():
    first, step, direction = geometry.along_axes(FLIPPED)
    assert (first.tolist(), step.tolist()) == ([7, 8, 9], [-0.5, 0.5, -2])
    np.testing.assert_array_equal(direction, np.eye(3))


# --- nibabel


@pytest.fixture
def nib():
    import_module("inrcodec.plugins.nibabel")
    return nibabel


@pytest.mark.parametrize("volume", [CT, SCALED], ids=["ct", "scaled"])
def test_nibabel_loads_what_nifti_holds(nib, tmp_path, volume):
    path, nifti = files(tmp_path, volume)
    image, other = nib.load(path), nib.load(nifti)
    np.testing.assert_array_equal(image.get_fdata(), other.get_fdata())
    np.testing.assert_allclose(image.affine, other.affine, **CLOSE)
    assert image.header.get_zooms() == pytest.approx(other.header.get_zooms(), abs=1e-6)
    part, same = (one.slicer[2:5, :, ::2] for one in (image, other))
    np.testing.assert_array_equal(part.get_fdata(), same.get_fdata())
    np.testing.assert_allclose(part.affine, same.affine, **CLOSE)
    canonical = nib.as_closest_canonical(image)
    np.testing.assert_array_equal(canonical.get_fdata(), nib.as_closest_canonical(other).get_fdata())
    again = pickle.loads(pickle.dumps(image))
    np.testing.assert_array_equal(again.dataobj[..., 3], other.dataobj[..., 3])
    np.testing.assert_array_equal(image.dataobj[0, None, 1], np.asarray(other.dataobj)[0, None, 1])


@pytest.mark.parametrize("volume", [CT, SCALED], ids=["ct", "scaled"])
def test_nibabel_saves_stored_values(nib, tmp_path, volume):
    path, nifti = files(tmp_path, volume)
    for source, modality in ((path, volume.modality), (nifti, volume.modality if volume is CT else "")):
        nib.save(nib.load(source), tmp_path / "again.inrv")
        again = inrcodec.decode_volume(tmp_path / "again.inrv")
        assert again.modality == modality
        np.testing.assert_array_equal(again.physical(), volume.physical())
        np.testing.assert_allclose(again.affine, AFFINE, **CLOSE)
    assert inrcodec.decode_volume(path).rescale == volume.rescale


def test_nibabel_passes_options_on(nib, tmp_path):
    path, nifti = files(tmp_path)
    image = nib.load(path, level=1)
    np.testing.assert_array_equal(image.get_fdata(), inrcodec.open(path).read(level=1).T)
    nib.save(nib.load(nifti), tmp_path / "near.inrv", max_error=8)
    assert (tmp_path / "near.inrv").stat().st_size < path.stat().st_size
    with pytest.raises(UsageError, match="qualiti"):
        nib.load(path, qualiti="base")


# --- xarray


@pytest.fixture
def xarray():
    found = pytest.importorskip("xarray")
    installed("xarray.backends")
    return found


@pytest.mark.parametrize("affine", [AFFINE, TILTED, TURNED, FLIPPED])
def test_xarray_keeps_the_place_of_a_part(xarray, tmp_path, affine):
    path = tmp_path / "a.inrv"
    inrcodec.encode_file(inrcodec.Volume(ARRAY, affine, modality="CT", unit="HU"), path, lossless=True)
    image = xarray.open_dataset(path).image
    for part, box in (
        (image.isel(z=slice(2, 8, 2), x=slice(1, None)), (slice(2, 8, 2), slice(None), slice(1, None))),
        (image.isel(z=slice(4, 5)), (slice(4, 5), slice(None), slice(None))),
        (image.isel(z=4), (slice(4, 5), slice(None), slice(None))),
    ):
        again = inrcodec.decode_volume(inrcodec.encode(part, lossless=True))
        expected = inrcodec.open(path).volume(box)
        np.testing.assert_array_equal(again.array, expected.array)
        np.testing.assert_allclose(again.affine, expected.affine, rtol=0, atol=1e-9)
        assert (again.modality, again.unit) == ("CT", "HU")


def test_xarray_has_the_values_of_nifti(xarray, tmp_path):
    path, nifti = files(tmp_path, SCALED)
    dataset = xarray.open_dataset(path)
    values = np.asarray(nibabel.load(nifti).dataobj).T
    np.testing.assert_array_equal(dataset.image.values, values)
    np.testing.assert_array_equal(dataset.image[3, ::-2, 4].values, values[3, ::-2, 4])
    assert dataset.image.dtype == np.float32
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(dataset)).image.values, values)
    assert xarray.open_dataset(path, level=1).image.shape == inrcodec.open(path).levels[1].shape
    assert "image" not in xarray.open_dataset(path, drop_variables="image")


def test_xarray_reads_nothing_that_is_not_computed(xarray, tmp_path, monkeypatch):
    path, _ = files(tmp_path)
    decoder, read = import_module("inrcodec.file.decoder").Decoder, []
    original = decoder.read
    monkeypatch.setattr(
        decoder, "read", lambda self, box, *rest: read.append(box) or original(self, box, *rest)
    )
    image = xarray.open_dataset(path).image[2:4, 5]
    assert not read
    np.testing.assert_array_equal(image.values, ARRAY[2:4, 5])
    assert [box.shape for box in read] == [(2, 1, 10)]


def test_chunks_of_xarray_are_bricks(xarray, tmp_path):
    dask = pytest.importorskip("dask.array")
    array = np.arange(16 * 40 * 40, dtype=np.int32).reshape(16, 40, 40)
    inrcodec.encode_file(array, tmp_path / "a.inrv", lossless=True, brick=(8, 32, 32))
    image = xarray.open_dataset(tmp_path / "a.inrv", chunks={}).image
    assert isinstance(image.data, dask.Array) and image.data.chunks == ((8, 8), (32, 8), (32, 8))
    np.testing.assert_array_equal(image.values, array)


@pytest.mark.parametrize("direction", ["head first", [1, 2, 3]])
def test_a_direction_that_is_none_is_refused(xarray, direction):
    array = xarray.DataArray(ARRAY, dims=("z", "y", "x"), attrs={"direction_lps": direction})
    with pytest.raises(InputError, match="nine numbers"):
        inrcodec.encode(array, lossless=True)


# --- SimpleITK


def test_simpleitk_has_what_nifti_holds(tmp_path):
    itk = pytest.importorskip("SimpleITK")
    path, nifti = files(tmp_path)
    image, other = to_simpleitk(inrcodec.decode_volume(path)), itk.ReadImage(str(nifti))
    np.testing.assert_array_equal(itk.GetArrayFromImage(image), itk.GetArrayFromImage(other))
    for corner in ((0, 0, 0), (9, 11, 8)):
        place = image.TransformIndexToPhysicalPoint(corner)
        np.testing.assert_allclose(place, other.TransformIndexToPhysicalPoint(corner), **CLOSE)
    np.testing.assert_allclose(from_simpleitk(image).affine, AFFINE, rtol=0, atol=1e-9)


# --- TorchIO's reader needs torch alone


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "uint32", "float16", "float32", "float64"])
def test_the_reader_of_torchio_has_types_of_torch(tmp_path, dtype):
    torch = pytest.importorskip("torch")
    from inrcodec.plugins.torchio import read

    array = np.abs(ARRAY).clip(0, 200).astype(dtype)
    inrcodec.encode_file(inrcodec.Volume(array, AFFINE), tmp_path / "a.inrv", lossless=True)
    tensor, affine = read(tmp_path / "a.inrv")
    assert tensor.is_contiguous() and tensor.dtype not in (torch.uint16, torch.uint32, torch.float16)
    np.testing.assert_array_equal(tensor[0].numpy(), array.T)
    np.testing.assert_allclose(affine, geometry.ras(AFFINE))
    coarse, _ = functools.partial(read, level=1)(tmp_path / "a.inrv")
    np.testing.assert_array_equal(coarse[0].numpy(), array.T[::2, ::2])
