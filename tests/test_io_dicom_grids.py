"""What reading mosaics promises: the slices in them, in their place, or the reason why not."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from dicom_maker import dataset, item, mosaic, ramp, save, side_by_side
from pydicom import Dataset

from inrcodec.errors import IncompleteSeries, InputError
from inrcodec.io.dicom import read

AXES = np.array([[1, 0, 0], [0, 0.8, 0.6], [0, -0.6, 0.8]])  # along a row, along a column, and their product
FIRST = np.array([-20.0, 30.0, 40.0])
OBLIQUE = {
    "ImageOrientationPatient": [*AXES[0], *AXES[1]],
    "SpacingBetweenSlices": 2.5,
    "SliceThickness": 2.0,
}


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("slices", [1, 3, 4, 7])
def test_a_mosaic_is_taken_apart(tmp_path, slices, sign):
    path = save(mosaic(ramp(slices), FIRST, sign * AXES[2], **OBLIQUE), tmp_path / "m")
    volume = read(path)
    order = slice(None, None, sign)
    np.testing.assert_array_equal(volume.array, ramp(slices)[order] - 1024)
    for k in range(slices):
        here = volume.affine @ [0, 0, k if sign == 1 else slices - 1 - k, 1]
        np.testing.assert_allclose(here[:3], FIRST + k * 2.5 * sign * AXES[2], atol=1e-6)
    np.testing.assert_allclose(volume.affine[:3, :2], (AXES[:2] * [[0.25], [0.5]]).T, atol=1e-9)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.filterwarnings("ignore:The DICOM readers are highly experimental")
def test_nibabel_sees_the_same_mosaic(tmp_path, sign):
    from nibabel.nicom.dicomwrappers import wrapper_from_file

    array = np.random.default_rng(0).integers(0, 4096, (7, 6, 8)).astype(np.uint16)
    path = save(mosaic(array, FIRST, sign * AXES[2], RescaleIntercept=0, **OBLIQUE), tmp_path / "m")
    theirs, ours = wrapper_from_file(path), read(path)
    values = theirs.get_unscaled_data()  # (rows, columns, slices)
    for row, column, k in np.ndindex(values.shape):
        place = np.linalg.solve(ours.affine, theirs.affine @ [row, column, k, 1])[:3]
        x, y, z = np.rint(place).astype(int)
        np.testing.assert_allclose(place, [x, y, z], atol=1e-5)
        assert ours.array[z, y, x] == values[row, column, k]


def test_mosaics_in_time_are_volumes(tmp_path):
    for k in range(3):
        header = mosaic(ramp(5) + 100 * k, FIRST, AXES[2], InstanceNumber=k + 1, **OBLIQUE)
        save(header, tmp_path / f"IM{(7 * k) % 5}")
    with pytest.raises(InputError, match=r"holds 3 volumes(.|\n)*2: instance number 3"):
        read(tmp_path)
    for k in range(3):
        np.testing.assert_array_equal(read(tmp_path, volume=k).array, ramp(5) + 100 * k - 1024)


def test_mosaics_that_nothing_tells_apart_are_refused(tmp_path):
    for k in range(2):
        save(mosaic(ramp(5) + 100 * k, FIRST, AXES[2], **OBLIQUE), tmp_path / f"IM{k}")
    with pytest.raises(IncompleteSeries, match="duplicate slices"):
        read(tmp_path)


def test_a_plain_slice_beside_a_mosaic_is_refused(tmp_path):
    save(mosaic(ramp(5), FIRST, AXES[2], **OBLIQUE), tmp_path / "m")
    save(dataset(ramp(1)[0], FIRST, **OBLIQUE), tmp_path / "s")
    with pytest.raises(IncompleteSeries, match="mixed"):
        read(tmp_path)


def test_a_distance_of_slices_that_is_missing_is_told(tmp_path):
    header = mosaic(ramp(5), FIRST, AXES[2], **OBLIQUE | {"SpacingBetweenSlices": None})
    volume = read(save(header, tmp_path / "m"))
    np.testing.assert_allclose(volume.affine[:3, 2], 2 * AXES[2], atol=1e-6)
    assert volume.notices == ("the distance of slices is not in the header, their thickness is taken",)


def anonymized(header: Dataset) -> None:
    header.remove_private_tags()


def counted(header: Dataset) -> None:
    header.remove_private_tags()
    header.private_block(0x19, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", 5)


def damaged(header: Dataset) -> None:
    header[0x0029, 0x1010].value = header[0x0029, 0x1010].value[:150]


def miscounted(header: Dataset) -> None:
    header.private_block(0x19, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", 20)


def unspaced(header: Dataset) -> None:
    del header.SpacingBetweenSlices, header.SliceThickness


def unscaled(header: Dataset) -> None:
    del header.PixelSpacing


@pytest.mark.parametrize("edit", [anonymized, counted, damaged, miscounted, unspaced, unscaled])
def test_a_mosaic_without_its_makers_elements_is_refused(tmp_path, edit):
    header = mosaic(ramp(5), FIRST, AXES[2], **OBLIQUE)
    edit(header)
    with pytest.raises(InputError, match="is a mosaic"):
        read(save(header, tmp_path / "m"))


def grid(array: np.ndarray, **attributes: object) -> Dataset:
    """A volume as United Imaging stores it, with the position of each slice."""
    header = dataset(side_by_side(array), FIRST, **OBLIQUE)
    header.ImageType = ["ORIGINAL", "PRIMARY", "M", "VFRAME"]
    block = header.private_block(0x65, "Image Private Header", create=True)
    block.add_new(0x50, "DS", str(len(array)))
    places = [(FIRST - 2.5 * k * AXES[2]).round(9).tolist() for k in range(len(array))]
    block.add_new(0x51, "SQ", [item(ImagePositionPatient=place)[0] for place in places])
    return header


def test_a_grid_of_united_imaging_is_taken_apart(tmp_path):
    volume = read(save(grid(ramp(5)), tmp_path / "g"))
    np.testing.assert_array_equal(volume.array, ramp(5)[::-1] - 1024)
    np.testing.assert_allclose(volume.affine[:3, 3], FIRST - 10 * AXES[2], atol=1e-6)
    np.testing.assert_allclose(volume.affine[:3, 2], 2.5 * AXES[2], atol=1e-6)


@pytest.mark.parametrize("element", [0x00651050, 0x00651051])
def test_a_grid_without_its_makers_elements_is_refused(tmp_path, element):
    header = grid(ramp(5))
    del header[pydicom.tag.Tag(element)]
    with pytest.raises(InputError, match="is a mosaic"):
        read(save(header, tmp_path / "g"))
