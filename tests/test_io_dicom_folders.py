"""Folders of DICOM as hospitals hand them out: several series, copies, and what is not an image."""

from __future__ import annotations

import shutil

import numpy as np
import pydicom
import pytest
from dicom_maker import dataset, ramp, save, write_series

from inrcodec.errors import IncompleteSeries, InputError
from inrcodec.io.dicom import read


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
