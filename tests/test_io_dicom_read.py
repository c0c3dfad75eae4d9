"""What reading DICOM promises: a series completely and in its own order, or the reason why not."""

from __future__ import annotations

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
