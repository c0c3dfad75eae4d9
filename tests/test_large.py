"""Volumes larger than memory: what is read when it is needed is what would be read at once."""

from __future__ import annotations

import errno
import gc
import os
import pickle
import tempfile
import zlib
from functools import partial

import numpy as np
import pytest
from large_volumes import FOUR, SCAN, npy, same, temporaries_of

import inrcodec
from inrcodec import io
from inrcodec.errors import InputError, InrvError, UsageError, WriteError
from inrcodec.io import large
from inrcodec.io.large import blocks, spooled
from inrcodec.volume.volume import Volume

TILTED = np.array([[0.5, 0, 0, -10], [0, 0.5, 0.3, 20], [0, 0, 2, 30], [0, 0, 0, 1]])


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    return temporaries_of(tmp_path, monkeypatch)


@pytest.fixture
def late(monkeypatch):
    """Every volume counts as large from the call on."""
    return lambda: monkeypatch.setattr(large, "LARGE", 1)


def npz(path, array, save=np.savez, **options):
    save(path.with_suffix(".npz"), array)
    return path.with_suffix(".npz"), options


def written(path, ending, volume):
    if ending == ".nrrd":
        pytest.importorskip("SimpleITK")
    io.write(volume, path.with_name("volume" + ending))
    return path.with_name("volume" + ending), {}


def series(path, ending, chosen):
    """A NIfTI file of three volumes in time."""
    import nibabel

    values = np.stack([SCAN.T, SCAN.T + 1, SCAN.T + 2], axis=3)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path.with_name("series" + ending))
    return path.with_name("series" + ending), {"volume": chosen}


def metaimage(path, *files, channels=1, **fields):
    """A MetaImage header beside the files of its voxels."""
    for name, data in files:
        path.with_name(name).write_bytes(data)
    names = [name for name, _ in files]
    about = {
        "NDims": 3,
        "DimSize": "11 10 9",
        "ElementType": "MET_SHORT",
        "ElementSpacing": "0.5 1 2",
        "ElementNumberOfChannels": channels,
        **fields,
        "ElementDataFile": names[0] if len(names) == 1 else "LIST\n" + "\n".join(names),
    }
    about = {"BinaryData": "True"} | about
    path.with_suffix(".mhd").write_text("".join(f"{name} = {value}\n" for name, value in about.items()))
    return path.with_suffix(".mhd")


def mhd(path, ending, **options):
    """Voxels behind others, of two channels, in several files, compressed."""
    raw, msb = SCAN.tobytes(), {"BinaryDataByteOrderMSB": "True"}
    if ending == "at the end":
        return metaimage(path, ("a.raw", b"..." + SCAN.astype(">i2").tobytes()), HeaderSize=-1, **msb), {}
    if ending == "channels":
        pairs = np.stack([SCAN, SCAN + 1], axis=3).tobytes()
        return metaimage(path, ("a.raw", pairs), channels=2), {"volume": 1}
    if ending == "4-D":
        both = {"NDims": 4, "DimSize": "11 10 9 2", "ElementSpacing": "0.5 1 2 1"}
        return metaimage(path, ("a.raw", raw + FOUR[1].tobytes()), **both), {"volume": 1}
    if ending == "slices":
        return metaimage(path, *((f"{k}.raw", plane.tobytes()) for k, plane in enumerate(SCAN))), {}
    return metaimage(path, ("a.zraw", zlib.compress(raw)), CompressedData="True"), {}


def nrrd(path, ending):
    """NRRD as other programs write it: plain, in either byte order, in one file or two."""
    SimpleITK = pytest.importorskip("SimpleITK")
    image = inrcodec.io.itk.to_simpleitk(CT)
    target = path.with_name("volume" + ending)
    SimpleITK.WriteImage(image, str(target), useCompression=ending == ".packed.nrrd")
    if ending == ".big.nrrd":
        header, _, voxels = target.read_bytes().partition(b"\n\n")
        swapped = np.frombuffer(voxels, "<i2").astype(">i2").tobytes()
        target.write_bytes(header.replace(b"endian: little", b"endian: big") + b"\n\n" + swapped)
    return target, {}


