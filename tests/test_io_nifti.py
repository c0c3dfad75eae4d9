"""What NIfTI promises: stored values, scale and place as nibabel and ITK see them."""

from __future__ import annotations

import gzip
import re
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from inrcodec.errors import InputError
from inrcodec.io import Provenance
from inrcodec.io.nifti import read, write
from inrcodec.volume.volume import DTYPES, Volume

DATA = Path(__file__).parent / "data"
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
OBLIQUE = np.array([[0.4, -0.1, 0, -62.25], [0.1, 0.4, 0, 10.5], [0, 0, 1.5, 1234.5], [0, 0, 0, 1]])
TILTED = np.array([[0.5, 0, 0, -10], [0, 0.5, 0.75, 20], [0, 0, 2, 30], [0, 0, 0, 1]])
FLIPPED = np.array([[-0.5, 0, 0, 10], [0, 0.5, 0, 20], [0, 0, -2, 30], [0, 0, 0, 1]])
ARRAY = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


def save(
    path: Path, array_xyz: np.ndarray, affine: np.ndarray | None = None, **header: tuple[object, ...]
) -> Path:
    image = nib.Nifti1Image(array_xyz, affine, dtype=array_xyz.dtype)
    for word, value in header.items():
        getattr(image.header, word)(*value)
    nib.save(image, path)
    return path


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "low", "origin"),
    [
        ("vhf-head.nii.gz", (29, 512, 512), np.int16, -1024, (0, 0, 1590)),
        ("mr-t1.nii.gz", (48, 64, 64), np.uint8, 0, (66, 86, 48)),
    ],
)
def test_the_real_samples_are_read(name, shape, dtype, low, origin):
    volume = read(DATA / name)
    assert (volume.shape, volume.array.dtype, volume.array.min()) == (shape, dtype, low)
    assert (volume.spacing, volume.rescale, volume.padding) == ((1, 1, 1), (1, 0), None)
    np.testing.assert_array_equal(volume.affine[:3, 3], origin)
    assert volume.source_bytes == (DATA / name).stat().st_size


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    "affine", [np.eye(4), OBLIQUE, TILTED, FLIPPED], ids=["plain", "oblique", "tilted", "flipped"]
)
@pytest.mark.parametrize("rescale", [(1.0, 0.0), (0.5, -7.0)])
def test_what_was_written_comes_back(tmp_path, ending, affine, rescale):
    path = tmp_path / f"a{ending}"
    write(Volume(ARRAY, affine, rescale=rescale), path)
    volume = read(path)
    np.testing.assert_array_equal(volume.array, ARRAY)
    np.testing.assert_allclose(volume.affine, affine, rtol=1e-7)  # NIfTI-1 holds float32
    assert (volume.rescale, volume.ndim) == (rescale, 3)
    image = nib.load(path)
    np.testing.assert_allclose(np.asarray(image.dataobj).T, ARRAY * rescale[0] + rescale[1])
    np.testing.assert_allclose(LPS @ image.affine, affine, rtol=1e-7)


@pytest.mark.parametrize("dtype", sorted(map(str, DTYPES)))
def test_every_type_comes_back(tmp_path, dtype):
    write(Volume.from_array(ARRAY.astype(dtype)), tmp_path / "a.nii")
    volume = read(tmp_path / "a.nii")
    assert volume.array.dtype == ("float32" if dtype == "float16" else dtype)
    np.testing.assert_array_equal(volume.array, ARRAY)


def test_an_image_comes_back(tmp_path):
    write(Volume.from_array(ARRAY[0], spacing=(0.5, 0.25)), tmp_path / "a.nii")
    volume = read(tmp_path / "a.nii")
    assert (volume.ndim, volume.shape, volume.spacing[1:]) == (2, (1, 3, 4), (0.5, 0.25))
    assert nib.load(tmp_path / "a.nii").shape == (4, 3)


