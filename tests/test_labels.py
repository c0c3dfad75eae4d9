"""Label maps and doses: what no loss may touch, where their planes lie, and what their numbers mean."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from conftest import TINY, encoded
from dicom_maker import (
    AXIAL,
    dataset,
    dose,
    enhanced,
    item,
    parametric_map,
    ramp,
    save,
    segmentation,
    write_series,
)

import inrcodec
from inrcodec import Volume, io
from inrcodec.encoder import admission
from inrcodec.errors import IncompleteSeries, InputError, LimitExceeded, UsageError, WriteError

LUNG, LIVER = np.random.default_rng(0).integers(0, 2, (2, 4, 5, 7), np.uint8)
SAMPLE = Path(__file__).parent / "data" / "vhf-head-dicom"
LABELS = {"labels": 1}


@pytest.fixture
def seg(tmp_path):
    """Two segments on slices 2 mm apart; each leaves slices out."""
    header = segmentation(np.stack([LUNG, LIVER]), [(100, 102, 106, 108), (104, 106, 108, 110)])
    return save(header, tmp_path / "seg" / "a.dcm")


# --- segmentations


def test_several_segments_are_listed_by_their_labels(seg):
    with pytest.raises(InputError, match=r"holds 2 volumes(.|\n)*0: segment 1, organ 1(.|\n)*1: segment 2"):
        io.read(seg)


def test_a_segment_is_put_in_place_and_what_it_leaves_out_is_empty(seg):
    expected = np.zeros((6, 5, 7), np.uint8)
    expected[[0, 1, 3, 4]] = LUNG
    volume = io.read(seg, volume=0)
    np.testing.assert_array_equal(volume.array, expected)
    other = io.read(seg, volume=1)
    np.testing.assert_array_equal(other.array, np.concatenate([expected[:2] * 0, LIVER]))
    np.testing.assert_array_equal(volume.affine, other.affine)
    np.testing.assert_array_equal(volume.affine[:3, 3], (10, -20, 100))
    assert (volume.spacing, volume.modality, volume.labels) == ((2.0, 0.5, 0.25), "SEG", True)
    assert any("segment 1, organ 1" in notice for notice in volume.notices)
    assert io.read(seg, volume=0, slices=slice(1, 3)).shape == (2, 5, 7)


def test_the_distance_of_slices_is_what_the_header_says(tmp_path):
    """Of a segment that has every third slice."""
    header = segmentation(LUNG[None, :2], [(100, 106)])
    header.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices = 2.0
    volume = io.read(save(header, tmp_path / "a"))
    assert (volume.shape, volume.spacing[0]) == ((4, 5, 7), 2.0)
    assert not volume.array[1:3].any() and (volume.array[[0, 3]] == LUNG[:2]).all()


def test_one_segment_in_one_plane_is_an_image(tmp_path):
    volume = io.read(save(segmentation(LUNG[None, :1], [(100,)]), tmp_path / "a"))
    assert (volume.ndim, volume.shape) == (2, (1, 5, 7))


def test_fractions_keep_their_largest_value(tmp_path):
    header = segmentation(LUNG[None], [(100, 102, 104, 106)], SegmentationType="FRACTIONAL")
    header.MaximumFractionalValue = 200
    header.BitsAllocated = header.BitsStored = 8
    header.HighBit, header.PixelData = 7, (LUNG * 100).tobytes()
    volume = io.read(save(header, tmp_path / "a"))
    assert volume.labels and volume.physical().max() == 0.5


def test_a_label_map_holds_all_segments(tmp_path):
    labels = np.arange(3 * 5 * 7, dtype=np.uint16).reshape(3, 5, 7)
    header = enhanced(labels, (100, 102, 106), Modality="SEG", SegmentationType="LABELMAP")
    header.SOPClassUID = pydicom.uid.UID("1.2.840.10008.5.1.4.1.1.66.7")
    header.PhotometricInterpretation = "PALETTE COLOR"
    for group in header.PerFrameFunctionalGroupsSequence:
        del group.PixelValueTransformationSequence
    volume = io.read(save(header, tmp_path / "a"))
    np.testing.assert_array_equal(volume.array[[0, 1, 3]], labels)
    assert volume.shape == (4, 5, 7) and volume.labels


@pytest.mark.parametrize(
    ("heights", "error", "cause"),
    [
        ((100, 102, 104.9, 106), IncompleteSeries, "off the grid"),
        ((100, 102, 102, 104), InputError, "several planes of one segment"),
        ((100, 100.01, 1e6, 2e6), LimitExceeded, "longest axis"),
    ],
)
def test_planes_that_are_on_no_grid_are_refused(tmp_path, heights, error, cause):
    path = save(segmentation(LUNG[None], [heights]), tmp_path / "a")
    with pytest.raises(error, match=cause):
        io.read(path)


def test_a_plane_of_no_segment_is_refused(tmp_path):
    header = segmentation(LUNG[None], [(100, 102, 104, 106)])
    for group in header.PerFrameFunctionalGroupsSequence:
        del group.SegmentIdentificationSequence
    path = save(header, tmp_path / "a")
    with pytest.raises(InputError, match="does not say of which segment"):
        io.read(path)


def test_outlines_are_refused_by_their_name(tmp_path):
    header = dataset(ramp(1)[0], None, Modality="RTSTRUCT")
    for word in ("Rows", "Columns", "PixelData"):
        delattr(header, word)
    header.SOPClassUID = pydicom.uid.RTStructureSetStorage
    save(header, tmp_path / "a.dcm")
    with pytest.raises(InputError, match=r"RTSTRUCT.*not voxels"):
        io.read(tmp_path)


def test_what_another_writer_segments_lies_where_it_was(tmp_path):
    """An oracle that leaves empty planes out, on a real series."""
    highdicom = pytest.importorskip("highdicom")
    images = sorted(map(pydicom.dcmread, SAMPLE.iterdir()), key=lambda image: image.ImagePositionPatient[2])
    masks = np.zeros((12, 96, 96, 2), np.uint8)
    masks[3:5, 20:41, 30:37, 0] = masks[7:9, 50:71, 30:61, 0] = masks[8:11, 10:60, 11:22, 1] = 1
    code = highdicom.sr.CodedConcept("85756007", "SCT", "Tissue")
    segments = [highdicom.seg.SegmentDescription(n, f"part {n}", code, code, "MANUAL") for n in range(1, 3)]
    made = highdicom.seg.Segmentation(
        images, masks, "BINARY", segments, highdicom.UID(), 1, highdicom.UID(), 1, "a", "b", "1", "2"
    )
    made.save_as(tmp_path / "a.dcm")
    for index in (0, 1):
        volume = io.read(tmp_path / "a.dcm", volume=index)
        first = round(float(volume.affine[2, 3])) - 1600  # of the slices that any segment has
        expected = masks[first : first + len(volume.array), :, :, index]
        np.testing.assert_array_equal(volume.array, expected)
        assert expected.sum() == masks[..., index].sum()
        np.testing.assert_allclose(volume.affine[:3, :3], io.read(SAMPLE).affine[:3, :3])


# --- what labels are coded with


def labelled():
    array = np.zeros((6, 20, 24), np.uint8)
    array[1:5, 4:12, 5:15] = 3
    array[2:4, 8:16, 12:20] = 7
    return array


@pytest.mark.parametrize("options", [{}, {"max_error": 1.0}, {"psnr": 40.0}, {"ratio": 20.0}])
def test_labels_are_never_coded_with_loss(options):
    volume = Volume(labelled(), np.eye(4), description=LABELS)
    for encode in (inrcodec.encode, inrcodec.plan):
        with pytest.raises(UsageError, match="numbers of segments") as caught:
            encode(volume, **options)
        assert caught.value.option == "lossless"


def test_labels_come_back_as_labels(seg, tmp_path):
    blob = inrcodec.encode(seg, volume=0, lossless=True)
    volume = inrcodec.decode_volume(blob)
    np.testing.assert_array_equal(volume.array, io.read(seg, volume=0).array)
    assert volume.labels
    with pytest.raises(WriteError, match="a segmentation is no series"):
        io.write(volume, tmp_path / "d")
    with pytest.raises(WriteError, match="a segmentation is no series"):
        io.check_sink(tmp_path / "d", modality="SEG")
    io.write(volume, tmp_path / "a.nii.gz")
    assert nibabel.load(tmp_path / "a.nii.gz").header.get_intent()[0] == "label"
    assert io.read(tmp_path / "a.nii.gz").labels


def test_a_file_that_says_that_it_is_a_label_map_is_one(tmp_path):
    image = nibabel.Nifti1Image(labelled().T, np.eye(4))
    nibabel.save(image, tmp_path / "grey.nii")
    image.header.set_intent("label")
    nibabel.save(image, tmp_path / "labels.nii")
    assert not io.read(tmp_path / "grey.nii").labels
    with pytest.raises(UsageError, match="numbers of segments"):
        inrcodec.encode(tmp_path / "labels.nii")
    with pytest.raises(WriteError, match="a label map is no series"):
        io.write(io.read(tmp_path / "labels.nii"), tmp_path / "d")


def test_what_only_looks_like_labels_is_told(tmp_path):
    report = inrcodec.encode_file(labelled(), tmp_path / "a.inrv", **TINY)
    assert any("look like labels" in notice for notice in report.notices)


@pytest.mark.parametrize(("bound", "told"), [(2, False), (3, True), (50, True)])
def test_a_bound_beyond_all_values_is_told(bound, told):
    few = np.random.default_rng(0).integers(0, 4, (3, 9, 9)).astype(np.uint8)
    _, report = encoded(few, max_error=bound)
    assert any("may become one value" in notice for notice in report.notices) == told


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 9, 9), np.int16),
        ramp(),
        labelled().astype(np.float32),
        labelled().astype(np.int16) - 1,
        np.random.default_rng(0).integers(0, 8, (3, 9, 9), np.uint8),
    ],
    ids=["constant", "many", "floats", "below 0", "noise"],
)
def test_other_values_do_not_look_like_labels(array):
    assert not admission.looks_like_labels(Volume(array, np.eye(4)))
    assert admission.looks_like_labels(Volume(labelled(), np.eye(4)))


# --- modalities that are never coded with loss


@pytest.mark.parametrize(
    ("modality", "table"), [("MG", None), ("XA", "XA, dx"), ("DX", "XA, dx"), ("MG", "XA")]
)
def test_some_modalities_are_only_coded_with_loss_by_name(monkeypatch, tiny_array, modality, table):
    if table is not None:
        monkeypatch.setenv("INRCODEC_NEVER_LOSSY", table)
    volume = Volume(tiny_array, np.eye(4), modality=modality)
    with pytest.raises(UsageError, match=f"{modality} is never coded with loss") as caught:
        inrcodec.encode(volume, max_error=2)
    assert caught.value.option == "i_know_lossy"
    with pytest.raises(UsageError, match=f"{modality} is never coded with loss"):
        inrcodec.plan(tiny_array, modality=modality)
    assert len(inrcodec.encode(volume, max_error=2, i_know_lossy=True)) > 0
    np.testing.assert_array_equal(inrcodec.decode(inrcodec.encode(volume, lossless=True)), tiny_array)


def test_other_modalities_are_not_asked(monkeypatch, tiny_array):
    monkeypatch.setenv("INRCODEC_NEVER_LOSSY", " ")
    assert len(inrcodec.encode(Volume(tiny_array, np.eye(4), modality="XA"), max_error=2)) > 0
    monkeypatch.setenv("INRCODEC_NEVER_LOSSY", "XA;DX")
    with pytest.raises(UsageError, match="INRCODEC_NEVER_LOSSY: 'XA;DX' is not a DICOM term"):
        inrcodec.encode(Volume(tiny_array, np.eye(4), modality="CT"), max_error=2)


# --- doses


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
@pytest.mark.parametrize(
    ("offsets", "changes", "step", "origin"),
    [
        ((0, 2, 4, 6, 8), {}, (0, 0, 2), (10, -20, 100)),
        ((0, -3, -6, -9, -12), {}, (0, 0, 3), (10, -20, 88)),
        ((100, 102, 104, 106, 108), {}, (0, 0, 2), (10, -20, 100)),
        ((0, 2, 4, 6, 8), {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, (0, 2, 0), (10, -20, 100)),
        (
            (100, 102, 104, 106, 108),
            {"ImageOrientationPatient": [1, 0, 0, 0, -1, 0]},
            (0, 0, -2),
            (10, -20, 108),
        ),
    ],
    ids=["relative", "backwards", "absolute", "coronal", "absolute, rows upwards"],
)
def test_a_dose_lies_where_its_offsets_say(tmp_path, offsets, changes, step, origin, dtype):
    array = ramp().astype(dtype)
    volume = io.read(save(dose(array, offsets, **changes), tmp_path / "a"))
    np.testing.assert_allclose(volume.affine[:3, 2], step)
    np.testing.assert_allclose(volume.affine[:3, 3], origin)
    backwards = origin[2] not in (100,)
    np.testing.assert_array_equal(volume.array, array[::-1] if backwards else array)
    assert (volume.array.dtype, volume.rescale, volume.unit) == (np.dtype(dtype), (2.5e-5, 0.0), "GY")


def test_a_dose_keeps_its_scale_and_unit(tmp_path):
    path = save(dose(ramp().astype(np.uint32), range(0, 10, 2)), tmp_path / "a")
    volume = inrcodec.decode_volume(inrcodec.encode(path, lossless=True))
    assert (volume.rescale, volume.unit, volume.modality) == ((2.5e-5, 0.0), "GY", "RTDOSE")
    io.write(volume, tmp_path / "a.nii")
    assert nibabel.load(tmp_path / "a.nii").get_fdata().max() == pytest.approx(2.5e-5 * ramp().max())
    with pytest.raises(WriteError, match="a dose is no series"):
        io.write(volume, tmp_path / "d")


def test_a_dose_of_one_plane_is_scaled(tmp_path):
    volume = io.read(save(dose(ramp(1).astype(np.uint16), None), tmp_path / "a"))
    assert (volume.ndim, volume.rescale, volume.unit) == (2, (2.5e-5, 0.0), "GY")


@pytest.mark.parametrize(
    ("offsets", "changes", "error", "cause"),
    [
        ((0, 2, 4, 6), {}, IncompleteSeries, "5 planes has 4 offsets"),
        (None, {}, IncompleteSeries, "5 planes has 0 offsets"),
        ((7, 9, 11, 13, 15), {}, InputError, "neither 0 nor its height 100"),
        ((0, 2, 4, 7, 8), {}, IncompleteSeries, "irregular|missing|variable"),
        ((0, 2, 4, 6, 8), {"DoseGridScaling": None}, InputError, "does not say its scale"),
        ((0, 2, 4, 6, 8), {"ImagePositionPatient": None}, InputError, "without position"),
    ],
)
def test_doses_that_are_nowhere_or_mean_nothing_are_refused(tmp_path, offsets, changes, error, cause):
    path = save(dose(ramp().astype(np.uint16), offsets, **changes), tmp_path / "a")
    with pytest.raises(error, match=cause):
        io.read(path)


# --- parametric maps

FLOATS = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)


def test_a_map_means_what_its_mapping_says(tmp_path):
    volume = io.read(save(parametric_map(FLOATS, [1e-6] * 3), tmp_path / "a"))
    np.testing.assert_array_equal(volume.array, FLOATS)
    assert (volume.rescale, volume.unit) == ((1e-6, 0.0), "mm2/s")


def test_mappings_that_differ_by_plane_are_scales_of_slices(tmp_path):
    volume = io.read(save(parametric_map(FLOATS, [0.5, 2.0, 4.0]), tmp_path / "a"))
    np.testing.assert_array_equal(
        volume.physical(), FLOATS * np.array([0.5, 2, 4], np.float32)[:, None, None]
    )


def test_maps_without_one_linear_scale_are_refused(tmp_path):
    table = parametric_map(FLOATS, [1.0] * 3)
    mapping = table.PerFrameFunctionalGroupsSequence[1].RealWorldValueMappingSequence
    del mapping[0].RealWorldValueSlope
    mapping[0].RealWorldValueLUTData = [1.0, 2.0]
    several = parametric_map(FLOATS, [1.0] * 3)
    several.PerFrameFunctionalGroupsSequence[1].RealWorldValueMappingSequence += item(RealWorldValueSlope=3.0)
    units = parametric_map(FLOATS, [1.0] * 3)
    mapping = units.PerFrameFunctionalGroupsSequence[1].RealWorldValueMappingSequence
    mapping[0].MeasurementUnitsCodeSequence[0].CodeValue = "s"
    for name, header, cause in (
        ("a", table, "by a table"),
        ("b", several, "several mappings"),
        ("c", units, "several units: mm2/s, s"),
    ):
        path = save(header, tmp_path / name)
        with pytest.raises(InputError, match=cause):
            io.read(path)


def test_real_world_values_of_a_scan_change_nothing(tmp_path):
    mapping = item(RealWorldValueSlope=7.0, RealWorldValueIntercept=1.0)
    write_series(tmp_path, ramp(), RealWorldValueMappingSequence=mapping, ImageOrientationPatient=list(AXIAL))
    np.testing.assert_array_equal(io.read(tmp_path).array, ramp() - 1024)


# --- broken files


def wrong(header, *words, value):
    """A header with some of its numbers or sequences replaced by something else."""
    for word in words:
        header.add_new(word, "LO", value)
    return header


@pytest.mark.parametrize("value", ["x", ["1", "2"]], ids=["text", "several"])
def test_what_is_no_number_and_no_sequence_is_a_malformed_header(tmp_path, value):
    masks, heights = np.stack([LUNG, LIVER]), [(100, 102, 106, 108), (104, 106, 108, 110)]
    broken = [
        wrong(segmentation(masks, heights), "SegmentSequence", value=value),
        wrong(
            segmentation(masks, heights, SegmentationType="FRACTIONAL"), "MaximumFractionalValue", value=value
        ),
        wrong(dose(ramp().astype(np.uint16), range(0, 10, 2)), "DoseGridScaling", value=value),
        wrong(dose(ramp().astype(np.uint16), range(0, 10, 2)), "GridFrameOffsetVector", value=value),
        parametric_map(FLOATS, [1.0] * 3),
        dataset(ramp()[0], (0, 0, 0), Modality="PT"),
    ]
    mapping = broken[4].PerFrameFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    wrong(mapping, "RealWorldValueSlope", "MeasurementUnitsCodeSequence", value=value)
    wrong(broken[5], "PatientOrientationCodeSequence", value=value)
    for number, header in enumerate(broken):
        path = save(header, tmp_path / str(number))
        with pytest.raises(InputError, match=r"malformed header|offsets"):
            io.read(path, volume=0)
