"""Low-pass error and seams: what a reader would take for a finding is seen, and noise is not.

In: volumes whose errors are known.  Out: nothing.  Invariant: no figure rests on what a fit reached.
"""

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from conftest import TINY, encoded
from scipy.ndimage import gaussian_filter, minimum_filter

import inrcodec
from inrcodec import Volume
from inrcodec.report import text
from inrcodec.volume import flat_tissue
from inrcodec.volume.box import Box
from inrcodec.volume.bricks import Bricks
from inrcodec.volume.comparison import compare
from inrcodec.volume.flat_tissue import FlatTissue
from inrcodec.volume.low_pass import BoxErrors, low_pass
from inrcodec.volume.seams import seam_energy

SHAPE = (40, 70, 80)
Z, Y, X = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
NOISE = np.random.default_rng(3).normal(0, 20, SHAPE)
INSIDE = ((Z - 20) / 18) ** 2 + ((Y - 35) / 30) ** 2 + ((X - 40) / 34) ** 2 < 1
HEAD = np.rint(np.where(INSIDE, 40 + NOISE, -1000)).astype(np.int16)  # soft tissue in air
HEAD[20, 35, 2] = 3000


def volume(array=HEAD, modality="CT", spacing=(1.0, 1.0, 1.0), **about):
    return Volume.from_array(array, modality=modality, spacing=spacing, **about)


def tissue_of(source, most=flat_tissue.BOXES):
    return FlatTissue.of(source, source.value_range, most)


def errors_of(tissue, error, bricks=None):
    """Of an error in physical units, part by part."""
    found, nothing = BoxErrors(tissue.boxes), np.zeros(error.shape)
    for box in bricks or [Box((0, 0, 0), error.shape)]:
        part = BoxErrors(tissue.boxes)
        part.add(box, nothing[box.slices], error[box.slices], 1.0)
        found += part
    return found


def figures(source, error):
    tissue = tissue_of(source)
    return low_pass(errors_of(tissue, error), tissue, 1.0)


def flat_map(tissue, shape):
    found = np.zeros(shape, bool)
    for region in tissue.regions:
        found[region.core.slices] |= region.flat
    return found


def reference(array, error):
    """Of a whole CT at once, by the words of the documentation."""
    soft = gaussian_filter(array.astype(np.float32), 1, radius=3)
    flat = minimum_filter((soft > -160) & (soft < 240), 13, mode="nearest")
    near = gaussian_filter(error.astype(np.float32), 3, radius=9)[flat]
    wide = gaussian_filter(error.astype(np.float32), 5 / sqrt(8 * np.log(2)), radius=7)[flat]
    rms = (sqrt(np.square(a, dtype=float).mean()) for a in (near, wide))
    return *rms, (np.abs(wide) > 10).mean(), flat.sum()


def test_figures_of_boxes_are_those_of_the_whole_volume():
    found = figures(volume(), error := NOISE + 12 * np.sin(X / 9))
    assert (found.error, found.error_mm, found.off, found.voxels) == pytest.approx(
        reference(HEAD, error), rel=1e-4
    )


def test_noise_averages_out_and_blotches_stay():
    noise, blotch = figures(volume(), NOISE), figures(volume(), np.full(SHAPE, 8.0))
    assert noise.error < 1.5 and noise.off == 0
    assert blotch.error == pytest.approx(8) and blotch.error_mm == pytest.approx(8) and blotch.off == 0
    assert figures(volume(), np.full(SHAPE, 10.5)).off == 1


def test_the_wide_gaussian_is_in_millimetres():
    error = 10 * np.sin(X)
    fine, coarse = (figures(volume(spacing=(1, 1, edge)), error) for edge in (1.0, 3.0))
    assert fine.error == coarse.error and fine.error_mm < coarse.error_mm / 2


@pytest.mark.parametrize("edges", [(40, 70, 80), (7, 70, 80), (16, 32, 16)])
def test_parts_do_not_matter(edges):
    tissue, error = tissue_of(volume()), NOISE * np.cos(Y / 5)
    bricks = list(Bricks(SHAPE, edges))
    expected = low_pass(errors_of(tissue, error), tissue, 1.0)
    assert low_pass(errors_of(tissue, error, bricks), tissue, 1.0) == expected
    assert low_pass(errors_of(tissue, error, bricks[::-1]), tissue, 1.0) == expected


def test_metal_and_padding_change_nothing():
    changed = HEAD.copy()
    changed[:, :3, :5], changed[:, -3:, -5:] = 8191, -3024
    plain, other = (
        flat_map(tissue_of(source), SHAPE) for source in (volume(), volume(changed, padding=-3024))
    )
    assert plain.any() and np.array_equal(plain, other)


def test_padding_is_no_tissue():
    array = np.where(INSIDE, 40, 0).astype(np.int16)  # padding is in the window
    array[0, 0, :2] = -1000, 1000
    flat = flat_map(tissue_of(volume(array, padding=0)), SHAPE)
    assert flat.any() and not flat[~INSIDE].any()


@pytest.mark.parametrize("slope", [3.0, -0.01])
def test_units_of_another_modality_do_not_matter(slope):
    """What is flat is the same whatever the values are called, and errors are in their units."""
    steps = np.where(INSIDE, 300 + 100 * (X > 50) + NOISE / 10, 5)
    stored = np.rint(steps).astype(np.int16)
    plain = volume(stored, "MR")
    scaled = replace(plain, array=stored if slope > 0 else -stored, rescale=(slope, 7.0))
    first, other = tissue_of(plain), tissue_of(scaled)
    assert np.array_equal(flat_map(first, SHAPE), flat_map(other, SHAPE))
    assert other.tolerance == pytest.approx(first.tolerance * abs(slope))


