"""What reading 4-D DICOM promises: volumes that the headers tell apart, listed and chosen, never guessed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_maker import enhanced, item, ramp, save, write_series
from pydicom import DataElement, Dataset
from pydicom.datadict import tag_for_keyword

from inrcodec.errors import IncompleteSeries, InputError
from inrcodec.io import read as read_any
from inrcodec.io.dicom import read

VOLUMES, SLICES = 3, 4


def value_of(volume: int, z: int) -> np.ndarray:
    return ramp(1)[0] + 100 * volume + 10 * z


def write_4d(folder: Path, edit, order=None) -> None:
    """Every volume's slices, in an order of files that says nothing; ``edit(volume, z, header)``."""
    every = [(volume, z) for volume in range(VOLUMES) for z in range(SLICES)]
    every = [every[i] for i in np.random.default_rng(1).permutation(len(every))] if order is None else order
    write_series(
        folder,
        np.stack([value_of(volume, z) for volume, z in every]),
        positions=[(10.0, -20.0, 100.0 + 2 * z) for _, z in every],
        edit=lambda k, header: edit(*every[k], header),
    )


def attribute(word: str, values) -> object:
    return lambda volume, z, header: setattr(header, word, values[volume])


def private(group: int, creator: str, element: int, vr: str, values) -> object:
    def edit(volume: int, z: int, header: Dataset) -> None:
        header.private_block(group, creator, create=True).add_new(element, vr, values[volume])

    return edit


def diffusion(volume: int, z: int, header: Dataset) -> None:
    header.DiffusionBValue = [0.0, 1000.0, 1000.0][volume]
    header.DiffusionGradientOrientation = [[0, 0, 0], [0, 0.6, 0.8], [1, 0, 0]][volume]


def complex_parts(volume: int, z: int, header: Dataset) -> None:
    header.ImageType = ["ORIGINAL", "PRIMARY", "MPR"[volume]]
    header.AcquisitionTime = f"1200{z:02d}"


def cine(volume: int, z: int, header: Dataset) -> None:
    header.TriggerTime = 40 * volume + z * 1.5


def clock(volume: int, z: int, header: Dataset) -> None:
    header.AcquisitionTime = f"12{volume:02d}{z:02d}.5"


def runs(volume: int, z: int, header: Dataset) -> None:
    header.InstanceNumber = 1 + volume * SLICES + z


def by_slice(volume: int, z: int, header: Dataset) -> None:
    header.InstanceNumber = 1 + z * VOLUMES + volume


def echoes_of_phases(volume: int, z: int, header: Dataset) -> None:
    header.EchoTime = [2.4, 4.8, 4.8][volume]
    header.TemporalPositionIdentifier = [1, 1, 2][volume]


TOLD_APART = {
    "echo time": (attribute("EchoTime", [2.4, 4.8, 7.2]), "echo time 4.8 ms"),
    "echo number": (attribute("EchoNumbers", [1, 2, 3]), "echo 2"),
    "temporal position": (attribute("TemporalPositionIdentifier", [1, 2, 3]), "time 2"),
    "acquisition number": (attribute("AcquisitionNumber", [1, 2, 3]), "acquisition 2"),
    "diffusion": (diffusion, r"b 1000 s/mm2, direction \(0, 0.6, 0.8\)"),
    "diffusion of Siemens": (private(0x19, "SIEMENS MR HEADER", 0x0C, "IS", [0, 500, 1000]), "b 500 s/mm2"),
    "complex parts": (complex_parts, r"type \(ORIGINAL, PRIMARY, P\)"),
    "trigger time": (cine, "trigger time 40 ms"),
    "acquisition time": (clock, "acquisition time 120100.5"),
    "runs of instance numbers": (runs, "instance number 5"),
    "instance numbers by slice": (by_slice, "instance number 2"),
    "two attributes": (echoes_of_phases, "echo time 4.8 ms, time 1"),
}


