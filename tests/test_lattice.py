"""The refinement's coder: every voxel once, predicted from what is decoded, exact in any order of sums.

All of it in NumPy; that the compiled kernels do the same is `test_kernels`.
"""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from threading import Event

import numpy as np
import pytest

from inrcodec.entropy import interleaved, tokens
from inrcodec.entropy.interleaved import Writer
from inrcodec.errors import CorruptFile
from inrcodec.layers.lattice import codec, neighbours, rate, scan
from inrcodec.layers.lattice.codec import Lattice, Source
from inrcodec.layers.lattice.predictor import Predictor, fit
from inrcodec.layers.lattice.stream import Cursor
from inrcodec.native.library import SWITCH


@pytest.fixture(autouse=True)
def _plain(monkeypatch):
    monkeypatch.setenv(SWITCH, "0")


SHAPES = [(1, 1, 1), (1, 1, 9), (1, 8, 5), (2, 2, 2), (3, 17, 10), (9, 1, 31), (12, 20, 7)]


def noisy(shape, scale=20, seed=0):
    """A smooth volume and noise; whole numbers from 0 on."""
    rng = np.random.default_rng(seed)
    z, y, x = np.ogrid[tuple(slice(0, n) for n in shape)]
    smooth = 300 * (np.sin(z / 3) + np.cos(y / 5) + np.sin(x / 4))
    found = np.rint(smooth + rng.normal(scale=scale, size=shape)).astype(np.int32)
    return found - found.min()


def lattice_of(values, step=1):
    axes = scan.axes_for(values.shape, (1.0, 1.0, 1.0))
    return Lattice(axes=axes, steps=(step,) * (len(axes) + 1), most=int(values.max()))


def encoded(values, step=1, threads=1, free=None):
    lattice = lattice_of(values, step)
    return lattice, *codec.encode(Source(values=values, lattice=lattice, dont_care=free), threads)


# --- quantisation


