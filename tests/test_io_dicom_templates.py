"""Series with a template: whose they are, and where the volume has to lie."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from dicom_maker import dataset, ramp, save, write_series
from dicom_series import LOSSY, SAMPLE, slices
from pydicom.uid import MRImageStorage

import inrcodec
from inrcodec.cli.dec import main as inrv_dec
from inrcodec.errors import InputError, UsageError
from inrcodec.io.dicom import check_target, read, write
from inrcodec.volume.affine import Grid
from inrcodec.volume.volume import Volume

# --- identity -------------------------------------------------------------------------------------


def test_without_a_template_it_is_nobody(tmp_path):
    write(read(SAMPLE), tmp_path / "d")
    for path in (tmp_path / "d").iterdir():
        assert not any(word in path.read_bytes() for word in (b"Eve", b"000-000-001", b"National Library"))
        assert pydicom.dcmread(path).PatientIdentityRemoved == "YES"


def test_a_template_gives_patient_study_and_frame_of_reference(tmp_path):
    source = slices(SAMPLE)[0]
    write(read(SAMPLE), tmp_path / "d", template=SAMPLE, provenance=LOSSY)
    for header in slices(tmp_path / "d"):
        for word in (
            *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate"),
            *("StudyDescription", "AccessionNumber", "FrameOfReferenceUID", "InstitutionName"),
        ):
            assert header[word].value == source[word].value
        assert header.SeriesInstanceUID != source.SeriesInstanceUID
        assert "PatientIdentityRemoved" not in header
        assert header.LossyImageCompression == "01"


@pytest.mark.parametrize(
    ("words", "laterality"),
    [
        ({}, ""),
        ({"BodyPartExamined": "PROSTATE"}, None),
        ({"BodyPartExamined": "brain"}, None),
        ({"BodyPartExamined": "ORBIT"}, ""),
        ({"BodyPartExamined": "no term of the standard"}, ""),
        ({"Laterality": "L", "BodyPartExamined": "KNEE"}, "L"),
    ],
)
def test_laterality_is_there_where_the_body_part_may_be_paired(tmp_path, words, laterality):
    write_series(tmp_path / "s", ramp(), **words)
    write(read(tmp_path / "s"), tmp_path / "d", template=tmp_path / "s")
    assert slices(tmp_path / "d")[0].get("Laterality") == laterality


@pytest.mark.parametrize("time", ["2100.0", None])
def test_an_inversion_recovery_has_its_time(tmp_path, time):
    words = {"SOPClassUID": MRImageStorage, "Modality": "MR", "ScanningSequence": ["SE", "IR"]}
    write_series(tmp_path / "s", ramp(), InversionTime=time, **words)
    write(read(tmp_path / "s"), tmp_path / "d", template=tmp_path / "s")
    header = slices(tmp_path / "d")[0]
    assert "InversionTime" in header and header.InversionTime == (time and float(time))


def test_names_in_other_scripts_survive(tmp_path):
    write_series(tmp_path / "s", ramp(), SpecificCharacterSet="ISO_IR 192", PatientName="山田^太郎")
    write(read(tmp_path / "s"), tmp_path / "d", template=tmp_path / "s")
    assert str(slices(tmp_path / "d")[0].PatientName) == "山田^太郎"


@pytest.mark.parametrize("series", ["1.2.9", "1.2.3"])
def test_a_template_of_two_patients_is_refused(tmp_path, series):
    write_series(tmp_path / "s", ramp())
    save(dataset(ramp()[0], (0, 0, 0), PatientID="4712", SeriesInstanceUID=series), tmp_path / "s" / "other")
    with pytest.raises(InputError, match="several values of PatientID"):
        write(read(SAMPLE), tmp_path / "d", template=tmp_path / "s")
    assert not (tmp_path / "d").exists()


def test_a_template_of_another_modality_is_refused(tmp_path):
    with pytest.raises(UsageError, match="template is CT and the volume is MR"):
        write(Volume(ramp(), np.eye(4), modality="MR"), tmp_path / "d", template=SAMPLE)


# --- a template's place


def placed(shift=(0, 0, 0), shape=(5, 6, 7), step=2.0, **words):
    affine = np.diag([0.25, 0.5, step, 1.0])
    affine[:3, 3] = np.add((10, -20, 100), shift)
    return Volume(np.zeros(shape, np.int16), affine, modality="CT", **words)


def turned_over():
    affine = placed().affine.copy()
    affine[:3, :3] = affine[:3, [1, 0, 2]] * [2, 0.5, 1]
    return affine


@pytest.mark.parametrize(
    "volume",
    [
        placed(),
        placed().part(slice(1, 3)),
        placed(step=4.0, shape=(3, 6, 7)),
        Volume(np.zeros((3, 3, 4), np.int16), placed().affine @ np.diag([2, 2, 2, 1]), modality="CT"),
        Volume(
            np.zeros((5, 6, 7), np.int16), placed((1.5, 0, 0)).affine @ np.diag([-1, 1, 1, 1]), modality="CT"
        ),
    ],
    ids=["the same", "a part", "every other slice", "coarser", "mirrored"],
)
def test_a_template_is_where_the_volume_is(tmp_path, volume):
    write_series(tmp_path / "s", ramp())
    write(volume, tmp_path / "d", template=tmp_path / "s")
    assert slices(tmp_path / "d")[0].PatientID == "4711"


@pytest.mark.parametrize(
    "volume",
    [
        placed((0, 0, 60)),
        placed((3, 0, 0)),
        placed((0, 0, 5)),
        placed(shape=(5, 12, 14)),
        placed(shape=(5, 3, 4)),
        Volume(np.zeros((5, 6, 7), np.int16), np.eye(4), modality="CT"),
        Volume(np.zeros((5, 6, 14), np.int16), turned_over(), modality="CT"),
    ],
    ids=["above", "beside", "in part", "larger", "smaller", "nowhere", "turned"],
)
def test_a_template_that_lies_elsewhere_is_refused(tmp_path, volume):
    write_series(tmp_path / "s", ramp(), FrameOfReferenceUID="1.2.3.4")
    acts = (
        lambda: write(volume, tmp_path / "d", template=tmp_path / "s"),
        lambda: check_target(
            tmp_path / "d",
            False,
            template=tmp_path / "s",
            modality="CT",
            grid=Grid(volume.affine, volume.shape),
        ),
    )
    for act in acts:
        with pytest.raises(UsageError, match=r"lies elsewhere: the images from \(10, -20, 100\)") as caught:
            act()
        assert caught.value.option == "template"
    assert not (tmp_path / "d").exists()


def test_of_several_series_that_is_taken_which_lies_where_the_volume_does(tmp_path, caplog):
    write_series(tmp_path / "s" / "a", ramp(), FrameOfReferenceUID="1.1", SeriesDescription="low")
    there = [(10.0, -20.0, 300.0 + 2 * k) for k in range(5)]
    about = {"SeriesInstanceUID": "1.2.9", "FrameOfReferenceUID": "1.9", "SeriesDescription": "high"}
    write_series(tmp_path / "s" / "b", ramp(), positions=there, **about)
    for shift, space, name in ((0, "1.1", "low"), (200, "1.9", "high")):
        write(placed((0, 0, shift)), tmp_path / f"d{shift}", template=tmp_path / "s")
        header = slices(tmp_path / f"d{shift}")[0]
        assert (header.FrameOfReferenceUID, header.SeriesDescription) == (space, f"{name} (inrcodec)")
    assert "1 series that lie elsewhere: patient and study are taken from 1.2.9" in caplog.text


def test_a_part_of_a_tilted_stack_is_where_the_stack_is(tmp_path):
    positions = [(10.0, -20.0 + 8 * k, 100.0 + 2 * k) for k in range(5)]
    write_series(tmp_path / "s", ramp(), positions=positions)
    write(read(tmp_path / "s").part(slice(3, 5)), tmp_path / "d", template=tmp_path / "s")
    assert slices(tmp_path / "d")[0].PatientID == "4711"


def test_the_command_compares_the_place_before_it_decodes(tmp_path, capsys):
    write_series(tmp_path / "s", ramp())
    (tmp_path / "a.inrv").write_bytes(inrcodec.encode(placed((0, 0, 60)), lossless=True))
    assert inrv_dec([str(tmp_path / "a.inrv"), str(tmp_path / "d"), "--template", str(tmp_path / "s")]) == 2
    assert "--template: the template lies elsewhere" in capsys.readouterr().err
