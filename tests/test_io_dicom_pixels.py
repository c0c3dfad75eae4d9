"""What reading the pixels of DICOM promises: the values that were stored, and what they mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_maker import dataset, enhanced, ramp, save, write_series
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import Decoder
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    RLELossless,
)

from inrcodec.errors import IncompleteSeries, InputError, MissingExtra
from inrcodec.io.dicom import read

# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "slope", "intercept", "dtype", "rescale"),
    [
        ("uint16", 1, -1024, "int16", (1, 0)),
        ("int16", 1, 0, "int16", (1, 0)),
        ("uint16", 1, 0, "uint16", (1, 0)),
        ("uint8", 1, 0, "uint8", (1, 0)),
        ("uint8", 4, -100, "int16", (1, 0)),
        ("int16", 300, 0, "int32", (1, 0)),
        ("uint16", "0.5", "-10", "uint16", (0.5, -10)),
        ("int16", 1, "0.5", "int16", (1, 0.5)),
        ("int32", 2, 0, "int32", (2, 0)),
        ("int16", "1e30", 0, "int16", (1e30, 0)),
    ],
)
def test_whole_scales_are_applied_and_others_kept(tmp_path, stored, slope, intercept, dtype, rescale):
    array = ramp().astype(stored)
    write_series(tmp_path, array, RescaleSlope=slope, RescaleIntercept=intercept)
    volume = read(tmp_path)
    assert (volume.array.dtype, volume.rescale) == (np.dtype(dtype), rescale)
    wanted = array.astype(float) * float(slope) + float(intercept)
    np.testing.assert_allclose(volume.physical(), wanted, rtol=1e-7)  # float32 holds no more


def test_whole_slopes_may_differ_from_slice_to_slice(tmp_path):
    write_series(tmp_path, ramp(), edit=lambda k, h: setattr(h, "RescaleSlope", k + 1))
    volume = read(tmp_path)
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array, ramp() * np.arange(1, 6).reshape(-1, 1, 1) - 1024)


def test_other_slopes_that_differ_are_kept_beside_integers(tmp_path):
    write_series(
        tmp_path,
        ramp(),
        Modality="PT",
        RescaleIntercept=0,
        edit=lambda k, h: setattr(h, "RescaleSlope", k + 0.25),
    )
    volume = read(tmp_path)
    assert (volume.array.dtype, volume.rescale) == (np.int16, (1, 0))
    np.testing.assert_array_equal(volume.array, ramp())
    np.testing.assert_array_equal(volume.slice_rescale, [(k + 0.25, 0) for k in range(5)])
    np.testing.assert_allclose(volume.physical(), ramp() * (np.arange(5) + 0.25).reshape(-1, 1, 1))


@pytest.mark.parametrize(
    ("attributes", "unit"),
    [
        ({}, "HU"),
        ({"RescaleType": "HU"}, "HU"),
        ({"RescaleType": "US"}, ""),
        ({"Modality": "MR"}, ""),
        ({"RescaleSlope": None, "RescaleIntercept": None}, ""),
    ],
)
def test_hounsfield_units_are_claimed_for_ct_only(tmp_path, attributes, unit):
    write_series(tmp_path, ramp(), **attributes)
    assert read(tmp_path).unit == unit


@pytest.mark.parametrize(
    ("stored", "bits", "high", "words", "expected"),
    [
        ("uint16", 12, 11, [0x0FFF, 0xF001, 0x0800], [4095, 1, 2048]),
        ("int16", 12, 11, [0x0FFF, 0x7001, 0x0800], [-1, 1, -2048]),
        ("uint16", 12, 15, [0xFFF0, 0x001F, 0x8000], [4095, 1, 2048]),
        ("int16", 16, 15, [0x7FFF, 0x0001, 0x0000], [32767, 1, 0]),
        ("uint16", 8, 7, [0xFFFF, 0x0001, 0x0280], [255, 1, 128]),
    ],
)
def test_only_stored_bits_count(tmp_path, stored, bits, high, words, expected):
    plane = np.array([words], np.uint16).astype(stored)
    save(
        dataset(plane, (0, 0, 0), BitsStored=bits, HighBit=high, RescaleSlope=1, RescaleIntercept=0),
        tmp_path / "a",
    )
    np.testing.assert_array_equal(read(tmp_path).array, [[expected]])


def test_monochrome1_keeps_its_values_and_says_so(tmp_path):
    write_series(tmp_path, ramp(), PhotometricInterpretation="MONOCHROME1")
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.array, ramp() - 1024)
    assert volume.description["photometric"] == "MONOCHROME1"


def test_earlier_lossy_compression_is_remembered(tmp_path):
    write_series(
        tmp_path,
        ramp(),
        LossyImageCompression="01",
        LossyImageCompressionRatio=["8.5", "2"],
        LossyImageCompressionMethod=["ISO_10918_1", "ISO_15444_1"],
    )
    description = read(tmp_path).description
    assert (description["lossy_method"], description["lossy_ratio"]) == ("ISO_10918_1\\ISO_15444_1", "8.5\\2")


# --- padding --------------------------------------------------------------------------------------


def circle(outside: int) -> np.ndarray:
    y, x = np.mgrid[-15.5:16, -15.5:16]
    plane = np.where(np.hypot(y, x) < 15, (x * 20).astype(int), outside)
    return np.stack([plane, plane, plane]).astype(np.int16)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"PixelPaddingValue": -2000}, -3024),
        ({"edit": lambda k, h: h.add_new("PixelPaddingValue", "US", 63536)}, -3024),
        ({}, -3024),
        ({"PixelPaddingValue": -777}, -3024),
        ({"RescaleIntercept": 1024}, None),
        ({"RescaleIntercept": 1024, "PixelPaddingValue": -2000}, -976),
        ({"Modality": "MR"}, None),
    ],
    ids=[
        "declared",
        "as if unsigned",
        "found",
        "declared but absent",
        "above -1024",
        "declared above",
        "not CT",
    ],
)
def test_padding_is_what_is_declared_or_lies_outside_the_scan_circle(tmp_path, attributes, expected):
    write_series(tmp_path, circle(-2000), **attributes)
    assert read(tmp_path).padding == expected


def test_a_range_of_padding_values_becomes_one(tmp_path):
    array = circle(-2000)
    array[:, 0, :3] = -1990
    write_series(tmp_path, array, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1980)
    volume = read(tmp_path)
    assert volume.padding == -3024
    np.testing.assert_array_equal(volume.array, circle(-2000) - 1024)


def test_padding_that_lies_about_in_noise_is_signal(tmp_path):
    noise = np.random.default_rng(0).integers(0, 3, (3, 32, 32)).astype(np.uint16)
    write_series(tmp_path, noise, Modality="MR", RescaleIntercept=0, PixelPaddingValue=0)
    assert read(tmp_path).padding is None


# --- enhanced multi-frame and transfer syntaxes ---------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (3, 0, 4, 2, 1)])
def test_frames_of_an_enhanced_image_are_sorted(tmp_path, order):
    path = save(enhanced(ramp()[list(order)], [100 + 2 * k for k in order]), tmp_path / "e")
    for source in (tmp_path, path):
        volume = read(source)
        np.testing.assert_array_equal(volume.array, ramp() - 1024)
        np.testing.assert_array_equal(volume.affine[:3, 3], [10, -20, 100])
        assert (volume.spacing, volume.unit) == ((2.0, 0.5, 0.25), "HU")


def test_an_enhanced_image_in_time_is_4d(tmp_path):
    save(enhanced(ramp(6), [100, 100, 102, 102, 104, 104]), tmp_path / "e")
    with pytest.raises(InputError, match="4-D series: 2 images at each of 3"):
        read(tmp_path)


def test_an_enhanced_image_that_lacks_frames_is_refused(tmp_path):
    save(enhanced(ramp(), [100, 102], SOPClassUID=EnhancedCTImageStorage), tmp_path / "e")
    with pytest.raises(IncompleteSeries, match="announces 5 frames and describes 2"):
        read(tmp_path)


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless]
)
def test_transfer_syntaxes_make_no_difference(tmp_path, syntax):
    for path in write_series(tmp_path, ramp()):
        header = pydicom.dcmread(path)
        big = syntax == ExplicitVRBigEndian
        if syntax == RLELossless:
            header.compress(RLELossless)
        elif big:
            header.PixelData = header.pixel_array.astype(">i2").tobytes()
        header.file_meta.TransferSyntaxUID = syntax
        pydicom.dcmwrite(path, header, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=not big)
    np.testing.assert_array_equal(read(tmp_path).array, ramp() - 1024)


def compressed(path: Path, syntax: str) -> Path:
    header = dataset(ramp(1)[0], (0, 0, 0))
    header.file_meta.TransferSyntaxUID = syntax
    header.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    header["PixelData"].VR = "OB"
    return save(header, path)


def test_a_missing_decoder_names_its_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(Decoder, "is_available", property(lambda self: False))
    path = compressed(tmp_path / "a", JPEGLosslessSV1)
    with pytest.raises(MissingExtra, match=r"JPEG Lossless.*inrcodec\[dicom\]"):
        read(path)


def test_pixels_that_no_decoder_reads_have_a_remedy_in_one_line(tmp_path):
    pytest.importorskip("gdcm")
    with pytest.raises(InputError, match=r"it is JPEG Lossless.*: decompress it first") as caught:
        read(compressed(tmp_path / "a", JPEGLosslessSV1))
    assert "\n" not in str(caught.value)


def test_a_compression_that_nothing_decodes_is_refused(tmp_path):
    with pytest.raises(InputError, match="which no decoder reads: export it uncompressed"):
        read(compressed(tmp_path / "a", MPEG2MPML))


def test_odd_big_endian_bytes_in_words_are_in_order(tmp_path):
    plane = np.arange(15, dtype=np.uint8).reshape(3, 5)
    header = dataset(plane, (0, 0, 0), RescaleIntercept=0)
    words = np.frombuffer(plane.tobytes() + b"\0", "<u2")
    header.PixelData, header["PixelData"].VR = words.astype(">u2").tobytes(), "OW"
    header.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    pydicom.dcmwrite(tmp_path / "a", header, implicit_vr=False, little_endian=False, enforce_file_format=True)
    np.testing.assert_array_equal(read(tmp_path).array[0], plane)


def test_single_bits_are_pixels(tmp_path):
    bits = np.random.default_rng(0).integers(0, 2, (8, 12)).astype(np.uint8)
    header = dataset(bits, (0, 0, 0), BitsAllocated=1, BitsStored=1, RescaleIntercept=0)
    header.PixelData = np.packbits(bits.ravel(), bitorder="little").tobytes()
    np.testing.assert_array_equal(read(save(header, tmp_path / "a")).array[0], bits)


def test_packed_pixels_of_12_bits_are_refused(tmp_path):
    header = dataset(ramp(1)[0], (0, 0, 0), BitsAllocated=12, BitsStored=12, PixelData=bytes(64))
    with pytest.raises(InputError, match="cannot read the pixels"):
        read(save(header, tmp_path / "a"))


@pytest.mark.parametrize(("word", "dtype"), [("FloatPixelData", "f4"), ("DoubleFloatPixelData", "f8")])
def test_floating_point_pixels_are_themselves(tmp_path, word, dtype):
    array = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(dtype)

    def edit(k: int, header: pydicom.Dataset) -> None:
        del header.PixelData, header.BitsStored, header.HighBit, header.PixelRepresentation
        del header.RescaleSlope, header.RescaleIntercept
        setattr(header, word, array[k].tobytes())

    write_series(tmp_path, ramp(3, 4, 5), edit=edit, BitsAllocated=8 * np.dtype(dtype).itemsize)
    volume = read(tmp_path)
    assert volume.array.dtype == dtype
    np.testing.assert_array_equal(volume.array, array)


@pytest.mark.parametrize("name", ["JPEGLSLossless", "JPEG2000Lossless", "RLELossless"])
def test_lossless_compression_of_slices_and_frames_makes_no_difference(tmp_path, name):
    if name.startswith("JPEG"):
        pytest.importorskip({"JPEGLSLossless": "jpeg_ls", "JPEG2000Lossless": "openjpeg"}[name])
    array = np.random.default_rng(0).integers(-1000, 1000, (5, 64, 65)).astype(np.int16)
    order = [3, 0, 4, 2, 1]
    frames = enhanced(array[order], [100 + 2 * k for k in order])
    plugin = {"encoding_plugin": "pydicom"} if name == "RLELossless" else {}
    frames.compress(getattr(pydicom.uid, name), generate_instance_uid=False, **plugin)
    np.testing.assert_array_equal(read(save(frames, tmp_path / "e")).array, array - 1024)
    for path in write_series(tmp_path / "s", array):
        header = pydicom.dcmread(path)
        header.compress(getattr(pydicom.uid, name), generate_instance_uid=False, **plugin)
        header.save_as(path)
    np.testing.assert_array_equal(read(tmp_path / "s").array, array - 1024)


def test_frames_of_several_fragments_are_put_together(tmp_path):
    array = np.random.default_rng(0).integers(0, 3, (3, 16, 16)).astype(np.int16)
    header = enhanced(array, [100, 102, 104])
    header.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    parts = list(pydicom.encaps.generate_frames(header.PixelData, number_of_frames=3))
    header.PixelData = encapsulate(parts, fragments_per_frame=2)
    np.testing.assert_array_equal(read(save(header, tmp_path / "a")).array, array - 1024)