@pytest.mark.parametrize("trade", [13, 26, 64])
@pytest.mark.parametrize("step", [2, 9, 1000])
def test_a_magnitude_is_lowered_where_that_is_worth_the_error(step, trade):
    """By squared errors and bits, tried one after the other."""
    rng = np.random.default_rng(step)
    left = rng.integers(-4 * step, 4 * step + 1, 3000)
    contexts = rng.integers(0, 20, 3000).astype(np.uint8)
    both = rng.integers(0, 9, 3000)
    size = (np.abs(left) + step // 2) // step
    costs = rate.costs_of(contexts, 2 * size)
    found = rate.cheaper(left, size, (both, contexts), costs, step, trade)
    assert (found < size).any() and (found == size).any()

    def price(k, taken):
        folded = 2 * taken - (left[k] > 0 and taken > 0) if taken <= both[k] else taken + both[k]
        bits = costs[contexts[k], tokens.tokenise(np.array([folded]))[0][0]] / rate.ONE
        return (abs(left[k]) - taken * step) ** 2 + trade / rate.ONE * step**2 * bits

    for k, taken in enumerate(found.tolist()):
        tried = range(size[k], max(size[k] - rate.SMALLER, 0) - 1, -1)
        assert taken == min(tried, key=lambda smaller: price(k, smaller))


def test_costs_are_bits_by_how_often_a_token_is_there_and_the_plain_ones():
    contexts = np.array([3] * 8 + [4], np.uint8)
    costs = rate.costs_of(contexts, np.array([0] * 4 + [1, 1, 2, 40, 5000]))
    large, larger = tokens.tokens_of(np.array([40, 5000]))
    assert costs[3, :3] / rate.ONE == pytest.approx([1, 2, 3], abs=0.6)
    assert costs[3, large] / rate.ONE == pytest.approx(3 + 3, abs=0.6)  # of 40 to 47 three bits are plain
    assert costs[4, larger] / rate.ONE == pytest.approx(2 + 10, abs=0.6)


# --- order and neighbours


@pytest.mark.parametrize("shape", SHAPES)
def test_every_voxel_comes_once(shape):
    axes = scan.axes_for(shape, (2.0, 1.0, 1.0))
    seen = np.zeros(shape, int)
    scan.first(seen, axes)[...] += 1
    assert seen.sum() <= scan.SMALLEST
    for stage in scan.stages(axes):
        fresh = stage.fresh(seen)
        for number in range(4):
            stage.phase(fresh, number)[...] += 1
        assert (stage.known(seen) == 1).all()
    assert (seen == 1).all()


def test_the_axis_of_the_largest_steps_is_halved_first():
    assert scan.axes_for((8, 64, 64), (5.0, 1.0, 1.0))[-2:] == (1, 2)
    assert scan.axes_for((64, 64, 64), (1.0, 1.0, 1.0))[-3:] == (0, 1, 2)


@pytest.mark.parametrize("shape", SHAPES[4:])
def test_neighbours_are_known_voxels_or_of_earlier_phases(shape):
    """What is not decoded yet may be anything: no neighbour shows it."""
    axes = scan.axes_for(shape, (1.0, 1.0, 1.0))
    stage = list(scan.stages(axes))[-1]
    rng = np.random.default_rng(0)
    volume = rng.integers(0, 100, shape)
    for number in range(4):
        rows = []
        for _ in range(2):
            fresh = stage.fresh(volume)
            for later in range(number, 4):
                mine = stage.phase(fresh, later)
                # Where a new axis has one voxel there is no other to mirror at: it shows its own place.
                if min(fresh.shape[k] for k in stage.others) > 1:
                    mine[...] = rng.integers(100, 10_000, mine.shape)
            near = neighbours.Neighbourhood(stage, number, stage.known(volume), stage.fresh(volume))
            if not stage.phase(fresh, number).size:
                continue
            rows.append(near.around(slice(0, len(stage.phase(fresh, number)))).rows)
        assert not rows or np.array_equal(*rows)


def test_rows_are_twice_a_neighbour_less_the_middle():
    volume = noisy((5, 9, 8))
    stage = scan.Stage(2, (1, 1, 2))
    near = neighbours.Neighbourhood(stage, 3, stage.known(volume), stage.fresh(volume)).around(slice(0, 2))
    z, y, x = 1, 4, 3  # the second phase of axis x: odd along z; even along y
    assert stage.phase(stage.fresh(volume), 3)[0, 2, 1] == volume[z, y, x]
    place = 2 * 4 + 1
    middle = volume[z, y, x - 1] + volume[z, y, x + 1]
    assert near.middle[place] == middle
    known = [volume[z + b, y + c, x + 2 * a - 1] for a, b, c in neighbours.KNOWN[:18]]
    known += [volume[z, y, x - 3], volume[z, y, x + 3]]
    new = [volume[z + b, y + c, x] for _, b, c in neighbours.NEW[3]]
    assert near.rows[:, place].tolist() == [2 * n - middle for n in known + new]


# --- prediction


@pytest.mark.parametrize("number", range(4))
def test_where_all_neighbours_are_equal_the_prediction_is_theirs(number):
    """That shortcut must give what the weights of any predictor give."""
    stage = scan.Stage(2, (1, 1, 2))
    volume = np.full((6, 8, 10), 700)
    near = neighbours.Neighbourhood(stage, number, stage.known(volume), stage.fresh(volume))
    rng = np.random.default_rng(number)
    rows = neighbours.rows_of(number)
    scales, weights = rng.integers(-9, 9, rows), rng.integers(-99, 99, (2, rows))
    model = Predictor(scales, 3, np.array([5]), weights)
    around = near.around(slice(0, 2))
    assert around.is_flat and around.rows.shape == (rows, around.middle.size) and not around.rows.any()
    longer = replace(around, rows=around.rows.copy(), is_flat=False)
    quick, slow = model.predict(around, 1), model.predict(longer, 1)
    assert np.array_equal(quick[0], slow[0]) and np.array_equal(quick[1], slow[1])
    for place in ((1, 0, 2), (1, 1, 1)):  # a known and a new voxel
        other = volume.copy()
        other[place] = 701
        near = neighbours.Neighbourhood(stage, 3, stage.known(other), stage.fresh(other))
        assert not near.around(slice(0, 1)).is_flat


def test_single_precision_is_used_only_where_it_is_exact():
    values = noisy((10, 24, 24))
    stage = list(scan.stages(scan.axes_for(values.shape, (1.0, 1.0, 1.0))))[-1]
    fresh = stage.fresh(values)
    near = neighbours.Neighbourhood(stage, 2, stage.known(values), fresh)
    mine = stage.phase(fresh, 2)
    of = fit(near.around(slice(0, len(mine))), mine.reshape(-1).astype(float), 1, mine.size)
    assert of.kind(4095) is np.float32 and of.kind(2**31) is np.float64
    found = [of.predict(near.around(slice(0, len(mine)), kind), 1) for kind in (np.float32, np.float64)]
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))
    assert np.abs(found[0][0] - mine.reshape(-1)).mean() < 1.1 * 20


def test_predictors_are_read_as_they_were_written():
    rng = np.random.default_rng(0)
    of = Predictor(
        rng.integers(-127, 128, 24), -5, np.array([3, 9]), rng.integers(-(2**14), 2**14 + 1, (3, 24))
    )
    cursor = Cursor(of.to_bytes() + b"more")
    again = Predictor.read(cursor, 24)
    assert cursor.take(4) == b"more" and again.exponent == -5
    for name in ("scales", "bounds", "weights"):
        assert np.array_equal(getattr(of, name), getattr(again, name))
    for data in (b"", of.to_bytes()[:5], of.to_bytes()[:-1]):
        with pytest.raises(CorruptFile):
            Predictor.read(Cursor(data), 24)


