"""Measurements of a CT: what is known of a volume is what they find.

In: a body of known lungs and bone.  Out: nothing.  Invariant: no figure of a codec is judged.
"""

import math
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
for name, extra in (("imagecodecs", "bench"), ("av", "bench"), ("SimpleITK", "itk")):
    pytest.importorskip(name, reason=f"tasks need the extra {extra}")

import tasks  # noqa: E402

from inrcodec import Volume  # noqa: E402

SHAPE = (12, 64, 64)
BODY = np.zeros(SHAPE, bool)
BODY[:, 4:60, 4:60] = True
LUNG = np.zeros(SHAPE, bool)
LUNG[:, 15:45, 10:30] = True
BONE = np.zeros(SHAPE, bool)
BONE[:, 15:45, 40:52] = True
CHEST = np.select([BONE, LUNG, BODY], [700, -850, 40], -1000).astype(np.int16)
CHEST[:, 15:45, 10:20] = -980  # half of the lung


def test_masks_are_those_of_the_body():
    found = tasks.masks(CHEST)
    for name, mask in (("body", BODY), ("lung", LUNG), ("bone", BONE)):
        assert tasks.dice(found[name], mask) > 0.97, name


def test_emphysema_is_a_share_of_the_lung():
    assert tasks.emphysema(CHEST, LUNG) == pytest.approx(50)
    assert math.isnan(tasks.emphysema(CHEST, np.zeros(SHAPE, bool)))


def test_an_equal_volume_has_equal_measurements():
    row = tasks.measured(Volume.from_array(CHEST, modality="CT"), CHEST, tasks.masks(CHEST))
    assert row["emphysema"] == row["decoded"]
    assert all(row[f"dice_{n}"] == 1 and row[f"hd95_{n}"] == 0 for n in ("body", "lung", "bone"))


def test_a_surface_that_moved_is_as_far_off_as_it_moved():
    moved = np.roll(BONE, 3, 2)
    assert tasks.hd95(BONE, moved, (1.0, 1.0, 0.5)) == pytest.approx(1.5)
    assert tasks.dice(BONE, moved) == pytest.approx(0.75)
    assert math.isnan(tasks.hd95(BONE, np.zeros(SHAPE, bool), (1, 1, 1)))


@pytest.mark.parametrize(("size", "expected"), [(55, 55), (1000, 100), (3, None)])
def test_the_finest_level_that_fits_is_found(size, expected):
    found = tasks.fitting(lambda level: [bytes(round(level))], 10, 100, size)
    if expected is None:
        assert found is None
    else:
        assert expected - 1 <= len(found[0]) <= expected
