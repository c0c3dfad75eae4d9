"""Volumes larger than memory: the same bytes whoever computes which part, and nothing held but parts."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from threading import Lock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import inrcodec
from inrcodec import Volume
from inrcodec.encoder import facts, first_pass, fit_groups, lowres, planner, upsampled
from inrcodec.encoder.fit.loop import FitSettings, FittedTiles
from inrcodec.encoder.options import EncodeOptions
from inrcodec.encoder.outcome import Outcome
from inrcodec.encoder.tasks import AHEAD, Threads, silent
from inrcodec.errors import InputError, InrvError, MissingExtra, TargetNotReached
from inrcodec.format import spool
from inrcodec.format.digest import digest_of
from inrcodec.format.sections import Sections
from inrcodec.format.spool import IN_MEMORY, Spool
from inrcodec.layers import resample
from inrcodec.layers.base.siren.siren import Layout
from inrcodec.layers.base.siren.tiles import Tile
from inrcodec.layers.decode_options import DecodeOptions
from inrcodec.layers.lattice.bricks import Coding
from inrcodec.layers.upsample import Padding, Upsampling
from inrcodec.volume.box import Box
from inrcodec.volume.lazy import RawArray
from inrcodec.volume.value_range import Range

HEAD = Path(__file__).parent / "data" / "vhf-head.nii.gz"
PROMISES = [{"lossless": True}, {"max_error": 3}, {"psnr": 56.0, "steps": 5}]
NOTHING = repeat(None)
NETWORKS = {"factor": 2, "tiles": (1, 2, 3), "width": 10, "steps": 120, "sr": "lanczos"}


class Elsewhere:
    """Parts as another process would compute them: pickled, the last ones first, on other threads."""

    def __init__(self):
        self.parts = 0

    def map(self, function, array, boxes, given=NOTHING, reports=silent, *, at_once=None):
        numbered = list(zip(range(len(boxes)), given, strict=False))
        found = {}
        for number, what in reversed(numbered):
            sent = pickle.dumps((function, array[boxes[number].slices].copy(), what))
            there, values, given_there = pickle.loads(sent)
            found[number] = pickle.dumps(there(values, given_there, 1 + number % 2, None))
            self.parts += 1
        yield from (pickle.loads(found[number]) for number, _ in numbered)


def ramp(shape=(20, 27, 30), seed=0):
    """A ramp with noise and a padded corner."""
    rng = np.random.default_rng(seed)
    found = np.add.outer(np.add.outer(np.arange(shape[0]), np.arange(shape[1])), np.arange(shape[2])) * 7.0
    found = (found + rng.normal(scale=4, size=shape)).astype(np.int16)
    found[:, :5, :7] = -2000
    return found


def on_disk(array, folder):
    """The same values in a file that is read box by box."""
    path = folder / "values.raw"
    path.write_bytes(array.tobytes())
    return RawArray(path, 0, array.shape, array.dtype)


def volume_of(array):
    return Volume(array, np.eye(4), padding=-2000)


def written(array, path, **options):
    inrcodec.encode_file(volume_of(array), path, force=True, **options)
    return path.read_bytes()


# --- the same bytes


@pytest.mark.parametrize("options", PROMISES)
def test_a_promise_takes_the_same_bytes_from_disk_or_memory_and_wherever_bricks_are_coded(tmp_path, options):
    array, elsewhere = ramp(), Elsewhere()
    blob = inrcodec.encode(volume_of(array), brick=16, **options)
    assert written(on_disk(array, tmp_path), tmp_path / "a.inrv", brick=16, threads=1, **options) == blob
    assert written(array, tmp_path / "b.inrv", brick=16, tasks=elsewhere, **options) == blob
    assert elsewhere.parts >= 2 * 2 * 2 and inrcodec.verify(blob)["ok"]


def test_networks_take_the_same_bytes_from_disk_or_memory_and_wherever_they_are_fitted(tmp_path, monkeypatch):
    array, elsewhere = ramp((24, 40, 44)), Elsewhere()
    monkeypatch.setattr(fit_groups, "TILES", 2)
    monkeypatch.setattr(lowres, "SLAB", 4 * 40 * 44)
    monkeypatch.setattr(facts, "ONE_BRICK", 1000)
    monkeypatch.setattr(facts, "LAYER", 8)
    blob = inrcodec.encode(volume_of(array), size=3000, **NETWORKS)
    assert written(on_disk(array, tmp_path), tmp_path / "a.inrv", size=3000, threads=1, **NETWORKS) == blob
    assert written(array, tmp_path / "b.inrv", size=3000, tasks=elsewhere, **NETWORKS) == blob
    assert len(blob) <= 3000 and inrcodec.verify(blob)["ok"]
    assert elsewhere.parts > 3 + 6


def test_bricks_of_networks_change_the_header_and_no_voxel(monkeypatch):
    volume = volume_of(ramp((24, 40, 44)))
    one = inrcodec.encode(volume, **NETWORKS)
    monkeypatch.setattr(facts, "ONE_BRICK", 1000)
    monkeypatch.setattr(facts, "LAYER", 8)
    several = inrcodec.encode(volume, **NETWORKS)
    opened, other = inrcodec.open(several), inrcodec.open(one)
    assert len(opened.header.bricks) > 1 == len(other.header.bricks)
    assert np.array_equal(opened.read(), other.read())
    assert opened.header.psnr == pytest.approx(other.header.psnr) and inrcodec.verify(several)["ok"]


def test_super_resolution_sees_the_low_res_voxels_beside_a_brick(monkeypatch):
    volume = inrcodec.io.read(HEAD)
    part = np.ascontiguousarray(volume.array[4:20, 170:250, 200:280])
    monkeypatch.setattr(facts, "ONE_BRICK", 1000)
    monkeypatch.setattr(facts, "LAYER", 8)
    options = EncodeOptions(preset="fast", factor=4, tiles=(1, 1, 1)).resolved()
    here = planner.make(facts.Facts.of(replace(volume, array=part)), replace(options, tasks=Elsewhere()))
    low, masks = here.lowres.target, Sections(here.known)
    header, plain, model = upsampled.both_ways(here, low, here.lowres.active)
    whole = Upsampling(header, here.lowres.active, Padding.of(header, masks))
    assert len(header.bricks) == 2 and header.sr != "lanczos"
    for way, how in ((plain, DecodeOptions(sr="lanczos")), (model, DecodeOptions())):
        stored = np.concatenate([slab.stored for slab in whole.slabs(low, how)])
        assert way.digest == digest_of(stored, header.bricks)
        error = np.square((stored.astype(float) - part) / way.outcome.errors.peak).mean()
        assert way.outcome.errors.mse == pytest.approx(error)


@settings(max_examples=20)
@given(st.integers(1, 30), st.integers(1, 4), st.integers(1, 5), st.integers(1, 3))
def test_slabs_are_down_sampled_as_the_whole(depth, factor, thickness, threads):
    volume = np.random.default_rng(0).normal(size=(depth, 9, 11))
    factors = (min(factor, depth), 2, 3)

    def rows_at(z, rows):
        return volume[z, rows]

    whole = resample.down(rows_at, volume.shape, factors)
    for first in range(0, len(whole), thickness):
        part = slice(first, min(first + thickness, len(whole)))
        reach = resample.reach(depth, factors[0], part)

        def within(z, rows, reach=reach):
            assert z in reach
            return volume[z, rows]

        found = resample.down(within, volume.shape, factors, part=part, threads=threads)
        assert found.tobytes() == whole[part].tobytes()


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_the_first_look_at_values_is_in_parts(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(first_pass, "PART", 3 * 27 * 30)
    array, elsewhere = ramp().astype(dtype), Elsewhere()
    volume = volume_of(on_disk(array, tmp_path))
    found = first_pass.value_range(volume, elsewhere)
    assert found == Range.of(volume_of(array)) == volume.value_range and elsewhere.parts == 7
    array[17, 3, 3] = np.nan if dtype == "float32" else 2**60
    changed = volume_of(on_disk(array, tmp_path))
    if dtype == "float32":
        assert first_pass.value_range(changed, elsewhere).special == 1
    else:
        with pytest.raises(InputError, match=r"2\^53"):
            first_pass.value_range(changed, elsewhere)


# --- groups of tiles


def some_tiles(count, side=3):
    index = np.argwhere(np.ones((side,) * 3)).astype(np.int16)
    return [
        Tile(index + np.int16([side * k, 0, 0]), 2 * index[-1] + side * k, index[-1] + 1)
        for k in range(count)
    ]


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 10_000))
def test_groups_share_out_tiles_bytes_and_time(count, most, budget):
    settings_ = FitSettings(steps=1, batch=8, lmbda=1e-6, budget=budget, seed=5, time_budget=9.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit_groups, "TILES", most)
        tiles = some_tiles(count)
        groups = fit_groups.groups_of(tiles, settings_, None)
    assert [t for g in groups for t in g.tiles] == tiles
    assert max(len(g.tiles) for g in groups) <= most
    assert sum(g.settings.budget for g in groups) <= budget < sum(g.settings.budget + 1 for g in groups) + 1
    assert sum(g.settings.time_budget for g in groups) == pytest.approx(9.0)
    assert len({g.settings.seed for g in groups}) == len(groups)
    if len(groups) == 1:
        assert groups[0].settings is settings_


def test_a_warm_start_is_that_of_the_groups_own_tiles(monkeypatch):
    monkeypatch.setattr(fit_groups, "TILES", 2)
    start = FittedTiles(Layout(1, 2), [[k] for k in range(5)], [[np.int32(k)] for k in range(5)], 7, 1)
    groups = fit_groups.groups_of(some_tiles(5), FitSettings(steps=1, batch=8, lmbda=0.0), start)
    assert [g.start.codes for g in groups] == [[[0], [1]], [[2], [3]], [[4]]]
    joined = fit_groups.joined([g.start for g in groups])
    assert joined.codes == start.codes and joined.integers == start.integers and joined.restarts == 3


# --- what is held


def test_few_parts_wait_and_all_come_in_order():
    made, begun, lock = [], [], Lock()

    def given_():
        for number in range(50):
            made.append(number)
            yield number

    def work(values, number, threads, report):
        with lock:
            begun.append(number)
        return number, values.tolist(), threads

    boxes = [Box((0, 0, k), (1, 1, k + 1)) for k in range(50)]
    found = Threads(4).map(work, np.arange(50).reshape(1, 1, 50), boxes, given_())
    for number in range(50):
        assert next(found) == (number, [[[number]]], 1)
        assert len(made) <= number + AHEAD * 4 + 1
    assert list(found) == [] and sorted(begun) == list(range(50))


def test_few_parts_share_the_threads_and_large_ones_take_all():
    boxes = [Box((k, 0, 0), (k + 1, 1, 1)) for k in range(2)]

    def work(values, what, threads, report):
        return threads

    array = np.zeros((2, 1, 1))
    assert list(Threads(6).map(work, array, boxes)) == [3, 3]
    assert list(Threads(6).map(work, array, boxes, at_once=1)) == [6, 6]
    assert list(Threads(6).map(work, array, [])) == []


def held(array, folder, **options):
    """Bytes that encoding a volume on disk takes at most."""
    volume = volume_of(on_disk(array, folder))
    tracemalloc.start()
    try:
        inrcodec.encode_file(volume, folder / "v.inrv", threads=1, force=True, **options)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_larger_volume_takes_no_more_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(spool, "IN_MEMORY", 1)
    small = ramp((128, 64, 64))
    large = np.concatenate([small] * 3)
    few, many = (held(array, tmp_path, lossless=True, brick=64) for array in (small, large))
    # What garbage is collected later depends on bricks, not on voxels; one copy of the volume would be 1.
    assert many - few < 0.3 * (large.nbytes - small.nbytes)


def test_what_is_large_is_spooled_to_files_without_a_name(tmp_path):
    made, rng = Spool(2, str(tmp_path)), np.random.default_rng(0)
    bricks = [[rng.bytes(10), rng.bytes(IN_MEMORY // 2)] for _ in range(4)]
    for streams in bricks:
        made.add(streams)
    assert list(tmp_path.iterdir()) == []
    assert [made.streams(k) for k in (3, 0, 1)] == [bricks[k] for k in (3, 0, 1)]
    whole = b"".join(streams[step] for step in range(2) for streams in bricks)
    assert b"".join(made) == whole and len(made) == len(whole)
    assert len(made.index) == 8 * 8


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the size of files")
def test_a_disk_that_is_full_in_the_middle_leaves_nothing(tmp_path):
    code = (
        "import resource, signal, sys, numpy as np, inrcodec\n"
        "from inrcodec.format import spool\n"
        "spool.IN_MEMORY = 1000\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "array = np.random.default_rng(0).integers(0, 999, (32, 64, 64), np.int16)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try:\n"
        "    inrcodec.encode_file(array, sys.argv[1], lossless=True, brick=16)\n"
        "except inrcodec.errors.WriteError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "v.inrv")], capture_output=True, text=True, check=True
    )
    assert "cannot write" in done.stdout
    assert list(tmp_path.iterdir()) == []


# --- promises


def test_a_stream_that_does_not_decode_to_its_brick_is_never_written(tmp_path, monkeypatch):
    decode = Coding.decode

    def wrong(self, *args, **kwargs):
        found = decode(self, *args, **kwargs)
        found[0, 0, -1] += 4
        return found

    monkeypatch.setattr(Coding, "decode", wrong)
    for options in ({"lossless": True}, {"max_error": 3}):
        with pytest.raises(TargetNotReached, match="please report"):
            inrcodec.encode_file(ramp(), tmp_path / "v.inrv", **options)
    assert list(tmp_path.iterdir()) == []


def test_every_brick_is_decoded_once(monkeypatch):
    decode, bricks = Coding.decode, []

    def counted(self, *args, **kwargs):
        bricks.append(1)
        return decode(self, *args, **kwargs)

    monkeypatch.setattr(Coding, "decode", counted)
    for options in PROMISES[:2]:
        bricks.clear()
        inrcodec.encode(ramp(), brick=16, **options)
        assert len(bricks) == 2 * 2 * 2


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_errors_of_parts_add_up(sizes):
    rng = np.random.default_rng(sum(sizes))
    source = rng.integers(-2000, 2000, (1, 1, sum(sizes))).astype(np.int16)
    decoded = source + rng.integers(-3, 4, source.shape).astype(np.int16)
    volume = Volume(source, np.eye(4), modality="CT")
    nothing = total = Outcome.nothing(volume, Range(-2000, 2000), "all")
    for first, size in zip(np.cumsum([0, *sizes]), sizes, strict=False):
        part = Box((0, 0, int(first)), (1, 1, int(first + size)))
        total += nothing.of(source[part.slices], decoded[part.slices], part)
    whole = nothing.of(source, decoded, Box((0, 0, 0), source.shape))
    assert nothing.errors.count == 0
    assert (total.errors.count, total.errors.largest) == (whole.errors.count, whole.errors.largest)
    assert total.errors.psnr == pytest.approx(whole.errors.psnr)
    assert total.windows.means == pytest.approx(whole.windows.means)


def kinds(root):
    return [root, *(kind for child in root.__subclasses__() for kind in kinds(child))]


@pytest.mark.parametrize("kind", kinds(InrvError))
def test_errors_come_from_other_processes_as_they_were(kind):
    error = kind("a cause", extra="dask") if kind is MissingExtra else kind("a cause", value=3)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind and vars(again) == vars(error) and str(again) == str(error)
