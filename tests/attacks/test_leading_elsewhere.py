"""Paths: links and names that lead elsewhere are not followed where nobody asked for it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import inrcodec
from inrcodec import io
from inrcodec.errors import InputError
from inrcodec.io.atomic import atomic_write, check_file
from inrcodec.plugins.serve import Volumes
from inrcodec.plugins.serve.volumes import NotThere

VICTIM = b"what somebody else needs"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "elsewhere" / "victim.inrv"
    path.parent.mkdir()
    path.write_bytes(VICTIM)
    return path


def test_a_planted_link_in_the_name_of_a_scratch_file_is_not_followed(tmp_path: Path, victim: Path) -> None:
    """What is cleared away before a write is the link, and nothing behind it."""
    folder = tmp_path / "out"
    folder.mkdir()
    for name in (".a.0123456789ab.part", ".a.0123456789ab.part.old"):
        (folder / name).symlink_to(victim.parent if name.endswith(".old") else victim)
    check_file(folder / "a")
    atomic_write(folder / "a", b"new")
    assert victim.read_bytes() == VICTIM and (folder / "a").read_bytes() == b"new"


def test_a_link_that_appears_in_place_of_the_target_is_replaced_and_not_written_through(
    tmp_path: Path, victim: Path
) -> None:
    target = tmp_path / "a"

    def race(stream: object) -> None:
        target.symlink_to(victim)
        stream.write(b"new")  # type: ignore[attr-defined]

    with pytest.raises(inrcodec.InrvError):
        atomic_write(target, race)
    assert victim.read_bytes() == VICTIM
    target.unlink()
    atomic_write(target, race, force=True)
    assert victim.read_bytes() == VICTIM and target.read_bytes() == b"new" and not target.is_symlink()


@pytest.mark.parametrize(
    "target",
    [
        *("/../elsewhere/victim.inrv", "/%2e%2e/elsewhere/victim.inrv", "/..%2felsewhere/victim.inrv"),
        *("//elsewhere/victim.inrv", "/link.inrv", "/linked/victim.inrv", "/%00.inrv", "/a/..\\victim.inrv"),
        *("/C:/victim.inrv", "/%c0%ae%c0%ae/elsewhere/victim.inrv"),
    ],
)
def test_the_server_leads_nowhere_else(target: str, tmp_path: Path, victim: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "link.inrv").symlink_to(victim)
    (folder / "linked").symlink_to(victim.parent)
    with pytest.raises(NotThere):
        Volumes(folder, 1 << 20).answer(target)


def test_a_file_that_becomes_a_link_while_it_is_served_leads_nowhere_else(
    tmp_path: Path, victim: Path, tiny_blob: bytes
) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "a.inrv").write_bytes(tiny_blob)
    volumes = Volumes(folder, 1 << 20)
    assert volumes.answer("/a.inrv/zarr.json").body
    (folder / "a.inrv").unlink()
    (folder / "a.inrv").symlink_to(victim)
    with pytest.raises(NotThere):
        volumes.answer("/a.inrv")


def test_an_input_that_is_replaced_while_it_is_read_is_noticed(tmp_path: Path, tiny_blob: bytes) -> None:
    path = tmp_path / "a.inrv"
    path.write_bytes(tiny_blob)
    opened = inrcodec.open(path)
    other = tmp_path / "b.inrv"
    other.write_bytes(tiny_blob)
    os.replace(other, path)
    with pytest.raises(InputError, match="has changed since it was opened"):
        opened.read(None)


def test_so_is_one_that_vanishes(tmp_path: Path, tiny_blob: bytes) -> None:
    path = tmp_path / "a.inrv"
    path.write_bytes(tiny_blob)
    opened = inrcodec.open(path)
    path.unlink()
    with pytest.raises(InputError, match="cannot read"):
        opened.read(None)


def test_an_array_with_an_archive_behind_it_is_the_array(tmp_path: Path) -> None:
    """A polyglot is what its first bytes say to every reader."""
    first, second = np.zeros((2, 3, 4), np.int16), np.ones((9, 9, 9), np.int16)
    np.save(tmp_path / "first.npy", first)
    np.savez(tmp_path / "second.npz", second)
    polyglot = (tmp_path / "first.npy").read_bytes() + (tmp_path / "second.npz").read_bytes()
    path = tmp_path / "both.npy"
    path.write_bytes(polyglot)
    assert np.array_equal(io.read(path).array, first)
