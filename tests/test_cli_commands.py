"""The three commands on real files: what comes out, where, and what is not imported for it."""

from __future__ import annotations

import importlib
import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pydicom
import pytest
from dicom_maker import write_series

import inrcodec
from inrcodec.cli import dec, enc, info
from inrcodec.cli.inrv import COMMANDS
from inrcodec.file import InrvFile
from inrcodec.format import container

TINY = "--factor 2 --tiles 1,1,1 --width 10 --steps 200 --sr lanczos --threads 1".split()


def test_encoding_ends_with_a_report_of_all_bytes(tiny, capsys):
    assert enc.main([str(tiny / "in.npy"), str(tiny / "out.inrv"), *TINY]) == 0
    out, report = capsys.readouterr()
    assert out == ""
    rows = {line.split()[0]: line for line in report.splitlines()[1:]}
    parts = ("header", "base", "mask", "padding", "container")
    size = (tiny / "out.inrv").stat().st_size
    assert sum(_bytes(rows[part]) for part in parts if part in rows) == _bytes(rows["file"]) == size
    assert "peak" in rows["PSNR"]
    for label in ("voxels", "source", "largest", "seconds", "model"):
        assert label in rows


def test_the_report_of_a_file_without_networks_does_not_speak_of_them(tiny, capsys):
    assert enc.main([str(tiny / "in.npy"), str(tiny / "out.inrv"), "--lossless"]) == 0
    report = capsys.readouterr().err
    rows = {line.split()[0]: line for line in report.splitlines()[1:]}
    size = (tiny / "out.inrv").stat().st_size
    assert sum(_bytes(rows[part]) for part in ("header", "refinement", "container")) == size
    for word in ("network", "model", "fit"):
        assert word not in report


def test_a_dry_run_predicts_time_and_bytes(tiny, capsys):
    assert enc.main([str(tiny / "in.npy"), str(tiny / "out.inrv"), "--dry-run", "--steps", "200"]) == 0
    words = capsys.readouterr().err
    assert re.search(r"^predicted time +about \d+ (s|min)$", words, re.MULTILINE)
    assert re.search(r"^predicted size +about [\d,]+ bytes$", words, re.MULTILINE)
    assert words.endswith("options\n  steps  200\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_screen_and_the_full_help_has_every_flag(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    module = importlib.import_module(f"inrcodec.cli.{command}")
    assert module.main(["--help"]) == 0
    short = capsys.readouterr().out.splitlines()
    assert len(short) <= 30 and max(map(len, short)) < 80
    assert any("--help-all" in line for line in short)
    assert module.main(["--help-all"]) == 0
    full = capsys.readouterr().out
    for flag in module.parser()._option_string_actions:
        assert flag in full
    for option in module.parser().rows.values():
        for words in (option.help, option.range):
            assert words in " ".join(full.split())


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["info", "--version"], 0, "inrv-info"),
        (["--help"], 0, "compress a volume"),
        ([], 2, "no command"),
        (["encode"], 2, "unknown command 'encode'"),
        (["enc", "missing.npy", "out.inrv"], 3, "missing.npy does not exist"),
    ],
)
def test_the_package_runs_as_a_module(words, code, says, tmp_path):
    command = [sys.executable, "-m", "inrcodec", *words]
    root = str(Path(inrcodec.__file__).parents[1])
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": root, "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == code, done.stderr
    assert says in (done.stderr if code else done.stdout)


def _bytes(row):
    return int(row.split("bytes")[0].split()[-1].replace(",", ""))