@pytest.mark.parametrize(("edit", "line"), TOLD_APART.values(), ids=TOLD_APART)
def test_volumes_are_told_apart_by_attributes(tmp_path, edit, line):
    write_4d(tmp_path, edit)
    with pytest.raises(InputError, match=rf"volume: .* holds 3 volumes(.|\n)*\n  1: {line}"):
        read(tmp_path)
    for volume in range(VOLUMES):
        found = read_any(tmp_path, volume=volume)
        expected = [value_of(volume, z) - 1024 for z in range(SLICES)]
        np.testing.assert_array_equal(found.array, expected)
        np.testing.assert_array_equal(found.affine[:3, 2:], [[0, 10], [0, -20], [2, 100]])
        assert any(notice.startswith(f"volume {volume} of 3: ") for notice in found.notices)


def wrong_echo(volume: int, z: int, header: Dataset) -> None:
    runs(volume, z, header)
    header.EchoTime = 2.4 if z == 2 else [2.4, 4.8, 7.2][volume]


def mixed_numbers(volume: int, z: int, header: Dataset) -> None:
    header.InstanceNumber = int(np.random.default_rng(0).permutation(12)[volume * SLICES + z])


NOT_TOLD_APART = {
    "by nothing": lambda volume, z, header: None,
    "by an attribute that one slice lacks": wrong_echo,
    "by numbers without a system": mixed_numbers,
    "by the same numbers": lambda volume, z, header: setattr(header, "InstanceNumber", z),
}


@pytest.mark.parametrize("volume", [None, 0])
@pytest.mark.parametrize("edit", NOT_TOLD_APART.values(), ids=NOT_TOLD_APART)
def test_volumes_that_nothing_tells_apart_are_refused(tmp_path, edit, volume):
    write_4d(tmp_path, edit)
    with pytest.raises(InputError, match="3 images at each of 4 positions, and no attribute tells"):
        read(tmp_path, volume=volume)


def test_a_volume_that_is_not_there_is_refused(tmp_path):
    write_4d(tmp_path, runs)
    with pytest.raises(InputError, match=r"volume: .* 3 is not one of them: 0 to 2"):
        read(tmp_path, volume=3)
    write_series(tmp_path / "3d", ramp())
    np.testing.assert_array_equal(read(tmp_path / "3d", volume=0).array, ramp() - 1024)
    with pytest.raises(InputError, match="1 is not one of them"):
        read(tmp_path / "3d", volume=1)


def test_the_last_volume_of_a_scan_that_was_stopped_is_refused(tmp_path):
    order = [(volume, z) for volume in range(VOLUMES) for z in range(SLICES)][:-1]
    write_4d(tmp_path, attribute("TemporalPositionIdentifier", [1, 2, 3]), order)
    np.testing.assert_array_equal(
        read(tmp_path, volume=1).array, [value_of(1, z) - 1024 for z in range(SLICES)]
    )
    with pytest.raises(IncompleteSeries, match="volume 2 has 3 of 4 slices"):
        read(tmp_path, volume=2)
    with pytest.raises(InputError, match="2: time 3, 3 of 4 slices"):
        read(tmp_path)


def test_a_4d_series_that_lacks_images_here_and_there_is_refused(tmp_path):
    order = [
        (volume, z) for volume in range(VOLUMES) for z in range(SLICES) if (volume, z) not in [(1, 3), (2, 0)]
    ]
    write_4d(tmp_path, attribute("EchoTime", [2.4, 4.8, 7.2]), order)
    with pytest.raises(IncompleteSeries, match=r"images missing: 2 to 3 at each of 4 .* differ in echo time"):
        read(tmp_path)


def test_a_single_duplicate_is_no_volume(tmp_path):
    order = [(0, z) for z in range(SLICES)] + [(1, 2)]
    write_4d(tmp_path, attribute("AcquisitionNumber", [1, 2]), order)
    with pytest.raises(IncompleteSeries, match=r"duplicate slices at 104\.000"):
        read(tmp_path)


