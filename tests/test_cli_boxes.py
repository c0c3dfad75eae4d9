"""Boxes on the command line: decoded to where they lie, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bricked_files import ALL, bricked

import inrcodec
from inrcodec import io
from inrcodec.cli import dec


@pytest.fixture(scope="module")
def blob() -> bytes:
    return bricked()


def decoded(tmp_path: Path, data: bytes, *words: str, name: str = "part.nii.gz") -> inrcodec.Volume:
    source, target = tmp_path / "a.inrv", tmp_path / name
    source.write_bytes(data)
    assert dec.main([str(source), str(target), "-q", "--force", *words]) == 0
    return io.read(target)


BOXES = {
    "2:9,:,4:12": (slice(2, 9), ALL, slice(4, 12)),
    "3": slice(3, 4),
    "-1": slice(-1, None),
    ":,-4:,::2": (ALL, slice(-4, None), slice(None, None, 2)),
    "::-1": (slice(None, None, -1),),
}


@pytest.mark.parametrize("words", BOXES)
@pytest.mark.parametrize("level", [0, 1])
def test_a_box_is_decoded_to_where_it_lies(blob: bytes, tmp_path: Path, words: str, level: int) -> None:
    found = decoded(tmp_path, blob, "--box", words, "--level", str(level))
    expected = inrcodec.open(blob).volume(BOXES[words], level)
    assert np.array_equal(found.array, expected.array)
    assert np.allclose(found.affine, expected.affine, atol=1e-4)  # NIfTI has float32


@pytest.mark.parametrize("words", ["a:b", "1:2,3:4,5:6,7:8", "", "::0", "1.5:2", ",", "1;2"])
def test_words_that_are_no_box_are_refused(
    blob: bytes, tmp_path: Path, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.inrv").write_bytes(blob)
    assert dec.main([str(tmp_path / "a.inrv"), str(tmp_path / "out.npy"), "--box", words]) == 2
    assert "--box" in capsys.readouterr().err and not (tmp_path / "out.npy").exists()


@pytest.mark.parametrize(("words", "cause"), [(("--level", "77"), "--level"), (("--box", "5:5"), "no voxel")])
def test_parts_that_are_not_there_are_refused(
    blob: bytes, tmp_path: Path, words: tuple[str, str], cause: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.inrv").write_bytes(blob)
    assert dec.main([str(tmp_path / "a.inrv"), str(tmp_path / "out.npy"), *words]) == 2
    assert cause in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [("-r", "OUT", "--output-dir-mirror", "OUT/there"), ("--test", "OUT/a.inrv")]
)
def test_a_box_is_of_one_file_that_is_written(
    blob: bytes, tmp_path: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.inrv").write_bytes(blob)
    assert dec.main([word.replace("OUT", str(tmp_path)) for word in words] + ["--box", "3"]) == 2
    assert "--box" in capsys.readouterr().err


def test_info_lists_the_levels(blob: bytes) -> None:
    levels = inrcodec.info(blob)["levels"]
    assert [level["shape"] for level in levels] == [list(level.shape) for level in inrcodec.open(blob).levels]
    assert levels[0]["kind"] == "full" and levels[1]["kind"] == "lattice"
