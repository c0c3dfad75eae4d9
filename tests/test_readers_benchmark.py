"""The check of the readers judges rightly: it finds what differs, and only that.

In: small grids, made headers and a series. Out: nothing. Invariant: no other reader than pydicom is needed.
"""

from __future__ import annotations

import sys
from itertools import permutations, product
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from dicom_maker import item, ramp, write_series
from pydicom import Dataset

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import reader_causes
import reader_oracles
import reader_pet
import reader_sources
import reader_worker
import reader_written
import readers
from reader_grids import Grid, closest, compare
from reader_worker import Outcome

OBLIQUE = np.array([[0.5, 0.1, 0.0, -10.0], [-0.1, 0.5, 0.3, 20.0], [0.02, -0.2, 2.0, 5.0], [0, 0, 0, 1.0]])


def grid(affine=OBLIQUE):
    return Grid(ramp().astype(np.float64), affine)


def turned(order, flips):
    """The same voxels at the same places, with other axes (x, y, z)."""
    values = np.flip(grid().values, [2 - axis for axis in range(3) if flips[axis]])
    affine = OBLIQUE.copy()
    for axis in range(3):
        if flips[axis]:
            affine[:3, 3] += affine[:3, axis] * (grid().values.shape[2 - axis] - 1)
            affine[:3, axis] *= -1
    return Grid(values.transpose([2 - order[2 - k] for k in range(3)]), affine[:, [*order, 3]])


@pytest.mark.parametrize("order", [*permutations(range(3))])
@pytest.mark.parametrize("flips", [*product((False, True), repeat=3)])
def test_axes_may_be_permuted_and_flipped(order, flips):
    difference = compare(grid(), turned(order, flips))
    assert difference.equal and difference.corner < 1e-9 and str(difference) == "equal"


def test_a_flip_that_the_affine_does_not_tell_is_found():
    mirrored = Grid(grid().values[..., ::-1], OBLIQUE)
    assert compare(grid(), mirrored).voxels == 5 * 6 * 6  # of seven columns the middle one is its own mirror


def test_one_voxel_and_a_hundredth_of_a_millimetre_are_found():
    other = grid()
    other.values[1, 2, 3] += 1
    difference = compare(grid(), other)
    assert (difference.voxels, difference.largest, difference.equal) == (1, 1.0, False)
    moved = OBLIQUE.copy()
    moved[0, 3] += 0.01
    difference = compare(grid(), grid(moved))
    assert difference.voxels == 0 and difference.corner == pytest.approx(0.01) and not difference.equal
    assert compare(grid(), grid(moved), placed=False).equal  # a header without a place decides nothing


def test_rounding_to_float32_is_no_difference():
    other = Grid((grid().values * 0.1).astype(np.float32), OBLIQUE)
    difference = compare(Grid(grid().values * 0.1, OBLIQUE), other)
    assert difference.equal and difference.rounding


def test_the_closest_of_several_volumes_counts():
    other = Grid(grid().values + 1, OBLIQUE)
    difference, theirs = closest(grid(), [Grid(grid().values[:2], OBLIQUE), other, grid()])
    assert difference.equal and np.array_equal(theirs.values, grid().values)
    assert compare(grid(), Grid(grid().values[:2], OBLIQUE)).shape == (2, 6, 7)


def header(**attributes):
    made = Dataset()
    made.Rows, made.Columns, made.PixelData = 6, 7, b""
    made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    for word, value in attributes.items():
        setattr(made, word, value)
    return made


def stack(*heights):
    return [header(ImagePositionPatient=[0, 0, height]) for height in heights]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (stack(0, 2, 4, 6), set()),
        (stack(0, 2, 6, 8), {"uneven gaps"}),
        (stack(0, 2, 0, 2), {"4-D"}),
        (stack(0, 2, 2, 4), {"duplicates"}),
        ([header(), header()], {"no positions"}),
        ([Dataset()], {"not an image"}),
        ([header(SamplesPerPixel=3)], {"colour"}),
        ([header(PhotometricInterpretation="PALETTE COLOR")], {"colour"}),
        ([header(NumberOfFrames=4)], {"frames without places"}),
        ([header(ImageType=["ORIGINAL", "PRIMARY", "MOSAIC"])], {"mosaic"}),
        ([header(ModalityLUTSequence=item())], {"table"}),
        ([*stack(0, 2), header(ImagePositionPatient=[0, 0, 4], Rows=8)], {"mixed"}),
    ],
)
def test_headers_tell_what_is_no_volume(headers, expected):
    assert reader_sources.facts(headers) == expected


REFUSED = {"pydicom": Outcome("refused", error="ValueError", message="colour")}
READ = {"pydicom": Outcome("read", (grid(),))}


