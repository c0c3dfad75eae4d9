"""The three commands on real files: what comes out, where, and what is not imported for it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pydicom
import pytest

import inrcodec
from inrcodec.cli import dec, enc, info

TINY = "--factor 2 --tiles 1,1,1 --width 10 --steps 200 --sr lanczos --threads 1".split()


def test_encoding_ends_with_a_ledger_of_all_bytes(tiny, capsys):
    assert enc.main([str(tiny / "in.npy"), str(tiny / "out.inrv"), *TINY]) == 0
    out, ledger = capsys.readouterr()
    assert out == ""
    rows = {line.split()[0]: line for line in ledger.splitlines()[1:]}
    parts = ("header", "network", "mask", "padding", "container")
    size = (tiny / "out.inrv").stat().st_size
    assert sum(_bytes(rows[part]) for part in parts) == _bytes(rows["file"]) == size
    assert "peak" in rows["PSNR"]
    for label in ("voxels", "source", "largest", "seconds", "model"):
        assert label in rows


def _bytes(row):
    return int(row.split("bytes")[0].split()[-1].replace(",", ""))


def test_encoding_prints_its_report_as_json(tiny, capsys):
    assert enc.main([str(tiny / "in.npy"), str(tiny / "out.inrv"), *TINY, "-q", "--json"]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert err == ""
    assert report["file_bytes"] == (tiny / "out.inrv").stat().st_size
    assert report["shape"] == [8, 20, 24]


def test_knobs_and_spacing_reach_the_file(tiny, capsys):
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
    assert "factor" in err
    assert not (tiny / "out.inrv").exists()


def test_standard_streams_carry_the_file(tiny, tiny_blob, capsysbinary, monkeypatch):
    assert enc.main([str(tiny / "in.npy"), "-", *TINY, "--spacing", "2,1,1"]) == 0
    blob, ledger = capsysbinary.readouterr()
    assert blob == tiny_blob
    assert b"PSNR" in ledger
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


def test_low_res_is_smaller_by_the_factor(tiny):
    assert dec.main([str(tiny / "in.inrv"), str(tiny / "low.npy"), "--lowres", "-q"]) == 0
    assert np.load(tiny / "low.npy").shape == (4, 10, 12)


def test_info_prints_a_table_or_json_to_stdout(tiny, capsys):
    assert info.main([str(tiny / "in.inrv")]) == 0
    table, err = capsys.readouterr()
    assert err == ""
    assert "8, 20, 24" in table
    assert info.main([str(tiny / "in.inrv"), "--json", "--verify"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["volume"]["shape"] == [8, 20, 24]
    assert result["verify"] == {"ok": True, "crc": True, "digest": "equal"}


def test_a_digest_that_differs_is_said(tiny, capsys, monkeypatch):
    from inrcodec import check

    monkeypatch.setattr(check, "digest", lambda *args, **knobs: b"other")
    assert info.main([str(tiny / "in.inrv"), "--verify"]) == 0
    assert "one stored unit" in capsys.readouterr().err


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
        assert np.array_equal(np.asarray(image), inrcodec.preview(tiny_blob))
