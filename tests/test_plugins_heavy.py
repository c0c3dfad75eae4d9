"""Plug-ins of large packages, which are installed by `make plugins` alone and skipped elsewhere."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace

import nibabel
import numpy as np
import pytest
from plugged import AFFINE, ARRAY, CLOSE, CT, SCALED, files
from test_plugins import installed

import inrcodec
from inrcodec.errors import InputError
from inrcodec.plugins.geometry import ras

ROOT = Path(__file__).parents[1]
BOTH = pytest.mark.parametrize("volume", [CT, SCALED], ids=["ct", "scaled"])


def package(name):
    return pytest.importorskip(name, reason=f"{name} is not installed: make plugins PLUGINS=plugins,viewers")


# --- MONAI


@pytest.fixture(scope="module")
def monai():
    package("monai")
    import_module("inrcodec.plugins.monai")
    return import_module("monai.transforms")


@BOTH
def test_monai_loads_what_nifti_holds(monai, tmp_path, volume):
    path, nifti = files(tmp_path, volume)
    load = monai.Compose([monai.LoadImage(ensure_channel_first=True), monai.Spacing((1, 1, 1))])
    image, other = load(path), load(nifti)
    np.testing.assert_allclose(image, other, atol=1e-2)
    np.testing.assert_allclose(image.affine, other.affine, **CLOSE)
    named = monai.LoadImage(reader="inrcodec.plugins.monai.InrvReader", ensure_channel_first=True)
    np.testing.assert_array_equal(named(path), monai.LoadImage(ensure_channel_first=True)(nifti))
    assert named(path).meta["modality"] == volume.modality


def test_monai_stacks_files_of_one_place(monai, tmp_path):
    path, _ = files(tmp_path)
    load = monai.LoadImage(reader="InrvReader", ensure_channel_first=True)
    assert load([path, path]).shape == (2, *ARRAY.shape[::-1])
    coarse = monai.LoadImage(reader="InrvReader", ensure_channel_first=True, level=1)(path)
    np.testing.assert_array_equal(coarse[0], inrcodec.open(path).read(level=1).T)
    other = tmp_path / "other.inrv"
    inrcodec.encode_file(ARRAY, other, lossless=True)
    with pytest.raises(InputError, match="no channels of one image"):
        monai.LoadImage(reader="InrvReader")([path, other])


def test_monai_saves_where_it_loaded(monai, tmp_path):
    path, _ = files(tmp_path)
    how = {"output_ext": ".inrv", "output_dtype": np.int16, "separate_folder": False, "print_log": False}
    monai.SaveImage(output_dir=tmp_path / "out", **how)(monai.LoadImage(ensure_channel_first=True)(path))
    again = inrcodec.decode_volume(tmp_path / "out" / "volume_trans.inrv")
    np.testing.assert_array_equal(again.array, ARRAY)
    np.testing.assert_allclose(again.affine, AFFINE, **CLOSE)


# --- TorchIO


@BOTH
def test_torchio_reads_what_nifti_holds(tmp_path, volume):
    torchio = package("torchio")
    from inrcodec.plugins.torchio import read

    path, nifti = files(tmp_path, volume)
    image, other = torchio.ScalarImage(path, reader=read), torchio.ScalarImage(nifti)
    np.testing.assert_array_equal(image.data, other.data)
    np.testing.assert_allclose(image.affine, other.affine, **CLOSE)
    subjects = torchio.SubjectsDataset([torchio.Subject(ct=torchio.ScalarImage(path, reader=read))] * 2)
    loaded = next(iter(torchio.SubjectsLoader(subjects, batch_size=2, num_workers=1)))
    np.testing.assert_array_equal(loaded["ct"]["data"][1], other.data)


# --- ITK


@BOTH
def test_itk_has_what_nifti_holds(tmp_path, volume):
    itk = package("itk")
    from inrcodec.io.itk import from_itk, to_itk

    path, nifti = files(tmp_path, volume)
    image, other = to_itk(inrcodec.decode_volume(path)), itk.imread(nifti)
    np.testing.assert_array_equal(itk.array_from_image(image), itk.array_from_image(other))
    for corner in ((0, 0, 0), (9, 11, 8)):
        place = image.TransformIndexToPhysicalPoint(corner)
        np.testing.assert_allclose(place, other.TransformIndexToPhysicalPoint(corner), **CLOSE)
    again = inrcodec.decode_volume(inrcodec.encode(image, lossless=True))
    np.testing.assert_array_equal(again.array, volume.physical())
    np.testing.assert_allclose(again.affine, AFFINE, rtol=0, atol=1e-9)
    flat = from_itk(itk.image_from_array(ARRAY[0]))
    assert (flat.ndim, flat.shape) == (2, (1, *ARRAY.shape[1:]))
    for colours, cause in (
        (np.zeros((4, 5, 3), np.uint8), "colour"),
        (np.zeros((4, 5, 2), np.int16), "2 vol"),
    ):
        with pytest.raises(InputError, match=cause):
            from_itk(itk.image_from_array(colours, is_vector=True))
    with pytest.raises(InputError, match="not an image"):
        from_itk(itk.array_from_image(image))


# --- napari


@pytest.fixture
def viewer(monkeypatch):
    package("napari")
    installed("napari.manifest", "inrcodec")
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    from napari.components import ViewerModel
    from napari.plugins import _initialize_plugins

    _initialize_plugins()
    return ViewerModel()


def test_the_manifest_of_napari_is_valid():
    npe2 = package("npe2")
    manifest = npe2.PluginManifest.from_file(ROOT / "inrcodec" / "plugins" / "napari.yaml")
    manifest.validate_imports()
    assert {command.id for command in manifest.contributions.commands} >= {"inrcodec.read", "inrcodec.write"}


@BOTH
def test_napari_opens_levels_in_their_place(viewer, tmp_path, volume):
    path, nifti = files(tmp_path, volume)
    (layer,) = viewer.open(path, plugin="inrcodec")
    file = inrcodec.open(path)
    assert layer.multiscale and len(layer.data) == len(file.levels)
    np.testing.assert_array_equal(np.asarray(layer.data[0]), np.asarray(nibabel.load(nifti).dataobj).T)
    far = np.array([8, 11, 9])  # z, y, x
    place = (ras(AFFINE) @ [*far[::-1], 1])[:3]
    np.testing.assert_allclose(np.array(layer.data_to_world(far))[::-1] * (-1, -1, 1), place)
    assert layer.contrast_limits == (
        [-160, 240] if volume is CT else [-3 + 0.5 * ARRAY.astype(np.uint8).min(), 124.5]
    )


def test_napari_saves_what_it_shows(viewer, tmp_path):
    path, _ = files(tmp_path)
    (layer,) = viewer.open(path, plugin="inrcodec")
    assert layer.save(tmp_path / "again.inrv", plugin="inrcodec") == [str(tmp_path / "again.inrv")]
    again = inrcodec.decode_volume(tmp_path / "again.inrv")
    np.testing.assert_array_equal(again.array, ARRAY)
    np.testing.assert_allclose(again.affine, AFFINE, rtol=0, atol=1e-9)
    assert again.modality == "CT"
    scaled = viewer.add_image(ARRAY, scale=(3, 1, 0.5), translate=(10, 20, 30))
    scaled.save(tmp_path / "scaled.inrv", plugin="inrcodec")
    volume = inrcodec.decode_volume(tmp_path / "scaled.inrv")
    assert (volume.spacing, volume.affine[:3, 3].tolist()) == ((3, 1, 0.5), [30, 20, 10])
    labels = viewer.add_labels((ARRAY > 0).astype(np.uint8))
    labels.save(tmp_path / "labels.inrv", plugin="inrcodec")
    np.testing.assert_array_equal(inrcodec.decode(tmp_path / "labels.inrv"), ARRAY > 0)


def test_the_sample_of_napari_is_a_head(viewer):
    full, low = viewer.open_sample("inrcodec", "head")
    assert not full.multiscale and full.visible and not low.visible
    assert low.data.shape < full.data.shape == (29, 512, 512)
    half = np.array(low.data_to_world((0, 0, 0))) - full.data_to_world((0, 0, 0))
    np.testing.assert_allclose(half, 0.5, atol=1e-9)  # of factor 2 and voxels of 1 mm


# --- 3D Slicer


@pytest.fixture
def slicer(monkeypatch):
    """The module, in a scene without windows."""
    package("slicer_core")  # "slicer" is also the name of a folder here
    found = import_module("slicer")
    base = ModuleType("slicer.ScriptedLoadableModule")
    base.ScriptedLoadableModule = type("ScriptedLoadableModule", (), {"__init__": lambda self, parent: None})
    monkeypatch.setitem(sys.modules, base.__name__, base)
    monkeypatch.syspath_prepend(ROOT / "slicer" / "InrvIO")
    monkeypatch.setattr(found, "mrmlScene", found.MRMLCore.vtkMRMLScene(), raising=False)
    monkeypatch.setattr(found.util, "errorDisplay", lambda text: None)
    return found


def test_slicer_loads_and_saves(slicer, tmp_path):
    module = import_module("InrvIO")
    path, nifti = files(tmp_path)
    parent = SimpleNamespace()
    reader, writer = module.InrvIOFileReader(parent), module.InrvIOFileWriter(parent)
    assert reader.canLoadFile(str(path)) and not reader.canLoadFile(str(nifti))
    assert reader.load({"fileName": str(path)})
    node = slicer.mrmlScene.GetNodeByID(parent.loadedNodes[0])
    other = nibabel.load(nifti)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), np.asarray(other.dataobj).T)
    np.testing.assert_allclose(slicer.util.arrayFromVTKMatrix(module._matrix_of(node)), other.affine, **CLOSE)
    assert writer.canWriteObject(node)
    assert writer.write({"nodeID": node.GetID(), "fileName": str(tmp_path / "again.inrv")})
    again = inrcodec.decode_volume(tmp_path / "again.inrv")
    np.testing.assert_array_equal(again.array, ARRAY)
    np.testing.assert_allclose(again.affine, AFFINE, **CLOSE)
    assert again.modality == "CT"
    path.write_bytes(path.read_bytes()[:-5])
    assert not reader.load({"fileName": str(path)})
