"""The demo's picture and figures, on a small volume."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import inrcodec
from inrcodec import io

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "demo"), str(ROOT / "benchmarks")]
pytest.importorskip("matplotlib", reason="the demo draws with Matplotlib")

import compare  # noqa: E402
from low_pass import low_pass_error  # noqa: E402

BRAIN = ROOT / "tests" / "data" / "vhf-brain.nii.gz"


def test_a_row_for_each_file_and_a_picture(tmp_path, capsys):
    volume = io.read(BRAIN)
    crop = inrcodec.Volume(
        np.ascontiguousarray(volume.array[16:24, 60:140, 60:140]), volume.affine, modality="CT"
    )
    source = tmp_path / "crop.nii.gz"
    io.write(crop, source)
    files = []
    for bound in (0, 8):
        files.append(tmp_path / f"within-{bound}.inrv")
        files[-1].write_bytes(inrcodec.encode(crop, max_error=bound))
    compare.main([str(source), *map(str, files), "--out", str(tmp_path / "compare.png")])
    header, exact, bounded = capsys.readouterr().out.splitlines()
    assert "low-pass error" in header
    assert "exact" in exact and " 0 HU" in exact
    assert " 8 HU" in bounded
    assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_low_pass_error_is_blind_to_noise_and_sees_blotches():
    flat = np.zeros((32, 32, 32), np.float32)
    flat[0, 0, 0] = 1
    noise = np.random.default_rng(0).normal(0, 10, flat.shape)
    blotch = np.zeros_like(flat)
    blotch[8:24, 8:24, 8:24] = 10
    assert low_pass_error(flat, flat + noise) < 1 < 2 < low_pass_error(flat, flat + blotch)


def test_low_pass_error_looks_away_from_edges():
    source = np.zeros((24, 24, 48), np.float32)
    source[:, :, 24:] = 1500  # bone
    wrong = source.copy()
    wrong[:, :, 24:] += 500
    assert low_pass_error(source, wrong) < 5
    assert np.isnan(low_pass_error(source + 3000, source))
