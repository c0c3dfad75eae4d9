"""Slices with scales of their own, as PET has them: integers stay integers, and mean what they meant."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from conftest import TINY
from dicom_maker import ramp, write_pet
from pydicom.uid import PositronEmissionTomographyImageStorage

import inrcodec
from inrcodec import Volume, io
from inrcodec.errors import InputError, UsageError
from inrcodec.io import Provenance
from inrcodec.volume.comparison import compare

SLOPES = [0.25, 0.125, 3.5, 1.75, 0.0625]


def pet(shape=(12, 32, 32)):
    """Counts of a few hot spheres, smoothed, each slice in 32 767 steps of its own; and the slopes."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(3)
    z, y, x = np.ogrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j, -1 : 1 : shape[2] * 1j]
    mean = 3.0 + 40.0 * (z**2 + y**2 + x**2 < 0.5) + 400.0 * (z**2 + (y - 0.4) ** 2 + x**2 < 0.05)
    activity = gaussian_filter(rng.poisson(mean).astype(np.float64), 1.0) * 700
    slopes = np.array([float(f"{most / 32767:.6g}") for most in activity.max(axis=(1, 2))])
    return np.rint(activity / slopes[:, None, None]).clip(0, 32767).astype(np.int16), slopes


def scaled(array=None, slopes=SLOPES, **words):
    array = ramp() if array is None else array
    pairs = np.stack([slopes, np.zeros(len(array))], 1)
    return Volume(array, np.eye(4), modality="PT", unit="BQML", slice_rescale=pairs, **words)


def physical(array, slopes):
    return array.astype(np.float64) * np.asarray(slopes)[:, None, None]


def slices(folder):
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


# --- the volume


def test_a_volume_applies_the_scale_of_each_slice():
    volume = scaled()
    assert volume.rescale == (1.0, 0.0)
    np.testing.assert_allclose(volume.physical(), physical(ramp(), SLOPES))
    np.testing.assert_array_equal(volume.values(), volume.physical())
    uniform = volume.uniform()
    assert uniform.slice_rescale is None
    np.testing.assert_array_equal(uniform.array, volume.physical())


def test_intercepts_are_applied_too():
    pairs = [(1.0, 2.0), (0.5, 0.0)]
    volume = Volume(np.full((2, 1, 1), 8, np.int16), np.eye(4), slice_rescale=pairs)
    assert volume.physical().ravel().tolist() == [10.0, 4.0]


def test_equal_scales_are_one():
    volume = Volume(ramp(), np.eye(4), slice_rescale=[(0.5, 1.0)] * 5)
    assert (volume.rescale, volume.slice_rescale) == ((0.5, 1.0), None)


@pytest.mark.parametrize(
    "words",
    [
        {"slice_rescale": [(0.5, 0.0)] * 4},
        {"slice_rescale": [0.5] * 5},
        {"slice_rescale": [(0.5, 0.0)] * 4 + [(0.0, 0.0)]},
        {"slice_rescale": [(0.5, 0.0)] * 4 + [(float("inf"), 0.0)]},
        {"slice_rescale": [(0.5, 0.0)] * 4 + [(1.0, 0.0)], "rescale": (2.0, 0.0)},
    ],
)
def test_what_does_not_scale_every_slice_is_refused(words):
    with pytest.raises(InputError):
        Volume(ramp(), np.eye(4), **words)


def test_a_part_keeps_the_scales_of_its_slices():
    facts = {"decay_factor": 1.5, "decay_factor@2": 1.25, "decay_factor@4": 1.0, "counts": "EMISSION"}
    part = scaled(description=facts).part(slice(1, 4))
    np.testing.assert_array_equal(part.physical(), scaled().physical()[1:4])
    assert part.description == {"decay_factor": 1.5, "decay_factor@1": 1.25, "counts": "EMISSION"}
    assert scaled(description=facts).part(slice(3, 5)).description == {
        "decay_factor": 1.25,
        "decay_factor@1": 1.0,
        "counts": "EMISSION",
    }


def test_a_part_of_what_a_file_holds_keeps_the_facts_of_its_slices():
    facts = {"decay_factor": 1.0, "decay_factor@2": 2.0, "decay_factor@10": 10.0, "decay_factor@11": 11.0}
    volume = Volume(np.zeros((12, 4, 4), np.int16), np.eye(4), description=dict(sorted(facts.items())))
    assert volume.part(slice(10, 12)).description == {"decay_factor": 10.0, "decay_factor@1": 11.0}


def test_padding_stays_where_it_is_one_value():
    array = ramp()
    array[:, :2] = 0
    assert scaled(array, padding=0).uniform().padding == 0
    assert scaled(array, padding=1).uniform().padding is None


# --- the file


