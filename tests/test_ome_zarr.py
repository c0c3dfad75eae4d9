"""What Zarr promises: the array that is stored, voxel edges and nothing unpickled."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import inrcodec
from inrcodec import io
from inrcodec.errors import InputError, UsageError, WriteError
from inrcodec.io import large
from inrcodec.io.ome_zarr.read import _check_codecs
from inrcodec.volume.lazy import LazyArray
from inrcodec.volume.volume import Volume

zarr = pytest.importorskip("zarr")

SCAN = np.random.default_rng(4).integers(-1000, 2000, (9, 10, 11)).astype(np.int16)
MM = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
TIME, CHANNEL = {"name": "t", "type": "time"}, {"name": "c", "type": "channel"}


def scaled(*numbers, kind="scale"):
    return {"type": kind, kind: list(numbers)}


def image(path, array, axes, *transforms, version="0.5", whole=(), **about):
    """An OME-Zarr image with a second, coarser resolution."""
    datasets = [{"path": name, "coordinateTransformations": list(transforms)} for name in ("full", "half")]
    found = {"datasets": datasets} | ({"axes": axes} if axes else {})
    found |= {"coordinateTransformations": list(whole)} if whole else {}
    about = {"multiscales": [found], **about}
    form = 3 if version == "0.5" else 2
    group = zarr.create_group(path, zarr_format=form, attributes={"ome": about} if form == 3 else about)
    for name, values in (("full", array), ("half", array[..., ::2])):
        stored = group.create_array(name, shape=values.shape, dtype=values.dtype, chunks=(4,) * values.ndim)
        stored[...] = values
    return path


def plain(path, array, **options):
    stored = zarr.create_array(path, shape=array.shape, dtype=array.dtype, **options)
    stored[...] = array
    return path


@pytest.mark.parametrize("form", [2, 3])
@pytest.mark.parametrize("dtype", ["int8", "uint16", ">i2", "float32", "<f8"])
def test_arrays_are_read(form, dtype, tmp_path):
    path = plain(tmp_path / "a.zarr", SCAN.astype(dtype), zarr_format=form, chunks=(4, 5, 6))
    volume = io.read(path, spacing=(3, 1, 0.5))
    np.testing.assert_array_equal(volume.array, SCAN.astype(dtype))
    assert (volume.spacing, volume.array.dtype) == ((3, 1, 0.5), np.dtype(dtype).newbyteorder("="))
    assert volume.source_bytes > 100


def test_so_are_shards_images_and_files(tmp_path):
    sharded = plain(tmp_path / "a.zarr", SCAN, shards=(8, 8, 8), chunks=(4, 4, 4))
    np.testing.assert_array_equal(io.read(sharded).array, SCAN)
    flat = io.read(plain(tmp_path / "b.zarr", SCAN[0], chunks=(4, 4)))
    assert (flat.ndim, flat.shape) == (2, (1, 10, 11))
    four = plain(tmp_path / "c.zarr", np.stack([SCAN, SCAN + 1]), chunks=(1, 4, 4, 4))
    np.testing.assert_array_equal(io.read(four, volume=1).array, SCAN + 1)
    with pytest.raises(InputError, match="holds 2 volumes"):
        io.read(four)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_image_has_the_edges_of_its_full_resolution(version, tmp_path):
    transforms = scaled(2.5, 0.5, 0.25), scaled(30.0, 20.0, 10.0, kind="translation")
    path = image(tmp_path / "a.ome.zarr", SCAN, MM, *transforms, version=version)
    volume = io.read(path)
    np.testing.assert_array_equal(volume.array, SCAN)
    expected = np.diag([0.25, 0.5, 2.5, 1.0])
    expected[:3, 3] = 10, 20, 30
    np.testing.assert_allclose(volume.affine, expected)
    assert any("which side is left" in notice for notice in volume.notices)
    with pytest.raises(UsageError, match="spacing"):
        io.read(path, spacing=(1, 1, 1))


def test_transformations_of_the_whole_come_last_and_units_count(tmp_path):
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    whole = scaled(10, 10, 10), scaled(7, 7, 7, kind="translation")
    path = image(
        tmp_path / "a.zarr", SCAN, axes, scaled(3, 2, 1), scaled(5, 5, 5, kind="translation"), whole=whole
    )
    volume = io.read(path)
    np.testing.assert_allclose(volume.spacing, (0.03, 0.02, 0.01))
    np.testing.assert_allclose(volume.affine[:3, 3], [0.057] * 3)


def test_time_and_channels_are_chosen(tmp_path):
    several = np.stack([[SCAN, SCAN + 1], [SCAN + 2, SCAN + 3], [SCAN + 4, SCAN + 5]])
    path = image(tmp_path / "a.zarr", several, [TIME, CHANNEL, *MM], scaled(1, 1, 3, 2, 1))
    with pytest.raises(InputError, match=r"6 volumes, .*\n.*0: t 0, c 0"):
        io.read(path)
    volume = io.read(path, volume=3)
    np.testing.assert_array_equal(volume.array, SCAN + 3)
    assert (volume.spacing, volume.source_bytes) == ((3, 2, 1), None)
    single = image(tmp_path / "b.zarr", SCAN[None, None], [], version="0.4")  # of 0.1: five axes, unnamed
    single = io.read(single)
    np.testing.assert_array_equal(single.array, SCAN)
    assert any("unit" in notice for notice in single.notices)


def test_labels_are_known(tmp_path):
    path = image(tmp_path / "a.zarr", SCAN, MM, scaled(1, 1, 1), **{"image-label": {"version": "0.5"}})
    assert io.read(path).labels


@pytest.mark.parametrize(
    ("axes", "transforms", "words"),
    [
        (MM[::-1], [scaled(1, 1, 1)], "axes x, y, z"),
        (MM[:2], [scaled(1, 1, 1)], "axes z, y for"),
        ([{**axis, "unit": "second"} for axis in MM], [scaled(1, 1, 1)], "lengths in second"),
        (MM, [{"type": "scale", "path": "elsewhere"}], "'scale' that is not supported"),
        (MM, [{"type": "affine"}], "'affine' that is not supported"),
        (MM, [scaled(1, 1)], "'scale' that is not supported"),
        (MM, [scaled(0, 1, 1)], "singular"),
        (MM, [scaled("wide", 1, 1)], "not a valid Zarr file"),
    ],
)
def test_what_is_not_a_grid_is_refused(axes, transforms, words, tmp_path):
    path = image(tmp_path / "a.zarr", SCAN, axes, *transforms)
    with pytest.raises(InputError, match=words):
        io.read(path)


def test_one_of_several_is_not_guessed(tmp_path):
    group = zarr.create_group(tmp_path / "a.zarr")
    with pytest.raises(InputError, match="0 arrays"):
        io.read(tmp_path / "a.zarr")
    plain(tmp_path / "a.zarr" / "one", SCAN, chunks=(4, 4, 4))
    np.testing.assert_array_equal(io.read(tmp_path / "a.zarr").array, SCAN)
    plain(tmp_path / "a.zarr" / "two", SCAN, chunks=(4, 4, 4))
    with pytest.raises(InputError, match=r"2 arrays \(one, two\)"):
        io.read(tmp_path / "a.zarr")
    assert group is not None


def test_images_in_numbered_groups(tmp_path):
    zarr.create_group(tmp_path / "a.zarr", attributes={"bioformats2raw.layout": 3})
    image(tmp_path / "a.zarr" / "0", SCAN, MM, scaled(3, 2, 1))
    assert io.read(tmp_path / "a.zarr").spacing == (3, 2, 1)
    image(tmp_path / "a.zarr" / "1", SCAN, MM, scaled(3, 2, 1))
    with pytest.raises(InputError, match=r"2 images \(0, 1\)"):
        io.read(tmp_path / "a.zarr")


@pytest.mark.parametrize("ending", [".zarr.zip", ".ozx", ".zarr"])
def test_a_zip_file_is_read(ending, tmp_path, monkeypatch):
    path = image(tmp_path / "folder.zarr", SCAN, MM, scaled(3, 2, 1))
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", path)
    target = tmp_path / f"a{ending}"
    shutil.move(packed, target)
    eager = io.read(target)
    monkeypatch.setattr(large, "LARGE", 1)
    late = io.read(target)
    np.testing.assert_array_equal(late.array, eager.array)
    assert (late.spacing, late.source_bytes) == ((3, 2, 1), target.stat().st_size)


class Trap:
    """Something that must not be unpickled."""

    def __reduce__(self):
        return print, ("unpickled",)


@pytest.mark.parametrize("where", ["compressor", "filters"])
def test_nothing_is_unpickled(where, tmp_path, capsys):
    path = plain(tmp_path / "a.zarr", SCAN, zarr_format=2, chunks=SCAN.shape, compressors=None)
    about = json.loads((path / ".zarray").read_text())
    codec = {"id": "pickle", "protocol": 5}
    about |= {"compressor": None, "filters": None, where: [codec] if where == "filters" else codec}
    (path / ".zarray").write_text(json.dumps(about))
    (path / "0.0.0").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InputError, match="pickle"):
        io.read(path)
    assert "unpickled" not in capsys.readouterr().out


@pytest.mark.parametrize("codec", ["pickle", "numcodecs.json2", "vlen-utf8"])
def test_only_codecs_of_numbers_are_used(codec, tmp_path):
    path = plain(tmp_path / "a.zarr", SCAN, chunks=(4, 4, 4), shards=(8, 8, 8))
    array = zarr.open(path, mode="r")
    _check_codecs(array, path)
    stored = array.metadata.to_dict()
    stored["codecs"][0]["configuration"]["codecs"][0]["name"] = codec
    changed = SimpleNamespace(metadata=SimpleNamespace(to_dict=lambda: stored))
    with pytest.raises(InputError, match=f"compressed by '{codec}'"):
        _check_codecs(changed, path)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"zarr_format": 3}', '{"node_type": "group"}'])
def test_a_broken_folder_is_refused(content, tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "zarr.json").write_text(content)
    with pytest.raises(InputError, match=r"a\.zarr"):
        io.read(tmp_path / "a.zarr")


def test_a_broken_chunk_is_refused_by_its_path(tmp_path, monkeypatch):
    path = image(tmp_path / "a.zarr", SCAN, MM, scaled(1, 1, 1))
    (path / "full" / "c" / "1" / "1" / "1").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"a\.zarr"):
        io.read(path)
    monkeypatch.setattr(large, "LARGE", 1)
    volume = io.read(path)
    np.testing.assert_array_equal(volume.array[:4], SCAN[:4])
    with pytest.raises(InputError, match=r"a\.zarr"):
        _ = volume.value_range


def test_a_path_leads_nowhere_else(tmp_path):
    plain(tmp_path / "other", SCAN, chunks=(4, 4, 4))
    about = {"multiscales": [{"axes": MM, "datasets": [{"path": "../other"}]}]}
    zarr.create_group(tmp_path / "a.zarr", attributes={"ome": about})
    with pytest.raises(InputError, match="not a valid Zarr"):
        io.read(tmp_path / "a.zarr")


@pytest.mark.parametrize("form", [2, 3])
def test_a_large_array_is_read_late(form, tmp_path, monkeypatch):
    path = plain(tmp_path / "a.zarr", np.stack([SCAN, SCAN + 1]), zarr_format=form, chunks=(1, 4, 5, 6))
    eager = io.read(path, volume=1)
    blob = inrcodec.encode(path, volume=1, lossless=True)
    monkeypatch.setattr(large, "LARGE", 1)
    late = io.read(path, volume=1)
    assert isinstance(late.array, LazyArray)
    assert late.array.thickness == 4
    np.testing.assert_array_equal(late.array, eager.array)
    np.testing.assert_array_equal(np.stack(list(late.array)), eager.array)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(late.array))[3:8, ::3], eager.array[3:8, ::3])
    assert inrcodec.encode(path, volume=1, lossless=True) == blob


# --- written

ALONG = np.diag([0.5, 0.75, 3.0, 1.0])
PLACED = ALONG + np.pad(np.array([[10.0, -20.0, 30.0]]).T, ((0, 1), (3, 0)))
TURNED = PLACED @ np.diag([1.0, 1.0, -1.0, 1.0])


@pytest.mark.parametrize("affine", [ALONG, PLACED, TURNED], ids=["edges", "place", "turned"])
def test_what_is_written_is_ome_zarr(affine, tmp_path):
    volume = Volume(SCAN, affine, rescale=(2.0, -1000.0))
    io.write(volume, tmp_path / "a.zarr")
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    about = group.attrs["ome"]["multiscales"][0]
    assert group.attrs["ome"]["version"] == "0.5"
    assert [axis["name"] for axis in about["axes"]] == list("zyx")
    array = group[about["datasets"][0]["path"]]
    np.testing.assert_array_equal(array[...], volume.values())
    again = io.read(tmp_path / "a.zarr")
    np.testing.assert_allclose(again.spacing, volume.spacing)
    expected = affine if affine is not TURNED else ALONG  # there is no place for a turned axis
    np.testing.assert_allclose(again.affine, expected)


def test_an_image_is_written_as_one(tmp_path):
    image = Volume.from_array(SCAN[0], spacing=(2, 3))
    io.write(image, tmp_path / "a.zarr")
    again = io.read(tmp_path / "a.zarr")
    assert (again.ndim, again.spacing[1:]) == (2, (2, 3))
    np.testing.assert_array_equal(again.array, image.array)


def test_equal_volumes_give_equal_folders(tmp_path):
    def files(name):
        io.write(Volume(SCAN, PLACED), tmp_path / name)
        folder = tmp_path / name
        return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    assert files("a.zarr") == files("b.zarr")


def test_chunks_are_bricks_and_written_row_by_row(tmp_path, monkeypatch):
    writer = sys.modules["inrcodec.io.ome_zarr.write"]
    monkeypatch.setattr(writer, "usual_edges", lambda shape: (4, 8, 8))
    io.write(Volume(SCAN, PLACED), tmp_path / "a.zarr")
    array = zarr.open_array(tmp_path / "a.zarr" / "0", mode="r")
    assert array.chunks == (4, 8, 8)
    np.testing.assert_array_equal(array[...], SCAN)


def test_only_a_folder_that_was_written_here_is_replaced(tmp_path):
    target = tmp_path / "a.zarr"
    volume = Volume(SCAN, PLACED)
    io.write(volume, target)
    with pytest.raises(WriteError, match="force"):
        io.write(volume, target)
    io.write(Volume(SCAN + 1, PLACED), target, force=True)
    np.testing.assert_array_equal(io.read(target).array, SCAN + 1)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.zarr"]
    (target / "0" / "notes.txt").write_text("mine")
    with pytest.raises(WriteError, match=r"holds 0/notes\.txt"):
        io.write(volume, target, force=True)
    assert (target / "0" / "notes.txt").read_text() == "mine"
    foreign = image(tmp_path / "b.zarr", SCAN, MM, scaled(1, 1, 1))
    with pytest.raises(WriteError, match="not written by inrcodec"):
        io.check_sink(foreign, force=True)


def test_a_write_that_fails_leaves_nothing(tmp_path):
    class Broken(LazyArray):
        def read(self, box):
            raise inrcodec.CorruptFile("a brick is damaged")

    with pytest.raises(inrcodec.CorruptFile):
        io.write(Volume(Broken((4, 4, 4), np.dtype(np.int16)), PLACED), tmp_path / "a.zarr")
    assert not list(tmp_path.iterdir())


def test_another_kind_of_zarr_is_an_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(zarr, "__version__", "2.18.3")
    with pytest.raises(InputError, match=r"zarr 2\.18\.3 is too old.*inrcodec\[zarr\]"):
        io.write(Volume(SCAN, PLACED), tmp_path / "a.zarr")
