"""What atomic writing promises: the target is whole, or it is what it was before."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from inrcodec.errors import WriteError
from inrcodec.io.atomic import atomic_folder, atomic_write, check_file, check_folder


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def anything(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def nothing(folder: Path) -> list[Path]:
    raise WriteError(f"{folder} is not ours")


@pytest.mark.parametrize("data", [b"new", lambda stream: stream.write(b"new")], ids=["bytes", "callable"])
def test_the_content_arrives_and_nothing_else(tmp_path, data):
    atomic_write(tmp_path / "a", data)
    assert (tmp_path / "a").read_bytes() == b"new"
    assert names(tmp_path) == ["a"]


def test_an_existing_file_needs_force(tmp_path):
    target = tmp_path / "a"
    target.write_bytes(b"old")
    with pytest.raises(WriteError, match="force: needed to replace"):
        atomic_write(target, b"new")
    assert target.read_bytes() == b"old"
    atomic_write(target, b"new", force=True)
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), WriteError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (RuntimeError("bug"), RuntimeError),
    ],
)
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_failure_leaves_what_was_there(tmp_path, error, seen, old):
    target = tmp_path / "a"
    if old:
        target.write_bytes(old)

    def fail(stream):
        stream.write(b"half of")
        raise error

    with pytest.raises(seen):
        atomic_write(target, fail, force=True)
    assert names(tmp_path) == (["a"] if old else [])
    assert not old or target.read_bytes() == old


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("kind", [None, OSError, RuntimeError])
def test_a_full_disk_says_so(tmp_path, number, kind):
    """Also where a writer of a foreign format raises an error of its own on top of the system's."""

    def fail(stream):
        try:
            raise OSError(number, os.strerror(number))
        except OSError as error:
            if kind is None:
                raise
            raise kind("a page about it") from error

    with pytest.raises(WriteError, match=f": {os.strerror(number).lower()}, free some space$"):
        atomic_write(tmp_path / "a", fail)
    with (
        pytest.raises(WriteError, match=r"free some space$"),
        atomic_folder(tmp_path / "d", anything) as folder,
    ):
        fail(folder)
    assert names(tmp_path) == []


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path):
    target = tmp_path / "a"

    def write(stream):
        target.write_bytes(b"somebody else's")

    with pytest.raises(WriteError, match="appeared"):
        atomic_write(target, write)
    assert target.read_bytes() == b"somebody else's"
    assert names(tmp_path) == ["a"]


