"""The benchmarks run: on small things they write what their docstrings say, and a missing volume is a word.

In: crops of a real head and a few steps. Out: nothing. The one law: no figure is judged here, they are of
nothing worth telling; only that they are there and add up.
"""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import live  # noqa: E402
import paper  # noqa: E402
import scale  # noqa: E402

HEAD = ROOT / "tests" / "data" / "vhf-head.nii.gz"
CROP = "4:12,170:218,200:248"


@pytest.mark.parametrize("main", [paper.main, scale.main])
def test_a_volume_that_is_not_here_is_told(main, tmp_path, capsys):
    main([str(tmp_path / "nowhere"), "--out", str(tmp_path)])
    assert "skipped" in capsys.readouterr().out and list(tmp_path.iterdir()) == []


def test_live_tensors_are_counted_at_their_peak():
    import torch

    def work():
        first = torch.zeros(100_000)  # 0.4 MB
        second = first * 2
        del first
        return second + 1

    assert live.peak_of_tensors(work) == pytest.approx(800_000, abs=100)


def test_the_papers_tables(tmp_path, capsys):
    words = [str(HEAD), "--crop", CROP, "--iterations", "10", "--out", str(tmp_path), "--sr", "lanczos"]
    paper.main([*words, "--only", "architectures", "slice", "others"])
    told = capsys.readouterr().out
    assert (
        "| 4 | alone, here |" in told and "| 2 | ours, paper | 50,000 | 34.67 |" in told and "Mishra" in told
    )
    found = json.loads((tmp_path / "paper-architectures.json").read_text())
    assert [f["held"] for f in found["figures"]] == [True, True, True]
    found = json.loads((tmp_path / "paper-slice.json").read_text())
    assert found["about"]["iterations"] == 10
    for depth in ("2", "3", "4"):
        arms = found["details"]["arms"][depth]
        assert arms["alone"]["size"] == 4 * paper.PARAMETERS[int(depth)]
        assert arms["alone"]["memory"] > 10 * arms["low-res"]["memory"]  # 16 times the points
        assert arms["alone"]["process"] > 0 and arms["ours"]["process"] > 0
        assert 0 < arms["ours"]["size"] < arms["alone"]["size"]


def test_the_slopes_of_cost(tmp_path, capsys):
    words = [str(HEAD), "--factors", "8", "6", "--widths", "8", "16", "--steps", "10", "--out", str(tmp_path)]
    scale.main([*words, "--only", "network"])
    found = json.loads((tmp_path / "scale-network.json").read_text())
    assert [row["tiles"] for row in found["rows"]] == [8, 8]
    assert found["rows"][1]["weights"] > 2 * found["rows"][0]["weights"]
    assert set(found["slopes"]) == set(scale.COSTS)
    assert "slope of fit_s against weights" in capsys.readouterr().out


def test_a_slope_is_that_of_the_logarithms():
    rows = [{"voxels": 10.0**k, "encode_s": 3 * 10.0 ** (1.5 * k)} for k in range(4)]
    assert scale.slope(rows, "voxels", "encode_s") == pytest.approx(1.5)


@pytest.mark.parametrize("times", [1, 2, 4])
def test_a_volume_grows_by_its_mirror_images(times):
    from inrcodec import Volume

    grown = scale.repeated(Volume.from_array(np.arange(24, dtype=np.int16).reshape(2, 3, 4)), times).array
    assert grown.size == 24 * times and np.array_equal(grown[:2, :3], np.arange(24).reshape(2, 3, 4))


def test_peers_side_by_side(tmp_path, capsys):
    for extra in ("imagecodecs", "av", "skimage", "bjontegaard"):
        pytest.importorskip(extra, reason="the peers need the extra bench")
    import peers

    words = [str(HEAD), "--crop", CROP, "--codecs", "inrv", "SPERR", "--sizes", "--out", str(tmp_path)]
    peers.main([*words, "--rungs", "4", "--psnrs", "50", "52", "54", "56"])
    told = capsys.readouterr().out
    assert "BD-rate" in told and "needs" in told
    (table,) = tmp_path.glob("*.csv")
    rows = list(csv.DictReader(table.open()))
    assert {row["codec"] for row in rows} == {"inrv", "SPERR"}
    ours = [row for row in rows if row["codec"] == "inrv"]
    assert all(float(row["psnr"]) >= least for row, least in zip(ours, (50, 52, 54, 56), strict=True))
    assert all(0 < float(row["ssim"]) <= 1 and float(row["mean_error_bone"]) > 0 for row in rows)
    assert all(float(row["encode_MiB"]) >= 0 for row in rows)
    assert len(list(tmp_path.glob("*.png"))) == 1
