"""The benchmarks run: on small volumes they write what their docstrings say, and skip what is not here.

In: crops of a real head and a few steps. Out: nothing. Invariant: no figure is judged here, only that it is
there and adds up.
"""

import csv
import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import house  # noqa: E402
import out_of_core  # noqa: E402
import paper  # noqa: E402
import rows  # noqa: E402
import scale  # noqa: E402
import shared  # noqa: E402

HEAD = ROOT / "tests" / "data" / "vhf-head.nii.gz"
CROP = "4:12,170:218,200:248"


@pytest.mark.parametrize("main", [paper.main, rows.main, scale.main, out_of_core.main])
def test_a_missing_volume_is_said_and_skipped(main, tmp_path, capsys):
    main([str(tmp_path / "nowhere"), "--out", str(tmp_path)])
    assert "skipped" in capsys.readouterr().out and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda p: p.stem)
def test_every_script_can_be_imported(script):
    """Names that the package no longer has are found here, not after an hour of a benchmark."""
    if script.stem in ("av1", "bar", "latent_measure", "peer_codecs", "peers", "refinement", "tasks"):
        pytest.importorskip("imagecodecs", reason="the peers need the extra bench")
        pytest.importorskip("av", reason="the peers need the extra bench")
    if script.stem in ("measurements", "tasks"):
        pytest.importorskip("SimpleITK", reason="measurements need the extra tasks")
    if script.stem == "pictures":
        pytest.importorskip("matplotlib", reason="pictures need the extra plots")
    importlib.import_module(script.stem)


def test_a_row_of_the_head(tmp_path, capsys):
    words = ["--only", "fast", "--slices", "2", "--steps", "60", "--sr", "lanczos", "--out", str(tmp_path)]
    rows.main([str(HEAD), *words])
    found = json.loads((tmp_path / "rows.json").read_text())
    assert [figure["name"] for figure in found["figures"]] == ["fast: PSNR", "fast: file", "fast: time"]
    assert found["details"]["fast"]["shape"][0] == 2 and "fast: PSNR" in capsys.readouterr().out


def test_figures_of_a_house(tmp_path):
    """A package of known size and imports."""
    (tmp_path / "p" / "room").mkdir(parents=True)
    (tmp_path / "p" / "__init__.py").write_text("from p.a import f\n")
    (tmp_path / "p" / "a.py").write_text(
        "import p.room.b\nfrom p.room import b, c\n\ndef f(size):\n    return size\n"
    )
    (tmp_path / "p" / "room" / "__init__.py").write_text("")
    (tmp_path / "p" / "room" / "b.py").write_text("x = 'size'  # focus\n")
    (tmp_path / "p" / "room" / "c.py").write_text("from os import path\n")
    lines = list(house.report(tmp_path / "p", ["size", "focus"], 1))
    assert lines[0] == "lines of the package: 8 in 5 modules"
    assert lines[1] == "modules at the root: 2 (__init__.py, a.py)"
    assert lines[2] == "largest fan-out: 2 p.a"
    assert lines[3] == "longest files: 5 p.a" and lines[4] == "longest functions: 2 p.a.f"
    assert lines[5] == "files that name the option 'size': 2 (p.a, p.room.b)"
    assert lines[6] == "files that name the option 'focus': 0 ()"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes by /proc")
def test_a_volume_that_is_tiled_comes_back_from_each_way(tmp_path, capsys):
    words = ["--edge", "40", "--jobs", "1", "--only", "lossless", "--kills", "0", "--folder", str(tmp_path)]
    out_of_core.main([str(HEAD), *words, "--out", str(tmp_path)])
    found = json.loads((tmp_path / "out-of-core.json").read_text())
    assert [row["run"] for row in found["runs"]] == ["encode lossless", "decode lossless"]
    assert all(row["equal"] and row["driver_MiB"] > 10 for row in found["runs"])
    assert "NOT" not in capsys.readouterr().out and [p.name for p in tmp_path.iterdir()] == [
        "out-of-core.json"
    ]


def test_live_tensors_are_counted_at_their_peak():
    import torch

    def work():
        first = torch.zeros(100_000)  # 0.4 MB
        second = first * 2
        del first
        return second + 1

    assert shared.peak_of_tensors(work) == pytest.approx(800_000, abs=100)


def test_the_papers_tables(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(paper, "DEPTHS", (2, 4))
    monkeypatch.setattr(paper, "TIMED", 3)
    words = [str(HEAD), "--crop", CROP, "--iterations", "5", "--out", str(tmp_path), "--sr", "lanczos"]
    paper.main([*words, "--only", "architectures", "slice", "others"])
    told = capsys.readouterr().out
    assert (
        "| 4 | alone, here |" in told and "| 2 | ours, paper | 50,000 | 34.67 |" in told and "Mishra" in told
    )
    found = json.loads((tmp_path / "paper-architectures.json").read_text())
    assert found["figures"] and all(f["held"] for f in found["figures"])
    found = json.loads((tmp_path / "paper-slice.json").read_text())
    assert found["about"]["iterations"] == 5
    for depth in ("2", "4"):
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
