"""Damage: a golden file with one byte changed, or cut, is refused or gives the same voxels."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import damage


def test_a_damaged_golden_file_is_refused_or_gives_the_same_voxels(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("av", reason="the low-res volume of some is AV1")
    with warnings.catch_warnings():
        assert damage.main(["--every", "797", "--decoded", "2"]) == 0
    *files, total = capsys.readouterr().out.splitlines()
    assert len(files) == len(list(damage.GOLDEN.glob("*.inrv"))) and " 0 wrong" in total
    assert all("refused" in line for line in files)


def test_what_is_neither_refused_nor_equal_is_seen() -> None:
    data = (damage.GOLDEN / "constant.inrv").read_bytes()
    whole = tuple(work() for work in damage.reads(data))
    assert set(damage.outcomes(data, whole)) == {"equal"} and damage.checked(data) == "not seen"
    assert "other voxels" in damage.outcomes(data, (b"", *whole[1:]))
    assert damage.begun(data, len(data), (1, 1, 1)) == "other shape"
