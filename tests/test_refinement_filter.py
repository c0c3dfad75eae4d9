"""The filter behind a refinement: what it computes, where it may be, and that it saves bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import encoded

import inrcodec
from inrcodec import Volume, io
from inrcodec.encoder import filter_fit
from inrcodec.encoder.normal_equations import Equations, Halves
from inrcodec.format import container
from inrcodec.layers.lattice import bricks
from inrcodec.layers.lattice.filter import filtered
from inrcodec.layers.wiener import OFFSETS

RNG = np.random.default_rng(3)
WEIGHTS = tuple(int(w) for w in RNG.integers(-128, 256, 42))
SMALL = tuple(w // 16 for w in WEIGHTS)
HEAD = Path(__file__).parent / "data" / "vhf-head.nii.gz"


def head():
    volume = io.read(HEAD)
    return Volume(np.ascontiguousarray(volume.array[8:20, 180:244, 180:244]), volume.affine, modality="CT")


def expected(integers, weights, step, most):
    """The formula of the specification, voxel by voxel."""
    known = integers.astype(object)
    ends = [n - 1 for n in known.shape]
    out = np.empty_like(integers)
    for at in np.ndindex(known.shape):
        total = 0
        for number, weight in enumerate(weights):
            limit = (step // 4, 3 * step // 4, most)[number // 14]
            for sign in (1, -1):
                offset = OFFSETS[number % 14]
                near = tuple(min(max(a + sign * o, 0), n) for a, o, n in zip(at, offset, ends, strict=True))
                total += weight * min(max(known[near] - known[at], -limit), limit)
        out[at] = min(max(known[at] + (total + 128) // 256, 0), most)
    return out


def whole(integers, weights, step, most):
    parts = [slice(z, min(z + 3, len(integers))) for z in range(0, len(integers), 3)]
    return np.concatenate([filtered(integers, part, weights, step, most) for part in parts])


@pytest.mark.parametrize("kernels", ["1", "0"])
@pytest.mark.parametrize("most", [255, 4095, (1 << 32) - 1])
@pytest.mark.parametrize("shape", [(5, 7, 9), (1, 6, 4), (2, 1, 1), (1, 1, 1)])
def test_it_is_the_formula_of_the_specification(shape, most, kernels, monkeypatch):
    monkeypatch.setenv("INRCODEC_KERNELS", kernels)
    dtype = np.int64 if most >= 1 << 31 else np.int32
    integers = RNG.integers(0, most + 1, shape).astype(dtype)
    for weights, step in ((WEIGHTS, most // 3), (SMALL, 1), (SMALL, 1 << 32)):
        assert np.array_equal(whole(integers, weights, step, most), expected(integers, weights, step, most))


def test_what_is_flat_stays_as_it_is():
    flat = np.full((3, 8, 8), 77, np.int32)
    assert np.array_equal(whole(flat, WEIGHTS, 20, 255), flat)


@pytest.fixture(scope="module")
def behind_bricks():
    """A real file of several bricks with a filter whatever its own is."""
    blob = inrcodec.encode(head(), psnr=50.0, preset="fast", steps=20, brick=(16, 32, 64))
    return with_filter(blob, SMALL)


def with_filter(blob, weights):
    header, sections = container.read(blob)
    rest = [(name, body) for name, body in sections.items() if name != "HEAD"]
    return container.pack([("HEAD", replace(header, refine_filter=weights).to_bytes()), *rest])


def test_boxes_threads_and_planes_at_a_time_change_no_voxel(behind_bricks, monkeypatch):
    all_of_it = inrcodec.decode(behind_bricks, threads=1)
    box = (slice(2, 11), slice(20, 50), slice(10, 60))
    assert np.array_equal(inrcodec.open(behind_bricks).read(box), all_of_it[box])
    monkeypatch.setattr(bricks, "PLANES", 3)
    assert np.array_equal(inrcodec.decode(behind_bricks, threads=3), all_of_it)


def test_a_coarser_lattice_has_what_is_before_it(behind_bricks):
    bare = with_filter(behind_bricks, ())
    file, plain = inrcodec.open(behind_bricks), inrcodec.open(bare)
    assert not np.array_equal(file.read(), plain.read())
    for level in range(1, len(file.levels)):
        assert np.array_equal(file.read(level=level), plain.read(level=level))
    cut = {"max_bytes": len(behind_bricks) // 4}
    assert np.array_equal(inrcodec.decode(behind_bricks, **cut), inrcodec.decode(bare, **cut))
    assert inrcodec.info(behind_bricks)["codec"]["refinement_filter"] == list(SMALL)


def test_a_promise_has_none():
    for promise in ({"max_error": 20}, {"lossless": True}):
        assert inrcodec.open(inrcodec.encode(head(), **promise)).header.refine_filter == ()


# --- the encoder


def in_bricks(**options):
    """A head in bricks, with padding, by a refinement alone."""
    volume = head()
    array = volume.array.copy()
    array[:, :20, :30] = -2000
    source = replace(volume, array=array, padding=-2000)
    keywords = {"psnr": 50.0, "preset": "fast", "steps": 20, "brick": (16, 32, 64)}
    return source, *encoded(source, **keywords | options)


def test_a_psnr_takes_fewer_bytes_with_it(monkeypatch):
    source, blob, report = in_bricks()
    header = inrcodec.open(blob).header
    assert header.coder == "none" and header.refine_filter and report.psnr >= 50
    decoded = inrcodec.decode(blob)
    kept = source.array != -2000
    assert (decoded[~kept] == -2000).all()
    squares = np.square(decoded.astype(float) - source.array).mean()
    assert 10 * np.log10(header.peak**2 / squares) == pytest.approx(report.psnr)
    monkeypatch.setattr(Halves, "weights", lambda *_: ())
    without, _ = in_bricks()[1:]
    assert inrcodec.open(without).header.refine_filter == () and len(blob) < len(without)


def test_threads_write_the_same_bytes():
    assert in_bricks(threads=1)[1] == in_bricks(threads=3)[1]


def equations(count, seed, sign=1.0):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, 4000))
    return Equations.of(list(rows), sign * 0.3 * rows.sum(0) + rng.normal(size=4000))


def test_either_half_must_serve_the_other():
    assert Halves(equations(3, 0), equations(3, 1)).weights(1e6)
    assert Halves(equations(3, 0), equations(3, 1, -1.0)).weights(1e6) == ()


def test_it_is_left_out_where_it_is_not_worth_its_bytes_or_its_rounding():
    halves = Halves(equations(3, 0), equations(3, 1))
    assert halves.weights(10) == () and halves.weights(1e6, rounding=1.0) == ()


def test_equations_know_what_weights_will_gain():
    halves = Halves(equations(3, 0), equations(3, 1))
    weights = halves.weights(1e6)
    rows = np.random.default_rng(0).normal(size=(3, 4000))
    assert max(abs(w / 256 - 0.3) for w in weights) < 0.05
    one = Halves(equations(3, 0), Equations.nothing(3))
    sought = 0.3 * rows.sum(0)
    rng = np.random.default_rng(0)
    rng.normal(size=(3, 4000))
    sought = sought + rng.normal(size=4000)
    left = sought - np.array(weights) / 256 @ rows
    assert one.gain(weights) == pytest.approx(10 * np.log10(np.square(sought).sum() / np.square(left).sum()))
    assert one.gain(()) == 0


def test_blocks_are_a_part_of_a_volume_and_all_over_it():
    chosen = list(filter_fit.blocks((64, 256, 256), 1 / 16))
    assert len(chosen) == pytest.approx(16 * 8 * 8 / 16, rel=0.1)
    for axis in range(3):
        assert len({block[axis].start for block in chosen}) > 6
    assert len(list(filter_fit.blocks((3, 20, 20), 1.0))) == 1


def test_one_layer_without_quantisation_has_none():
    source = head()
    blob, report = encoded(source, psnr=140.0)
    assert report.psnr == float("inf") and inrcodec.open(blob).header.refine_filter == ()
