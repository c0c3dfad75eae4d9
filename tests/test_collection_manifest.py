"""The manifest of a collection: its rows, damage, locks, and a disk that is full."""

from __future__ import annotations

import json
import os
import shutil
import sys

import pytest
from dicom_maker import ramp, write_series
from planted_trees import broken_series, encode, put_npy, rows_of

import inrcodec
from inrcodec.collection.manifest import NAME
from inrcodec.errors import CorruptFile, UnsupportedFile, WriteError


def test_a_row_says_what_came_of_a_source_and_nothing_of_the_patient(tmp_path, out):
    write_series(tmp_path / "tree" / "s", ramp(4), SeriesDescription="SECRET", SeriesNumber=7)
    broken_series(tmp_path / "tree" / "bad", 0)
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
