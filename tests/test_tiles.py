"""Tiles: every voxel in exactly one box, equal work, and cuts that say it all."""

import numpy as np
import pytest

from inrcodec.layers.base import activity
from inrcodec.layers.base.siren import tiles
from inrcodec.volume.box import Box

RNG = np.random.default_rng(1)
BALL = np.linalg.norm(np.indices((20, 31, 26)) - np.array([10, 15, 13])[:, None, None, None], axis=0) < 9
MASKS = {
    "ball": BALL,
    "full": np.ones((5, 6, 7), bool),
    "noise": RNG.random((9, 8, 12)) < 0.1,
    "plane": BALL[10:11],
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("parts", [(1, 1, 1), (1, 2, 2), (1, 3, 4)])
def test_every_voxel_belongs_to_exactly_one_tile(name, parts):
    active = MASKS[name]
    cuts = tiles.cut(active, parts)
    seen = np.zeros(active.shape, int)
    for box in tiles.boxes(active.shape, parts, cuts):
        seen[box.slices] += 1
    assert (seen == 1).all()
    found = [tiles.tile(active, box) for box in tiles.boxes(active.shape, parts, cuts)]
    assert sum(len(t.index) for t in found if t) == active.sum()


def test_boxes_hold_equal_work():
    ball = np.linalg.norm(np.indices((50, 60, 70)) - np.array([20, 30, 45])[:, None, None, None], axis=0) < 20
    cuts = tiles.cut(ball, (2, 3, 2))
    counts = [ball[b.slices].sum() for b in tiles.boxes(ball.shape, (2, 3, 2), cuts)]
    assert max(counts) < 1.25 * min(counts)


def test_a_part_for_every_voxel_of_an_axis_is_possible():
    active = np.zeros((4, 3, 2), bool)
    active[0, 0, 0] = True
    cuts = tiles.cut(active, (4, 3, 2))
    assert all(b.low < b.high for b in tiles.boxes(active.shape, (4, 3, 2), cuts))


@pytest.mark.parametrize("count", [1, 2, 7, 8, 37])
def test_parts_come_near_the_wished_number_and_fit_the_axes(count):
    parts = tiles.parts_for(BALL, count)
    assert 0.7 * count <= np.prod(parts) <= 1.3 * count
    assert all(p <= n for p, n in zip(parts, BALL.shape, strict=True))


def test_thin_volumes_are_not_cut_along_their_thin_side():
    assert tiles.parts_for(np.ones((2, 100, 100), bool), 4) == (1, 2, 2)


def test_coordinates_are_the_cell_centred_grid():
    tile = tiles.tile(np.ones((4, 4, 4), bool), Box((0, 0, 0), (4, 4, 4)))
    expected = (2 * np.arange(4) + 1) / 4 - 1
    assert np.array_equal(np.unique(tile.coordinates()), expected)
    assert np.array_equal(tile.coordinates(slice(5, 9)), tile.coordinates()[5:9])


@pytest.mark.parametrize("cell", [(1, 1, 1), (2, 2, 2), (3, 2, 5)])
def test_a_mask_covers_all_that_differs_from_the_background(cell):
    lowres = np.where(BALL, 0.3, -1.0)
    background = activity.background_of(lowres)
    cells = activity.active_cells(lowres, background, cell)
    active = activity.active_voxels(cells, cell, lowres.shape)
    assert background == -1.0
    assert active[BALL].all() and active.mean() < 0.9


def test_a_volume_without_flat_background_has_no_mask():
    noise = RNG.normal(size=(8, 16, 16)).clip(-1, 1)
    assert activity.active_cells(noise, activity.background_of(noise), (1, 1, 1)) is None
    assert activity.active_voxels(None, (1, 1, 1), noise.shape).all()


def test_cells_grow_with_the_volume():
    assert activity.cell_for((59, 128, 128), 2) == (2, 2, 2)
    assert activity.cell_for((500, 512, 512), 2) == (8, 8, 8)
    assert activity.cell_for((1, 128, 128), 2) == (1, 2, 2)


def test_metal_does_not_hide_the_anatomy():
    """One spot of 30000 stretches the range; lung in air must stay active all the same."""
    hu = np.full((20, 40, 40), -1000.0)
    hu[4:16, 8:32, 8:32] = 40
    hu[6:14, 12:28, 12:20] = -860
    spotless = activity.active_cells(unit(hu, 1000), activity.background_of(unit(hu, 1000)), (1, 1, 1))
    hu[10, 20, 25] = 30000
    lowres = unit(hu, 30000)
    background = activity.background_of(lowres)
    spotted = activity.active_cells(lowres, background, (1, 1, 1))
    assert background == lowres[0, 0, 0]
    assert spotted[4:16, 8:32, 8:32].all() and np.array_equal(spotted, spotless)


def unit(hu, high):
    return (hu + 1024) / (high + 1024) * 2 - 1


def test_a_far_shorter_axis_has_a_scale_of_its_own():
    """What changes over 4 voxels is within reach of a network that spans 1 500."""
    shape = (1, 4, 1500)
    tile = tiles.tile(np.ones(shape, bool), Box((0, 0, 0), shape))
    z, y, x = np.abs(tile.coordinates()).max(0)
    assert z == 0 and y == 3 / 32 and x == 1499 / 1500