def dicom(path, volume, edit=None):
    """A series, whose headers may be changed."""
    import pydicom

    folder = path.with_name("series")
    io.write(volume, folder)
    for file in folder.iterdir() if edit else ():
        header = pydicom.dcmread(file)
        edit(header)
        header.save_as(file)
    return folder, {}


def wide(header):
    header.RescaleSlope, header.RescaleIntercept = "100", "-5"


def fractions(header):
    header.RescaleSlope = "0.5"


def padded(header):
    header.add_new("PixelPaddingValue", "SS", -2000)


CT = Volume(np.where(np.indices(SCAN.shape)[1] < 4, -2000, SCAN).astype(np.int16), TILTED, modality="CT")
SCALES = [[k + 0.5, 0.0] for k in range(9)]
PET = Volume(np.abs(SCAN), np.diag([2.0, 2.0, 3.0, 1.0]), modality="PT", slice_rescale=SCALES)
METAIMAGES = "at the end", "channels", "4-D", "slices", "zip"
NRRDS = ".raw.nrrd", ".big.nrrd", ".packed.nrrd", ".nhdr"
SOURCES = {
    "npy": lambda path: npy(path, SCAN, spacing=(2, 1, 1)),
    "npy big-endian": lambda path: npy(path, SCAN.astype(">f8")),
    "npy Fortran": lambda path: npy(path, np.asfortranarray(SCAN)),
    "npy 4-D": lambda path: npy(path, FOUR, volume=1),
    "npy 4-D Fortran": lambda path: npy(path, np.asfortranarray(FOUR), volume=1),
    "npz": lambda path: npz(path, SCAN),
    "npz compressed": lambda path: npz(path, FOUR, np.savez_compressed, volume=1),
    "npz Fortran": lambda path: npz(path, np.asfortranarray(SCAN), np.savez_compressed),
    "nii": lambda path: written(path, ".nii", CT),
    "nii.gz": lambda path: written(path, ".nii.gz", CT),
    "nii in time": lambda path: series(path, ".nii", 2),
    "nii.gz in time": lambda path: series(path, ".nii.gz", 1),
    "mgh": lambda path: written(path, ".mgh", CT),
    "mgz": lambda path: written(path, ".mgz", CT),
    "mha": lambda path: written(path, ".mha", CT),
    **{f"mhd {kind}": partial(mhd, ending=kind) for kind in METAIMAGES},
    "nrrd": lambda path: written(path, ".nrrd", CT),
    **{f"nrrd {end}": partial(nrrd, ending=end) for end in NRRDS},
    "dicom": lambda path: dicom(path, CT),
    "dicom of 32 bits": lambda path: dicom(path, CT, wide),
    "dicom with fractions": lambda path: dicom(path, CT, fractions),
    "dicom with padding": lambda path: dicom(path, CT, padded),
    "dicom of a PET": lambda path: dicom(path, PET),
}


@pytest.mark.parametrize("source", SOURCES)
def test_a_large_source_is_read_late_and_is_the_same(source, tmp_path, late):
    path, options = SOURCES[source](tmp_path / "volume")
    eager = io.read(path, **options)
    late()
    assert same(eager, io.read(path, **options))


@pytest.mark.parametrize("source", ["npy", "nii.gz", "npz Fortran"])
def test_its_file_is_the_same(source, tmp_path, late):
    path, options = SOURCES[source](tmp_path / "volume")
    blob = inrcodec.encode(path, lossless=True, **options)
    late()
    assert inrcodec.encode(path, lossless=True, **options) == blob


@pytest.mark.parametrize("source", ["npy", "nii", "mgh", "mhd at the end", "mhd channels", "nrrd .raw.nrrd"])
def test_plain_voxels_are_not_copied(source, tmp_path, late, folder):
    path, options = SOURCES[source](tmp_path / "volume")
    late()
    _ = io.read(path, **options)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("source", ["nii.gz", "npz", "npy Fortran", "npz Fortran", "mha", "nrrd", "dicom"])
def test_a_temporary_file_goes_with_its_array(source, tmp_path, late, folder):
    path, options = SOURCES[source](tmp_path / "volume")
    late()
    volume = io.read(path, **options)
    part = volume.part(slice(2, 4)).array
    del volume
    gc.collect()
    assert len(list(folder.iterdir())) == 1
    copy = pickle.loads(pickle.dumps(part))
    np.testing.assert_array_equal(copy, part)
    del copy
    gc.collect()
    assert len(list(folder.iterdir())) == 1  # it is the original's
    del part
    gc.collect()
    assert not list(folder.iterdir())


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


