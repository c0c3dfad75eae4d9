"""What DICOM that does not state a size promises: it is told what is assumed, and can be given."""

from __future__ import annotations

import re

import pytest
from dicom_maker import ramp, write_series

from inrcodec.errors import UsageError
from inrcodec.io import read as read_any
from inrcodec.io.dicom import read

NO_SPACING = "the pixel spacing is not in the header, 1 mm is assumed: give it as the spacing"
ASSUMED = {
    "nothing": ({}, ""),
    "no spacing": ({"PixelSpacing": None}, NO_SPACING),
    "a spacing of zero": ({"PixelSpacing": [0, 0]}, NO_SPACING),
    "an empty spacing": ({"PixelSpacing": ""}, NO_SPACING),
    "the detector's spacing": (
        {"PixelSpacing": None, "ImagerPixelSpacing": [0.2, 0.1]},
        r"the pixel spacing is that at the detector \(Imager Pixel Spacing\), not in the patient",
    ),
}


@pytest.mark.parametrize("slices", [1, 5])
@pytest.mark.parametrize(("attributes", "notice"), ASSUMED.values(), ids=ASSUMED)
def test_what_is_assumed_of_a_size_is_told(tmp_path, attributes, notice, slices):
    write_series(tmp_path, ramp(slices), **attributes)
    notices = read(tmp_path).notices
    assert len(notices) == bool(notice)
    assert re.fullmatch(notice, "".join(notices))


def test_a_thickness_that_is_missing_is_told_of_one_slice(tmp_path):
    write_series(tmp_path / "one", ramp(1), SliceThickness=None)
    write_series(tmp_path / "more", ramp(), SliceThickness=None)
    volume = read(tmp_path / "one")
    assert volume.notices == ("the slice thickness is not in the header, 1 mm is assumed",)
    assert volume.spacing[0] == 1
    more = read(tmp_path / "more")
    assert (more.notices, more.description) == ((), {})  # no slice is said to be 1 mm thick


@pytest.mark.parametrize("given", [(0.4, 0.3), (2, 0.4, 0.3)])
@pytest.mark.parametrize("slices", [1, 5])
def test_a_spacing_that_is_missing_can_be_given(tmp_path, given, slices):
    write_series(tmp_path, ramp(slices), PixelSpacing=None)
    volume = read_any(tmp_path, spacing=given)
    assert (volume.spacing, volume.notices) == ((2, 0.4, 0.3), ())


SPACINGS = {
    "the header has one": ({}, (0.4, 0.3), r"has its own, 0\.5 x 0\.25 mm"),
    "other than the positions": (
        {"PixelSpacing": None},
        (3, 0.4, 0.3),
        "the positions of the slices say: 2 mm",
    ),
    "zero": ({"PixelSpacing": None}, (0, 0.3), "is not possible"),
    "one edge": ({"PixelSpacing": None}, (0.3,), "is not possible"),
}


@pytest.mark.parametrize(("attributes", "given", "cause"), SPACINGS.values(), ids=SPACINGS)
def test_a_spacing_that_contradicts_is_refused(tmp_path, attributes, given, cause):
    write_series(tmp_path, ramp(), **attributes)
    with pytest.raises(UsageError, match=rf"spacing: .*{cause}"):
        read(tmp_path, spacing=given)
