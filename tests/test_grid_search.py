"""The grid: the spacing's, unless a forecast finds a clearly better one, and the forecast's own promises."""

from math import inf
from pathlib import Path

import numpy as np
import pytest
from conftest import encoded

from inrcodec import api, io
from inrcodec.encoder import forecast as probe
from inrcodec.encoder import grid_search
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.options import EncodeOptions
from inrcodec.layers import resample
from inrcodec.report.text import grid_lines, report_text
from inrcodec.volume.value_range import Range
from inrcodec.volume.volume import Volume

SAMPLE = Path(__file__).parent / "data" / "vhf-head-dicom"


def textured(shape=(64, 96, 96), spacing=(1.0, 1.0, 1.0), sharp=(1.0, 1.0, 1.0), modality=""):
    """Blobs and edges whose detail along each axis grows with ``sharp``."""
    rng = np.random.default_rng(0)
    axes = np.meshgrid(*(np.linspace(0, s, n) for s, n in zip(sharp, shape, strict=True)), indexing="ij")
    waves = sum(
        np.sin(
            sum(c * a for c, a in zip(rng.normal(scale=14, size=3), axes, strict=True)) + rng.uniform(0, 6)
        )
        for _ in range(12)
    )
    array = np.where(waves > 1, 900, 100 * waves).astype(np.int16)
    return Volume(array, np.diag([*spacing[::-1], 1.0]), modality=modality)


def options(**knobs):
    return EncodeOptions.from_preset(**knobs).resolved()


def choose(volume, size=None, **knobs):
    return grid_search.choose(Facts.of(volume), options(**knobs), size)


def forecast(volume, factor):
    return probe.forecast(probe.sample(volume, Range.of(volume)), factor)


@pytest.mark.parametrize("factor", [(4, 4, 4), (2, 4, 4), (1, 2, 2), (4, 1, 2)])
@pytest.mark.parametrize("shape", [(64, 96, 96), (50, 131, 70), (1, 200, 90)])
def test_the_ceiling_is_that_of_down_and_up(shape, factor):
    volume = textured(shape)
    factor = tuple(min(f, n) for f, n in zip(factor, shape, strict=True))
    unit = Range.of(volume).to_unit(volume.array)
    low = resample.down(lambda z, rows: unit[z, rows], shape, factor)
    error = np.square(resample.up(low, factor, shape) - unit).mean()
    assert forecast(volume, factor).ceiling == pytest.approx(error, rel=0.12)


def test_more_bytes_make_a_smaller_error_down_to_the_ceiling():
    found = forecast(textured(), (2, 2, 2))
    errors = [found.error(size) for size in (0, 10, 100, 1_000, 10_000, 100_000, 1e9)]
    assert errors == sorted(errors, reverse=True) and errors[1] > errors[-2]
    assert errors[-1] == pytest.approx(found.ceiling) and found.error(inf) == found.ceiling


def test_the_bytes_for_a_psnr_are_the_inverse_of_the_error():
    found = forecast(textured(), (2, 2, 2))
    wanted = 4 / (2 * found.ceiling)
    size = found.size(10 * np.log10(wanted))
    assert found.error(size) == pytest.approx(2 * found.ceiling, rel=1e-3)
    assert found.size(10 * np.log10(4 / found.ceiling) + 0.1) == inf


def test_the_rarer_the_detail_the_fewer_bytes():
    plain, busy = (forecast(textured(sharp=(s, s, s)), (2, 2, 2)) for s in (0.5, 2.0))
    assert plain.error(2_000) < busy.error(2_000)


def test_a_rich_size_takes_a_finer_grid_and_a_poor_one_stays():
    volume = textured(sharp=(2, 2, 2))
    poor, rich = choose(volume, 700), choose(volume, 60_000)
    assert poor.factor == (4, 4, 4) and "from the spacing" in poor.reason
    assert max(rich.factor) <= 2 and "than 4 x 4 x 4" in rich.reason


def test_the_chosen_grid_is_marked_and_no_finer_step_from_it_pays():
    choice = choose(textured(sharp=(2, 2, 2)), 20_000)
    (taken,) = [row for row in choice.considered if row.chosen]
    assert taken.factor == choice.factor and taken.bytes == 20_000
    assert all(row.psnr < taken.psnr + grid_search.GAIN for row in choice.considered)


def test_a_tiny_size_of_a_tiny_volume_keeps_the_coarse_grid():
    """Measured: (2, 4, 4) 22.1 dB, (2, 2, 2) 21.4 dB."""
    assert choose(io.read(SAMPLE), 600).factor == (2, 4, 4)


