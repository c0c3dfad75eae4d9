"""What reading DICOM promises: a series completely and in its own order, or the reason why not."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_maker import AXIAL, dataset, item, ramp, save, write_series

from inrcodec.errors import IncompleteSeries, InputError, UsageError
from inrcodec.io import read as read_any
from inrcodec.io.dicom import read

SAMPLE = Path(__file__).parent / "data" / "vhf-head-dicom"


def heights(*values: float) -> list[tuple[float, float, float]]:
    return [(10.0, -20.0, z) for z in values]


# --- the real sample ------------------------------------------------------------------------------


def test_a_real_series_is_in_order_in_hounsfield_units_and_in_place():
    volume = read(SAMPLE)
    assert (volume.shape, volume.array.dtype, volume.modality, volume.unit) == (
        (12, 96, 96),
        np.int16,
        "CT",
        "HU",
    )
    assert (volume.rescale, volume.padding, volume.ndim) == ((1.0, 0.0), None, 3)
    expected = np.eye(4)
    expected[:3, 3] = 210, 184, 1600
    np.testing.assert_array_equal(volume.affine, expected)
    by_position = sorted(
        map(pydicom.dcmread, SAMPLE.iterdir()), key=lambda header: header.ImagePositionPatient[2]
    )
    np.testing.assert_array_equal(volume.array, [header.pixel_array - 1024 for header in by_position])
    assert volume.source_bytes == sum(path.stat().st_size for path in SAMPLE.iterdir())


def test_itk_sees_the_same_grid():
    itk = pytest.importorskip("SimpleITK")
    reader = itk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(SAMPLE)))
    image, volume = reader.Execute(), read(SAMPLE)
    for index in ((0, 0, 0), (95, 0, 0), (0, 95, 0), (0, 0, 11)):
        here = (volume.affine @ [*index, 1])[:3]
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint(index), here, atol=1e-6)
    np.testing.assert_array_equal(itk.GetArrayFromImage(image), volume.array)


def test_nobody_is_in_the_volume():
    assert not {"Eve", "000-000-001"} & {str(value) for value in vars(read(SAMPLE)).values()}
    assert set(read(SAMPLE).description) <= {
        "position",
        "photometric",
        "thickness",
        "lossy_method",
        "lossy_ratio",
    }


# --- order and place ------------------------------------------------------------------------------


def rotation(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


@pytest.mark.parametrize(
    ("rows", "columns", "step"),
    [
        ((1, 0, 0), (0, 1, 0), (0, 0, 2)),
        ((0, 1, 0), (0, 0, -1), (-2, 0, 0)),
        ((1, 0, 0), (0, 0, -1), (0, 2, 0)),
        (*rotation(20).T[:2], rotation(20)[:, 2] * 2),
        ((1, 0, 0), (0, 1, 0), (0, 0.7, 2)),
    ],
    ids=["axial", "sagittal", "coronal", "oblique", "gantry tilt"],
)
@pytest.mark.parametrize("backwards", [False, True])
def test_slices_are_sorted_along_their_normal(tmp_path, rows, columns, step, backwards):
    origin = np.array([10.0, -20.0, 30.0])
    order = range(5)[:: -1 if backwards else 1]
    positions = [origin + k * np.asarray(step) for k in order]
    write_series(
        tmp_path,
        ramp()[list(order)],
        positions=positions,
        ImageOrientationPatient=[round(float(v), 12) for v in (*rows, *columns)],
    )
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.array, ramp() - 1024)
    expected = np.column_stack([np.multiply(rows, 0.25), np.multiply(columns, 0.5), step, origin])
    np.testing.assert_allclose(volume.affine[:3], expected, atol=1e-9)


def test_rounded_cosines_give_exact_right_angles(tmp_path):
    write_series(tmp_path, ramp(), ImageOrientationPatient=[0.999, 0.045, 0, -0.045, 0.999, 0])
    axes = read(tmp_path).affine[:3, :2]
    np.testing.assert_allclose(axes.T @ axes, np.diag([0.25**2, 0.5**2]), atol=1e-12)


def test_jitter_within_tolerance_is_taken_as_rounding(tmp_path):
    write_series(tmp_path, ramp(), positions=heights(100, 102.1, 103.9, 106.05, 108))
    volume = read(tmp_path)
    np.testing.assert_allclose(volume.affine[:3, 2], [0, 0, 2])


def test_one_slice_is_an_image(tmp_path):
    write_series(tmp_path, ramp(1))
    volume = read(tmp_path)
    assert (volume.ndim, volume.shape, volume.spacing) == (2, (1, 6, 7), (2.0, 0.5, 0.25))


def test_an_image_without_a_place_is_an_image(tmp_path):
    path = save(
        dataset(ramp(1)[0], None, Modality="DX", PixelSpacing=None, ImagerPixelSpacing=[0.2, 0.1]),
        tmp_path / "x",
    )
    volume = read(path)
    assert (volume.ndim, volume.spacing[1:], volume.unit) == (2, (0.2, 0.1), "")


# --- series that are refused ----------------------------------------------------------------------

INCOMPLETE = {
    "too few pixels": ({"PixelData": b"\0\0"}, r"cannot read the pixels of .*: 2 bytes are there, 1 x 84"),
    "pixels of two images": ({"PixelData": bytes(168)}, "168 bytes are there, 1 x 84 should be"),
    "one missing": (
        {"positions": heights(100, 102, 106, 108, 110)},
        r"between 102\.000 and 106\.000 mm \(about 1\)",
    ),
    "two gaps": (
        {"positions": heights(100, 102, 108, 110, 116)},
        r"between 102\.000 and 108\.000 mm \(about 2\); between 110\.000 and 116\.000 mm \(about 2\)",
    ),
    "one twice": ({"positions": heights(100, 102, 102, 104, 106)}, r"duplicate slices at 102\.000 mm \(IM"),
    "one shifted in plane": (
        {"positions": [(10.0, -20.0 + (k == 2), 100.0 + 2 * k) for k in range(5)]},
        r"irregular.*\(10\.000, -19\.000, 104\.000\) mm is 1\.000 mm off",
    ),
    "one off its height": ({"positions": heights(100, 102, 104.6, 106, 108)}, r"irregular.*0\.600 mm off"),
    "another spacing from the middle on": (
        {"positions": heights(100, 104, 108, 115, 122)},
        r"variable spacing, 4\.000 mm apart in 0:3; 7\.000 mm apart in 2:5: choose one of these parts",
    ),
    "slightly another spacing": (
        {"positions": heights(100, 104, 108, 113, 118)},
        r"variable spacing, 4\.000 mm apart in 0:3; 5\.000 mm apart in 2:5",
    ),
    "twice the spacing from the middle on": (
        {"positions": heights(100, 102, 104, 108, 112)},
        r"variable spacing, 2\.000 mm apart in 0:3; 4\.000 mm apart in 2:5",
    ),
    "a gap between parts": (
        {"positions": heights(100, 102, 104, 114, 116)},
        r"missing between 104\.000 and 114\.000 mm \(about 4\).*part without a gap: 0:3; 3:5",
    ),
    "two frames of reference": (
        {"edit": lambda k, h: setattr(h, "FrameOfReferenceUID", "1.9" if k == 2 else "1.8")},
        "mixed FrameOfReferenceUID",
    ),
    "one without position": (
        {"edit": lambda k, h: h.pop("ImagePositionPatient") if k == 2 else None},
        r"1 of 5 images have no position .*IM0017",
    ),
    "none with position": (
        {"edit": lambda k, h: h.pop("ImagePositionPatient")},
        "5 of 5 images have no position",
    ),
    "one turned": (
        {
            "edit": lambda k, h: setattr(
                h, "ImageOrientationPatient", [0, 1, 0, 0, 0, -1] if k == 2 else list(AXIAL)
            )
        },
        r"mixed orientations.*\[0\.0, 1\.0, 0\.0, 0\.0, 0\.0, -1\.0\]",
    ),
    "one of another spacing": (
        {"edit": lambda k, h: setattr(h, "PixelSpacing", [0.5, 0.5] if k == 2 else [0.5, 0.25])},
        r"mixed pixel spacings.*\(0\.5, 0\.5\) and \(0\.5, 0\.25\)",
    ),
    "one of another size": (
        {"edit": lambda k, h: setattr(h, "Rows", 5 if k == 2 else 6)},
        r"mixed Rows/Columns.*\[5, 7\] and \[6, 7\]",
    ),
    "one inverted": (
        {"edit": lambda k, h: setattr(h, "PhotometricInterpretation", f"MONOCHROME{1 + (k != 2)}")},
        "mixed PhotometricInterpretation",
    ),
}


PARTS = {
    "from the front": (heights(100, 102, 104, 114, 116), slice(0, 3)),
    "from the end": (heights(100, 102, 104, 114, 116), slice(-2, None)),
    "of one spacing": (heights(100, 104, 108, 115, 122), slice(2, None)),
    "without a duplicate": (heights(100, 102, 104, 104, 106), slice(0, 3)),
    "one slice": (heights(100, 102, 104, 104, 116), slice(1, 2)),
    "downwards": (heights(116, 114, 104, 102, 100), slice(0, 3)),
}


@pytest.mark.parametrize(("positions", "slices"), PARTS.values(), ids=PARTS)
def test_a_part_of_a_series_is_read_without_the_rest(tmp_path, positions, slices):
    write_series(tmp_path, ramp(), positions=positions)
    order = np.argsort([z for *_, z in positions], kind="stable")[slices]
    volume = read(tmp_path, slices=slices)
    np.testing.assert_array_equal(volume.array, ramp()[order] - 1024)
    np.testing.assert_array_equal(volume.affine[:3, 3], positions[order[0]])
    step = positions[order[1]][2] - positions[order[0]][2] if len(order) > 1 else 2
    np.testing.assert_array_equal(volume.affine[:3, 2], [0, 0, step])
    assert volume.ndim == 3


def test_a_part_is_the_part_of_the_whole(tmp_path):
    write_series(tmp_path, ramp())
    for slices in (slice(1, 4), slice(2, 3), slice(4, None)):
        part, whole = read_any(tmp_path, slices=slices), read(tmp_path).part(slices)
        np.testing.assert_array_equal(part.array, whole.array)
        np.testing.assert_array_equal(part.affine, whole.affine)


def test_pixels_beside_a_part_are_not_read(tmp_path):
    write_series(tmp_path, ramp(), edit=lambda k, h: setattr(h, "PixelData", b"00") if k == 4 else None)
    assert read(tmp_path, slices=slice(0, 4)).shape == (4, 6, 7)
    with pytest.raises(IncompleteSeries, match="cannot read the pixels"):
        read(tmp_path)


@pytest.mark.parametrize("slices", [slice(5, None), slice(3, 2), slice(0, 5, 2)])
def test_a_part_that_is_none_is_refused(tmp_path, slices):
    write_series(tmp_path, ramp())
    with pytest.raises(UsageError, match=r"slices: .* is not a run of some of 5 slices"):
        read(tmp_path, slices=slices)


@pytest.mark.parametrize(("changes", "cause"), INCOMPLETE.values(), ids=INCOMPLETE)
def test_incomplete_series_are_refused_with_the_place(tmp_path, changes, cause):
    write_series(tmp_path, ramp(), **changes)
    with pytest.raises(IncompleteSeries, match=cause) as caught:
        read(tmp_path)
    assert caught.value.value is not None


UNSUPPORTED = {
    "colour": (
        {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0},
        r"colour image \(RGB\)",
    ),
    "palette": ({"PhotometricInterpretation": "PALETTE COLOR"}, "colour image"),
    "no orientation": ({"ImageOrientationPatient": None}, "no orientation"),
    "skewed orientation": ({"ImageOrientationPatient": [1, 0, 0, 0.6, 0.8, 0]}, "perpendicular"),
    "film": ({"NumberOfFrames": 3}, "3 frames without a place in space for each: only enhanced"),
    "gated frames": (
        {"NumberOfFrames": 3, "FrameIncrementPointer": [0x00540070, 0x00540080]},
        "3 frames without a place .*, they follow each other by TimeSlotVector, SliceVector: only",
    ),
    "modality table": ({"ModalityLUTSequence": item(LUTDescriptor=[1, 0, 16])}, "Modality LUT"),
    "slope of zero": ({"RescaleSlope": 0}, "do not scale"),
    "time": (
        {"positions": [p for z in (100, 102) for p in heights(z, z, z)][:6]},
        "3 images at each of 2 positions",
    ),
    "bits that are no number": (
        {"edit": lambda k, h: h.add_new("BitsStored", "UI", "\x10")},
        "has a malformed header",
    ),
    "no bits": ({"edit": lambda k, h: h.pop("BitsAllocated")}, "does not say the Bits Allocated"),
    "padding that is no number": (
        {"edit": lambda k, h: h.add_new("PixelPaddingValue", "LO", "none")},
        "has a malformed header",
    ),
    "film of one place": ({"positions": heights(*[100] * 6)}, "6 images at each of 1 positions"),
}


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize(("changes", "cause"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_other_kinds_of_images_are_refused(tmp_path, changes, cause):
    write_series(tmp_path, ramp(6), **changes)
    with pytest.raises(InputError, match=cause) as caught:
        read(tmp_path)
    assert not isinstance(caught.value, IncompleteSeries)


# --- folders as hospitals hand them out -----------------------------------------------------------


def test_what_is_not_an_image_is_skipped(tmp_path):
    write_series(tmp_path / "DICOM" / "S1", ramp())
    (tmp_path / "README.txt").write_text("viewer on disc 2")
    (tmp_path / "AUTORUN.INF").write_bytes(b"")
    (tmp_path / ".DS_Store").write_bytes(b"\0\0\0\1Bud1" * 40)
    report = dataset(ramp(1)[0], None, Modality="SR", SOPClassUID=pydicom.uid.BasicTextSRStorage)
    for word in ("Rows", "Columns", "PixelData"):
        delattr(report, word)
    save(report, tmp_path / "DICOM" / "SR01")
    no_pixels = dataset(ramp(1)[0], (10, -20, 300), SeriesInstanceUID="1.2.99")
    del no_pixels.PixelData
    save(no_pixels, tmp_path / "DICOM" / "S1" / "HEADER")
    directory = dataset(ramp(1)[0], None)
    directory.SOPClassUID = pydicom.uid.MediaStorageDirectoryStorage
    save(directory, tmp_path / "DICOMDIR")
    for source in (tmp_path, tmp_path / "DICOMDIR"):
        np.testing.assert_array_equal(read(source).array, ramp() - 1024)


@pytest.mark.parametrize("localizer", ["own series", "same series"])
def test_localizers_are_left_out(tmp_path, localizer):
    write_series(tmp_path, ramp())
    uid = "1.2.3" if localizer == "same series" else "1.2.9"
    scout = dataset(
        np.zeros((20, 30), np.int16),
        (0, 0, 0),
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        ImageOrientationPatient=[1, 0, 0, 0, 0, -1],
        SeriesInstanceUID=uid,
    )
    save(scout, tmp_path / "scout")
    assert read(tmp_path).shape == (5, 6, 7)


def test_screen_captures_are_left_out(tmp_path):
    write_series(tmp_path, ramp())
    capture = dataset(
        ramp(1)[0], None, SeriesInstanceUID="1.2.9", SamplesPerPixel=3, PhotometricInterpretation="RGB"
    )
    save(capture, tmp_path / "dose")
    assert read(tmp_path).shape == (5, 6, 7)


@pytest.fixture
def two_series(tmp_path):
    write_series(tmp_path / "a", ramp(), SeriesNumber="02", SeriesDescription="soft tissue")
    write_series(tmp_path / "b", ramp(4), SeriesInstanceUID="1.2.4", SeriesNumber=3, SeriesDescription="bone")
    return tmp_path


def test_several_series_are_listed(two_series):
    with pytest.raises(InputError, match="series: 2 are there, choose one") as caught:
        read(two_series)
    lines = str(caught.value).splitlines()[1:]
    found = [line.split(maxsplit=1) for line in lines]
    assert found == [["02", "5 files, 7x6, CT"], ["3", "4 files, 7x6, CT"]]
    assert sorted(caught.value.value) == ["1.2.3", "1.2.4"]


def test_the_list_of_series_has_all_files_and_nobody(two_series):
    scout = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "SeriesNumber": 1}
    write_series(two_series / "c", ramp(2), SeriesInstanceUID="1.2.5", **scout)
    save(dataset(ramp(1)[0], (0, 0, 0), **scout), two_series / "scout")
    empty = dataset(ramp(1)[0], (0, 0, 0), PixelData=b"")
    del empty.PixelData
    save(empty, two_series / "header")
    save(dataset(ramp(1)[0], None, SeriesInstanceUID="1.2.6", Modality="OT"), two_series / "capture")
    with pytest.raises(InputError, match="series: 4 are there") as caught:
        read(two_series)
    lines = {line.split()[0]: line for line in str(caught.value).splitlines()[1:]}
    assert "7 files (1 localizers, 1 without pixels), 7x6, CT" in lines["02"]
    assert "2 files (2 localizers), 7x6, CT" in lines["1"]
    assert "1 file (1 without a position), 7x6, OT" in lines["1.2.6"]  # which has no number
    assert not any(word in str(caught.value) for word in ("Doe", "4711", "soft tissue", "1.2.3"))


def test_series_of_one_number_are_listed_by_uid(two_series):
    write_series(two_series / "c", ramp(2), SeriesInstanceUID="1.2.5", SeriesNumber=3)
    with pytest.raises(InputError, match="3 is the number of several") as caught:
        read(two_series, series="3")
    assert [line.split()[0] for line in str(caught.value).splitlines()[1:]] == ["02", "1.2.4", "1.2.5"]


def test_only_defined_terms_of_compressions_are_kept(tmp_path):
    methods = ["ISO_10918_1", "DOE^JANE"]
    write_series(
        tmp_path, ramp(), LossyImageCompressionMethod=methods, LossyImageCompressionRatio=["8.5", "2"]
    )
    assert read(tmp_path).description["lossy_method"] == "ISO_10918_1\\UNKNOWN"


@pytest.mark.parametrize(("series", "slices"), [("1.2.3", 5), ("1.2.4", 4), ("2", 5), ("02", 5), ("3", 4)])
def test_a_series_is_chosen_by_uid_or_number(two_series, series, slices):
    assert read(two_series, series=series).shape[0] == slices


def test_an_unknown_series_lists_those_that_are_there(two_series):
    with pytest.raises(InputError, match=r"series: 1\.2\.5 is not there(.|\n)*02 (.|\n)*3 "):
        read(two_series, series="1.2.5")


def test_copies_of_a_file_count_once(tmp_path):
    paths = write_series(tmp_path, ramp())
    shutil.copy(paths[2], tmp_path / "copy of it")
    assert read(tmp_path).shape == (5, 6, 7)


def test_the_same_instance_with_other_pixels_is_a_duplicate(tmp_path):
    paths = write_series(tmp_path, ramp())
    header = pydicom.dcmread(paths[2])
    header.PixelData = bytes(len(header.PixelData))
    header.save_as(tmp_path / "other")
    with pytest.raises(IncompleteSeries, match=r"duplicate slices at 104\.000"):
        read(tmp_path)


@pytest.mark.parametrize("content", [None, b"not DICOM", b"\0" * 128 + b"DIC"])
def test_a_folder_without_images_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "a").write_bytes(content)
    with pytest.raises(InputError, match="no DICOM image in"):
        read(tmp_path)


@pytest.mark.parametrize(("stated", "kept"), [("HFS", "HFS"), ("AFDR", "AFDR"), ("DOE^JANE", None)])
def test_only_a_defined_position_is_kept(tmp_path, stated, kept):
    write_series(tmp_path, ramp(), PatientPosition=stated)
    assert read(tmp_path).description.get("position") == kept