# --- the whole


@pytest.mark.parametrize("step", [1, 2, 9, 64])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_decoded_is_what_was_encoded_and_near_the_source(shape, step):
    values = noisy(shape)
    lattice, streams, known = encoded(values, step)
    assert np.array_equal(codec.decode(streams, shape, lattice), known)
    assert np.abs(known - values).max() <= step // 2


def test_threads_and_slabs_change_neither_bytes_nor_voxels(monkeypatch):
    values = noisy((21, 40, 33))
    lattice, streams, known = encoded(values)
    assert encoded(values, threads=3)[1] == streams
    monkeypatch.setattr(codec, "SLAB", 200)
    for threads in (1, 3):
        assert np.array_equal(codec.decode(streams, values.shape, lattice, threads), known)


def test_free_voxels_cost_next_to_nothing():
    values, free = noisy((16, 40, 40), scale=200), np.zeros((16, 40, 40), bool)
    free[:, :, 10:] = True
    lattice, streams, known = encoded(values, free=free)
    assert np.array_equal(codec.decode(streams, values.shape, lattice), known)
    assert np.array_equal(known[~free], values[~free])
    bare = encoded(values)[1]
    assert sum(map(len, streams)) < 0.4 * sum(map(len, bare))


def test_phases_do_not_pile_up_before_a_slow_coder(monkeypatch):
    predicted, waiting, add = [], [], Writer.add

    def slow(self, *args):
        Event().wait(0.02)
        waiting.append(len(predicted) - len(waiting))
        return add(self, *args)

    fit_one = codec.predictor.fit
    monkeypatch.setattr(codec.predictor, "fit", lambda *args: predicted.append(1) or fit_one(*args))
    monkeypatch.setattr(Writer, "add", slow)
    encoded(noisy((12, 20, 20)))
    assert len(predicted) > 3 * codec.PENDING and max(waiting) <= codec.PENDING + 1


def test_a_stream_is_not_copied_for_each_of_its_phases(monkeypatch):
    """Nothing of a stream is taken twice."""
    values = noisy((16, 24, 24))
    lattice, streams, _ = encoded(values)
    taken, take = [], Cursor.take
    monkeypatch.setattr(Cursor, "take", lambda self, count: taken.append(count) or take(self, count))
    codec.decode(streams, values.shape, lattice)
    assert sum(taken) == sum(map(len, streams))


def test_decoding_takes_little_more_memory_than_the_integers(monkeypatch):
    values = noisy((48, 160, 160), scale=3)
    monkeypatch.setattr(interleaved, "PIECES", (1 << 10, 1 << 12))  # as small beside it as beside a large one
    monkeypatch.setattr(codec, "SLAB", 1 << 10)
    lattice, streams, _ = encoded(values)
    tracemalloc.start()
    codec.decode(streams, values.shape, lattice)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 7 * values.size + (10 << 20)  # four bytes each, and ten MiB of tables


def test_fewer_streams_are_a_coarser_lattice():
    values = noisy((16, 24, 24), scale=0)
    lattice, streams, _ = encoded(values)
    errors = []
    for count in range(1, len(streams) + 1):
        found = codec.decode(streams[:count], values.shape, lattice)
        left = lattice.axes[count - 1 :]
        z, y, x = (2 ** left.count(k) for k in range(3))
        assert np.array_equal(found[::z, ::y, ::x], values[::z, ::y, ::x])
        errors.append(float(np.square(found - values).mean()))
    assert errors == sorted(errors, reverse=True) and errors[-1] == 0


def test_damaged_streams_are_an_error_or_other_voxels_and_nothing_else():
    """Checksums are the container's; behind them nothing may hang, crash or allocate without bound."""
    values = noisy((6, 12, 14))
    lattice, streams, _ = encoded(values)
    rng, refused = np.random.default_rng(0), 0
    for number, stream in enumerate(streams):
        for _ in range(12):
            damaged = bytearray(stream)
            damaged[rng.integers(len(stream))] ^= 1 << rng.integers(8)
            try:
                codec.decode(
                    [*streams[:number], bytes(damaged), *streams[number + 1 :]], values.shape, lattice
                )
            except CorruptFile:
                refused += 1
        for cut in (0, 1, len(stream) // 2, len(stream) - 1):
            with pytest.raises(CorruptFile):
                codec.decode([*streams[:number], stream[:cut], *streams[number + 1 :]], values.shape, lattice)
        with pytest.raises(CorruptFile):
            codec.decode([*streams[:number], stream + b"\0", *streams[number + 1 :]], values.shape, lattice)
    assert refused > 0.7 * 12 * len(streams)
