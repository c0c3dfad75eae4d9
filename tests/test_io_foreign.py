"""What the files of ITK, FreeSurfer, Analyze and TIFF promise: values and place, whole or refused."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from foreign_files import ARRAY, FLIPPED, FOUR, GREY, NOISE, OBLIQUE

from inrcodec.errors import InputError, MissingExtra, WriteError
from inrcodec.io import Provenance, check_sink, read, write
from inrcodec.volume.volume import Volume

itk = pytest.importorskip("SimpleITK")
tifffile = pytest.importorskip("tifffile")
SINKS = [".nrrd", ".mha", ".mgz", ".mgh", ".tif", ".tiff"]
PLACED = SINKS[:4]


@pytest.mark.parametrize("ending", SINKS)
@pytest.mark.parametrize("rescale", [(1, 0), (0.5, -7)])
def test_values_and_spacing_come_back(tmp_path, ending, rescale):
    volume = Volume(ARRAY, np.diag([0.25, 0.5, 3, 1]), rescale=rescale)
    write(volume, tmp_path / f"a{ending}")
    back = read(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(back.physical(), volume.physical())
    np.testing.assert_allclose(back.spacing, (3, 0.5, 0.25), rtol=1e-6)
    assert back.source_bytes == (tmp_path / f"a{ending}").stat().st_size
    assert [entry.name for entry in tmp_path.iterdir()] == [f"a{ending}"]


@pytest.mark.parametrize("ending", PLACED)
@pytest.mark.parametrize("affine", [OBLIQUE, FLIPPED], ids=["oblique", "flipped"])
def test_the_place_comes_back(tmp_path, ending, affine):
    write(Volume(ARRAY, affine), tmp_path / f"a{ending}")
    tolerance = 1e-4 if ending.startswith(".mg") else 1e-9  # MGH holds float32
    np.testing.assert_allclose(read(tmp_path / f"a{ending}").affine, affine, rtol=0, atol=tolerance)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_itk_and_nibabel_see_the_same_grid(tmp_path, ending):
    write(Volume(ARRAY, OBLIQUE), tmp_path / f"a{ending}")
    image = itk.ReadImage(str(tmp_path / f"a{ending}"))
    for index in ((0, 0, 0), (3, 0, 0), (0, 2, 0), (0, 0, 1)):
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint(index), (OBLIQUE @ [*index, 1])[:3])
    np.testing.assert_array_equal(itk.GetArrayFromImage(image), ARRAY)


def test_freesurfers_affine_is_nibabels(tmp_path):
    write(Volume(ARRAY, OBLIQUE), tmp_path / "a.mgz")
    image = nib.load(tmp_path / "a.mgz")
    np.testing.assert_allclose(np.diag([-1, -1, 1, 1]) @ image.affine, OBLIQUE, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, ARRAY)


TYPES = {
    ".nrrd": "i1 i2 i4 i8 u1 u2 u4 u8 f4 f8",
    ".mha": "i1 i2 i4 i8 u1 u2 u4 u8 f4 f8",
    ".mgz": "u1 i2 i4 f4",
    ".tif": "i1 i2 i4 u1 u2 u4 f4 f8",
}


@pytest.mark.parametrize(("ending", "dtype"), [(e, t) for e in TYPES for t in TYPES[e].split()])
def test_types_are_kept(tmp_path, ending, dtype):
    write(Volume.from_array(ARRAY.astype(dtype)), tmp_path / f"a{ending}")
    assert read(tmp_path / f"a{ending}").array.dtype == dtype


@pytest.mark.parametrize(
    ("ending", "dtype", "wider"),
    [(".mgz", "i1", "i2"), (".mgz", "u2", "i4"), *((ending, "f2", "f4") for ending in TYPES)],
)
def test_types_that_a_format_lacks_are_widened_where_nothing_is_lost(tmp_path, ending, dtype, wider):
    write(Volume.from_array(ARRAY.astype(dtype)), tmp_path / f"a{ending}")
    back = read(tmp_path / f"a{ending}")
    assert back.array.dtype == wider
    np.testing.assert_array_equal(back.array, ARRAY)


@pytest.mark.parametrize(
    ("ending", "dtype"), [(".mgz", "u4"), (".mgz", "i8"), (".mgz", "f8"), (".tif", "i8"), (".tif", "u8")]
)
def test_types_that_would_lose_something_are_refused(tmp_path, ending, dtype):
    with pytest.raises(WriteError, match=r"no values of type .*write \.nii\.gz"):
        write(Volume.from_array(ARRAY.astype(dtype)), tmp_path / f"a{ending}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", SINKS)
def test_an_old_file_stays_until_the_new_one_is_whole(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    path.write_bytes(b"old")
    with pytest.raises(WriteError, match="force"):
        write(Volume.from_array(ARRAY), path)
    assert path.read_bytes() == b"old"
    write(Volume.from_array(ARRAY), path, force=True)
    np.testing.assert_array_equal(read(path).array, ARRAY)


@pytest.mark.parametrize("ending", SINKS)
def test_equal_volumes_give_equal_files(tmp_path, ending):
    for name in ("a", "b"):
        write(Volume.from_array(ARRAY), tmp_path / f"{name}{ending}")
    assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()


def test_a_lossy_volume_says_so_where_there_is_a_place_for_it(tmp_path):
    for ending, place in ((".nrrd", b"Comment:="), (".mha", b"Comment = "), (".tif", b"<Description>")):
        lossy = Provenance(ratio=80.0, detail="interpolated")
        write(Volume.from_array(ARRAY), tmp_path / f"a{ending}", provenance=lossy)
        after = (tmp_path / f"a{ending}").read_bytes().partition(place)[2]
        assert after.lower().startswith((b"inrv_1 lossy 80:1", b"lossy: decoded")), ending


def four_dimensional(path: Path) -> Path:
    if path.suffix in (".nrrd", ".mha"):
        itk.WriteImage(itk.GetImageFromArray(FOUR, isVector=False), str(path), path.stem == "packed")
    elif path.suffix == ".mgz":
        nib.save(nib.MGHImage(FOUR.T, np.eye(4)), path)
    elif path.suffix == ".img":
        nib.save(nib.Spm2AnalyzeImage(FOUR.T, np.eye(4)), path)
    else:
        tifffile.imwrite(path, FOUR, photometric=GREY, metadata={"axes": "TZYX"})
    return path


@pytest.mark.parametrize("name", ["a.nrrd", "packed.nrrd", "a.mha", "packed.mha", "a.mgz", "a.img", "a.tif"])
def test_one_of_several_volumes_is_chosen(tmp_path, name):
    path = four_dimensional(tmp_path / name)
    with pytest.raises(InputError, match="holds 5 volumes, choose one: 0 to 4"):
        read(path)
    np.testing.assert_array_equal(read(path, volume=3).array, FOUR[3])


# MGH and Analyze


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b[:-1] + b"x", lambda b: b + b"xyz"])
def test_a_mgz_is_checked_to_its_end(tmp_path, damage):
    path = tmp_path / "a.mgz"
    write(Volume.from_array(NOISE), path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match="not a valid MGH"):
        read(path)


@pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.Nifti2Pair, nib.Spm2AnalyzeImage, nib.AnalyzeImage])
def test_a_pair_is_read_by_either_name(tmp_path, kind):
    affine = np.diag([-2.0, 3, 4, 1])
    nib.save(kind(ARRAY.T, affine), tmp_path / "a.img")
    (tmp_path / "a.mat").unlink(missing_ok=True)
    for name in ("a.hdr", "a.img"):
        volume = read(tmp_path / name)
        np.testing.assert_array_equal(volume.array, ARRAY)
        np.testing.assert_allclose(volume.affine[:3, :3], np.diag([2, -3, 4]))
        assert bool(volume.notices) == (kind not in (nib.Nifti1Pair, nib.Nifti2Pair))
    (tmp_path / "a.hdr").unlink()
    with pytest.raises(InputError, match=r"one of a pair, and .*a\.hdr is missing"):
        read(tmp_path / "a.img")


def test_the_matrix_beside_an_image_of_spm_is_its_place(tmp_path):
    nib.save(nib.Spm99AnalyzeImage(ARRAY.T, np.diag([-1, -1, 1, 1]) @ OBLIQUE), tmp_path / "a.img")
    assert (tmp_path / "a.mat").exists()
    np.testing.assert_allclose(read(tmp_path / "a.img").affine, OBLIQUE, atol=1e-5)


@pytest.mark.parametrize(
    ("package", "ending", "extra"), [("SimpleITK", ".nrrd", "itk"), ("tifffile", ".tif", "tiff")]
)
def test_a_missing_package_names_its_extra(tmp_path, monkeypatch, package, ending, extra):
    (tmp_path / f"a{ending}").write_bytes(b"anything")
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(MissingExtra, match=rf"inrcodec\[{extra}\]"):
        read(tmp_path / f"a{ending}")


def test_a_missing_package_is_seen_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    for act in (check_sink, lambda path: write(Volume.from_array(ARRAY), path)):
        with pytest.raises(MissingExtra, match=r"inrcodec\[tiff\]"):
            act(tmp_path / "a.tif")
    assert not list(tmp_path.iterdir())