def test_without_a_target_the_spacing_decides():
    choice = choose(textured(), width=30)  # which fixes the size of the file
    assert choice.factor == (4, 4, 4) and choice.reason.startswith("from the spacing")
    assert choose(textured(spacing=(2, 1, 1), sharp=(1.5, 1, 1)), width=30).factor == (2, 4, 4)


def test_without_a_target_thick_slices_with_nothing_between_them_are_coarsened():
    plane = textured((1, 96, 96)).array + np.random.default_rng(0).normal(scale=60, size=(96, 96))
    array = np.repeat(plane, 64, axis=0).astype(np.int16)
    choice = choose(Volume(array, np.diag([1.0, 1.0, 4.0, 1.0])), width=30)
    assert choice.factor == (2, 4, 4) and "coarser" in choice.reason


def test_without_a_target_an_axis_that_holds_all_the_detail_is_refined():
    choice = choose(textured(sharp=(6, 0.3, 0.3)), width=30)
    assert choice.factor == (2, 4, 4) and "finer" in choice.reason


def test_a_small_volume_gets_a_file_that_is_worth_a_look():
    """At most so large, at least so much smaller than the voxels; what sets the size itself is left alone."""
    volume = textured()
    choice = choose(volume)
    assert choice.size == min(grid_search.SMALL_FILE, volume.array.nbytes // grid_search.SMALL_RATIO)
    assert choose(volume, factor=4).size == choice.size
    assert choose(volume, 5_000).size == 5_000
    for knobs in ({"width": 30}, {"preset": "paper"}, {"lossless": True, "base": "siren"}):
        assert choose(volume, **knobs).size is None
    large = Volume(np.broadcast_to(volume.array[:1, :1, :1], (400, 600, 600)), np.eye(4))
    assert choose(large, factor=2).size is None  # flat, but nobody has looked
    assert choose(Volume.from_array(volume.array[:4, :8, :8])).size is None  # a header is larger


@pytest.mark.parametrize("knobs", [{"factor": 4}, {"sr": "ct-3d-x4"}, {"preset": "paper"}])
def test_what_the_user_fixed_is_not_weighed(knobs):
    choice = choose(textured(), 60_000, **knobs)
    assert choice.factor == (4, 4, 4) and not choice.considered


def test_a_flat_volume_and_a_single_voxel_have_a_grid():
    assert choose(Volume.from_array(np.zeros((20, 30, 40), np.int16)), 5_000).factor == (4, 4, 4)
    assert choose(Volume.from_array(np.ones((1, 1, 1), np.float32))).factor == (1, 1, 1)


def test_the_grids_for_a_psnr_begin_with_one_that_can_reach_it():
    volume = textured(sharp=(2, 2, 2))
    ceilings = {row.factor: row.ceiling for row in choose(volume, 20_000).considered}
    wanted = (ceilings[4, 4, 4] + ceilings[2, 2, 2]) / 2
    order = grid_search.in_order(Facts.of(volume), options(psnr=wanted), wanted)
    needed = {row.factor: row.bytes for row in order[0].considered}
    assert needed[4, 4, 4] is None and order[0].factor != (4, 4, 4)
    sizes = [needed[choice.factor] or inf for choice in order]
    assert sizes == sorted(sizes) and len({choice.factor for choice in order}) == len(order)


def test_the_same_wish_gives_the_same_grids():
    volume = textured(sharp=(2, 2, 2))
    assert choose(volume, 20_000) == choose(volume, 20_000)


def test_every_grid_that_was_considered_is_told_in_a_line():
    rows = choose(textured(sharp=(2, 2, 2)), 60_000).rows()
    lines = grid_lines(rows)
    assert len(lines) == len(rows) > 3
    assert sum(line.endswith(", chosen") for line in lines) == 1
    assert all("forecast" in line and "60,000 bytes" in line for line in lines)


def test_plan_and_report_say_which_grids_were_considered():
    array = textured((16, 32, 32)).array
    plan = api.plan(array, size=900)
    _, report = encoded(array, size=900, steps=60)
    assert plan["considered"] == report.considered and plan["reason"] == report.reason
    assert [row["factor"] for row in plan["considered"] if row["chosen"]] == [plan["factor"]]
    assert report.reason in report_text(report, "x.inrv", verbose=True)
    assert report.reason not in report_text(report, "x.inrv")