def test_integers_stay_integers_and_a_file_is_smaller_than_the_pixels(tmp_path):
    array, slopes = pet()
    write_pet(tmp_path / "pet", array, slopes)
    blob = inrcodec.encode(tmp_path / "pet", lossless=True)
    assert len(blob) <= 0.9 * array.nbytes
    decoded = inrcodec.decode_volume(blob)
    np.testing.assert_array_equal(inrcodec.decode(blob), array)
    np.testing.assert_array_equal(decoded.slice_rescale, np.stack([slopes, np.zeros(len(slopes))], 1))
    assert (decoded.unit, decoded.modality, decoded.rescale) == ("BQML", "PT", (1.0, 0.0))
    assert inrcodec.verify(blob)["ok"]
    about = inrcodec.info(blob)
    assert about["volume"]["slice_slopes"] == [slopes.min(), slopes.max()]
    assert (about["quality"]["bound"], about["quality"]["max_error"]) == (0, 0)


def test_the_scales_cost_ten_bytes_a_slice():
    array = np.zeros((300, 2, 2), np.int16)
    slopes = np.random.default_rng(0).uniform(0.1, 2, 300)
    blob = inrcodec.encode(scaled(array, slopes), lossless=True)
    assert len(blob) - len(inrcodec.encode(Volume(array, np.eye(4)), lossless=True)) < 300 * 11 + 200


def test_no_slice_takes_the_scale_of_another():
    levels = np.array([100, 30_000, 7, 12_000, 1]).reshape(-1, 1, 1)
    noise = np.random.default_rng(0).integers(0, 3, (5, 400, 400))
    blob = inrcodec.encode(scaled((levels + noise).astype(np.int16)), lossless=True)
    preview = inrcodec.decode(blob, quality="preview")  # of fewer voxels than there are
    assert not np.array_equal(preview, inrcodec.decode(blob))
    assert (np.abs(preview - levels - 1.0) <= 3).all()  # interpolated, which may overshoot


def test_a_bound_is_of_physical_values(tmp_path):
    array, slopes = pet()
    bound = float(slopes.max() * 5)
    volume = scaled(array, slopes)
    stream_report = inrcodec.encode_file(volume, tmp_path / "a.inrv", max_error=bound)
    assert any("own scale" in notice for notice in stream_report.notices)
    decoded = inrcodec.decode_volume(tmp_path / "a.inrv")
    assert np.abs(decoded.physical().astype(np.float64) - volume.physical()).max() <= bound
    assert decoded.slice_rescale is None


def test_networks_hold_physical_values():
    volume = scaled(np.repeat(np.repeat(ramp(), 2, 1), 2, 2))
    decoded = inrcodec.decode_volume(inrcodec.encode(volume, **TINY))
    assert (decoded.array.dtype, decoded.slice_rescale) == (np.float32, None)
    assert decoded.value_range.high <= volume.physical().max()


def test_a_ratio_is_of_the_integers_of_the_source(tmp_path):
    volume = scaled(np.repeat(np.repeat(ramp(), 8, 1), 8, 2))
    options = {**TINY, "ratio": 3.0, "width": None, "steps": 50}
    report = inrcodec.encode_file(volume, tmp_path / "a.inrv", **options)
    assert report.voxel_bytes == volume.array.nbytes
    assert report.file_bytes <= volume.array.nbytes / 3
    assert (
        report.ratio == inrcodec.info(tmp_path / "a.inrv")["ratio"] == volume.array.nbytes / report.file_bytes
    )


def test_networks_in_front_of_stored_values_are_refused():
    with pytest.raises(UsageError, match="scales of their own") as caught:
        inrcodec.encode(scaled(), lossless=True, base="siren")
    assert caught.value.option == "base"


def test_a_dry_run_takes_the_same_values():
    assert inrcodec.plan(scaled(), lossless=True)["dtype"] == "int16"
    assert inrcodec.plan(scaled(), max_error=1.0)["dtype"] == "float32"


# --- comparison


def test_a_lossless_copy_is_equal_and_a_lossy_one_is_compared_in_physical_values():
    volume = scaled()
    exact = inrcodec.decode_volume(inrcodec.encode(volume, lossless=True))
    assert compare(volume, exact).max_error == 0
    lossy = inrcodec.decode_volume(inrcodec.encode(volume, max_error=2.0))
    found = compare(volume, lossy)
    expected = np.abs(lossy.array.astype(np.float64) - volume.physical()).max()
    assert found.max_error == pytest.approx(expected) and 0 < found.max_error <= 2


# --- other formats


@pytest.mark.parametrize("ending", [".nii.gz", ".npy"])
def test_formats_of_one_slope_get_physical_values(tmp_path, ending):
    io.write(scaled(), tmp_path / f"a{ending}")
    again = io.read(tmp_path / f"a{ending}")
    assert again.array.dtype == np.float32
    np.testing.assert_array_equal(again.physical(), scaled().physical())


# --- DICOM


