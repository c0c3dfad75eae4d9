"""The benchmarks call the peers rightly: what they are given is what they code, and it comes back.

In: a crop of a real head, and shapes that trip a careless call.  Out: nothing.  Invariant: a peer that
looks bad in a table must be bad, and not called badly.
"""

import json
import re
import sys
from pathlib import Path
from shutil import which

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
pytest.importorskip("imagecodecs", reason="the peers need the extra bench")
pytest.importorskip("av", reason="the peers need the extra bench")

import av1
import bar
import peer_codecs
import peers
import stacks

from inrcodec import Volume, io

HEAD_PATH = Path(__file__).parent / "data" / "vhf-head.nii.gz"
HEAD = io.read(HEAD_PATH)
PEERS = peer_codecs.peers()
NAMES = sorted(name for name in PEERS if not name.endswith("cpu-used 1"))  # as at 4, and ten times as slow


def head():
    middle = HEAD.shape[0] // 2
    array = np.clip(
        HEAD.array[middle : middle + 9, 150:238, 190:280], -1024, 3071
    )  # no multiple of 8 or 16 along any axis
    return stacks.stack_of(Volume(np.ascontiguousarray(array), HEAD.affine, modality="CT"))[0]


def psnr_of(stack, found):
    error = found.astype(np.float64) - stack
    return 20 * np.log10(4095 / np.sqrt(max(np.square(error).mean(), 1e-12)))


def test_a_stack_is_what_the_codecs_want():
    array = np.arange(-50, 70, dtype=np.int16).reshape(5, 4, 6)
    stack, low = stacks.stack_of(Volume(array.transpose(2, 1, 0)[:, ::-1], np.eye(4)))
    assert stack.flags.c_contiguous and stack.dtype == np.uint16 and low == -50
    assert np.array_equal(stack.astype(int) + low, array.transpose(2, 1, 0)[:, ::-1])


@pytest.mark.parametrize(
    "array",
    [np.zeros((2, 3, 4), np.float32), np.array([[[0, 1 << 16]]], np.int32)],
    ids=["floats", "17 bits"],
)
def test_what_no_peer_takes_is_refused(array):
    with pytest.raises(ValueError, match="the peers take"):
        stacks.stack_of(Volume(array, np.eye(4)))


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_bits_are_as_few_as_hold_the_values(bits):
    assert stacks.bits_of(np.array([[[0, (1 << bits) - 1]]], np.uint16)) == bits


@pytest.mark.parametrize("name", NAMES)
def test_a_ladder_goes_up(name):
    """Each rung has more bytes and more dB, and the last is near the source: nothing is scaled or shifted."""
    peer, stack = PEERS[name], head()
    before = stack.copy()
    rungs = [peer.levels[0], peer.levels[len(peer.levels) // 2], peer.levels[-1]]
    made = [peer.encode(stack, level) for level in rungs]
    sizes = [sum(map(len, streams)) for streams in made]
    reached = [psnr_of(stack, peer.back(streams, stack)) for streams in made]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]
    assert reached == sorted(reached) and reached[-1] > 45
    assert np.array_equal(stack, before)


@pytest.mark.parametrize("name", NAMES)
def test_eight_bits_stay_eight_bits(name):
    peer, stack = PEERS[name], head() >> 4
    found = peer.back(peer.encode(stack, peer.levels[-1]), stack)
    assert stack.max() < 256 and psnr_of(stack, found) > 55


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 72, 80), (3, 67, 71), (6, 65, 90)])
def test_shapes_come_back(name, shape):
    ramp = np.add.outer(np.add.outer(np.arange(shape[0]), 9 * np.arange(shape[1])), 5 * np.arange(shape[2]))
    stack = ramp.astype(np.uint16)
    peer = PEERS[name]
    found = peer.back(peer.encode(stack, peer.levels[-1]), stack)
    assert found.shape == shape and psnr_of(stack, found) > 50


@pytest.mark.parametrize("name", [n for n in NAMES if PEERS[n].meaning in ("largest error", "tolerance")])
def test_a_bound_is_kept(name):
    peer, stack = PEERS[name], head()
    found = peer.back(peer.encode(stack, 16), stack)
    assert np.abs(found.astype(int) - stack).max() <= 16


def test_sperr_keeps_a_bound_and_a_psnr():
    stack = head()
    bounded = PEERS["SPERR"].back([peer_codecs.sperr_encode(stack, "PWE", 16 + peer_codecs.HALF)], stack)
    assert np.abs(bounded.astype(int) - stack).max() <= 16
    level = 40.0
    found = PEERS["SPERR"].back(PEERS["SPERR"].encode(stack, level), stack)
    assert psnr_of(stack, found) - 20 * np.log10(4095 / np.ptp(stack)) > level - 0.1


@pytest.mark.parametrize("encode", [peer_codecs.jpegls, peer_codecs.jpegxl_lossless])
def test_lossless_is_lossless(encode):
    stack = head()
    name = "JPEG-LS" if encode is peer_codecs.jpegls else "JPEG XL"
    assert np.array_equal(PEERS[name].back(encode(stack), stack), stack)


@pytest.mark.parametrize("bits", [8, 12])
def test_video_has_all_its_bits(bits):
    """A grey of full range comes back finer than 8 bits hold it, at both ends too: no limited range."""
    values = np.linspace(0, (1 << bits) - 1, 64 * 96).reshape(64, 96)
    stack = np.stack([values, values[::-1]]).astype(np.uint16)
    found = peer_codecs.hevc_decode(peer_codecs.hevc_encode(stack, 0))
    error = found.astype(float) - stack
    assert np.abs(error).max() <= 12 and np.sqrt(np.square(error).mean()) < 2.5  # 8 bits of 12: 4.6


