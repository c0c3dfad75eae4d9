"""Collections: what of a tree is a source, what its output is called, and that everything is done once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest
from dicom_maker import AXIAL, dataset, ramp, save, write_series

import inrcodec
from inrcodec.cli import dec, enc
from inrcodec.collection import run as runs
from inrcodec.collection import sources
from inrcodec.collection.manifest import NAME, Manifest
from inrcodec.errors import CorruptFile, InputError, UnsupportedFile, UsageError, WriteError

CODE = {"lossless": True, "threads": 1}


def hounsfield(array):
    """What a series of `dicom_maker` with these stored values holds."""
    return array - 1024


def put_npy(path: Path, array=None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, ramp() if array is None else array)
    return path


def encode(tree, out, **options):
    return inrcodec.encode_tree(tree, out, **CODE | options)


def rows_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / NAME).read_text().splitlines()]


def outputs(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != NAME
    }


def names(summary) -> dict[str, str]:
    return {row["source"] + row.get("series", ""): row["output"] for row in summary.done}


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "tree"
    put_npy(folder / "a.npy")
    put_npy(folder / "sub" / "b.npy")
    write_series(folder / "sub" / "series", ramp(4))
    return folder


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


# --- what is done, and what it is called


def test_every_series_and_file_is_a_source_and_outputs_mirror_the_tree(tree, out):
    (tree / "sub" / "notes.txt").write_text("of no concern")
    summary = encode(tree, out)
    assert names(summary) == {
        "a.npy": "a.inrv",
        "sub/b.npy": "sub/b.inrv",
        "sub/series": "sub/series.inrv",
    }
    assert (inrcodec.decode(out / "sub" / "series.inrv") == hounsfield(ramp(4))).all()
    assert set(outputs(out)) == {"a.inrv", "sub/b.inrv", "sub/series.inrv"}


def test_a_folder_of_several_series_has_an_output_each_with_its_number(tmp_path, out):
    for number, array in ((3, ramp(4)), (5, ramp(3) + 7)):
        for path in write_series(
            tmp_path / f"{number}", array, SeriesInstanceUID=f"1.{number}", SeriesNumber=number
        ):
            target = tmp_path / "tree" / "p" / f"{number}-{path.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
    encode(tmp_path / "tree", out)
    assert (inrcodec.decode(out / "p-3.inrv") == hounsfield(ramp(4))).all()
    assert (inrcodec.decode(out / "p-5.inrv") == hounsfield(ramp(3) + 7)).all()


def test_series_of_one_number_are_told_apart(tmp_path, out):
    for uid in ("1.1", "1.2"):
        for path in write_series(tmp_path / uid, ramp(3), SeriesInstanceUID=uid, SeriesNumber=2):
            target = tmp_path / "tree" / f"{uid}{path.name}"
            target.parent.mkdir(exist_ok=True)
            path.rename(target)
    assert {row["output"] for row in encode(tmp_path / "tree", out).done} == {"tree-2.inrv", "tree-2-2.inrv"}


def test_a_series_beside_its_subfolders_is_not_mixed_with_theirs(tmp_path, out):
    write_series(tmp_path / "tree" / "p", ramp(4))
    write_series(tmp_path / "tree" / "p" / "q", ramp(5))
    summary = encode(tmp_path / "tree", out)
    assert names(summary) == {"p": "p.inrv", "p/q": "p/q.inrv"}
    assert len(inrcodec.decode(out / "p.inrv")) == 4


def test_sources_that_would_share_an_output_keep_their_endings(tmp_path, out):
    put_npy(tmp_path / "tree" / "a.npy")
    np.savez(tmp_path / "tree" / "a.npz", ramp())
    write_series(tmp_path / "tree" / "a", ramp(4))
    summary = encode(tmp_path / "tree", out)
    assert names(summary) == {"a": "a.inrv", "a.npy": "a.npy.inrv", "a.npz": "a.npz.inrv"}
    assert any("a.npz is a.npz" in notice for notice in summary.notices)


def test_names_do_not_depend_on_the_order_of_the_file_system(tree, out, monkeypatch):
    before = sources.volumes(tree, out)
    walk = os.walk

    def backwards(*args, **keywords):
        for parent, folders, files in walk(*args, **keywords):
            folders.reverse()
            yield parent, folders, files[::-1]

    monkeypatch.setattr(os, "walk", backwards)
    assert sources.volumes(tree, out) == before


def test_a_header_and_its_voxels_are_one_source(tmp_path, out):
    folder = tmp_path / "tree"
    folder.mkdir()
    voxels = ramp()
    (folder / "v.raw").write_bytes(voxels.tobytes())
    (folder / "v.mhd").write_text(
        "ObjectType = Image\nBinaryData = True\nNDims = 3\nDimSize = 7 6 5\n"
        "ElementType = MET_SHORT\nElementDataFile = v.raw\n"
    )
    first = encode(folder, out)
    assert names(first) == {"v.mhd": "v.inrv"}
    (folder / "v.raw").write_bytes((voxels + 1).tobytes())
    assert len(encode(folder, out).done) == 1  # changed, though its header is not


@pytest.mark.parametrize("name", ["out", "sub/out"])
def test_outputs_within_the_tree_are_no_sources(tree, name):
    encode(tree, tree / name)
    decoded = inrcodec.decode_tree(tree / name, tree / name, format="npy")
    assert len(decoded.done) == 3
    again = encode(tree, tree / name)
    assert len(again.skipped) == 3 and not again.done


def test_hidden_files_and_linked_folders_are_left_out(tree, out):
    put_npy(tree / ".hidden" / "x.npy")
    put_npy(tree / ".x.npy")
    (tree / "sub" / "loop").symlink_to(tree, target_is_directory=True)
    (tree / "round.npy").symlink_to(tree / "round.npy")
    summary = encode(tree, out)
    assert len(summary.done) == 3
    assert [row["source"] for row in summary.failed] == ["round.npy"]
    assert any("linked folder" in notice for notice in summary.notices)


def test_a_folder_that_cannot_be_looked_into_fails_alone(tree, out, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    summary = encode(tree, out)
    assert [row["output"] for row in summary.done] == ["a.inrv"]
    assert "permission denied" in summary.failed[0]["error"]


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes with a name")
def test_a_pipe_holds_nobody_up(tree, out):
    os.mkfifo(tree / "pipe.npy")
    os.mkfifo(tree / "pipe.inrv")
    (tree / "linked.npy").symlink_to("pipe.npy")
    (tree / "linked").symlink_to("pipe.npy")
    assert len(encode(tree, out).done) == 3
    summary = encode([tree / "pipe.npy", tree / "a.npy"], out)
    assert len(summary.done) == 1
    assert [row["exit_code"] for row in summary.failed] == [InputError.exit_code]
    assert "not a regular file" in summary.failed[0]["error"]
    assert len(inrcodec.verify_tree([tree / "pipe.inrv"]).failed) == 1


def test_a_file_in_the_place_of_a_folder_fails_its_sources_alone(tree, out):
    out.mkdir()
    (out / "sub").write_bytes(b"precious")
    summary = encode(tree, out)
    assert names(summary) == {"a.npy": "a.inrv"}
    assert {row["exit_code"] for row in summary.failed} == {WriteError.exit_code}
    assert outputs(out).keys() == {"a.inrv", "sub"} and (out / "sub").read_bytes() == b"precious"


def test_a_tree_without_a_source_is_refused(tmp_path, out):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "readme").write_text("nothing")
    (tmp_path / "tree" / "empty").touch()
    with pytest.raises(InputError, match="nothing to do"):
        encode(tmp_path / "tree", out)


@pytest.mark.parametrize("name", ["series", "volume", "slices", "resume"])
def test_options_of_one_source_are_refused(tree, out, name):
    with pytest.raises(UsageError, match=f"{name}: is for one source"):
        encode(tree, out, **{name: "1"})


def test_impossible_options_are_refused_before_anything_is_made(tree, out):
    for options in ({"factor": 99}, {"ratio": 10}, {"spacing": (0, 0, 0)}, {"jobs": 0}):
        with pytest.raises(UsageError):
            encode(tree, out, **options)
    assert not outputs(out)


# --- lists


def test_a_list_has_a_path_on_each_line(tree, out, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list").write_bytes(b"tree/a.npy\r\n\n tree/sub/b.npy\n./tree/sub/series\n" + b"no such.npy")
    put_npy(tmp_path / " tree" / "sub" / "b.npy")  # blanks are part of a name
    words = ["--filelist", "list", "--output-dir-mirror", str(out), "--lossless"]
    assert enc.main(words) == 12
    assert "no such.npy does not exist" in capsys.readouterr().err
    assert set(outputs(out)) == {"tree/a.inrv", " tree/sub/b.inrv", "tree/sub/series.inrv"}


def test_a_list_comes_from_standard_input_and_absolute_paths_lose_their_root(tree, out, monkeypatch):
    read, write = os.pipe()
    os.write(write, f"{tree / 'a.npy'}\n".encode())
    os.close(write)
    with os.fdopen(read) as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        assert enc.main(["--filelist", "-", "--output-dir-mirror", str(out), "--lossless"]) == 0
    assert set(outputs(out)) == {f"{tree}/a.inrv".lstrip("/")}


def test_what_is_listed_twice_is_done_once(tree, out):
    summary = encode([tree, tree / "sub", tree / "a.npy", tree / "." / "a.npy"], out)
    assert len(summary.done) == 3 and not summary.notices


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
def test_a_name_that_is_no_text_is_a_name(tree, out):
    name = os.fsdecode(b"\xff.npy")
    put_npy(tree / name)
    (tree / os.fsdecode(b"\xfe.nii")).write_bytes(b"no volume")
    first = encode(tree, out)
    assert name in {row["source"] for row in first.done} and len(first.failed) == 1
    assert len(encode(tree, out).skipped) == 4


def test_a_path_that_climbs_is_refused(tree, out):
    with pytest.raises(UsageError, match="outside of the outputs' folder"):
        encode([tree / "sub" / ".." / ".." / "x.npy"], out)
    assert not out.exists()


@pytest.mark.parametrize("content", [b"", b"\n \n", b"a\0b\n"])
def test_what_is_no_list_is_refused(tmp_path, out, content, capsys):
    (tmp_path / "list").write_bytes(content)
    assert enc.main(["--filelist", str(tmp_path / "list"), "--output-dir-mirror", str(out)]) == 3


# --- once


def test_what_is_done_and_intact_is_skipped(tree, out):
    first = encode(tree, out)
    second = encode(tree, out)
    assert len(first.done) == len(second.skipped) == 3 and not second.done
    assert [row["output"] for row in rows_of(out)] == [row["output"] for row in first.done]


def _touch(tree, out):
    os.utime(tree / "a.npy", (1, 1))


def _change(tree, out):
    put_npy(tree / "a.npy", ramp() + 1)


def _damage(tree, out):
    blob = bytearray((out / "a.inrv").read_bytes())
    blob[-9] ^= 1
    (out / "a.inrv").write_bytes(blob)


def _lose(tree, out):
    (out / "a.inrv").unlink()


@pytest.mark.parametrize(
    ("change", "again"), [(_touch, []), (_change, ["a.npy"]), (_damage, ["a.npy"]), (_lose, ["a.npy"])]
)
def test_what_was_changed_is_done_again(tree, out, change, again):
    encode(tree, out)
    change(tree, out)
    summary = encode(tree, out)
    assert [row["source"] for row in summary.done] == again
    assert (inrcodec.decode(out / "a.inrv") == np.load(tree / "a.npy")).all()


def test_other_options_or_another_version_do_all_again_but_not_another_number_of_threads(
    tree, out, monkeypatch
):
    encode(tree, out)
    assert len(encode(tree, out, threads=2).skipped) == 3
    assert len(encode(tree, out, brick=16).done) == 3
    monkeypatch.setattr("inrcodec.collection.tasks.__version__", "0.0.0")
    assert len(encode(tree, out, brick=16).done) == 3


def test_a_source_that_failed_is_tried_again_and_reported_in_one_line(tree, out):
    (tree / "bad.nii").write_bytes(b"no volume")
    for _ in range(2):
        assert [row["source"] for row in encode(tree, out).failed] == ["bad.nii"]
    assert len(rows_of(out)) == 4
    (tree / "bad.nii").unlink()
    put_npy(tree / "bad.npy")
    assert len(encode(tree, out).done) == 1


def test_a_file_that_is_not_of_the_manifest_is_replaced_by_force_alone(tree, out):
    out.mkdir()
    (out / "a.inrv").write_bytes(b"precious")
    refused = encode(tree, out)
    assert [row["exit_code"] for row in refused.failed] == [WriteError.exit_code]
    assert (out / "a.inrv").read_bytes() == b"precious" and len(refused.done) == 2
    assert len(encode(tree, out, force=True).done) == 1
    assert inrcodec.verify(out / "a.inrv")["ok"]


def test_a_decoded_series_that_was_added_to_is_never_replaced(tree, out, tmp_path):
    encode(tree, out)
    back = tmp_path / "back"
    inrcodec.decode_tree(out, back, format="dicom")
    (back / "a" / "notes.txt").write_text("precious")
    (out / "a.inrv").write_bytes((out / "sub" / "b.inrv").read_bytes())
    summary = inrcodec.decode_tree(out, back, format="dicom", force=True)
    assert "something else" in summary.failed[0]["error"]
    assert (back / "a" / "notes.txt").exists()


def test_a_source_that_changes_while_it_is_read_is_an_error(tree, out, monkeypatch):
    code = inrcodec.api.encode_file

    def meanwhile(volume, target, **keywords):
        report = code(volume, target, **keywords)
        os.utime(tree / "a.npy", (1, 1))
        return report

    monkeypatch.setattr("inrcodec.collection.tasks.api.encode_file", meanwhile)
    summary = encode([tree / "a.npy"], out)
    assert "changed while it was read" in summary.failed[0]["error"]
    assert not outputs(out)


@pytest.mark.parametrize("place", ["before the row", "before the name", "after it"])
@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("tidies", [False, True])
def test_a_run_that_dies_at_any_moment_is_continued(tree, out, place, earlier, tidies, monkeypatch):
    """`earlier`: outputs with other options are there, and are replaced. `tidies`: it is not kill -9."""
    if earlier:
        inrcodec.encode_tree(tree, out, max_error=9)
    append, publish, deaths = Manifest.append, runs._publish, []

    def die(at):
        if at == place and not deaths:
            deaths.append(at)
            raise KeyboardInterrupt

    def appended(self, row):
        die("before the row")
        append(self, row)
        die("before the name")

    def published(task):
        publish(task)
        die("after it")

    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "append", appended)
        patch.setattr(runs, "_publish", published)
        if not tidies:
            patch.setattr(runs, "_discard", lambda task: None)
        with pytest.raises(KeyboardInterrupt):
            encode(tree, out)
    assert deaths and not encode(tree, out).failed
    done = Counter(row["output"] for row in rows_of(out) if "lossless" in row["options"])
    assert done == {"a.inrv": 1, "sub/b.inrv": 1, "sub/series.inrv": 1}
    assert len(outputs(out)) == 3
    assert (inrcodec.decode(out / "a.inrv") == ramp()).all()
    assert (inrcodec.decode(out / "sub" / "series.inrv") == hounsfield(ramp(4))).all()


def _broken(folder: Path, kind: int) -> None:
    paths = write_series(folder, ramp(4))
    if kind == 0:
        paths[1].unlink()  # a gap
    elif kind == 1:
        paths[2].write_bytes(paths[2].read_bytes()[:-20])
    else:
        save(dataset(ramp(1)[0], (0, 0, 0), SamplesPerPixel=3, ImageOrientationPatient=list(AXIAL)), paths[0])


def test_twenty_series_with_three_bad_ones_killed_and_interrupted(tmp_path, out):
    """kill -9 of two processes, Ctrl-C of one, then to the end."""
    tree = tmp_path / "tree"
    for k in range(17):
        write_series(tree / f"p{k:02d}" / "ct", ramp(4) + k)
    for k in range(3):
        _broken(tree / f"bad{k}", k)
    root = str(Path(inrcodec.__file__).parents[1])
    command = [sys.executable, "-m", "inrcodec", "enc", "-r", str(tree), "--output-dir-mirror", str(out)]
    command += ["--lossless", "--json"]

    def count() -> int:
        return (out / NAME).read_bytes().count(b"\n") if (out / NAME).exists() else 0

    for number, least, jobs in ((signal.SIGKILL, 3, "2"), (signal.SIGINT, 9, "1")):
        process = subprocess.Popen(
            [*command, "--jobs", jobs],
            cwd=root,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        while count() < least and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(number)
        said = process.communicate(timeout=60)[1].decode()
        if number == signal.SIGINT and process.returncode != 12:  # it may have been done by then
            assert process.returncode == 130
            assert "the same command does the rest" in said
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 12, done.stderr
    summary = json.loads(done.stdout)
    assert sorted(row["source"] for row in summary["failed"]) == ["bad0", "bad1", "bad2"]
    assert len(summary["done"]) + len(summary["skipped"]) == 17
    whole = Counter(row["output"] for row in rows_of(out) if not row["exit_code"])
    assert len(whole) == 17 and set(whole.values()) == {1}
    assert set(outputs(out)) == set(whole)
    assert inrcodec.verify_tree(out).failed == []


def test_two_processes_one_of_them_killed_write_the_bytes_of_one(tree, out, tmp_path):
    (tree / "bad.nii").write_bytes(b"no volume")
    options = {"factor": 2, "tiles": (1, 1, 1), "width": 8, "steps": 60, "sr": "lanczos"}
    one = inrcodec.encode_tree(tree, out, **options)
    killed = []

    def kill(stage, fraction):
        workers = [
            p for p in psutil.Process().children() if any("spawn_main" in word for word in p.cmdline())
        ]
        if stage == "encode" and not killed and workers:
            killed.append(workers[0].pid)
            workers[0].kill()

    two = inrcodec.encode_tree(tree, tmp_path / "two", jobs=2, progress=kill, **options)
    assert killed
    assert outputs(out) == outputs(tmp_path / "two") and len(one.done) == len(two.done) == 3
    assert [row["error"] for row in one.failed] == [row["error"] for row in two.failed]


# --- manifest


def test_a_row_says_what_came_of_a_source_and_nothing_of_the_patient(tmp_path, out):
    write_series(tmp_path / "tree" / "s", ramp(4), SeriesDescription="SECRET", SeriesNumber=7)
    _broken(tmp_path / "tree" / "bad", 0)
    encode(tmp_path / "tree", out)
    good, bad = sorted(rows_of(out), key=lambda row: row["exit_code"])
    assert good["manifest"] == 1 and good["inrcodec"] == inrcodec.__version__
    assert (good["source"], good["series"], good["output"]) == ("s", "7", "s.inrv")
    assert good["options"] == {"lossless": True}
    assert good["output_bytes"] == (out / "s.inrv").stat().st_size == good["quality"]["file_bytes"]
    assert good["quality"]["max_error"] == 0 and good["quality"]["psnr"] is None
    assert bad["exit_code"] == 10 and "quality" not in bad
    for word in ("SECRET", "Doe", "4711", "1.2.3"):
        assert word not in (out / NAME).read_text()


def test_a_torn_last_line_is_left_out_and_told(tree, out):
    encode(tree, out)
    whole = (out / NAME).read_bytes()
    (out / NAME).write_bytes(whole[:-40])
    summary = encode(tree, out)
    assert len(summary.skipped) == 2 and any("cut off" in notice for notice in summary.notices)
    assert (out / NAME).read_bytes().count(b"\n") == 3 and len(rows_of(out)) == 3


@pytest.mark.parametrize(
    ("line", "error", "says"),
    [
        (b"{}", CorruptFile, "line 2 .* not of a manifest"),
        (b"[1]", CorruptFile, "not of a manifest"),
        (b"{", CorruptFile, "damaged"),
        (b"\xff\xfe", CorruptFile, "damaged"),
        (b"[" * 100_000, CorruptFile, "damaged"),
        (b'{"manifest": 2}', UnsupportedFile, "of version 2, this is for version 1"),
        (b'{"manifest": 1, "command": 3}', CorruptFile, "no valid 'command'"),
    ],
)
def test_a_damaged_or_foreign_manifest_is_refused_and_kept(tree, out, line, error, says):
    encode([tree / "a.npy"], out)
    with (out / NAME).open("ab") as stream:
        stream.write(line + b"\n")
    before = (out / NAME).read_bytes()
    with pytest.raises(error, match=says):
        encode(tree, out)
    assert (out / NAME).read_bytes() == before


@pytest.mark.parametrize("content", [b"notes that end without a line's end", b"notes\nand more", b'{"a": 1}'])
def test_a_file_that_is_no_manifest_is_never_cut(tree, out, tmp_path, content):
    (tmp_path / "notes.txt").write_bytes(content)
    with pytest.raises(CorruptFile):
        encode(tree, out, manifest=tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_bytes() == content


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes with a name")
def test_a_manifest_is_a_regular_file(tree, out, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/null"):
        with pytest.raises(WriteError, match="not a regular file"):
            encode(tree, out, manifest=path)


def test_one_run_at_a_time_writes_a_manifest(tree, out, tmp_path):
    code = inrcodec.collection.tasks.api.encode_file
    with pytest.MonkeyPatch.context() as patch:

        def nested(*args, **keywords):
            with pytest.raises(WriteError, match="another process"):
                encode(tree, out)
            return code(*args, **keywords)

        patch.setattr("inrcodec.collection.tasks.api.encode_file", nested)
        assert len(encode(tree, out).done) == 3


def test_a_full_disk_ends_the_run_and_leaves_the_manifest_as_it_was(tree, out, monkeypatch):
    encode([tree / "a.npy"], out)
    before, write = (out / NAME).read_bytes(), os.write

    def half(handle, data):
        if len(data) > 100 and bytes(data[:11]) == b'{"manifest"':
            write(handle, data[:50])
            raise OSError(28, "No space left on device")
        return write(handle, data)

    monkeypatch.setattr("inrcodec.collection.manifest.os.write", half)
    with pytest.raises(WriteError, match="no space left"):
        encode(tree, out)
    assert (out / NAME).read_bytes() == before
    assert {path.name for path in out.rglob("*") if path.is_file()} == {NAME, "a.inrv"}


def test_rows_of_a_manifest_name_no_file_to_touch(tree, out):
    """A manifest may come from anywhere: only names that follow from the tree are written."""
    encode(tree, out)
    victim = put_npy(out.parent / "victim.npy")
    rows = [row | {"output": "../victim.npy"} for row in rows_of(out)]
    (out / NAME).write_text("".join(json.dumps(row) + "\n" for row in rows))
    before = victim.read_bytes()
    encode(tree, out, force=True)
    assert victim.read_bytes() == before


@pytest.mark.parametrize("step", range(4))
def test_a_folder_that_is_replaced_survives_a_kill(tree, out, tmp_path, step, monkeypatch):
    encode([tree / "a.npy"], out)
    files, back = [next(out.rglob("a.inrv"))], tmp_path / "back"
    inrcodec.decode_tree(files, back, format="dicom")
    count = []

    def dying(do):
        def done(*places, **keywords):
            if any(".staged" in str(place) for place in places):
                if len(count) == step:
                    raise KeyboardInterrupt
                count.append(places)
            do(*places, **keywords)

        return done

    with monkeypatch.context() as patch:
        patch.setattr("inrcodec.collection.run.os.rename", dying(os.rename))
        patch.setattr("inrcodec.collection.run.shutil.rmtree", dying(shutil.rmtree))
        with pytest.raises(KeyboardInterrupt):
            inrcodec.decode_tree(files, back, format="dicom", ensemble=1)
    for ensemble in (1, 2):
        failed = inrcodec.decode_tree(files, back, format="dicom", ensemble=ensemble).failed
        assert not [row["error"] for row in failed]
    assert len({path.parent for path in back.rglob("*.dcm")}) == 1


# --- back, and checks


@pytest.mark.parametrize("format", [".nii.gz", "npy", "dicom"])
def test_a_tree_is_decoded_to_a_tree(tree, out, tmp_path, format):
    encode(tree, out)
    back = tmp_path / "back"
    summary = inrcodec.decode_tree(out, back, format=format)
    ending = {"npy": ".npy", "dicom": ""}.get(format, format)
    assert sorted(row["output"] for row in summary.done) == [
        f"{name}{ending}" for name in ("a", "sub/b", "sub/series")
    ]
    assert (inrcodec.io.read(back / f"sub/series{ending}").array == hounsfield(ramp(4))).all()
    assert len(inrcodec.decode_tree(out, back, format=format).skipped) == 3
    (out / "a.inrv").write_bytes((out / "sub" / "series.inrv").read_bytes())
    assert len(inrcodec.decode_tree(out, back, format=format).done) == 1
    assert (inrcodec.io.read(back / f"a{ending}").array == hounsfield(ramp(4))).all()


def test_the_kind_of_what_is_decoded_has_to_be_known(tree, out):
    encode(tree, out)
    for format in (".jpg", "", "a/b", "."):
        with pytest.raises(UsageError):
            inrcodec.decode_tree(out, out, format=format)


def test_a_test_finds_a_flipped_byte(tree, out, capsys):
    encode(tree, out)
    assert dec.main(["--test", "-r", str(out)]) == 0
    assert dec.main(["-t", str(out / "a.inrv")]) == 0
    before = outputs(out)
    _damage(tree, out)
    damaged = outputs(out)
    capsys.readouterr()
    assert dec.main(["-t", str(out / "a.inrv")]) == 4
    assert dec.main(["-t", "-r", str(out)]) == 12
    assert "2 whole, 1 failed" in capsys.readouterr().err
    assert outputs(out) == damaged != before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("enc -r {tree}", "--output-dir-mirror: a collection needs a folder"),
        ("enc -r {tree} {out}", "name the folder of the outputs by --output-dir-mirror"),
        ("enc -r --output-dir-mirror {out}", "required: INPUT"),
        ("enc {tree} --output-dir-mirror {out}", "--output-dir-mirror: is for a collection"),
        ("enc {tree} x.inrv --manifest m", "--manifest: is for a collection"),
        ("enc -r {tree} --output-dir-mirror {out} --filelist x", "--filelist: both"),
        ("enc -r {tree} --output-dir-mirror {out} --dry-run", "--dry-run: a plan is of one source"),
        ("enc -r {tree} --output-dir-mirror {out} --series 3", "--series: is for one source"),
        ("enc -r - --output-dir-mirror {out}", "a tree is a folder"),
        ("dec -r {tree} --output-dir-mirror {out} --template {tree}", "--template: is for one source"),
        ("dec x.inrv x.npy --format npy", "--format: is for a collection"),
        ("dec x.inrv x.npy --jobs 2", "--jobs: one file is decoded in this process"),
        ("dec -t x.inrv x.npy", "a test writes nothing"),
        ("dec -t -r {tree} --output-dir-mirror {out}", "nothing is written by a test"),
        ("dec -t x.inrv --lowres", "--lowres: has no meaning for a test"),
        ("dec -t", "required: FILE.inrv"),
    ],
)
def test_what_does_not_fit_together_is_refused(words, says, tree, out, capsys):
    name, *rest = words.format(tree=tree, out=out).split()
    assert {"enc": enc, "dec": dec}[name].main(rest) == 2
    assert says in capsys.readouterr().err
    assert not out.exists()


def test_words_go_to_stderr_and_json_to_stdout(tree, out, capsys):
    (tree / "bad.nii").write_bytes(b"no volume")
    words = ["-r", str(tree), "--output-dir-mirror", str(out), "--lossless"]
    assert enc.main([*words, "--json"]) == 12
    said = capsys.readouterr()
    assert len(json.loads(said.out)["done"]) == 3 and "bad.nii" in said.err
    assert enc.main([*words, "--quiet"]) == 12
    said = capsys.readouterr()
    assert said.out == "" and "3 done before, 1 failed" in said.err
