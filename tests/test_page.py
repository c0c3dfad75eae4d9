"""The page of a file: packed slices, orientation, numbers, escapes; and the flags that ask for it.

Invariant: what is on the page is what was decoded, and no word from a file is anything but text.
"""

import json
import os
import re
import sys
from base64 import b64decode
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report_pages import labelled, planes_of

import inrcodec
from inrcodec import Volume
from inrcodec.cli import info, view
from inrcodec.layers.models import packed
from inrcodec.report.page import charts, html_report, html_view
from inrcodec.report.page.build import Contents, build
from inrcodec.volume.comparison import compare
from inrcodec.volume.windows import WINDOWS

QUICK = {"factor": 2, "tiles": (1, 1, 1), "width": 10, "steps": 60, "sr": "lanczos", "threads": 1}


def carried(page, name):
    """The bytes that a page carries."""
    found = re.search(rf"id='{name}'>([^<]*)</script>", page)
    return None if found is None else b64decode(found.group(1))


def data_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.S).group(1))


@pytest.fixture(scope="module")
def ball():
    z, y, x = np.mgrid[-1:1:12j, -1:1:24j, -1:1:28j]
    array = np.where(z**2 + y**2 + x**2 < 0.7, 60 + 40 * x, -1000).astype(np.int16)
    return replace(Volume.from_array(array, spacing=(2, 1, 1), modality="CT"), unit="HU")


@pytest.fixture(scope="module")
def blob(ball):
    return inrcodec.encode(ball, **QUICK)


def test_errors_are_of_all_voxels(ball):
    error = np.random.default_rng(3).integers(-30, 31, ball.shape)
    decoded = replace(ball, array=(ball.array + error).astype(np.int16))
    found = compare(ball, decoded)
    assert found.mean_error == pytest.approx(np.abs(error).mean())
    assert found.bias == pytest.approx(error.mean())
    assert found.max_error == np.abs(error).max()
    assert found.equal == pytest.approx((error == 0).mean())
    assert sum(found.counts) == error.size and len(found.by_slice) == len(error)
    peak = 2047.0  # -1000 … 100 needs 11 bits
    assert found.peak == peak
    assert found.psnr == pytest.approx(20 * np.log10(peak / np.sqrt(np.square(error).mean())))
    assert found.by_slice[4] == pytest.approx(20 * np.log10(peak / np.sqrt(np.square(error[4]).mean())))
    soft = (ball.array >= -160) & (ball.array <= 240)
    assert found.windows["soft-tissue"] == pytest.approx(np.abs(error)[soft].mean())


def test_units_are_physical():
    source = Volume(labelled(), np.eye(4), rescale=(0.5, -3.0))
    found = compare(source, replace(source, array=source.array + np.int16(4)))
    assert found.mean_error == found.bias == found.max_error == 2.0


def test_a_negative_slope_turns_the_sign():
    source = Volume(labelled(), np.eye(4), rescale=(-1.0, 0.0))
    found = compare(source, replace(source, array=source.array + np.int16(4)))
    assert found.bias == -4 and found.max_error == 4
    lower = sum(n for n, edge in zip(found.counts, found.edges[1:], strict=True) if edge <= 0)
    assert lower == source.array.size


@pytest.mark.parametrize("size", [1, 60, 700])
def test_the_histogram_is_even_about_zero(size):
    source = Volume(labelled(), np.eye(4))
    error = np.where(labelled() % 2, size, -size).astype(np.int16)
    found = compare(source, replace(source, array=source.array + error))
    assert found.counts == found.counts[::-1] and sum(found.counts) == error.size


def test_a_source_that_was_rescaled_since_is_compared_by_its_values():
    decoded = Volume(labelled() * np.int16(2), np.eye(4), rescale=(0.5, 0.0))
    found = compare(Volume(labelled(), np.eye(4)), decoded)
    assert found.max_error == 0 and found.equal == 1


def test_another_volume_is_refused(blob):
    with pytest.raises(inrcodec.InputError, match="12 x 24 x 28"):
        html_report(blob, np.zeros((12, 24, 27), np.int16) + labelled((12, 24, 27)))


def test_a_reference_of_another_modality_is_refused(blob, ball):
    with pytest.raises(inrcodec.InputError, match="the reference is MR, the file CT"):
        html_report(blob, replace(ball, modality="MR", unit=""))


def test_a_reference_that_was_not_encoded_is_warned_of(ball):
    blob = inrcodec.encode(ball, lossless=True)
    warned = "id='warning'"
    assert warned not in html_report(blob, ball)
    assert warned in html_report(blob, replace(ball, array=ball.array[..., ::-1]))


def test_the_page_says_whether_the_digest_is_equal(blob):
    assert "decoded every voxel as the encoder did" in html_report(blob)


def test_a_unit_is_text_in_the_charts_too(ball):
    strange = replace(ball, unit="$\\foo$", modality="", array=ball.array + np.int16(5000))
    assert "$\\foo$" in html_report(inrcodec.encode(strange, **QUICK), strange)