@pytest.mark.parametrize("affine", [np.eye(4), OBLIQUE, FLIPPED], ids=["plain", "oblique", "flipped"])
def test_itk_sees_the_same_grid(tmp_path, affine):
    itk = pytest.importorskip("SimpleITK")
    write(Volume(ARRAY, affine), tmp_path / "a.nii.gz")
    image = itk.ReadImage(str(tmp_path / "a.nii.gz"))
    for index in ((0, 0, 0), (3, 0, 0), (0, 2, 0), (0, 0, 1)):
        np.testing.assert_allclose(
            image.TransformIndexToPhysicalPoint(index), (affine @ [*index, 1])[:3], rtol=0, atol=1e-6
        )
    np.testing.assert_array_equal(itk.GetArrayFromImage(image), ARRAY)


@pytest.mark.parametrize(
    ("sform", "qform", "expected"),
    [
        ((OBLIQUE, 1), (FLIPPED, 1), OBLIQUE),
        ((OBLIQUE, 0), (FLIPPED, 1), FLIPPED),
        ((OBLIQUE, 4), (FLIPPED, 0), OBLIQUE),
    ],
)
def test_the_best_affine_is_taken(tmp_path, sform, qform, expected):
    image = nib.Nifti1Image(ARRAY.T, None)
    image.set_sform(*sform)
    image.set_qform(*qform)
    nib.save(image, tmp_path / "a.nii")
    np.testing.assert_allclose(LPS @ read(tmp_path / "a.nii").affine, expected, rtol=1e-6, atol=1e-6)


def test_the_codes_of_the_affine_come_back(tmp_path):
    image = nib.Nifti1Image(ARRAY.T, None)
    image.set_sform(OBLIQUE, 4)
    image.set_qform(OBLIQUE, 2)
    nib.save(image, tmp_path / "a.nii")
    write(read(tmp_path / "a.nii"), tmp_path / "b.nii")
    header = nib.load(tmp_path / "b.nii").header
    assert (header["sform_code"], header["qform_code"]) == (4, 2)


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("unknown", 1), ("micron", 1e-3), ("meter", 1e3)])
def test_lengths_are_in_millimetres(tmp_path, unit, factor):
    save(tmp_path / "a.nii", ARRAY.T, np.diag([2.0, 2, 2, 1]), set_xyzt_units=(unit,))
    np.testing.assert_allclose(read(tmp_path / "a.nii").spacing, 2 * factor)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", ">f4", "<u8"])
def test_byte_order_and_version_make_no_difference(tmp_path, kind, dtype):
    header = kind.header_class(endianness=dtype[0])
    header.set_data_dtype(dtype)
    nib.save(kind(ARRAY.T.astype(dtype), np.eye(4), header), tmp_path / "a.nii")
    volume = read(tmp_path / "a.nii")
    assert volume.array.dtype.isnative
    np.testing.assert_array_equal(volume.array, ARRAY)


@pytest.mark.parametrize("trailing", [(1,), (1, 1), (1, 1, 1)])
def test_trailing_dimensions_of_one_are_dropped(tmp_path, trailing):
    save(tmp_path / "a.nii", ARRAY.T.reshape(4, 3, 2, *trailing))
    np.testing.assert_array_equal(read(tmp_path / "a.nii").array, ARRAY)


def test_one_slice_of_three_dimensions_stays_a_volume(tmp_path):
    save(tmp_path / "a.nii", ARRAY[:1].T)
    volume = read(tmp_path / "a.nii")
    assert (volume.ndim, volume.shape) == (3, (1, 3, 4))


@pytest.mark.parametrize(
    ("array", "cause"),
    [
        (np.zeros((2, 2, 2, 3)), "holds 3 volumes"),
        (np.zeros((2, 2, 1, 3)), "holds 3 volumes"),
        (np.zeros((2, 2, 2, 2, 3)), "holds 6 volumes"),
        (np.zeros((2, 2, 2), [(c, "u1") for c in "RGB"]), r"colour image \(R, G, B\)"),
        (np.zeros((2, 2, 2), np.complex64), "complex64"),
    ],
    ids=["4-D", "flat 4-D", "5-D", "colour", "complex"],
)
def test_what_is_not_a_volume_is_refused(tmp_path, array, cause):
    with pytest.raises(InputError, match=cause):
        read(save(tmp_path / "a.nii", array))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("keep", [0, 100, 360, -8])
