"""The planes of a page: which way a slice lies, and what it is called."""

import re

import numpy as np
import pytest
from report_pages import labelled, planes_of, shown

import inrcodec
from inrcodec import Volume
from inrcodec.report.page.build import Contents, build


def affine_of(columns):
    """Directions of x, y and z as rows of signed patient axes: L, P, S = 1, 2, 3."""
    affine = np.eye(4)
    affine[:3, 3] = -100  # a place in the patient: without one the axes mean nothing
    for k, way in enumerate(columns):
        affine[:3, k] = 0
        affine[abs(way) - 1, k] = np.sign(way)
    return affine


@pytest.mark.parametrize(
    "columns", [(1, 2, 3), (-1, -2, 3), (1, 2, -3), (2, -3, 1), (-2, -3, -1), (1, -3, 2), (3, 1, -2)]
)
def test_a_slice_lies_as_a_reader_expects(columns):
    """Axial: front up, the patient's right on the left. Coronal and sagittal: head up."""
    volume = Volume(labelled(), affine_of(columns))
    found = planes_of(volume)
    named = {plane["name"]: plane for plane in found}
    assert list(named) == ["axial", "coronal", "sagittal"]
    corners = {"axial": (2, 1), "coronal": (-3, 1), "sagittal": (-3, 2)}  # rows run to, columns run to
    patient = np.zeros((3, *volume.shape))  # L, P, S of every voxel
    for axis, index in zip("xyz", np.mgrid[tuple(map(slice, volume.shape))][::-1], strict=True):
        patient += volume.affine[:3, "xyz".index(axis), None, None, None] * index
    where = {int(v): patient[:, *at] for at, v in np.ndenumerate(volume.array)}
    for name, plane in named.items():
        at = [where[int(v)] for v in shown(volume.array, plane)[[0, -1, 0], [0, 0, -1]]]
        for way, other in zip(corners[name], at[1:], strict=True):
            along = (other - at[0])[abs(way) - 1] * np.sign(way)
            assert along > 0, (name, columns)
        assert (
            plane["down"]["ends"] + plane["right"]["ends"]
            == {
                "axial": ["A", "P", "R", "L"],
                "coronal": ["H", "F", "R", "L"],
                "sagittal": ["H", "F", "A", "P"],
            }[name]
        )


@pytest.mark.parametrize("columns", [(2, -3, 1), (1, -3, 2), (1, 2, 3)])
def test_one_slice_has_one_plane_whichever_way_it_lies(columns):
    (plane,) = planes_of(Volume(labelled((1, 8, 10)), affine_of(columns)))
    assert plane["name"] == {1: "sagittal", 2: "coronal", 3: "axial"}[abs(columns[2])]
    assert plane["across"] == 0


def test_slices_of_no_known_place_have_no_anatomical_names():
    found = planes_of(Volume.from_array(labelled(), spacing=(3, 1, 1)))
    assert [plane["name"] for plane in found] == ["across-z", "across-y", "across-x"]
    assert found[0]["right"] == {"axis": 2, "flip": False, "ends": ["first x", "last x"]}
    assert found[1]["down"] == {"axis": 0, "flip": True, "ends": ["last z", "first z"]}
    formless = Volume(labelled(), affine_of((-1, -2, 3)), description={"nifti_sform": 0, "nifti_qform": 0})
    plane = planes_of(formless)[0]
    assert (plane["name"], plane["right"]["ends"]) == ("across-z", ["last x", "first x"])


@pytest.mark.parametrize(
    ("affine", "words"),
    [
        (affine_of((2, -3, 1)), "sagittal slices"),
        (affine_of((1, -3, 2)), "coronal slices"),
        (affine_of((-1, -2, 3)), "axial slices"),
        (np.eye(4), "slices of unknown orientation"),
    ],
    ids=["sagittal", "coronal", "axial", "unknown"],
)
def test_the_page_and_the_facts_name_the_plane(affine, words):
    volume = Volume(labelled(), affine)
    facts = inrcodec.info(inrcodec.encode(volume, lossless=True))
    page = build(Contents(name="a", facts=facts, planes=planes_of(volume)))
    assert words in re.search(r"<header>(.*?)</header>", page, re.S).group(1)
    assert facts["volume"]["plane"] == ("" if "unknown" in words else words.split()[0])