def test_a_strange_file_name_is_a_title(tmp_path, blob):
    path = tmp_path / os.fsdecode(b"sc\xe4n.inrv")
    path.write_bytes(blob)
    assert info.main([str(path), "--report", str(tmp_path / "page.html"), "-q"]) == 0
    assert "sc?n.inrv" in (tmp_path / "page.html").read_text()


def test_charts_say_which_extra_they_need(blob, ball, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(inrcodec.MissingExtra, match="plots"):
        html_report(blob, ball)
    assert "Slices" in html_report(blob)  # no charts, no Matplotlib


def test_a_page_needs_nothing_else(blob, ball):
    page = html_report(blob, ball, name="ball.inrv")
    assert "default-src 'none'" in page
    assert "connect-src" not in page.split("<script")[0]
    loaded = re.search(
        r"""(src|href|url)\s*[=(]\s*["']?(?!["'#])""", re.sub(r"<script.*?</script>", "", page, flags=re.S)
    )
    assert loaded is None, loaded


def test_a_page_carries_the_file_and_its_reference(blob, ball):
    page = html_report(blob, ball)
    assert carried(page, "file") == blob
    assert np.array_equal(inrcodec.decode(carried(page, "reference")), ball.array)
    assert carried(html_report(blob), "reference") is None


def test_a_large_reference_is_chosen_from_disk(blob, ball, monkeypatch):
    monkeypatch.setattr("inrcodec.report.page.EMBEDDED", 100)
    page = html_report(blob, ball)
    assert carried(page, "reference") is None and "id='errors'" in page and 'id="choose"' in page


def test_a_reference_in_float64_comes_back_bit_for_bit(ball):
    wide = replace(ball, array=ball.array / 3, modality="", unit="")
    page = html_report(inrcodec.encode(wide, **QUICK), wide)
    assert np.array_equal(inrcodec.decode(carried(page, "reference")), wide.array)


def test_a_large_file_is_asked_for(blob, monkeypatch):
    monkeypatch.setattr("inrcodec.report.page.carried.EMBEDDED", len(blob) - 1)
    page = html_view(blob)
    assert carried(page, "file") is None and "does not carry the file" in page
    assert data_of(page)["bytes"] == len(blob)


def test_a_view_is_a_page_without_a_decode(blob, monkeypatch):
    monkeypatch.setattr(inrcodec.open(blob).__class__, "volume", None)
    page = html_view(blob, name="ball.inrv")
    assert "<title>ball.inrv</title>" in page and carried(page, "file") == blob
    assert "digest)" not in page and "smaller one" in page


def test_a_page_shows_the_facts_of_the_file(blob, ball):
    page, facts = html_report(blob, ball, name="ball.inrv"), inrcodec.info(blob)
    assert "<title>ball.inrv</title>" in page
    assert f"{len(blob):,} bytes" in page and f"{facts['quality']['psnr']:.2f} dB" in page
    assert facts["quality"]["digest"] in page
    for part, size in facts["bytes"].items():
        assert not size or f"{size:,}" in page, part


def test_the_same_file_gives_the_same_page(blob, ball):
    assert html_report(blob, ball) == html_report(blob, ball)


def test_limitations_are_those_of_the_file(ball, blob):
    assert "lossy" in html_report(blob) and "guess" not in html_report(blob)
    assert "bit for bit" in html_report(inrcodec.encode(ball, lossless=True))
    assert "off by more than 4 HU" in html_report(inrcodec.encode(ball, max_error=4))


def words_of(**changes):
    """Limitations on the page of a file without a promise, as they are said for its kind."""
    source = Volume(labelled(), np.eye(4))
    blob = inrcodec.encode(source, lossless=True)
    facts = inrcodec.info(blob)
    facts["quality"]["bound"] = None
    page = build(Contents(name="a", facts=facts, planes=planes_of(source), **changes))
    return re.search(r'<section id="limitations">(.*?)</section>', page, re.S).group(1)


def test_only_what_came_from_a_low_res_volume_is_warned_of_as_such():
    assert "smaller one" in words_of() and "low-res grid" in words_of()
    without = words_of(has_base=False, from_base=False)
    assert "lossy" in without and "smaller one" not in without and "low-res" not in without


def test_the_windows_of_the_page_are_those_that_errors_are_reported_in(blob):
    presets = data_of(html_report(blob))["presets"]
    assert [name.split(" (")[0] for name in presets] == ["soft-tissue", "brain", "lung", "bone"]
    shown = {name.split(" (")[0]: tuple(ends) for name, ends in presets.items()}
    assert shown == dict(WINDOWS)


def test_words_are_only_words(blob):
    page = html_report(blob, name="</title><script>alert(1)</script>")
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page
    assert page.count("<script") == 4  # data, file, decoder and program


def test_inrv_info_writes_the_page(tmp_path, ball, blob, capsys):
    (tmp_path / "ball.inrv").write_bytes(blob)
    np.save(tmp_path / "ball.npy", ball.array)
    words = [str(tmp_path / "ball.inrv"), "--report", str(tmp_path / "ball.html")]
    assert info.main([*words, "--reference", str(tmp_path / "ball.npy"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"] == str(tmp_path / "ball.html")
    page = (tmp_path / "ball.html").read_text()
    assert "id='histogram'" in page and "ball.inrv" in page
    assert info.main(words) == 7  # exists
    assert info.main([*words, "--force"]) == 0
    assert "id='histogram'" not in (tmp_path / "ball.html").read_text()


@pytest.fixture
def folder(tmp_path, ball, blob, monkeypatch):
    """Where a user stands: a file, its source, and another volume."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ball.inrv").write_bytes(blob)
    np.save("ball.npy", ball.array)
    np.save("other.npy", ball.array[:-1])
    return tmp_path


@pytest.mark.parametrize(
    ("words", "code", "shown"),
    [
        (["--reference", "ball.npy"], 2, "--report"),
        (["--report", "page.html", "--series", "1.2"], 2, "--reference"),
        (["--report", "page.png"], 2, ".html"),
        (["--report", "-"], 2, ".html"),
        (["--report", "page.html", "--reference", "gone.npy"], 3, "gone.npy"),
        (["--report", "page.html", "--reference", "other.npy"], 3, "was encoded"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(folder, capsys, words, code, shown):
    before = sorted(folder.iterdir())
    assert info.main(["ball.inrv", *words]) == code
    assert shown in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before


def test_the_histogram_shows_what_lies_beyond(ball):
    decoded = replace(ball, array=np.where(np.arange(28) == 0, ball.array + 900, ball.array).astype(np.int16))
    decoded.array[5] = ball.array[5]
    found = compare(ball, decoded)
    assert sum(found.counts) == ball.array.size
    assert "<svg" in charts.histogram(found, "HU") and "<svg" in charts.by_slice(found)


def test_inrv_view_writes_a_page_or_opens_one(folder, capsys, monkeypatch):
    assert view.main(["ball.inrv", "--page", "ball.html"]) == 0
    assert carried((folder / "ball.html").read_text(), "file") == (folder / "ball.inrv").read_bytes()
    assert view.main(["ball.inrv", "--page", "ball.html"]) == 7  # exists
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    assert view.main(["ball.inrv", "--json"]) == 0
    out, err = capsys.readouterr()
    path = json.loads(out)["page"]
    assert opened == [f"file://{path}"] and "every voxel" in err
    assert os.stat(path).st_mode & 0o077 == 0


def test_inrv_view_without_a_browser_leaves_nothing(folder, capsys, monkeypatch):
    monkeypatch.setattr("webbrowser.open", lambda address: False)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    before = sorted(folder.iterdir())
    assert view.main(["ball.inrv"]) == 2
    assert "--page" in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before


def policy(page):
    """What the page's policy lets it load, by kind."""
    (text,) = re.findall(r'Content-Security-Policy"\s+content="([^"]*)"', page)
    return {name: rest for name, _, rest in (part.strip().partition(" ") for part in text.split(";"))}


def test_a_page_may_load_from_the_server_of_its_models_alone(blob):
    closed, near, far = (policy(html_view(blob, superres=a)) for a in ("", "m/", "https://a.example:8443/m/"))
    assert closed == policy(html_report(blob)) and "connect-src" not in closed
    assert closed["default-src"] == near["default-src"] == "'none'"
    for found, origin in ((near, "'self'"), (far, "https://a.example:8443")):
        assert found["connect-src"] == origin
        assert found["script-src"] == f"{closed['script-src']} {origin} 'wasm-unsafe-eval'"


def test_a_page_carries_the_model_of_its_latents_as_it_is_stored(small_model, monkeypatch, tmp_path):
    folder = Path(__file__).parents[1] / "spec"
    data = (folder / "vectors" / "latent" / "input.inrv").read_bytes()
    page, weights = html_view(data), (folder / "models" / "small-latent.safetensors").read_bytes()
    assert carried(page, "latents") == weights
    (tmp_path / "small-latent.json").write_bytes((folder / "models" / "small-latent.json").read_bytes())
    (tmp_path / "small-latent.safetensors.zst").write_bytes(packed(weights))
    monkeypatch.setenv("INRCODEC_MODELS", str(tmp_path))
    assert carried(html_view(data), "latents") == packed(weights)
    assert policy(page)["script-src"].endswith(" 'wasm-unsafe-eval'") and "connect-src" not in policy(page)
    monkeypatch.delenv("INRCODEC_MODELS")
    with pytest.raises(inrcodec.errors.ModelNotFound):
        html_view(data)


@pytest.mark.parametrize(
    "address", ["ftp://a.example/", "http://a; script-src *", "//*.example", "https://a b/"]
)
def test_other_addresses_of_models_are_refused(blob, address):
    with pytest.raises(inrcodec.UsageError, match="superres"):
        html_view(blob, superres=address)