def test_a_series_comes_back_as_pet(tmp_path):
    write_pet(tmp_path / "pet", ramp(), SLOPES)
    first = io.read(tmp_path / "pet")
    blob = inrcodec.encode(first, lossless=True)
    io.write(inrcodec.decode_volume(blob), tmp_path / "d")
    second = io.read(tmp_path / "d")
    np.testing.assert_array_equal(second.array, first.array)
    np.testing.assert_array_equal(second.slice_rescale, first.slice_rescale)
    assert (second.unit, second.modality) == (first.unit, first.modality) == ("BQML", "PT")
    assert second.description == first.description
    for k, header in enumerate(slices(tmp_path / "d")):
        assert header.SOPClassUID == PositronEmissionTomographyImageStorage
        assert (header.RescaleSlope, header.RescaleIntercept) == (SLOPES[k], 0)
        assert "RescaleType" not in header
        assert (header.Units, header.DecayCorrection, header.CountsSource) == ("BQML", "START", "EMISSION")
        assert list(header.SeriesType) == ["WHOLE BODY", "IMAGE"]
        assert list(header.CorrectedImage) == ["DECY", "ATTN", "SCAT"]
        assert (header.NumberOfSlices, header.ImageIndex) == (5, k + 1)
        assert (header.FrameReferenceTime, header.DecayFactor) == (1500.5, 1.0125)
        assert header.ActualFrameDuration == 120_000
        assert list(header.RadiopharmaceuticalInformationSequence) == []


def test_what_differs_by_bed_comes_back_in_its_slices(tmp_path):
    factors = [1.0, 1.0, 1.25, 1.25, 1.5]
    write_pet(tmp_path / "pet", ramp(), SLOPES, lambda k, h: setattr(h, "DecayFactor", factors[k]))
    first = io.read(tmp_path / "pet")
    assert {k: v for k, v in first.description.items() if "decay_factor" in k} == {
        "decay_factor": 1.0,
        "decay_factor@2": 1.25,
        "decay_factor@4": 1.5,
    }
    io.write(inrcodec.decode_volume(inrcodec.encode(first, lossless=True)), tmp_path / "d")
    assert [float(header.DecayFactor) for header in slices(tmp_path / "d")] == factors


def test_too_many_values_of_a_fact_are_none(tmp_path):
    write_pet(tmp_path / "pet", ramp(20), [0.5] * 20, lambda k, h: setattr(h, "DecayFactor", 1 + k / 64))
    assert not any("decay_factor" in name for name in io.read(tmp_path / "pet").description)


def test_a_lossy_series_has_a_slope_for_each_slice(tmp_path):
    array, slopes = pet()
    volume = scaled(array, slopes).uniform()
    io.write(volume, tmp_path / "d", provenance=Provenance(ratio=9.0))
    for plane, header in zip(volume.array, slices(tmp_path / "d"), strict=True):
        assert header.RescaleIntercept == 0
        assert header.RescaleSlope == pytest.approx(np.abs(plane).max() / 32767, rel=1e-6)
    error = np.abs(io.read(tmp_path / "d").physical() - volume.array)
    assert (error.max(axis=(1, 2)) <= 0.51 * slopes).all()


def test_a_template_gives_what_uptake_is_computed_from(tmp_path):
    def about(_, header):
        header.SeriesDate, header.SeriesTime = "20200102", "101112"
        header.AcquisitionTime = "101213"
        dose = pydicom.Dataset()
        dose.RadionuclideTotalDose = 3.7e8
        header.RadiopharmaceuticalInformationSequence = [dose]

    write_pet(tmp_path / "pet", ramp(), SLOPES, about)
    volume = io.read(tmp_path / "pet")
    io.write(volume, tmp_path / "d", template=tmp_path / "pet")
    header = slices(tmp_path / "d")[0]
    assert (header.SeriesDate, header.SeriesTime) == ("20200102", "101112")
    assert header.RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose == 3.7e8
    io.write(volume, tmp_path / "nobody")
    assert slices(tmp_path / "nobody")[0].SeriesDate != "20200102"


@pytest.mark.parametrize("value", ["soon", 1e300, -1e300])
def test_facts_of_a_hostile_file_are_left_out(tmp_path, value):
    facts = {"frame_ms": value, "decay_factor": value, "frame_reference_ms": value}
    io.write(scaled(description=facts), tmp_path / "d")
    assert slices(tmp_path / "d")[0].FrameReferenceTime == 0


@pytest.mark.parametrize("position", ["HFS", "FFP", "HFDR", "FFDL"])
def test_the_patients_position_is_said_in_codes(tmp_path, position):
    """The standard has no Patient Position beside the codes of a PET."""
    io.write(scaled(description={"position": position}), tmp_path / "d")
    assert "PatientPosition" not in slices(tmp_path / "d")[0]
    assert io.read(tmp_path / "d").description["position"] == position
    io.write(scaled(description={"position": "SITTING"}), tmp_path / "e")
    assert list(slices(tmp_path / "e")[0].PatientOrientationCodeSequence) == []
    assert "position" not in io.read(tmp_path / "e").description