def test_flat_tissue_of_another_modality_keeps_away_from_edges_and_background():
    stored = np.rint(np.where(INSIDE, 300 + 100 * (X > 50) + NOISE / 10, 5)).astype(np.int16)
    flat = flat_map(tissue_of(volume(stored, "MR")), SHAPE)
    assert flat.sum() == pytest.approx(flat_tissue.FLATTEST * INSIDE.sum(), rel=0.2)
    assert not flat[~INSIDE].any() and not flat[(X >= 49) & (X <= 52)].any()


@pytest.mark.parametrize(
    "source",
    [
        volume(np.where(INSIDE, 1500, -1000).astype(np.int16)),
        volume(np.full(SHAPE, -1000, np.int16)),
        volume(np.where(X < 5, 40, -1000).astype(np.int16)),
        volume(np.full((1, 1, 1), 7, np.int16), "MR"),
    ],
    ids=["bone", "air", "a rim", "a voxel"],
)
def test_where_no_tissue_is_flat_there_is_no_figure(source):
    assert figures(source, np.ones(source.shape)) is None


def test_a_large_volume_is_looked_at_in_a_few_boxes():
    tissue = tissue_of(volume(np.tile(HEAD, (3, 5, 4))))
    shapes = [region.box.shape for region in tissue.regions]
    assert 0 < len(shapes) <= flat_tissue.BOXES and max(max(shape) for shape in shapes) <= flat_tissue.EDGE
    assert len(tissue_of(volume(np.tile(HEAD, (3, 5, 4))), None).regions) > len(shapes)


TILES = list(Bricks(SHAPE, (40, 35, 40)))


@pytest.mark.parametrize("step", [(1, 1, 1), (4, 4, 4)])
def test_steps_at_tile_faces_are_seams_and_noise_is_not(step):
    tissue = tissue_of(volume())
    parity = sum(((k * 7919) % 5 - 2) * 6 * np.where(at(box), 1, 0) for k, box in enumerate(TILES))
    plain = seam_energy(errors_of(tissue, NOISE), tissue, TILES, step)
    seams = seam_energy(errors_of(tissue, NOISE + parity), tissue, TILES, step)
    assert 0.7 < plain < 1.4 and seams > 2.5


def at(box):
    inside = np.zeros(SHAPE, bool)
    inside[box.slices] = True
    return inside


def test_no_faces_or_no_errors_have_no_seam_energy():
    tissue = tissue_of(volume())
    assert seam_energy(errors_of(tissue, NOISE), tissue, [Box((0, 0, 0), SHAPE)], (4, 4, 4)) is None
    assert seam_energy(errors_of(tissue, 0 * NOISE), tissue, TILES, (4, 4, 4)) is None


SMALL = {**TINY, "steps": 20, "factor": 4, "tiles": (1, 2, 2)}


@pytest.mark.parametrize("options", [SMALL, {"max_error": 60.0}], ids=["fit", "bound"])
def test_a_report_has_the_figures_of_what_is_decoded(options):
    blob, report = encoded(volume(), **options)
    error = inrcodec.decode(blob).astype(float) - HEAD
    expected = reference(HEAD, error)
    found = (report.low_pass_error, report.low_pass_error_mm, report.low_pass_off, report.low_pass_voxels)
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert report.low_pass_window == "soft tissue, -160 to 240"
    lines = text.report_text(report, "x.inrv")
    assert f"low-pass error   {report.low_pass_error:.3g} (soft tissue, -160 to 240: " in lines
    assert ("at seams" in lines) == (report.seam_energy is not None)
    assert (report.seam_energy is not None) == ("tiles" in options)


def test_a_comparison_has_the_figures_of_the_report():
    blob, report = encoded(volume(), **SMALL)
    file = inrcodec.open(blob)
    tiles = file.decoder.base.boxes
    boxes = [box.scaled((4, 4, 4), SHAPE) for box in tiles]
    found = compare(volume(), file.volume(), (boxes, (4, 4, 4)))
    assert found.low_pass.error == pytest.approx(report.low_pass_error)
    assert found.seam_energy == pytest.approx(report.seam_energy)


def test_tiles_fill_the_grid():
    blob, _ = encoded(volume(), **SMALL)
    filled = np.zeros(SHAPE, int)
    for box in inrcodec.open(blob).decoder.base.boxes:
        filled[box.scaled((4, 4, 4), SHAPE).slices] += 1
    assert (filled == 1).all()


def test_without_loss_nothing_is_measured(tmp_path):
    _, report = encoded(volume(), lossless=True)
    assert report.low_pass_error is None and report.seam_energy is None
    assert "low-pass" not in text.report_text(report, "x.inrv")


def test_a_report_says_where_no_tissue_is_flat():
    _, report = encoded(volume(np.where(INSIDE, 1500, -1000).astype(np.int16)), max_error=60.0)
    assert report.low_pass_error is None and report.low_pass_voxels == 0
    assert "low-pass error   no flat tissue to measure it in" in text.report_text(report, "x.inrv")


@pytest.mark.filterwarnings("error")
def test_values_that_float32_does_not_hold_are_measured_as_others_are():
    plain = volume(HEAD.astype(np.float64), modality="MR")
    huge = volume(HEAD.astype(np.float64) * 1e296, modality="MR")
    found = []
    for source in (plain, huge):
        tissue = tissue_of(source)
        errors = BoxErrors(tissue.boxes)
        peak = float(source.array.max() - source.array.min())
        errors.add(Box((0, 0, 0), SHAPE), source.array, source.array * 1.01, peak)
        found.append(low_pass(errors, tissue, peak))
    assert found[1].error == pytest.approx(found[0].error * 1e296, rel=1e-5)
    assert found[1].off == found[0].off
