"""Disks that fail: what cannot be read is said to be so, and what cannot be written is not there by half."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from death_jobs import JOBS, contents, is_whole, prepared
from failing_disk import failing_disk

import inrcodec
from inrcodec.cli import exits
from inrcodec.errors import InputError, InrvError

ARRAY = np.add.outer(np.arange(9) * 40, np.arange(20 * 22).reshape(20, 22) % 77).astype(np.int16)
ALLOWED = {code for code, _ in exits.EXITS} - {exits.UNEXPECTED}
KINDS = [".npy", ".npz", ".nii", ".nii.gz", ".hdr", ".mha", ".mhd", ".nrrd", ".tif", "series/", ".zarr/"]


def written(folder: Path, kind: str) -> Path:
    """The array as a file or folder of a kind."""
    path = folder / f"scan{kind}"
    if kind == ".npz":
        np.savez_compressed(path, voxels=ARRAY)
        return path
    if kind == ".tif":
        pytest.importorskip("tifffile").imwrite(path, ARRAY)
        return path
    if kind in (".mha", ".mhd", ".nrrd"):
        sitk = pytest.importorskip("SimpleITK")
        sitk.WriteImage(sitk.GetImageFromArray(ARRAY), str(path))
        return path
    if kind == ".hdr":
        nibabel = pytest.importorskip("nibabel")
        nibabel.save(nibabel.Nifti1Pair(ARRAY.T, np.eye(4)), path)
        return path
    if kind == ".zarr/":
        pytest.importorskip("zarr")
        path = folder / "scan.ome.zarr"
    inrcodec.io.write(inrcodec.Volume.from_array(ARRAY, modality="CT"), path)
    return path


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_source_that_cannot_be_read_is_named(tmp_path: Path, kind: str, for_good: bool) -> None:
    path, failed = written(tmp_path, kind), 0
    for at in (1, 2, 3, 5, 8, 13, 21):
        try:
            with failing_disk(tmp_path, at, reads=True, for_good=for_good):
                found = inrcodec.encode(path, lossless=True)
        except InrvError as error:
            failed += 1
            assert isinstance(error, InputError), repr(error)
            assert "scan" in str(error) and "input/output error" in str(error).lower(), str(error)
        else:
            assert np.array_equal(inrcodec.decode(found), ARRAY)
    assert failed


class Failing(io.RawIOBase):
    """A stream that cannot be read from its ``at``-th read on."""

    def __init__(self, data: bytes, at: int, *, seekable: bool) -> None:
        self._inner, self._left, self._seekable = io.BytesIO(data), at, seekable

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._seekable

    def seek(self, *where: int) -> int:
        return self._inner.seek(*where)

    def tell(self) -> int:
        return self._inner.tell()

    def readinto(self, buffer: Any) -> int:
        self._left -= 1
        if self._left < 1:
            raise OSError(5, "Input/output error")
        return self._inner.readinto(buffer)


@pytest.mark.parametrize("seekable", [True, False], ids=["file", "pipe"])
@pytest.mark.parametrize("read", [inrcodec.decode, inrcodec.info, inrcodec.verify])
def test_a_stream_that_fails_midway_is_an_error_about_the_source(
    read: Callable[..., object], seekable: bool
) -> None:
    data, ended = inrcodec.encode(ARRAY, lossless=True, brick=8), 0
    for at in range(1, 200):
        try:
            read(Failing(data, at, seekable=seekable))
        except InrvError as error:
            assert isinstance(error, InputError) and "input/output error" in str(error)
        else:
            ended = at
            break
    assert ended > 1


@pytest.mark.parametrize("reads", [True, False], ids=["reads", "writes"])
@pytest.mark.parametrize("name", sorted(JOBS))
def test_a_command_on_a_failing_disk_ends_as_documented_and_loses_nothing(
    tmp_path: Path, name: str, reads: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(tmp_path)
    job, seen = JOBS[name], set()
    is_done_once = name.startswith("collection")  # and then skipped
    assert job.run(tmp_path) == 0
    for at in (1, 2, 3, 5, 8):
        for target in job.targets if is_done_once else ():
            shutil.rmtree(tmp_path / target)
        with failing_disk(tmp_path, at, reads=reads, for_good=at % 2 == 0):
            seen.add(code := job.run(tmp_path))
        said = capsys.readouterr().err
        assert code in ALLOWED and "unexpected" not in said, said
        for path in (tmp_path / target for target in job.targets):
            assert (contents(path) or is_done_once) and is_whole(path.name, path)
        assert not [path for path in tmp_path.rglob("*") if ".part" in path.name or ".staged" in path.name]
    assert job.run(tmp_path) == 0 and seen != {0}