PACKED = ["npz compressed", "nii.gz", "nii.gz in time", "mha", "nrrd"]


@pytest.mark.parametrize(
    ("source", "broken"), [*((s, cut) for s in ("npy", "nii", *PACKED)), *((s, flip) for s in PACKED)]
)
def test_what_is_broken_is_refused_and_leaves_nothing(source, broken, tmp_path, late, folder):
    path, options = SOURCES[source](tmp_path / "volume")
    broken(path)
    late()
    with pytest.raises(InputError, match=path.name):
        io.read(path, **options)
    gc.collect()
    assert not list(folder.iterdir())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "source", ["npy", "npy 4-D Fortran", "nii in time", "mhd channels", "nrrd .big.nrrd"]
)
def test_broken_headers_are_read_or_refused_alike(source, tmp_path, monkeypatch):
    def found(limit):
        monkeypatch.setattr(large, "LARGE", limit)
        try:
            volume = io.read(path, **options)
            return volume.value_range, volume.affine.tolist(), np.asarray(volume.array).tolist()
        except InrvError:
            return None

    path, options = SOURCES[source](tmp_path / "volume")
    sound, rng, refused = path.read_bytes(), np.random.default_rng(6), 0
    for _ in range(60):
        broken = bytearray(sound)
        for at in rng.integers(0, min(len(sound), 400), 2):
            broken[at] = rng.integers(0, 256)
        path.write_bytes(broken)
        eager = found(1 << 28)
        assert found(1) == eager
        refused += eager is None
    assert 0 < refused < 60


def test_options_are_refused_as_ever(tmp_path, late):
    path, _ = npy(tmp_path / "volume", SCAN)
    four, _ = npy(tmp_path / "four", FOUR)
    late()
    with pytest.raises(UsageError, match="one volume"):
        io.read(path, volume=0)
    with pytest.raises(InputError, match="holds 2 volumes"):
        io.read(four)
    assert io.read(path, slices=slice(2, 5)).shape == (3, 10, 11)


def test_sides_below_zero_are_refused(tmp_path, late):
    path = tmp_path / "volume.npy"
    with path.open("wb") as stream:
        header = {"descr": "<i2", "fortran_order": False, "shape": (-3, -3, 110)}
        np.lib.format.write_array_header_1_0(stream, header)
        stream.write(SCAN.tobytes())
    late()
    with pytest.raises(InputError, match="not a valid NumPy file"):
        io.read(path)


def test_a_header_that_says_more_than_the_file_holds_is_refused(tmp_path, late):
    path = tmp_path / "volume.npy"
    with path.open("wb") as stream:
        header = {"descr": "<i2", "fortran_order": False, "shape": (1 << 15, 1 << 15, 1 << 15)}
        np.lib.format.write_array_header_1_0(stream, header)
    late()
    with pytest.raises(InputError, match="ends before"):
        io.read(path)


def test_values_are_checked_before_they_are_coded(tmp_path, late):
    bad = SCAN.astype(np.float32)
    bad[3, 4, 5] = np.nan
    path, _ = npy(tmp_path / "volume", bad)
    late()
    with pytest.raises(InputError, match=r"volume\.npy.* holds 1 NaN"):
        inrcodec.encode(path, psnr=40)


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "no space left on device"), (errno.EFBIG, "file too large")]
)
def test_a_full_disk_is_told(number, words, folder):
    def fill(stream):
        stream.write(b"abc")
        raise OSError(number, os.strerror(number))

    with pytest.raises(WriteError, match=rf"scan\.nii\.gz needs 54 bytes .* {words}.*TMPDIR"):
        spooled(fill, (3, 3, 3), np.dtype(np.int16), "scan.nii.gz")
    assert not list(folder.iterdir())


def test_no_folder_for_temporary_files_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(WriteError, match="TMPDIR"):
        spooled(lambda stream: None, (3, 3, 3), np.dtype(np.int16), "scan.nii.gz")


def test_blocks_hold_all_planes():
    found = list(blocks(iter(SCAN), 4))
    assert [len(block) for block in found] == [4, 4, 1]
    np.testing.assert_array_equal(np.concatenate(found), SCAN)
