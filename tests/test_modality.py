"""The modality of a volume: what the source says, the user says, or the values show."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_maker import write_series

import inrcodec
from inrcodec import io
from inrcodec.cli import dec, enc
from inrcodec.errors import UsageError
from inrcodec.format import container
from inrcodec.volume.modality import parse_modality, with_modality
from inrcodec.volume.volume import Volume

SAMPLE = Path(__file__).parent / "data" / "vhf-head-dicom"
TINY = {"factor": 2, "tiles": (1, 1, 1), "width": 10, "steps": 50, "sr": "lanczos", "threads": 1}


def volume(low, high, *, slope=1.0, intercept=0.0, **words):
    array = np.linspace(low, high, 256).reshape(4, 8, 8).astype(np.int16)
    return replace(Volume.from_array(array, **words), rescale=(slope, intercept))


CASES = [
    # volume, the user's word, modality, unit, notices
    (volume(-1000, 2000), None, "CT", "HU", 1),
    (volume(24, 3024, intercept=-1024.0), None, "CT", "HU", 1),
    (volume(0, 3000), None, "", "", 0),
    (volume(0, 3000), "CT", "CT", "", 0),
    (volume(-1000, 2000), "CT", "CT", "HU", 0),
    (volume(-1000, 2000), "MR", "MR", "", 0),
    (volume(-1000, 2000, modality="MR"), None, "MR", "", 0),
    (volume(0, 3000, modality="MR"), "MR", "MR", "", 0),
]


@pytest.mark.parametrize(("source", "given", "modality", "unit", "notices"), CASES)
def test_the_modality_is_the_sources_the_users_or_that_of_the_values(source, given, modality, unit, notices):
    found, said = with_modality(source, given)
    assert (found.modality, found.unit, len(said)) == (modality, unit, notices)
    assert np.array_equal(found.array, source.array)


def test_a_source_is_not_contradicted():
    with pytest.raises(UsageError, match="'CT' contradicts the source, which says 'MR'"):
        with_modality(volume(0, 10, modality="MR"), "CT")


@pytest.mark.parametrize("word", ["", "C,T", "x" * 17, "größe", 3])
def test_a_modality_that_dicom_could_not_write_is_refused(word):
    with pytest.raises(UsageError, match="DICOM term"):
        parse_modality(word)


def test_what_is_taken_for_ct_is_so_in_file_report_and_series(tmp_path, capsys):
    there = io.read(SAMPLE)
    source = Volume.from_array(there.array, affine=there.affine)  # which does not say what it is
    report = inrcodec.encode_file(source, tmp_path / "a.inrv", **TINY)
    assert (report.modality, report.unit) == ("CT", "HU")
    assert any("taken for CT" in notice for notice in report.notices)
    decoded = inrcodec.decode_volume(tmp_path / "a.inrv")
    assert (decoded.modality, decoded.unit) == ("CT", "HU")
    assert dec.main([str(tmp_path / "a.inrv"), str(tmp_path / "out"), "--template", str(SAMPLE), "-q"]) == 0
    first = pydicom.dcmread(next((tmp_path / "out").iterdir()))
    assert (first.Modality, first.RescaleType) == ("CT", "HU")


def test_the_users_modality_is_in_the_file(tiny, capsys):
    words = "--factor 2 --tiles 1,1,1 --width 10 --steps 50 --threads 1 --modality mr --json".split()
    assert enc.main([str(tiny / "in.npy"), str(tiny / "mr.inrv"), *words]) == 0
    assert json.loads(capsys.readouterr().out)["modality"] == "MR"
    assert inrcodec.info(tiny / "mr.inrv")["volume"]["modality"] == "MR"
    assert enc.main([str(tiny / "in.npy"), "-", *words, "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["modality"] == "MR"


def test_a_template_needs_a_modality_that_is_known(tiny, capsys):
    there = [(0.0, 0.0, 2.0 * k) for k in range(8)]
    write_series(tiny / "s", np.load(tiny / "in.npy"), positions=there, PixelSpacing=[1, 1])
    words = [str(tiny / "in.inrv"), str(tiny / "out"), "--template", str(tiny / "s")]
    assert container.read(tiny / "in.inrv")[0].modality == ""
    assert dec.main(words) == 2
    assert "--modality" in capsys.readouterr().err
    assert not (tiny / "out").exists()
    assert dec.main([*words, "--modality", "MR"]) == 2
    assert "template is CT and the volume is MR" in capsys.readouterr().err
    assert dec.main([*words, "--modality", "CT", "-q"]) == 0
    assert pydicom.dcmread(next((tiny / "out").iterdir())).Modality == "CT"


def test_a_modality_is_for_dicom_and_does_not_overrule_the_file(tiny, capsys):
    header, sections = container.read(tiny / "in.inrv")
    sections = {**sections, "HEAD": replace(header, modality="MR").to_bytes()}
    (tiny / "mr.inrv").write_bytes(container.pack(list(sections.items())))
    assert dec.main([str(tiny / "mr.inrv"), str(tiny / "out"), "--modality", "CT"]) == 2
    assert "contradicts the source" in capsys.readouterr().err
    assert dec.main([str(tiny / "mr.inrv"), str(tiny / "out.npy"), "--modality", "MR"]) == 2
    assert "no meaning for NumPy" in capsys.readouterr().err