def test_truncated_files_are_refused(tmp_path, name, keep):
    noise = np.random.default_rng(0).integers(0, 255, (8, 8, 8)).astype(np.uint8)
    path = save(tmp_path / name, noise)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"NIfTI|voxels"):
        read(path)


def test_another_format_is_refused(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(b"P5 3 3 255\n" + bytes(500)))
    with pytest.raises(InputError, match="not a valid NIfTI"):
        read(tmp_path / "a.nii.gz")


@pytest.mark.parametrize(
    ("outside", "rescale", "expected"), [(-2000, (1, 0), -2000), (-1024, (1, 0), None), (0, (1, -3024), 0)]
)
def test_padding_outside_the_scan_circle_is_found(tmp_path, outside, rescale, expected):
    array = np.full((3, 8, 8), 3000, np.int16)
    array[:, [0, 0, -1, -1], [0, -1, 0, -1]] = outside
    write(Volume(array, np.eye(4), rescale=rescale), tmp_path / "a.nii")
    assert read(tmp_path / "a.nii").padding == expected


def test_a_nifti1_affine_is_kept_to_float32(tmp_path):
    affine = np.diag([0.1, 0.2, 0.3, 1.0])
    affine[:3, 3] = 1234.5678
    write(Volume(ARRAY, affine), tmp_path / "a.nii")
    off = np.abs(read(tmp_path / "a.nii").affine - affine)
    assert 4e-5 < off[:3, 3].max() < 6e-5  # what the README states as a limitation
    assert off[:3, :3].max() < 1e-7


def test_a_gantry_tilt_comes_back(tmp_path):
    affine = np.diag([0.5, 0.5, 2.0, 1.0])
    affine[1, 2] = 0.8
    write(Volume(ARRAY, affine), tmp_path / "a.nii.gz")
    volume = read(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(volume.affine, affine, rtol=0, atol=1e-6)
    assert nib.load(tmp_path / "a.nii.gz").header["qform_code"] == 0  # a qform has no place for it
    assert not volume.notices


def test_equal_volumes_give_equal_files(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        write(Volume.from_array(ARRAY), tmp_path / name)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


@pytest.mark.parametrize(
    ("provenance", "words"),
    [
        (Provenance(ratio=6123.4), "INRV_1 lossy 6123:1, fine detail is guessed"),
        (Provenance(ratio=80.0, detail="interpolated"), "INRV_1 lossy 80:1, fine detail is missing"),
        (Provenance(ratio=0.83, detail="low-res"), "INRV_1 lossy 0.83:1, low-res volume"),
    ],
)
def test_a_lossy_volume_says_so(tmp_path, provenance, words):
    write(Volume.from_array(ARRAY), tmp_path / "a.nii", provenance=provenance)
    assert nib.load(tmp_path / "a.nii").header["descrip"].item().decode() == words


def test_more_voxels_than_nifti1_counts_give_nifti2(tmp_path):
    write(Volume.from_array(np.zeros((1, 1, 40000), np.uint8)), tmp_path / "a.nii")
    assert isinstance(nib.load(tmp_path / "a.nii"), nib.Nifti2Image)
    assert read(tmp_path / "a.nii").shape == (1, 1, 40000)


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (lambda b: b[:-8] + bytes([b[-8] ^ 1]) + b[-7:], "CRC"),
        (lambda b: b[:-1] + bytes([b[-1] ^ 1]), "length"),
        (lambda b: b[:-8], "ended before"),
        (lambda b: b[:-3], "ended before"),
        (lambda b: b + b"garbage after the stream", "gzip"),
        (lambda b: b + b[:40], "ended before"),
    ],
    ids=["checksum", "length", "no trailer", "half a trailer", "garbage", "half a member"],
)
@pytest.mark.parametrize("volume", [None, 0, 1])
def test_a_gzip_stream_is_checked_to_its_end(tmp_path, damage, cause, volume):
    noise = np.random.default_rng(0).integers(0, 255, (8, 8, 8, 1 if volume is None else 2)).astype(np.uint8)
    path = save(tmp_path / "a.nii.gz", noise)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=cause):
        read(path, volume=volume)


