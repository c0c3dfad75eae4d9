"""A pyramid without copies: its levels are bytes of one file, and lie where the file's levels do."""

from __future__ import annotations

import json

import numpy as np
import pytest
from plugged import AFFINE, ARRAY
from test_plugins import installed

import inrcodec
from inrcodec.errors import UsageError
from inrcodec.plugins.ome import group, prefix, references

zarr = pytest.importorskip("zarr", minversion="3")
STRAIGHT = np.diag([0.5, 0.75, 3.0, 1.0])
STRAIGHT[:3, 3] = 7, 8, 9


@pytest.fixture(scope="module")
def networks(tmp_path_factory, tiny_blob):
    """A file of networks, with a low-res volume."""
    path = tmp_path_factory.mktemp("ome") / "networks.inrv"
    path.write_bytes(tiny_blob)
    return path


@pytest.fixture(scope="module")
def lattices(tmp_path_factory):
    """A file of bricks with several lattices, stored values scaled."""
    path = tmp_path_factory.mktemp("ome") / "lattices.inrv"
    array = np.random.default_rng(4).integers(0, 200, (16, 40, 36)).astype(np.uint8)
    volume = inrcodec.Volume(array, STRAIGHT, rescale=(2.0, -7.0), modality="CT")
    inrcodec.encode_file(volume, path, lossless=True, brick=(16, 32, 32))
    return path


def opened(found):
    """The image, by fsspec's file system of references."""
    installed("zarr.codecs")
    fsspec = pytest.importorskip("fsspec")
    how = {"remote_protocol": "file", "asynchronous": True, "skip_instance_cache": True}
    files = fsspec.filesystem("reference", fo=json.loads(json.dumps(found)), **how)
    return zarr.open_group(zarr.storage.FsspecStore(files, read_only=True), mode="r", zarr_format=3)


@pytest.mark.parametrize("name", ["networks", "lattices"])
def test_every_level_is_read_back(name, request):
    path = request.getfixturevalue(name)
    file, image = inrcodec.open(path), opened(references(path))
    assert len(file.levels) > 1
    for number, level in enumerate(file.levels):
        expected = file.volume(level=number).physical() if name == "lattices" else file.read(level=number)
        stored = image[str(number)]
        assert stored.shape == level.shape and stored.metadata.dimension_names == ("z", "y", "x")
        np.testing.assert_array_equal(stored[:], expected)
        np.testing.assert_array_equal(stored[1, 2:5, ::3], expected[1, 2:5, ::3])


@pytest.mark.parametrize("name", ["networks", "lattices"])
def test_a_coarse_level_is_the_beginning_of_the_file(name, request):
    path = request.getfixturevalue(name)
    file, whole = inrcodec.open(path), path.read_bytes()
    for number, level in list(enumerate(file.levels))[1:]:
        length = references(path)["refs"][f"{number}/c/0/0/0"][2]
        assert length == prefix(file, level) <= len(whole)
        part = inrcodec.open(whole[:length], max_bytes=length)
        np.testing.assert_array_equal(part.read(level=number), file.read(level=number))
    if name == "lattices":
        lengths = [prefix(file, level) for level in file.levels]
        assert lengths == sorted(lengths, reverse=True) and len(set(lengths)) == len(lengths)


@pytest.mark.parametrize("affine", [STRAIGHT, AFFINE], ids=["straight", "oblique"])
def test_levels_lie_where_the_files_do(affine):
    blob = inrcodec.encode(inrcodec.Volume(ARRAY, affine), lossless=True)
    file = inrcodec.open(blob)
    for level, dataset in zip(file.levels, _datasets(file), strict=True):
        scale, translation = (np.array(t[t["type"]]) for t in dataset["coordinateTransformations"])
        np.testing.assert_allclose(scale, level.spacing)
        origin = level.affine[:3, 3][::-1] if affine is STRAIGHT else 0  # a lattice begins at the first voxel
        np.testing.assert_allclose(translation, origin, atol=1e-9)


def test_low_res_voxels_are_centred_on_what_they_cover(networks):
    file = inrcodec.open(networks)
    (level,) = (level for level in file.levels if level.kind == "lowres")
    dataset = _datasets(file)[file.levels.index(level)]
    assert dataset["coordinateTransformations"][1]["translation"] == [
        1.0,
        0.5,
        0.5,
    ]  # (f - 1)/2 of 2, 1, 1 mm


def test_what_has_no_address_needs_one(networks):
    with pytest.raises(UsageError, match="pass url"):
        references(networks.read_bytes())
    found = references(networks.read_bytes(), "https://example.org/a.inrv")
    assert found["refs"]["0/c/0/0/0"] == ["https://example.org/a.inrv"]


def _datasets(file):
    return group(file)["attributes"]["ome"]["multiscales"][0]["datasets"]
