"""Collections: what of a tree is a source, what its output is called, and the way back."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest
from dicom_maker import ramp, write_series
from planted_trees import damage_output, encode, hounsfield, outputs, put_npy

import inrcodec
from inrcodec.cli import dec, enc
from inrcodec.collection import sources
from inrcodec.errors import InputError, UsageError, WriteError


def names(summary) -> dict[str, str]:
    return {row["source"] + row.get("series", ""): row["output"] for row in summary.done}


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
    damage_output(tree, out)
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