def test_a_file_system_without_hard_links_will_do(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    atomic_write(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert names(tmp_path) == ["a"]


def test_without_hard_links_a_file_that_appears_meanwhile_is_not_replaced_either(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    target = tmp_path / "a"
    with pytest.raises(WriteError, match="appeared"):
        atomic_write(target, lambda stream: target.write_bytes(b"somebody else's"))
    assert target.read_bytes() == b"somebody else's"
    assert names(tmp_path) == ["a"]


def test_without_hard_links_a_failure_leaves_nothing(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    for name in ("link", "replace"):
        monkeypatch.setattr(os, name, refuse)
    with pytest.raises(WriteError, match="not permitted"):
        atomic_write(tmp_path / "a", b"new")
    assert names(tmp_path) == []


@pytest.fixture
def journal(monkeypatch):
    """Inodes as they are synchronised, and "published" where the target takes its name."""
    entries = []

    def recorded(name, entry):
        real = getattr(os, name)

        def call(*words):
            entries.append(entry(*words))
            return real(*words)

        monkeypatch.setattr(os, name, call)

    recorded("fsync", lambda handle: os.fstat(handle).st_ino)
    for name in ("link", "replace", "rename"):
        recorded(name, lambda *_: "published")
    return entries


@pytest.mark.parametrize("force", [False, True])
def test_a_file_and_then_its_folder_are_on_disk(tmp_path, journal, force):
    atomic_write(tmp_path / "a", b"new", force)
    assert journal == [(tmp_path / "a").stat().st_ino, "published", tmp_path.stat().st_ino]


def test_a_folder_its_files_and_its_place_are_on_disk(tmp_path, journal):
    fill(tmp_path / "d")
    inodes = [(tmp_path / "d" / "1").stat().st_ino, (tmp_path / "d").stat().st_ino]
    assert journal == [*inodes, "published", tmp_path.stat().st_ino]


def test_the_mask_of_the_process_is_not_touched(tmp_path, monkeypatch):
    """It belongs to all threads: files that others make meanwhile would be open to everyone."""
    monkeypatch.setattr(os, "umask", lambda _: pytest.fail("umask was set"))
    atomic_write(tmp_path / "a", b"new")
    fill(tmp_path / "d")


def test_links_are_followed(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    atomic_write(tmp_path / "link", b"new", force=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_permissions_are_those_of_any_new_or_of_the_old_file(tmp_path):
    before = os.umask(0o027)
    try:
        atomic_write(tmp_path / "a", b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    (tmp_path / "a").chmod(0o600)
    atomic_write(tmp_path / "a", b"newer", force=True)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


def test_a_device_stays_a_device(tmp_path):
    atomic_write(os.devnull, b"gone")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


@pytest.mark.parametrize(
    ("name", "cause"),
    [("no/such/a", "does not exist"), ("folder", "is a folder"), ("file/a", "does not exist")],
)
def test_an_impossible_target_is_known_before_the_work(tmp_path, name, cause):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(WriteError, match=cause):
        check_file(tmp_path / name, force=True)


def test_checking_leaves_nothing(tmp_path):
    check_file(tmp_path / "a")
    check_folder(tmp_path / "b", nothing)
    assert names(tmp_path) == []


def fill(target, force=False, ours=anything):
    with atomic_folder(target, ours, force) as folder:
        (folder / "1").write_bytes(b"new")


@pytest.mark.parametrize("exists", [False, True], ids=["not there", "empty"])
def test_a_folder_arrives_whole(tmp_path, exists):
    if exists:
        (tmp_path / "d").mkdir()
    fill(tmp_path / "d")
    assert (tmp_path / "d" / "1").read_bytes() == b"new"
    assert names(tmp_path) == ["d"]
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) & 0o500 == 0o500


@pytest.fixture
def full(tmp_path):
    target = tmp_path / "d"
    target.mkdir()
    (target / "old").write_bytes(b"old")
    return target


def test_a_folder_of_ours_is_replaced_with_force_only(full):
    with pytest.raises(WriteError, match="force: needed to replace"):
        fill(full)
    assert names(full) == ["old"]
    fill(full, force=True)
    assert names(full) == ["1"]
    assert names(full.parent) == ["d"]


def test_a_folder_of_ours_that_appears_meanwhile_is_not_replaced(tmp_path):
    with (
        pytest.raises(WriteError, match="appeared"),
        atomic_folder(tmp_path / "d", anything) as folder,
    ):
        (folder / "1").write_bytes(b"new")
        fill(tmp_path / "d")
    assert names(tmp_path) == ["d"] and names(tmp_path / "d") == ["1"]


def test_a_folder_that_is_not_ours_is_never_replaced(full):
    with pytest.raises(WriteError, match="not ours"):
        fill(full, force=True, ours=nothing)
    assert names(full) == ["old"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_folder(full, error):
    with (
        pytest.raises((WriteError, KeyboardInterrupt)),
        atomic_folder(full, anything, force=True) as folder,
    ):
        (folder / "1").write_bytes(b"half")
        raise error
    assert names(full) == ["old"]
    assert names(full.parent) == ["d"]


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "d").write_bytes(b"")
    with pytest.raises(WriteError, match="is a file"):
        check_folder(tmp_path / "d", anything, force=True)


# --- what a killed process leaves

WRITING = """
import os, signal, sys, time
from pathlib import Path
from inrcodec.io import atomic

target, renames = Path(sys.argv[1]), int(sys.argv[3])
real = os.rename

def rename(*names):
    global renames
    real(*names)
    renames -= 1
    if renames == 0:
        os.kill(os.getpid(), signal.SIGKILL)

os.rename = rename

def stop():
    if not renames:
        print("writing", flush=True)
        time.sleep(60)

def fill(stream):
    stream.write(b"half")
    stream.flush()
    stop()

if sys.argv[2] == "file":
    atomic.atomic_write(target, fill, force=True)
else:
    with atomic.atomic_folder(target, lambda folder: list(folder.iterdir()), force=True) as folder:
        (folder / "2").write_bytes(b"half")
        stop()
"""


def writing(target, kind, renames=0):
    """A process in the middle of a write, or, with ``renames``, killed behind so many of a folder's swap."""
    words = [sys.executable, "-c", WRITING, str(target), kind, str(renames)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    if renames:
        assert process.wait() == -signal.SIGKILL
    else:
        assert process.stdout.readline() == "writing\n"
    return process


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_the_next_write_removes_what_a_killed_one_left(tmp_path, kind):
    def write(target):
        fill(target, force=True) if kind == "folder" else atomic_write(target, b"new", force=True)

    target, other = tmp_path / "a", tmp_path / "a.b"
    with writing(target, kind) as process, writing(other, kind) as another:
        (left,) = (name for name in names(tmp_path) if not name.startswith(".a.b."))
        write(target)
        assert left in names(tmp_path)  # it is alive, and would be published
        process.kill()
        process.wait()
        write(tmp_path / "c")
        assert left in names(tmp_path)  # it belongs to another target
        write(target)
        another.kill()
    kept = [name for name in names(tmp_path) if name not in ("a", "c")]
    assert len(kept) == 1 and kept[0].startswith(".a.b.")
    (check_file if kind == "file" else partial(check_folder, ours=anything))(other)
    assert names(tmp_path) == ["a", "c"]


def test_a_folder_that_was_moved_aside_when_its_process_was_killed_is_put_back(full):
    writing(full, "folder", renames=1)
    assert not full.exists() and len(names(full.parent)) == 2
    with pytest.raises(WriteError, match="force: needed to replace"):
        fill(full)
    assert names(full) == ["old"] and names(full.parent) == ["d"]
    fill(full, force=True)
    assert names(full) == ["1"] and names(full.parent) == ["d"]


def test_a_folder_that_was_replaced_when_its_process_was_killed_is_removed(full):
    writing(full, "folder", renames=2)
    assert names(full) == ["2"] and len(names(full.parent)) == 2
    check_folder(full, anything, force=True)
    assert names(full) == ["2"] and names(full.parent) == ["d"]


def test_what_is_not_ours_is_not_removed_with_what_a_killed_process_left(full):
    writing(full, "folder", renames=2)
    with pytest.raises(WriteError, match="not ours"):
        check_folder(full, nothing, force=True)
    assert len(names(full.parent)) == 2


@pytest.mark.parametrize("name", ["a" * 250, "肺" * 80])
def test_a_name_may_be_as_long_as_the_system_takes(tmp_path, name):
    atomic_write(tmp_path / name, b"new")
    assert names(tmp_path) == [name]