def test_video_refuses_more_than_it_holds():
    with pytest.raises(ValueError, match="12 bits"):
        peer_codecs.hevc_encode(np.full((1, 64, 64), 4096, np.uint16), 20)


def row(codec, size, psnr, level="size 1"):
    return {"codec": codec, "bytes": size, "psnr": psnr, "level": level}


ROWS = [row("SPERR", 1000 * 2**k, 30.0 + 6 * k) for k in range(5)]


def test_bytes_between_two_rungs():
    points = peers.curve(ROWS, "SPERR")
    assert peers.needed(points, 33.0) == pytest.approx(1000 * 2**0.5)
    assert peers.needed(points, 29.9) is None and peers.needed(points, 54.1) is None


def test_a_rung_that_a_smaller_file_beats_is_no_point_of_the_curve():
    worse = row("SPERR", 3000, 31.0)
    assert peers.curve([*ROWS, worse], "SPERR") == peers.curve(ROWS, "SPERR")


def test_the_best_peer_is_the_one_with_the_fewest_bytes():
    others = [row("zfp", 5 * r["bytes"], r["psnr"]) for r in ROWS]
    (found,) = peers.against_best([*ROWS, *others, row("inrv", 500, 36.0)], ["SPERR", "zfp"])
    assert found["best"] == "SPERR" and found["share"] == pytest.approx(0.25)
    (beyond,) = peers.against_best([*ROWS, row("inrv", 500, 70.0)], ["SPERR"])
    assert beyond["best"] is None


def test_bd_rate_of_half_the_bytes_is_minus_fifty_per_cent():
    pytest.importorskip("bjontegaard", reason="the peers need the extra bench")
    ours = [row("inrv", r["bytes"] / 2, r["psnr"]) for r in ROWS]
    (found,) = peers.bjontegaard_of([*ROWS, *ours], ["SPERR"])
    assert found["bd_rate"] == pytest.approx(-50, abs=0.1) and found["bd_psnr"] == pytest.approx(6, abs=0.1)


@pytest.mark.skipif(which("aomenc") is None or which("aomdec") is None, reason="AV1 needs Debian's aom-tools")
def test_av1_gives_the_stack_back():
    stack = head()[:3, :35, :41]  # odd sides: chroma planes have half of them
    fine, coarse = (av1.encode(stack, level, speed=8) for level in (8, 60))
    found = av1.decode(fine, stack.shape)
    assert found.shape == stack.shape and found.dtype == stack.dtype
    assert psnr_of(stack, found) > psnr_of(stack, av1.decode(coarse, stack.shape)) + 6
    assert len(fine) > len(coarse) > 0


def test_a_curve_of_av1_is_kept_and_ours_is_held_against_it(tmp_path, capsys):
    curve, out = tmp_path / "curve.json", tmp_path / "bar.json"
    crop = ["--crop", "4:12,160:240,190:270"]
    words = [str(HEAD_PATH), *crop, "--coder", "svt", "--speed", "10", "--curve", str(curve)]
    av1.main([*words, "--levels", "60", "20", "--streams", str(tmp_path / "streams")])
    av1.main([*words, "--levels", "20", "--streams", str(tmp_path / "streams")])  # from its stream
    rows = json.loads(curve.read_text())
    assert [row["level"] for row in rows] == [60, 20] and rows[0]["bytes"] < rows[1]["bytes"]
    assert {row["peak"] for row in rows} == {4095.0} and rows[0]["psnr"] < rows[1]["psnr"]
    assert re.search(r"svt 60: [\d,]+ bytes, [\d.]+ dB, (low-pass|no flat)", capsys.readouterr().out)
    how = ["--curve", str(curve), "--coder", "svt", "--set", "threads=1", "--out", str(out)]
    bar.main([str(HEAD_PATH), *crop, *how, "--psnrs", "45"])
    (row,) = json.loads(out.read_text())
    assert row["psnr"] >= 45 and row["bytes_over_av1"] == row["file_bytes"] / row["av1_bytes"]
    assert f"{row['file_bytes']:,} bytes" in capsys.readouterr().out


def points(*pairs, low_pass=8.0):
    return [
        {"bytes": n, "psnr": db, "peak": 4095.0, "low_pass": low_pass * 10 ** ((30 - db) / 20)}
        for n, db in pairs
    ]


@pytest.mark.parametrize(("psnr", "size", "inside"), [(35, 2000, True), (45, 8000, False), (25, 500, False)])
def test_bytes_of_av1_follow_the_psnr(psnr, size, inside):
    curve = bar.Bar(points((4000, 40), (1000, 30), (2000, 35), (3000, 33)))  # the last is beaten
    assert curve.at(psnr) == pytest.approx(size) and curve.holds(psnr) == inside
    assert curve.at(psnr, "low_pass") == pytest.approx(8 * 10 ** ((30 - psnr) / 20))


def test_ours_is_held_against_av1_at_its_own_psnr():
    curve = bar.Bar(points((1000, 30), (4000, 40)))
    report = {"file_bytes": 1000, "psnr": 35.0, "peak": 4095.0, "low_pass_error": 9.0, "seam_energy": None}
    row = bar.compared(curve, report)
    assert row["bytes_over_av1"] == pytest.approx(0.5) and not row["extrapolated"]
    assert row["low_pass_over_av1"] == pytest.approx(9 / 8 * 10**0.25)
    assert bar.line(bar.compared(curve, report | {"psnr": 41.0})).count("*") == 4
    assert "low_pass_over_av1" not in bar.compared(curve, report | {"low_pass_error": None})
    with pytest.raises(SystemExit, match="not one volume"):
        bar.compared(curve, report | {"peak": 8191.0})