def test_a_gzip_stream_may_have_several_members(tmp_path):
    plain = save(tmp_path / "a.nii", ARRAY.T).read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(plain[:370]) + gzip.compress(plain[370:]) + bytes(16))
    np.testing.assert_array_equal(read(tmp_path / "b.nii.gz").array, ARRAY)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("volume", [None, 30_000])
def test_a_shape_that_the_file_cannot_hold_is_refused_before_memory_is_asked_for(tmp_path, name, volume):
    path = save(tmp_path / "a.nii", ARRAY.T)
    content = bytearray(path.read_bytes())
    shape = [3, 30_000, 30_000, 30_000, 1] if volume is None else [4, 40, 40, 40, 32_000]
    content[40:50] = np.array(shape, "<i2").tobytes()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"cannot hold|ends before"):
        read(tmp_path / name, volume=volume)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_one_of_many_volumes_is_read_without_the_others(tmp_path):
    many = np.random.default_rng(0).integers(0, 255, (32, 32, 32, 64)).astype(np.uint8)
    path = save(tmp_path / "a.nii.gz", many)
    read(path, volume=0)  # what is imported on the way is not counted
    tracemalloc.start()
    np.testing.assert_array_equal(read(path, volume=63).array, many[..., 63].T)
    assert tracemalloc.get_traced_memory()[1] < many.nbytes / 2
    tracemalloc.stop()


@pytest.mark.parametrize(("plain_name", "packed_name"), [("a.nii.gz", "b.nii")])
def test_compression_is_seen_in_the_bytes_not_in_the_name(tmp_path, plain_name, packed_name):
    content = save(tmp_path / "c.nii", ARRAY.T).read_bytes()
    (tmp_path / plain_name).write_bytes(content)
    (tmp_path / packed_name).write_bytes(gzip.compress(content))
    for name in (plain_name, packed_name):
        np.testing.assert_array_equal(read(tmp_path / name).array, ARRAY)


MIRRORED = np.diag([-0.5, 0.5, 2.0, 1.0])


@pytest.mark.parametrize(
    ("sform", "qform", "notice"),
    [
        ((OBLIQUE, 2), (OBLIQUE, 1), None),
        ((TILTED, 2), (TILTED, 0), None),
        ((TILTED, 0), (OBLIQUE, 2), None),
        ((np.diag([0.5, 0.5, 2, 1]), 2), (MIRRORED, 2), "disagree on left and right, .*sform is taken"),
        ((OBLIQUE + np.eye(4)[:, :1] @ [[0, 0, 0, 9]], 2), (OBLIQUE, 2), "disagree by up to 9 mm, .*sform"),
        ((OBLIQUE, 0), (OBLIQUE, 0), "does not say where left"),
    ],
    ids=["both", "sform", "qform", "mirrored", "moved", "none"],
)
def test_what_was_chosen_of_two_places_is_said(tmp_path, sform, qform, notice):
    image = nib.Nifti1Image(ARRAY.T, None)
    image.header.set_sform(*sform)
    image.header.set_qform(*qform, strip_shears=True)
    nib.save(image, tmp_path / "a.nii")
    found = read(tmp_path / "a.nii").notices
    assert len(found) == (notice is not None)
    assert notice is None or re.search(notice, found[0])


@pytest.mark.parametrize("name", ["nifti_sform", "nifti_qform"])
@pytest.mark.parametrize("code", ["x", 99, -5, 2.5, 1e300])
def test_a_code_that_cannot_be_is_as_if_it_were_not_there(tmp_path, name, code):
    write(Volume(ARRAY, OBLIQUE, description={name: code}), tmp_path / "a.nii")
    write(Volume(ARRAY, OBLIQUE), tmp_path / "b.nii")
    assert (tmp_path / "a.nii").read_bytes() == (tmp_path / "b.nii").read_bytes()


def test_a_matrix_of_cifti_is_no_volume(tmp_path):
    image = nib.Nifti2Image(np.zeros((1, 1, 1, 1, 10, 10), np.float32), np.eye(4))
    image.header.set_intent(3001, allow_unknown=True)
    nib.save(image, tmp_path / "a.dconn.nii")
    with pytest.raises(InputError, match="CIFTI"):
        read(tmp_path / "a.dconn.nii", volume=0)
