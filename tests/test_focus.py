"""The focus: a window that the user means, or a refusal that says which one could be meant."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from conftest import encoded

import inrcodec
from inrcodec.cli import enc
from inrcodec.encoder.options import EncodeOptions
from inrcodec.errors import UsageError
from inrcodec.file import InrvFile
from inrcodec.format import container
from inrcodec.layers.base import companding
from inrcodec.volume import windows
from inrcodec.volume.metrics import WindowErrors
from inrcodec.volume.value_range import Range
from inrcodec.volume.volume import Volume

SPAN = Range(-1024.0, 3071.0)


def volume(modality="CT", rescale=(1.0, 0.0)):
    return Volume(np.zeros((1, 2, 2), np.int16), np.eye(4), modality=modality, rescale=rescale)


@pytest.mark.parametrize(
    ("focus", "means"),
    [
        ("all", "all"),
        ("soft-tissue", "soft-tissue"),
        ("-160:240", (-160.0, 240.0)),
        ("-1000:-200", (-1000.0, -200.0)),
        (" 0 : 1e3 ", (0.0, 1000.0)),
        ((0, 80), (0.0, 80.0)),
        ([np.int16(0), np.float32(0.5)], (0.0, 0.5)),
    ],
)
def test_a_window_is_a_name_or_its_ends(focus, means):
    options = EncodeOptions(focus=focus)
    assert options.focus == means and eval(repr(options)) == options
    assert windows.parse_focus(windows.format_focus(options.focus)) == means


@pytest.mark.parametrize(
    ("focus", "names"),
    [
        ("soft_tissue", "did you mean 'soft-tissue'"),
        ("Bone", "did you mean 'bone'"),
        ("liver", "all, brain, soft-tissue, lung, bone or LO:HI"),
        ("", "LO:HI"),
        ("5", "LO:HI"),
        ("1:2:3", "LO:HI"),
        ("a:b", "LO:HI"),
        (":", "LO:HI"),
        ("nan:1", "LO:HI"),
        ("0:inf", "LO:HI"),
        ((0, 1, 2), "LO:HI"),
        ((True, 2), "LO:HI"),
        (7, "LO:HI"),
        (None, "LO:HI"),
        ("240:-160", "did you mean -160:240?"),
        ((5, 5), "a lower and an upper end"),
    ],
)
def test_what_is_not_a_window_is_refused_with_what_was_meant(focus, names):
    with pytest.raises(UsageError, match=names.replace("?", r"\?")):
        EncodeOptions(focus=focus)


def test_the_papers_preset_has_no_focus():
    with pytest.raises(UsageError, match="focus: preset 'paper'"):
        EncodeOptions(preset="paper", focus="brain")
    assert EncodeOptions(preset="paper", focus="all").focus == "all"


@pytest.mark.parametrize(
    ("rescale", "span"),
    [((1.0, 0.0), SPAN), ((0.5, -1024.0), Range(0, 8190)), ((-1.0, 0.0), Range(-3071, 1024))],
)
def test_the_window_lies_where_its_physical_values_are(rescale, span):
    source = volume(rescale=rescale)
    (low, high), notices = windows.unit_window("soft-tissue", source, span)
    assert -1 <= low < high <= 1 and not notices
    stored = span.low + (np.array([low, high]) + 1) / 2 * (span.high - span.low)
    assert sorted(stored * rescale[0] + rescale[1]) == pytest.approx([-160, 240])
    assert np.diff(stored)[0] * abs(rescale[0]) == pytest.approx(400)


def test_a_window_that_sticks_out_is_cut_to_the_volume():
    (low, high), _ = windows.unit_window((-5000.0, -1000.0), volume(), SPAN)
    assert low == -1 and -1 < high < -0.9


def test_what_has_nothing_to_focus_on_is_coded_as_without():
    assert windows.unit_window("all", volume(), SPAN) == (None, [])
    assert windows.unit_window("brain", volume(), Range(5, 5)) == (None, [])
    window, notices = windows.unit_window((-2000.0, 4000.0), volume(), SPAN)
    assert window is None and "all values" in notices[0]


@pytest.mark.parametrize(
    ("focus", "modality", "names"),
    [
        ((3100.0, 4000.0), "CT", "-1024:3071"),
        ((-3000.0, -1024.0), "CT", "outside"),
        ((0.0, 0.01), "CT", "wider"),
        ("brain", "MR", "the volume is MR"),
    ],
)
def test_a_window_that_means_nothing_for_the_volume_is_refused(focus, modality, names):
    with pytest.raises(UsageError, match=names):
        windows.unit_window(focus, volume(modality), SPAN)


def test_a_window_of_hounsfield_units_in_an_unknown_modality_is_taken_with_a_notice():
    assert windows.unit_window("brain", volume(""), SPAN)[1] == []
    assert "unknown" in windows.unit_window("brain", volume(""), Range(0, 255))[1][0]
    assert windows.unit_window((0.0, 80.0), volume("MR"), Range(0, 255))[1] == []


def test_errors_are_reported_in_the_windows_that_mean_something():
    assert set(windows.error_windows("all", volume(), SPAN)) == set(windows.WINDOWS)
    assert set(windows.error_windows("all", volume(""), SPAN)) == set(windows.WINDOWS)
    assert windows.error_windows("all", volume("MR"), SPAN) == {}
    assert windows.error_windows((0.0, 80.0), volume("MR", (2.0, 10.0)), SPAN) == {"0:80": (-5.0, 35.0)}
    assert windows.error_windows("all", volume(rescale=(-1.0, 0.0)), SPAN)["brain"] == (-80.0, 0.0)


def test_window_errors_are_means_over_what_the_source_has_there():
    source = np.array([[-5, 0, 40], [80, 81, 500]], np.int16)
    errors = WindowErrors({"brain": (0.0, 80.0), "empty": (600.0, 700.0)})
    for row in source:
        errors.add(row, row + row.astype(np.int16) // 10)
    assert errors.means == pytest.approx({"brain": (0 + 4 + 8) / 3})


def test_window_errors_of_huge_values_do_not_overflow():
    source = np.full(40_000, 1e307)
    errors = WindowErrors({"w": (-1.5e307, 1.5e307)})
    errors.add(source, -source)
    assert errors.means["w"] == pytest.approx(2e307)


Z, Y, X = np.meshgrid(*(np.linspace(-1, 1, n) for n in (16, 40, 44)), indexing="ij")
TISSUE = 40 + 15 * np.sin(9 * X) * np.cos(8 * Y)
BONE = 1500 * np.exp(-20 * ((X - 0.2) ** 2 + (Y + 0.1) ** 2))  # takes nearly all of the range
AIR = -1000 * np.exp(-6 * ((X + 1) ** 2 + (Y - 1) ** 2))
SCAN = np.rint(TISSUE + BONE + AIR).astype(np.int16)
KNOBS = {"factor": 2, "tiles": (1, 1, 1), "width": 16, "steps": 400, "sr": "lanczos", "threads": 1}


@pytest.fixture(scope="module")
def files_by_focus():
    """A file and its report with and without a focus."""
    source = Volume.from_array(SCAN, modality="CT")
    knobs = {**KNOBS, "size": 1000, "steps": 60, "through_sr": False}
    return {focus: encoded(source, focus=focus, **knobs) for focus in ("all", "soft-tissue")}


def test_a_focus_keeps_to_the_size_and_is_reported(files_by_focus):
    for focus, (blob, report) in files_by_focus.items():
        assert len(blob) <= 1000 and report.focus == focus


@pytest.mark.parametrize("focus", ["all", "soft-tissue"])
def test_mean_errors_are_those_of_the_decoded_volume(files_by_focus, focus):
    blob, report = files_by_focus[focus]
    decoded = inrcodec.decode(blob).astype(float)
    for name, (low, high) in windows.WINDOWS.items():
        inside = (low <= SCAN) & (high >= SCAN)
        assert (name in report.mean_errors) == inside.any()
        if inside.any():
            expected = np.abs(decoded - SCAN)[inside].mean()
            assert report.mean_errors[name] == pytest.approx(expected)


def test_everything_after_the_networks_sees_linear_values(files_by_focus):
    """The low-res volume, whole and by slices, is the networks' values through the header's curve."""
    blob, _ = files_by_focus["soft-tissue"]
    low = inrcodec.decode(blob, lowres=True).astype(float)
    decoder = inrcodec.open(blob)
    whole = decoder.lowres()
    least, most = decoder.header.low, decoder.header.high
    assert np.abs(low - (least + (whole + 1) * (most - least) / 2)).max() <= 0.51
    for z in range(len(whole)):
        assert np.array_equal(decoder.lowres(slice(z, z + 1), threads=2), whole[z : z + 1])
    header, sections = container.open_sections(blob)
    raw = InrvFile.from_sections(replace(header, companding=()), sections).lowres()
    linear = companding.expand(header.companding, raw)
    assert not np.array_equal(linear, raw)
    assert np.array_equal(whole, np.where(decoder.decoder.base.active, linear, header.background))
    assert inrcodec.verify(blob, threads=2)["digest"] == "equal"


def test_the_header_states_the_curve_which_a_focus_makes_steeper(files_by_focus):
    shares = []
    for focus in ("all", "soft-tissue"):
        nodes = inrcodec.info(files_by_focus[focus][0])["codec"]["companding"]
        assert [physical for physical, _ in nodes] == pytest.approx([-160, 240], abs=0.1)
        shares.append(nodes[1][1] - nodes[0][1])
    assert shares[1] > shares[0] > 2 * 400 / (SPAN.high - SPAN.low)


def test_a_refused_window_costs_no_work():
    stages = []
    source = Volume.from_array(SCAN, modality="MR")
    with pytest.raises(UsageError, match="window of CT"):
        inrcodec.encode(source, focus="brain", progress=lambda stage, _: stages.append(stage), **KNOBS)
    assert set(stages) <= {"read"}


@pytest.mark.parametrize("words", [["--focus", "-160:240"], ["--focus=-160:240"]])
def test_a_negative_end_is_not_an_option_of_the_command_line(words, tmp_path, capsys):
    np.save(tmp_path / "in.npy", SCAN)
    quick = "--factor 4 --sr lanczos --steps 60 --threads 1 --json".split()
    assert enc.main([str(tmp_path / "in.npy"), str(tmp_path / "out.inrv"), *words, *quick]) == 0
    out, ledger = capsys.readouterr()
    report = json.loads(out)
    assert report["focus"] == "-160:240" and report["mean_errors"]["-160:240"] > 0
    assert "soft-tissue" in report["mean_errors"] and not ledger  # JSON takes the ledger's place


def test_the_command_line_refuses_as_python_does(tmp_path, capsys):
    np.save(tmp_path / "in.npy", SCAN)
    for focus, names in (("bones", "did you mean 'bone'"), ("5000:6000", "outside")):
        assert enc.main([str(tmp_path / "in.npy"), str(tmp_path / "out.inrv"), "--focus", focus]) == 2
        assert names in capsys.readouterr().err
    assert not (tmp_path / "out.inrv").exists()


def test_importing_focus_imports_neither_torch_nor_numpy():
    code = (
        "import sys, inrcodec.volume.windows; print(sorted({'torch', 'numpy', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