def test_encoding_prints_its_report_as_json(tiny, capsys):
    assert enc.main([str(tiny / "in.npy"), str(tiny / "out.inrv"), *TINY, "--json"]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert err == ""
    assert report["file_bytes"] == (tiny / "out.inrv").stat().st_size
    assert report["shape"] == [8, 20, 24]


def test_options_and_spacing_reach_the_file(tiny, capsys):
    words = [*TINY, "--spacing", "3,1,0.5", "--seed", "5", "--layers", "2", "-q"]
    assert enc.main([str(tiny / "in.npy"), str(tiny / "out.inrv"), *words]) == 0
    volume = inrcodec.decode_volume(tiny / "out.inrv")
    assert volume.spacing == pytest.approx((3, 1, 0.5))
    facts = json.dumps(inrcodec.info(tiny / "out.inrv"))
    assert '"seed": 5' in facts
    assert '"layers": 2' in facts


def test_an_existing_output_is_replaced_with_force(tiny):
    assert enc.main([str(tiny / "in.npy"), str(tiny / "in.inrv"), *TINY, "-q", "--force", "--seed", "1"]) == 0
    assert inrcodec.decode(tiny / "in.inrv").shape == (8, 20, 24)


def test_a_dry_run_says_the_plan_and_writes_nothing(tiny, capsys):
    assert (
        enc.main([str(tiny / "in.npy"), str(tiny / "out.inrv"), "--dry-run", "--json", "--factor", "2"]) == 0
    )
    out, err = capsys.readouterr()
    assert json.loads(out)["factor"] == [2, 2, 2]
    assert err == ""
    assert not (tiny / "out.inrv").exists()


def test_a_dry_run_does_not_ask_for_the_output(tiny, capsys):
    before = (tiny / "in.inrv").read_bytes()
    for output in (str(tiny / "in.inrv"), str(tiny / "none" / "out.inrv"), "-"):
        assert enc.main([str(tiny / "in.npy"), output, "--dry-run", "--json", "--factor", "2"]) == 0
        assert json.loads(capsys.readouterr().out)["factor"] == [2, 2, 2]
    assert (tiny / "in.inrv").read_bytes() == before
    assert not (tiny / "none").exists()


def test_standard_streams_carry_the_file(tiny, tiny_blob, capsysbinary, monkeypatch):
    assert enc.main([str(tiny / "in.npy"), "-", *TINY, "--spacing", "2,1,1"]) == 0
    blob, report = capsysbinary.readouterr()
    assert blob == tiny_blob
    assert b"PSNR" in report
    for main, words in ((dec.main, [str(tiny / "out.npy")]), (info.main, ["-q"])):
        stdin = SimpleNamespace(buffer=io.BytesIO(blob), isatty=lambda: False)
        monkeypatch.setattr(sys, "stdin", stdin)
        assert main(["-", *words]) == 0
    assert np.array_equal(np.load(tiny / "out.npy"), inrcodec.decode(tiny_blob))


def test_a_terminal_is_not_filled_with_bytes(tiny, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert enc.main([str(tiny / "in.npy"), "-", *TINY]) == 2
    assert "terminal" in capsys.readouterr().err


@pytest.mark.parametrize("ending", [".npy", ".nii", ".nii.gz"])
def test_decoding_writes_what_the_ending_says(ending, tiny, tiny_blob, capsys):
    target = tiny / f"out{ending}"
    assert dec.main([str(tiny / "in.inrv"), str(target)]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "seconds" in err
    read = (
        np.load(target) if ending == ".npy" else np.asarray(nibabel.load(target).dataobj).transpose(2, 1, 0)
    )
    assert np.array_equal(read, inrcodec.decode(tiny_blob))


def test_decoding_to_a_folder_writes_a_series_that_says_it_is_lossy(tiny, tiny_blob, capsys):
    assert dec.main([str(tiny / "in.inrv"), str(tiny / "series"), "--json", "-q"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["shape"] == [8, 20, 24]
    slices = [pydicom.dcmread(path) for path in (tiny / "series").iterdir()]
    assert len(slices) == 8
    for slice_ in slices:
        assert slice_.LossyImageCompression == "01"
        assert slice_.LossyImageCompressionMethod == "INRV_1"
        ratio = inrcodec.info(tiny_blob)["ratio"]
        assert float(slice_.LossyImageCompressionRatio) == pytest.approx(ratio, rel=1e-3)


DETAILS = [
    # model of the file, words of inrv-dec, what the series must and must not say of fine detail
    ("srdensenet-4x", [], "super-resolved", "interpolated"),
    ("srdensenet-4x", ["--sr", "lanczos"], "interpolated", "super-resolved"),
    ("srdensenet-4x", ["--lowres"], "coarser grid", "super-resolved"),
    ("lanczos", [], "interpolated", "super-resolved"),
    ("lanczos", ["--lowres"], "coarser grid", "super-resolved"),
]


@pytest.mark.parametrize(("model", "words", "says", "hides"), DETAILS)
def test_a_series_says_where_its_fine_detail_comes_from(model, words, says, hides, tiny, monkeypatch):
    from inrcodec import api

    volume = api.decode_volume(tiny / "in.inrv", lowres="--lowres" in words)
    header, sections = container.read(tiny / "in.inrv")
    named = replace(header, sr=model)
    monkeypatch.setattr(container, "open_sections", lambda *_: (named, sections))
    monkeypatch.setattr(InrvFile, "volume", lambda *_, **__: volume)
    assert dec.main([str(tiny / "in.inrv"), str(tiny / "series"), *words, "-q"]) == 0
    derivation = pydicom.dcmread(next((tiny / "series").iterdir())).DerivationDescription
    assert says in derivation
    assert hides not in derivation


def test_a_low_res_series_says_nothing_of_the_full_resolution(tmp_path):
    z, y, x = np.ogrid[-1:1:8j, -1:1:20j, -1:1:24j]
    blob = (1000 * np.exp(-2 * (z**2 + y**2 + x**2))).astype(np.int16)
    write_series(tmp_path / "source", blob, SliceThickness=5, PixelSpacing=[2, 2])  # slices 2 mm apart
    packed = tmp_path / "a.inrv"
    assert enc.main([str(tmp_path / "source"), str(packed), *TINY, "-q"]) == 0
    for words, thickness, share in (([], 5.0, 1), (["--lowres"], 4.0, 8)):
        assert dec.main([str(packed), str(tmp_path / "out"), *words, "-q", "--force"]) == 0
        slices = [pydicom.dcmread(path) for path in (tmp_path / "out").iterdir()]
        assert {float(slice_.SliceThickness) for slice_ in slices} == {thickness}
        ratio = blob.nbytes / share / packed.stat().st_size
        assert float(slices[0].LossyImageCompressionRatio) == pytest.approx(ratio, rel=1e-6)


def test_decoding_reads_its_file_once(tiny, monkeypatch):
    loads = []
    opened = container.opened
    monkeypatch.setattr(container, "opened", lambda source: loads.append(source) or opened(source))
    assert dec.main([str(tiny / "in.inrv"), str(tiny / "series"), "-q"]) == 0
    assert len(loads) == 1


def test_low_res_is_smaller_by_the_factor(tiny):
    assert dec.main([str(tiny / "in.inrv"), str(tiny / "low.npy"), "--lowres", "-q"]) == 0
    assert np.load(tiny / "low.npy").shape == (4, 10, 12)


def test_info_prints_a_table_or_json_to_stdout(tiny, capsys):
    assert info.main([str(tiny / "in.inrv")]) == 0
    table, err = capsys.readouterr()
    assert err == ""
    assert "8, 20, 24 (z, y, x)" in table
    rows = table.splitlines()
    first = next(number for number, row in enumerate(rows) if "affine lps" in row)
    assert [row.split()[-4:] for row in rows[first : first + 3]] == [
        ["1,", "0,", "0,", "0"],
        ["0,", "1,", "0,", "0"],
        ["0,", "0,", "2,", "0"],
    ]
    assert info.main([str(tiny / "in.inrv"), "--json", "--verify"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["volume"]["shape"] == [8, 20, 24]
    assert result["verify"] == {"ok": True, "digest": "equal"}


@pytest.mark.parametrize("words", [[], ["-q"], ["--json"]], ids=str)
def test_a_digest_that_differs_is_said_and_is_not_ok(words, tiny, capsys, monkeypatch):
    monkeypatch.setattr(InrvFile, "digest", lambda *args, **keywords: b"other")
    assert info.main([str(tiny / "in.inrv"), "--verify", *words]) == 0
    out, err = capsys.readouterr()
    for said in ("digest differs", "all checksums are right", "Another machine", "one stored unit"):
        assert said in err
    if "--json" in words:
        assert json.loads(out)["verify"] == {"ok": False, "digest": "differs"}


IMPORTS = """
import sys
from inrcodec.cli.info import main
code = main(sys.argv[1:])
print(sorted({"torch", "scipy", "tqdm", "pydicom", "nibabel"} & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize("words", [[], ["--json"], ["--preview", "out.png"]], ids=str)
def test_info_and_preview_import_nothing_heavy(words, tiny):
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, "in.inrv", *words],
        cwd=tiny,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(Path(inrcodec.__file__).parents[1]), "PATH": "/usr/bin:/bin"},
    )
    assert (done.returncode, done.stderr.strip()) == (0, "[]")


def test_a_preview_is_the_central_slice(tiny, tiny_blob, capsys):
    from PIL import Image

    assert info.main([str(tiny / "in.inrv"), "--preview", str(tiny / "out.png"), "-q"]) == 0
    with Image.open(tiny / "out.png") as image:
        assert image.mode == "L"
        shown = np.asarray(image)
    small = inrcodec.open(tiny_blob).preview()
    times = shown.shape[1] // small.shape[1]
    assert max(shown.shape) >= 256
    assert np.array_equal(shown, np.kron(small, np.ones((times, times), np.uint8)))