def test_instances_that_are_there_twice_are_no_volumes(tmp_path):
    def edit(volume: int, z: int, header: Dataset) -> None:
        header.SOPInstanceUID, header.EchoTime = f"1.5.{z}", volume

    write_4d(tmp_path, edit)
    with pytest.raises(IncompleteSeries, match="duplicate slices"):
        read(tmp_path)


def test_a_part_of_one_volume_is_read(tmp_path):
    write_4d(tmp_path, runs)
    found = read_any(tmp_path, volume=1, slices=slice(1, 3))
    np.testing.assert_array_equal(found.array, [value_of(1, z) - 1024 for z in (1, 2)])


# --- enhanced -------------------------------------------------------------------------------------


def time_index(frame: Dataset, volume: int, z: int) -> None:
    frame.FrameContentSequence = item(
        TemporalPositionIndex=volume + 1, StackID="1", InStackPositionNumber=z + 1
    )


def dimension_index(frame: Dataset, volume: int, z: int) -> None:
    frame.FrameContentSequence = item(DimensionIndexValues=[1, z + 1, volume + 1])


def echo_group(frame: Dataset, volume: int, z: int) -> None:
    frame.MREchoSequence = item(EffectiveEchoTime=2.5 * (volume + 1))


def diffusion_group(frame: Dataset, volume: int, z: int) -> None:
    frame.MRDiffusionSequence = item(
        DiffusionBValue=1000.0 * (volume > 0),
        DiffusionGradientDirectionSequence=item(DiffusionGradientOrientation=[float(volume == 1), 0.0, 1.0]),
    )


ENHANCED = {
    "temporal position index": (time_index, "time 2"),
    "dimension index values": (dimension_index, "kind of frame 2"),
    "echo": (echo_group, "echo time 5 ms"),
    "diffusion": (diffusion_group, r"b 1000 s/mm2, direction \(1, 0, 1\)"),
}


@pytest.mark.parametrize(("edit", "line"), ENHANCED.values(), ids=ENHANCED)
def test_volumes_of_an_enhanced_image_are_told_apart(tmp_path, edit, line):
    every = [(volume, z) for z in range(SLICES) for volume in range(VOLUMES)]
    every = [every[i] for i in np.random.default_rng(2).permutation(len(every))]
    header = enhanced(np.stack([value_of(*which) for which in every]), [100 + 2 * z for _, z in every])
    for frame, which in zip(header.PerFrameFunctionalGroupsSequence, every, strict=True):
        edit(frame, *which)
    header.DimensionIndexSequence = [
        item(DimensionDescriptionLabel=name)[0] for name in ("stack", "place", "kind of frame")
    ]
    path = save(header, tmp_path / "e")
    with pytest.raises(InputError, match=rf"holds 3 volumes(.|\n)*: {line}"):
        read(path)
    found = {read(path, volume=volume).array.tobytes() for volume in range(VOLUMES)}
    expected = {
        np.stack([value_of(volume, z) - 1024 for z in range(SLICES)]).tobytes() for volume in range(VOLUMES)
    }
    assert found == expected
    assert read(path, volume=0).source_bytes is None


@pytest.mark.parametrize(
    ("word", "kind", "value"),
    [("DimensionIndexSequence", "US", [1, 2, 3]), ("Rows", "OB", b"\x06\0")],
)
def test_what_is_no_sequence_and_no_number_is_a_malformed_header(tmp_path, word, kind, value):
    def edit(volume: int, z: int, header: Dataset) -> None:
        header[word] = DataElement(tag_for_keyword(word), kind, value)
        header.EchoTime = volume + 1

    write_4d(tmp_path, edit)
    with pytest.raises(InputError, match="has a malformed header"):
        read(tmp_path, volume=0)
