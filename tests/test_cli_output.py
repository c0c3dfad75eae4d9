"""What a person and a program see: bars, tables, JSON, PNG."""

from __future__ import annotations

import io
import json
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inrcodec.cli.progress import StageBar
from inrcodec.cli.stdio import put_json
from inrcodec.report.png import enlarged, png_bytes
from inrcodec.report.text import decibels, duration, facts, share
from inrcodec.validate import parse_floats, parse_ints


class Screen(io.StringIO):
    def __init__(self, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


SCREENS = [
    # terminal, quiet, verbose, what is seen
    (True, False, False, "fit"),
    (True, True, False, None),
    (False, False, False, None),
    (False, False, True, "fit"),
]


@pytest.mark.parametrize(("terminal", "quiet", "verbose", "seen"), SCREENS)
def test_bars_are_drawn_on_terminals_only(terminal, quiet, verbose, seen, monkeypatch):
    screen = Screen(terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    with StageBar(quiet=quiet, verbose=verbose) as bar:
        for fraction in (0.0, 0.5, 1.0):
            bar("fit", fraction)
        bar("verify", 1.0)
    assert (seen in screen.getvalue()) if seen else (screen.getvalue() == "")
    assert ("|" in screen.getvalue()) == (terminal and not quiet)
    assert set(bar.seconds) == {"fit", "verify"}
    assert (" elapsed, " in screen.getvalue()) == (" left" in screen.getvalue()) == (terminal and not quiet)


@pytest.mark.parametrize(
    ("value", "text"),
    [(float("inf"), "identical"), (38.564, "38.56 dB")],
)
def test_psnr_is_text(value, text):
    assert decibels(value) == text


def test_a_share_of_nothing_is_no_number():
    assert (share(1, 4), share(0, 0)) == ("25.0 %", "-")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (89, "89 s"), (100, "2 min"), (5000, "83 min"), (9000, "2.5 h")]
)
def test_a_duration_is_text(seconds, text):
    assert duration(seconds) == text


def test_facts_are_aligned_and_complete():
    text = facts({"shape": [8, 20, 24], "quality": {"psnr": 38.5, "max_error": 7}, "unit": "", "ok": True})
    assert text.splitlines() == [
        "shape  8, 20, 24 (z, y, x)",
        "quality",
        "  psnr       38.5",
        "  max error  7",
        "unit   -",
        "ok     yes",
    ]


def test_notices_are_lines_of_their_own():
    assert facts({"sr": "lanczos", "notices": ["one, of all", "two"]}).splitlines() == [
        "sr       lanczos",
        "notices  one, of all",
        "         two",
    ]


def test_json_has_plain_values_only(capsys):
    put_json({"psnr": float("inf"), "shape": (np.int64(3), 4), "axis": np.arange(2), "path": Path("x")})
    read = json.loads(capsys.readouterr().out)
    assert read == {"psnr": None, "shape": [3, 4], "axis": [0, 1], "path": "x"}


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (64, 17)])
def test_a_png_is_read_back_by_pillow(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    with Image.open(io.BytesIO(png_bytes(image))) as read:
        read.load()
        assert np.array_equal(np.asarray(read), image)


def test_a_png_of_a_view_is_the_view():
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)[::-2, ::2]
    data = png_bytes(image)
    pixels = zlib.decompress(data[data.index(b"IDAT") + 4 : data.index(b"IEND") - 8])
    assert pixels == b"".join(b"\0" + bytes(row.tolist()) for row in image)


@pytest.mark.parametrize(
    "image", [np.zeros((2, 2)), np.zeros((2, 2, 3), np.uint8), np.zeros((0, 2), np.uint8)]
)
def test_a_png_of_something_else_is_refused(image):
    with pytest.raises(ValueError, match="uint8 image"):
        png_bytes(image)


def test_lists_of_numbers():
    assert (parse_ints("4"), parse_ints("1,4,4"), parse_ints("4.0")) == (4, (1, 4, 4), "4.0")
    assert (parse_floats("3,.5,0.5"), parse_floats("x")) == ((3.0, 0.5, 0.5), "x")


@pytest.mark.parametrize("shape", [(1, 1), (24, 20), (3, 200), (255, 2), (256, 3), (700, 512)])
def test_a_small_preview_is_enlarged_by_whole_pixels(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    large = enlarged(image)
    times = large.shape[0] // shape[0]
    assert max(large.shape) >= 256
    assert times == 1 or max(shape) * (times - 1) < 256
    assert np.array_equal(large[::times, ::times], image)
    assert np.array_equal(large, np.kron(image, np.ones((times, times), np.uint8)))
