"""What writing DICOM promises: the same grid and values, nobody's identity, and that the image is lossy."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_maker import dataset, ramp, save, write_pet, write_series
from dicom_series import LOSSY, SAMPLE, slices, turned
from pydicom.uid import CTImageStorage, MRImageStorage, SecondaryCaptureImageStorage

import inrcodec
from inrcodec.cli.dec import main as inrv_dec
from inrcodec.errors import WriteError
from inrcodec.format import fields
from inrcodec.io import Provenance
from inrcodec.io.dicom import read, write
from inrcodec.volume.volume import Volume


def tilted() -> np.ndarray:
    affine = turned()
    affine[:3, 2] += 0.4 * affine[:3, 1]
    return affine


@pytest.mark.parametrize("affine", [np.eye(4), turned(), tilted()], ids=["plain", "oblique", "gantry tilt"])
@pytest.mark.parametrize("modality", ["CT", "MR", "PT", ""])
def test_the_grid_comes_back(tmp_path, affine, modality):
    write(Volume(ramp(), affine, modality=modality), tmp_path / "d")
    volume = read(tmp_path / "d")
    np.testing.assert_allclose(volume.affine, affine, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(volume.array, ramp())
    assert volume.modality == (modality or "OT")


@pytest.mark.parametrize("modality", ["CT", "MR", ""])
def test_itk_sees_the_same_grid(tmp_path, modality):
    itk = pytest.importorskip("SimpleITK")
    affine = turned()
    write(Volume(ramp(), affine, modality=modality), tmp_path / "d")
    reader = itk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "d")))
    image = reader.Execute()
    for index in ((0, 0, 0), (6, 0, 0), (0, 5, 0), (0, 0, 4)):
        np.testing.assert_allclose(
            image.TransformIndexToPhysicalPoint(index), (affine @ [*index, 1])[:3], rtol=0, atol=1e-6
        )
    np.testing.assert_array_equal(itk.GetArrayFromImage(image), ramp())


def test_itk_stacks_the_slices_of_a_tilted_series_upright(tmp_path):
    """What the README states as a limitation: once this fails, it is none any more."""
    itk = pytest.importorskip("SimpleITK")
    affine = np.diag([0.5, 0.5, 2.0, 1.0])
    affine[1, 2] = 0.8
    write(Volume(ramp(), affine, modality="CT"), tmp_path / "d")
    reader = itk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "d")))
    assert reader.Execute().TransformIndexToPhysicalPoint((0, 0, 4))[1] == 0.0
    np.testing.assert_array_equal(read(tmp_path / "d").affine, affine)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "float32"])
@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_whole_values_come_back(tmp_path, dtype, extreme, modality):
    array = (ramp(2, 3, 4) % 100).astype(dtype)
    if extreme and dtype not in ("int64", "float32"):
        array[0, 0, :2] = np.iinfo(dtype).min, np.iinfo(dtype).max
    write(Volume(array, np.eye(4), modality=modality), tmp_path / "d")
    volume = read(tmp_path / "d")
    assert volume.rescale == (1.0, 0.0)
    np.testing.assert_array_equal(volume.array, array)
    if array.itemsize <= 2:
        assert volume.array.dtype == array.dtype
        assert {header.BitsAllocated for header in slices(tmp_path / "d")} == {16}


def test_floats_are_kept_to_one_step_in_65535(tmp_path):
    array = np.random.default_rng(0).normal(0, 300, (3, 8, 8)).astype(np.float32)
    write(Volume(array, np.eye(4), rescale=(2.0, -5.0)), tmp_path / "d")
    wanted = array.astype(float) * 2 - 5
    assert np.abs(read(tmp_path / "d").physical() - wanted).max() <= 0.51 * np.ptp(wanted) / 65535


@pytest.mark.parametrize("value", [0.25, -1234.5])
def test_a_constant_that_is_not_whole_comes_back(tmp_path, value):
    write(Volume(np.full((2, 3, 4), value, np.float32), np.eye(4), rescale=(2.0, -5.0)), tmp_path / "d")
    np.testing.assert_array_equal(read(tmp_path / "d").physical(), np.full((2, 3, 4), value * 2 - 5))


@pytest.mark.parametrize("rescale", [(1.0, -1024.0), (2.0, 0.0), (0.1, -3.7)])
def test_the_scale_comes_back(tmp_path, rescale):
    volume = Volume(ramp(), np.eye(4), rescale=rescale, modality="MR")
    write(volume, tmp_path / "d")
    np.testing.assert_allclose(read(tmp_path / "d").physical(), volume.physical(), rtol=1e-6)


@pytest.mark.parametrize(("dtype", "padding"), [("int16", -2000), ("uint16", 65535)])
def test_padding_comes_back(tmp_path, dtype, padding):
    array = ramp(2, 16, 16).astype(dtype)
    array[:, :3] = padding
    write(Volume(array, np.eye(4), modality="CT", padding=padding), tmp_path / "d")
    assert read(tmp_path / "d").padding == padding


def test_an_image_comes_back(tmp_path):
    write(Volume.from_array(ramp(1)[0], spacing=(0.5, 0.25), modality="CT"), tmp_path / "d")
    volume = read(tmp_path / "d")
    assert (volume.ndim, volume.spacing) == (2, (1.0, 0.5, 0.25))


def test_a_series_that_was_read_comes_back_whole(tmp_path):
    first = read(SAMPLE)
    write(first, tmp_path / "d", template=SAMPLE, provenance=LOSSY)
    second = read(tmp_path / "d")
    np.testing.assert_array_equal(second.array, first.array)
    np.testing.assert_array_equal(second.affine, first.affine)
    for name in ("rescale", "modality", "padding", "ndim", "unit"):
        assert getattr(second, name) == getattr(first, name)


def test_technical_facts_come_back(tmp_path):
    write_series(
        tmp_path / "s",
        ramp(),
        PhotometricInterpretation="MONOCHROME1",
        SliceThickness=5,
        PatientPosition="FFS",
    )
    first = read(tmp_path / "s")
    assert first.description == {"photometric": "MONOCHROME1", "thickness": 5.0, "position": "FFS"}
    write(first, tmp_path / "d")
    assert read(tmp_path / "d").description == first.description


# --- what the header says -------------------------------------------------------------------------


def test_the_image_says_that_it_is_derived_and_lossy(tmp_path):
    write(read(SAMPLE), tmp_path / "d", provenance=LOSSY)
    for header in slices(tmp_path / "d"):
        assert header.LossyImageCompression == "01"
        assert header.LossyImageCompressionMethod == "INRV_1"
        assert header.LossyImageCompressionRatio == pytest.approx(6123.45678901)
        assert list(header.ImageType[:2]) == ["DERIVED", "SECONDARY"]
        assert "guess learnt from other patients" in header.DerivationDescription


def test_our_compression_is_appended_to_earlier_ones(tmp_path):
    write_series(
        tmp_path / "s",
        ramp(),
        LossyImageCompression="01",
        LossyImageCompressionRatio="8.5",
        LossyImageCompressionMethod="ISO_10918_1",
    )
    write(read(tmp_path / "s"), tmp_path / "d", provenance=LOSSY)
    header = slices(tmp_path / "d")[0]
    assert list(header.LossyImageCompressionMethod) == ["ISO_10918_1", "INRV_1"]
    assert [float(v) for v in header.LossyImageCompressionRatio] == pytest.approx([8.5, 6123.45678901])


EARLIER = [
    # methods and ratios of the source, how many of the latest are kept
    (["ISO_10918_1"], ["8.5"], 1),
    (["ISO_10918_1"] * 5, ["8.123456789012"] * 5, 5),
    (["ISO_10918_1"] * 40, [str(n + 1.5) for n in range(40)], 5),
    (["ISO_15444_1"] * 3, ["123456789.123456"] * 12, 5),
]


@pytest.mark.parametrize(("methods", "ratios", "kept"), EARLIER)
def test_earlier_compressions_fit_into_an_inrv_header(tmp_path, methods, ratios, kept):
    write_series(
        tmp_path / "s",
        ramp(),
        LossyImageCompression="01",
        LossyImageCompressionRatio=ratios,
        LossyImageCompressionMethod=methods,
    )
    facts = read(tmp_path / "s").description
    assert all(fields.TEXT.emit(text) == text for text in facts.values())
    assert facts["lossy_method"].split("\\") == methods[-kept:]
    read_ratios = [float(text) for text in facts["lossy_ratio"].split("\\")]
    assert read_ratios == pytest.approx([float(text) for text in ratios[-kept:]], rel=1e-5)


def test_a_malformed_ratio_is_not_a_reason_to_refuse_the_pixels(tmp_path):
    paths = write_series(
        tmp_path / "s", ramp(), LossyImageCompressionRatio="1.25", LossyImageCompressionMethod="ISO_10918_1"
    )
    for path in paths:
        data = path.read_bytes()
        assert data.count(b"1.25") == 1
        path.write_bytes(data.replace(b"1.25", b"high"))
    assert read(tmp_path / "s").description == {"lossy_method": "ISO_10918_1"}


DETAILS = [
    # where fine detail comes from, what the image says, what it must not say
    ("guessed", "guess learnt from other patients", "Lanczos"),
    ("interpolated", "interpolated (Lanczos)", "super-resolved"),
    ("low-res", "on its coarser grid", "super-resolved"),
]


@pytest.mark.parametrize(("detail", "says", "hides"), DETAILS)
def test_the_derivation_says_where_fine_detail_comes_from(tmp_path, detail, says, hides):
    write(read(SAMPLE), tmp_path / "d", provenance=Provenance(ratio=20.0, detail=detail))
    derivation = slices(tmp_path / "d")[0].DerivationDescription
    assert says in derivation
    assert hides not in derivation
    assert len(derivation) <= 1024


def test_a_lossy_series_says_its_ratio_by_allocated_and_by_stored_bits(tmp_path):
    """The attribute has one value, the size of uncompressed pixel data by that of the compressed stream."""
    write_series(tmp_path / "s", ramp(), BitsStored=12)
    (tmp_path / "a.inrv").write_bytes(inrcodec.encode(tmp_path / "s", max_error=3))
    assert inrv_dec([str(tmp_path / "a.inrv"), str(tmp_path / "d")]) == 0
    allocated = 2 * ramp().size / (tmp_path / "a.inrv").stat().st_size
    header = slices(tmp_path / "d")[0]
    assert header.LossyImageCompressionRatio == pytest.approx(allocated)
    said = header.DerivationDescription
    assert (
        f"{allocated:.2g}:1 by the bits allocated (16), {allocated * 12 / 16:.2g}:1 by the bits stored"
        in said
    )
    assert said.endswith("(12).") and len(said) <= 1024


def test_physical_values_of_a_pet_count_as_the_integers_that_they_were(tmp_path):
    write_pet(tmp_path / "s", ramp(), [0.5, 0.25, 2.0, 1.0, 0.75])
    (tmp_path / "a.inrv").write_bytes(inrcodec.encode(tmp_path / "s", max_error=3))
    assert inrv_dec([str(tmp_path / "a.inrv"), str(tmp_path / "d")]) == 0
    header = slices(tmp_path / "d")[0]
    size = (tmp_path / "a.inrv").stat().st_size
    assert header.LossyImageCompressionRatio == pytest.approx(2 * ramp().size / size)
    assert "by the bits allocated (16)" in header.DerivationDescription


@pytest.mark.parametrize("bits", ["many", 0, -1, 65, 1.5])
def test_bits_that_cannot_be_are_those_of_the_array(bits):
    volume = Volume(ramp(), np.eye(4), description={"bits_allocated": bits, "bits_stored": bits})
    assert (volume.bits_allocated, volume.bits_stored) == (16, 16)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("thickness", "SliceThickness"),
        ("photometric", "PhotometricInterpretation"),
        ("lossy_ratio", "LossyImageCompressionRatio"),
    ],
)
@pytest.mark.parametrize("value", ["x", "nan", -1.0, 0])
def test_a_fact_that_cannot_be_is_as_if_it_were_not_there(tmp_path, name, word, value):
    for folder, description in (("a", {name: value}), ("b", {})):
        write(Volume(ramp(), np.eye(4), modality="CT", description=description), tmp_path / folder)
    a, b = (slices(tmp_path / folder)[0].get(word) for folder in "ab")
    assert a == b


def test_an_earlier_compression_is_not_forgotten_without_ours(tmp_path):
    write(
        Volume(ramp(), np.eye(4), description={"lossy_method": "ISO_10918_1", "lossy_ratio": "8.5"}),
        tmp_path / "d",
    )
    assert slices(tmp_path / "d")[0].LossyImageCompression == "01"


def test_a_copy_without_loss_does_not_claim_any(tmp_path):
    write(read(SAMPLE), tmp_path / "d")
    assert "LossyImageCompression" not in slices(tmp_path / "d")[0]


@pytest.mark.parametrize(
    ("modality", "kind", "word"),
    [
        ("CT", CTImageStorage, "KVP"),
        ("MR", MRImageStorage, "ScanningSequence"),
        ("", SecondaryCaptureImageStorage, "ConversionType"),
    ],
)
def test_the_class_is_that_of_the_modality(tmp_path, modality, kind, word):
    write(Volume(ramp(), np.eye(4), modality=modality), tmp_path / "d")
    for number, header in enumerate(slices(tmp_path / "d"), 1):
        assert header.SOPClassUID == header.file_meta.MediaStorageSOPClassUID == kind
        assert word in header
        assert header.InstanceNumber == number
        for needed in (
            "PatientID",
            "StudyDate",
            "AccessionNumber",
            "SeriesNumber",
            "FrameOfReferenceUID",
            "Manufacturer",
        ):
            assert needed in header


def test_uids_are_new_and_no_two_instances_share_one(tmp_path):
    write(read(SAMPLE), tmp_path / "a")
    write(read(SAMPLE), tmp_path / "b")
    headers = [*slices(tmp_path / "a"), *slices(tmp_path / "b"), *slices(SAMPLE)]
    assert len({header.SOPInstanceUID for header in headers}) == 36
    assert len({header.SeriesInstanceUID for header in headers}) == 3
    assert len({header.StudyInstanceUID for header in headers}) == 3


# --- the folder -----------------------------------------------------------------------------------


def test_a_folder_of_ours_is_replaced_whole(tmp_path):
    write(Volume(ramp(5), np.eye(4)), tmp_path / "d")
    with pytest.raises(WriteError, match="force: needed to replace"):
        write(Volume(ramp(2), np.eye(4)), tmp_path / "d")
    assert len(slices(tmp_path / "d")) == 5
    write(Volume(ramp(2), np.eye(4)), tmp_path / "d", force=True)
    assert len(slices(tmp_path / "d")) == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["d"]


@pytest.mark.parametrize("foreign", ["notes.txt", "slice_0001.dcm", "folder"])
def test_anything_else_is_never_replaced(tmp_path, foreign):
    target = tmp_path / "d"
    write(Volume(ramp(2)[1:], np.eye(4)), target)
    (target / "slice_0001.dcm").rename(target / "slice_0002.dcm")
    if foreign == "folder":
        (target / foreign).mkdir()
    elif foreign == "slice_0001.dcm":
        save(dataset(ramp()[0], (0, 0, 0)), target / foreign)
    else:
        (target / foreign).write_text("mine")
    with pytest.raises(WriteError, match=f"holds {foreign}, which was not written by inrcodec"):
        write(Volume(ramp(), np.eye(4)), target, force=True)
    assert sorted(entry.name for entry in target.iterdir()) == sorted([foreign, "slice_0002.dcm"])


def test_what_dicom_cannot_hold_is_refused(tmp_path):
    sheared = np.eye(4)
    sheared[0, 1] = 0.3
    wide = np.array([[[0, 2**40]]])
    for volume, cause in (
        (Volume(ramp(), sheared), "sheared in plane"),
        (Volume(wide, np.eye(4)), "32 bits"),
    ):
        with pytest.raises(WriteError, match=cause):
            write(volume, tmp_path / "d")
        assert not (tmp_path / "d").exists()
