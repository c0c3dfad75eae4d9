"""Collections that are run again: what is done is skipped, what changed is not, a kill loses nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest
from dicom_maker import ramp, write_series
from planted_trees import broken_series, damage_output, encode, hounsfield, outputs, put_npy, rows_of

import inrcodec
from inrcodec.collection import run as runs
from inrcodec.collection.manifest import NAME, Manifest
from inrcodec.errors import WriteError


def test_what_is_done_and_intact_is_skipped(tree, out):
    first = encode(tree, out)
    second = encode(tree, out)
    assert len(first.done) == len(second.skipped) == 3 and not second.done
    assert [row["output"] for row in rows_of(out)] == [row["output"] for row in first.done]


def _touch(tree, out):
    os.utime(tree / "a.npy", (1, 1))


def _change(tree, out):
    put_npy(tree / "a.npy", ramp() + 1)


def _lose(tree, out):
    (out / "a.inrv").unlink()


@pytest.mark.parametrize(
    ("change", "again"), [(_touch, []), (_change, ["a.npy"]), (damage_output, ["a.npy"]), (_lose, ["a.npy"])]
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


def test_twenty_series_with_three_bad_ones_killed_and_interrupted(tmp_path, out):
    """kill -9 of two processes, Ctrl-C of one, then to the end."""
    tree = tmp_path / "tree"
    for k in range(17):
        write_series(tree / f"p{k:02d}" / "ct", ramp(4) + k)
    for k in range(3):
        broken_series(tree / f"bad{k}", k)
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
