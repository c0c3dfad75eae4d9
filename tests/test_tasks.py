"""Measurements of a CT and an MR: what is known of a volume is what they find.

In: a body of known lungs and bone, a crop of a head.  Out: nothing.  Invariant: no figure of a codec is
judged.
"""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
pytest.importorskip("SimpleITK", reason="measurements need the extra tasks")

import measurements

from inrcodec import Volume, io

DATA = Path(__file__).parent / "data"
SHAPE = (12, 64, 64)
BODY = np.zeros(SHAPE, bool)
BODY[:, 4:60, 4:60] = True
LUNG = np.zeros(SHAPE, bool)
LUNG[:, 15:45, 10:30] = True
BONE = np.zeros(SHAPE, bool)
BONE[:, 15:45, 40:52] = True
CHEST = np.select([BONE, LUNG, BODY], [700, -850, 40], -1000).astype(np.int16)
CHEST[:, 15:45, 10:20] = -980  # half of the lung


def package(name):
    return pytest.importorskip(name, reason=f"{name} is of the extra tasks")


def scripts():
    """The benchmark, whose codecs need packages of their own."""
    for name in ("imagecodecs", "av"):
        package(name)
    import tasks

    return tasks


def test_masks_are_those_of_the_body():
    found = measurements.tissues(CHEST)
    for name, mask in (("body", BODY), ("lung", LUNG), ("bone", BONE)):
        assert measurements.dice(found[name], mask) > 0.97, name


def test_emphysema_is_a_share_of_the_lung():
    assert measurements.emphysema(CHEST, LUNG) == pytest.approx(50)
    assert math.isnan(measurements.emphysema(CHEST, np.zeros(SHAPE, bool)))


def test_a_surface_that_moved_is_as_far_off_as_it_moved():
    moved = np.roll(BONE, 3, 2)
    assert measurements.hd95(BONE, moved, (1.0, 1.0, 0.5)) == pytest.approx(1.5)
    assert measurements.dice(BONE, moved) == pytest.approx(0.75)
    for without in (np.zeros(SHAPE, bool), np.ones(SHAPE, bool)):
        assert math.isnan(measurements.hd95(BONE, without, (1, 1, 1)))


def test_regions_lie_in_the_tissue_and_apart():
    spacing = (2.0, 1.0, 1.0)
    found = measurements.regions(BODY, spacing)
    assert 1 < len(found) <= measurements.REGIONS
    taken = np.zeros(SHAPE, int)
    for box, mask in found:
        assert mask.shape == taken[box].shape and BODY[box][mask].all()
        assert mask.sum() * 2.0 == pytest.approx(4 / 3 * math.pi * measurements.RADIUS**3, rel=0.1)
        taken[box] += mask
    assert taken.max() == 1
    again = measurements.regions(BODY, spacing)
    assert [box for box, _ in again] == [box for box, _ in found]
    assert measurements.regions(np.zeros(SHAPE, bool), spacing) == []


def test_concordance_is_lins():
    """By hand: over 1, 2, 3 a shift of one gives 2·2/3 / (2/3 + 2/3 + 1) = 4/7."""
    source = np.array([[1.0, 1, 1, 5], [2, 2, 2, 5], [3, 3, 3, 5]])
    found = np.array([[1.0, 2, 3, 4], [2, 3, 2, 5], [3, 4, 1, 6]])
    assert measurements.concordance(source, found) == pytest.approx([1, 4 / 7, -1])  # the last has no spread
    found[0, 0] = np.nan
    assert measurements.concordance(source, found)[0] == 0
    assert measurements.concordance(source[:1], found[:1]).size == 0


def test_features_know_noise():
    package("mirp")
    values = np.random.default_rng(0).normal(40, 10, SHAPE).astype(np.float32)
    places = measurements.regions(BODY, (2.0, 1.0, 1.0))[:3]
    first = measurements.radiomics(values, places, "CT")
    assert first.shape[0] == 3 and first.shape[1] > 100 and np.isfinite(first).mean() > 0.9
    assert np.array_equal(first, measurements.radiomics(values, places, "CT"), equal_nan=True)
    noisy = values + np.random.default_rng(1).normal(0, 30, SHAPE).astype(np.float32)
    found = measurements.concordance(first, measurements.radiomics(noisy, places, "CT"))
    assert (found < measurements.CONCORDANT).any()


def test_an_equal_volume_has_equal_measurements():
    package("mirp")
    row = measurements.Measured(Volume.from_array(CHEST, modality="CT")).beside(CHEST)
    assert row["source"] == row["decoded"]
    assert all(row[f"dice_{n}"] == 1 and row[f"hd95_{n}"] == 0 for n in ("body", "lung", "bone"))


def test_a_brain_is_found_where_it_is():
    """An egg in a shell, off the middle of a volume of three lengths, which deepbet takes for a brain."""
    package("deepbet")
    z, y, x = np.ogrid[:80, :96, :88]
    radius = np.sqrt(((z - 35) / 26) ** 2 + ((y - 50) / 32) ** 2 + ((x - 48) / 26) ** 2)
    values = np.select([radius < 1, radius < 1.25], [150.0, 20.0], 0).astype(np.float32)
    found = measurements.brain(values, np.diag([2.0, 2.0, 2.0, 1.0]))
    assert found.shape == values.shape and measurements.dice(found, radius < 1) > 0.8


@pytest.mark.parametrize("modality", ["", "PT"])
def test_what_is_neither_ct_nor_mr_is_refused(modality):
    with pytest.raises(SystemExit, match="of CT and MR"):
        measurements.require(modality)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(measurements, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="mirp and deepbet is missing"):
        measurements.require("MR")


@pytest.mark.parametrize(("size", "expected"), [(55, 55), (1000, 100), (3, None)])
def test_the_finest_level_that_fits_is_found(size, expected):
    found = scripts().fitting(lambda level: [bytes(round(level))], 10, 100, size)
    if expected is None:
        assert found is None
    else:
        level, [stream] = found
        assert expected - 1 <= len(stream) == round(level) <= expected


def test_files_have_at_most_the_bytes(monkeypatch):
    tasks = scripts()
    monkeypatch.setattr(tasks, "STEPS", 4)
    head = replace(io.read(DATA / "vhf-head.nii.gz"), modality="CT")
    crop = replace(head, array=np.ascontiguousarray(head.array[8:16, 170:250, 200:280]))
    codecs = tasks.Codecs(crop, 1)
    size = crop.array.nbytes // 16
    for name in ("max-error", "AV1", "JPEG 2000", "SPERR"):
        _, taken, decoded = codecs.file(name, size)
        assert 0 < taken <= size and decoded.shape == crop.shape, name
        assert np.abs(decoded - crop.array).mean() < 300, name  # and no offset, of 1024, was forgotten
        assert codecs.file(name, 8) is None, name


def test_rows_are_a_table_and_are_kept(monkeypatch, tmp_path, capsys):
    package("mirp")
    tasks = scripts()
    monkeypatch.setattr(tasks, "STEPS", 2)
    words = ["--crop", "8:16,170:250,200:280", "--modality", "CT", "--ratios", "16", "100000"]
    tasks.main([str(DATA / "vhf-head.nii.gz"), *words, "--codecs", "SPERR", "--out", str(tmp_path)])
    rows = json.loads((tmp_path / "tasks-vhf-head.json").read_text())
    assert [row["bytes"] is None for row in rows] == [False, True]
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].count("|") == lines[2].count("|") == lines[3].count("|")
    assert "does not get that small" in lines[4]