@pytest.mark.parametrize(
    ("message", "known", "others", "reason", "holds"),
    [
        ("x.dcm is a colour image (RGB)", ["colour"], READ, "colour", True),
        ("x.dcm is a colour image (RGB)", [], READ, "colour", False),
        ("x.dcm is a colour image (RGB)", ["4-D"], REFUSED, "colour", False),
        ("missing slices between 1 and 2 mm", ["duplicates"], READ, "missing slices", False),
        ("cannot read the pixels of x.dcm", [], READ, readers.BROKEN, False),
        ("cannot read the pixels of x.dcm", [], REFUSED, readers.BROKEN, True),
    ],
)
def test_a_refusal_needs_a_reason_that_holds(message, known, others, reason, holds):
    mine = Outcome("refused", error="InputError", message=message, bases=("InputError", "InrvError"))
    assert readers.refusal(mine, known, others) == (reason, holds)


def test_an_error_that_is_not_ours_is_no_refusal():
    mine = Outcome("refused", error="KeyError", message="'Rows'", bases=("KeyError", "Exception"))
    assert readers.refusal(mine, [], REFUSED) == (readers.BROKEN, False)


def source(**attributes):
    made = header(ImagePositionPatient=[0, 0, 0], PixelSpacing=[1, 1], **attributes)
    return reader_sources.Source("made", "one", [Path("x.dcm")], [made])


def plane(values=None):
    return Grid(ramp(1).astype(np.float64) if values is None else values, np.eye(4))


def test_the_verdict_is_of_all_readers_and_of_the_headers():
    mine, other = Outcome("read", (plane(),)), Outcome("read", (plane(plane().values + 1),))
    refused = Outcome("refused", message="no")
    judged = {
        "equal": readers.judged(source(), mine, {"a": mine, "b": refused}),
        "unequal": readers.judged(source(), mine, {"a": mine, "b": other}),
        "unchecked": readers.judged(source(), mine, {"b": refused}),
        "wrong": readers.judged(source(NumberOfFrames=3), mine, {"a": mine}),
        "crash": readers.judged(source(), Outcome("crash"), {"a": mine}),
    }
    assert {verdict: row.verdict for verdict, row in judged.items()} == {v: v for v in judged}


def test_an_inversion_is_explained_by_the_headers_alone():
    inverted = plane(41 - plane().values)
    difference = compare(plane(), inverted)
    told = reader_causes.cause(
        source(PhotometricInterpretation="MONOCHROME1"), "X", plane(), inverted, difference
    )
    assert told == "X inverts MONOCHROME1"
    assert not reader_causes.cause(source(), "X", plane(), inverted, difference)


def test_the_grid_nearer_to_the_headers_is_right():
    moved = Grid(plane().values, np.diag([1, 1, 1, 1.0]) + np.eye(4, k=3) * 0.5)
    difference = compare(plane(), moved)
    assert "0.5 mm off the headers, ours 0 mm" in reader_causes.cause(
        source(), "X", plane(), moved, difference
    )
    assert not reader_causes.cause(source(), "X", moved, plane(), compare(moved, plane()))


def test_a_series_is_found_and_read_as_the_standard_says(tmp_path):
    write_series(tmp_path / "made-1" / "series", ramp())
    copytree(tmp_path / "made-1", tmp_path / "other-1")
    (found,) = reader_sources.find_sources([tmp_path])  # a copy is not counted twice
    assert (found.package, len(found.files), found.modality) == ("made-1", 5, "CT")
    (tmp_path / "staged").mkdir()
    staged = found.stage(tmp_path / "staged")
    (mine,), (theirs,) = reader_oracles.ours(staged), reader_oracles.pydicom(staged)
    assert compare(mine, theirs).equal and np.array_equal(theirs.values, ramp() - 1024)


@pytest.mark.parametrize("is_buried", [False, True], ids=["dying", "dead"])
def test_a_process_that_died_is_a_row_and_not_the_end(is_buried, tmp_path):
    worker = reader_worker.Worker()
    try:
        assert worker.read("inrcodec", [tmp_path / "nowhere"], 60).error == "InputError"
        worker._process.kill()
        if is_buried:
            worker._process.join()  # its end of the pipe is closed before anything is sent
        assert worker.read("inrcodec", [tmp_path / "nowhere"], 60).kind == "crash"
        assert worker.read("inrcodec", [tmp_path / "nowhere"], 60).kind == "refused"
    finally:
        worker.close()


def test_errors_of_a_validator_are_compared_by_kind():
    first = 'Error - Illegal root for UID - "0.0.0.1.88" in (0x0008,0x0018) SOP Instance UID\nWarning - x'
    second = 'Error - Illegal root for UID - "0.0.0.2.99" in (0x0008,0x0018) SOP Instance UID'
    assert reader_written.errors_of(first) == reader_written.errors_of(second)
    assert reader_written.errors_of(first) != reader_written.errors_of(second.replace("SOP", "Study"))


def test_slices_of_the_pet_fill_their_type():
    stored, slopes = reader_pet.stored(np.array([[[1.0, 2.0]], [[0.5, 0.1]]]), "int16")
    assert stored.max(axis=(1, 2)).tolist() == [32767, 32767] and len(set(slopes)) == 2
    assert stored[0] * slopes[0] == pytest.approx(np.array([[1.0, 2.0]]), rel=1e-4)


def test_what_is_not_installed_is_said(capsys, monkeypatch):
    monkeypatch.setattr(readers, "missing", lambda: ["highdicom"])
    readers.main([])
    assert capsys.readouterr().out == "skipped: highdicom not installed\n"
