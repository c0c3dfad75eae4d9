"""The page in a real browser: what is painted, what the controls change, and that nothing is loaded.

In: the page of a real crop, in headless Chromium. Out: a screenshot beside the run's other artefacts. The one
rule: without a browser these are skipped with a word, never passed.
"""

import functools
import http.server
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

import inrcodec
from inrcodec import io
from inrcodec.report.page import html_report

selenium = pytest.importorskip("selenium", reason="the page is tried in a browser by selenium (extra dev)")
from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium and chromedriver here")

SOURCE = Path(__file__).parent / "data" / "vhf-head.nii.gz"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1250,2600 --force-device-scale-factor=1"
)
PIXELS = """
    const canvas = document.getElementById(arguments[0]);
    const image = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return Array.from(image.data.filter((_, i) => i % 4 == 0));
"""
SET = """
    const e = document.getElementById(arguments[0]) || document.querySelector(arguments[0]);
    e.value = arguments[1]; e.dispatchEvent(new Event('input'));
"""


@pytest.fixture(scope="module")
def source():
    volume = io.read(SOURCE)
    return inrcodec.Volume(volume.array[:, 120:380, 120:360], volume.affine, modality="CT", unit="HU")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, source):
    """The page, and where the screenshot goes."""
    place = Path(os.environ.get("INRCODEC_ARTEFACTS") or tmp_path_factory.mktemp("page"))
    place.mkdir(parents=True, exist_ok=True)
    blob = inrcodec.encode(source, max_error=40, threads=1)
    (place / "page.html").write_text(html_report(blob, source, name="head.inrv"))
    (place / "alone.html").write_text(html_report(blob, name="head.inrv"))
    return place


@pytest.fixture(scope="module")
def served(folder):
    """A server that counts what it is asked for."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words):
            asked.append(self.path)

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, served):
    """The page, painted."""
    return opened(browser, served, "page.html")


def opened(browser, served, name):
    browser.get(f"{served[0]}/{name}")
    ready = "return document.body.dataset.ready"
    WebDriverWait(browser, 30).until(lambda b: b.execute_script(ready) == "yes")
    return browser


def pixels(page, name):
    return np.array(page.execute_script(PIXELS, name))


def test_everything_is_on_the_page(page, folder):
    text = page.find_element(By.TAG_NAME, "body").text
    for shown in (
        "head.inrv",
        "Limitations",
        "off by more than 40 HU",
        "Where the bytes went",
        "PSNR",
        "refinement",
    ):
        assert shown in text, shown
    for name in ("axial", "coronal", "sagittal"):
        for kind in ("source", "decoded", "difference"):
            assert len(np.unique(pixels(page, f"{name}-{kind}"))) > 10, (name, kind)
    for chart in ("histogram", "by-slice"):
        box = page.find_element(By.CSS_SELECTOR, f"#{chart} svg").rect
        assert box["width"] > 300 and box["height"] > 100
    assert page.save_screenshot(str(folder / "page.png"))


def test_what_is_painted_is_the_slice(page, source):
    """The middle axial slice in the first window, grey by grey."""
    shown = page.find_element(By.CSS_SELECTOR, "#axial output").text
    z = int(shown.split()[2])
    plane = source.array[z].astype(float)
    grey = np.clip((plane + 160) / 400, 0, 1) * 255
    canvas = page.find_element(By.ID, "axial-source")
    rows, columns = (int(canvas.get_attribute(side)) for side in ("height", "width"))
    shown = pixels(page, "axial-source").reshape(rows, columns)
    found = any(
        np.abs(grey[y : y + rows, x : x + columns] - shown).max() <= 0.51
        for y in range(grey.shape[0] - rows + 1)
        for x in range(grey.shape[1] - columns + 1)
    )
    assert found, "no part of the slice looks like that"


def test_the_difference_is_grey_where_equal(page):
    source, decoded = pixels(page, "axial-source"), pixels(page, "axial-decoded")
    difference = pixels(page, "axial-difference")
    inside = (source > 0) & (source < 255) & (decoded > 0) & (decoded < 255)
    assert np.abs(difference - 127.5).max() < 128 * 0.45  # 40 HU of 100
    brighter = inside & (decoded > source + 2)
    assert (difference[brighter] > 127).all() and brighter.any()


def test_slices_have_the_shape_of_what_they_show(page, browser, served):
    """Millimetres along both sides, whatever the window's width."""
    for name in ("page.html", "alone.html"):
        opened(browser, served, name)
        for plane in browser.execute_script("return data.planes"):
            box = browser.find_element(By.ID, f"{plane['name']}-decoded").rect
            ratio = plane["columns"] * plane["pixel"][1] / (plane["rows"] * plane["pixel"][0])
            assert box["width"] / box["height"] == pytest.approx(ratio, rel=0.02), (name, plane["name"])
            assert box["width"] > 60


def test_sides_are_labelled(page):
    label = page.find_element(By.ID, "axial-decoded").get_attribute("aria-label")
    assert label == "axial slice, decoded; left to right R to L, top to bottom A to P"
    assert "F to" not in label and "H to F" in page.find_element(By.ID, "coronal-source").get_attribute(
        "aria-label"
    )


def test_the_slider_changes_the_slice(page):
    before, shown = pixels(page, "axial-decoded"), page.find_element(By.CSS_SELECTOR, "#axial output").text
    page.execute_script(SET, "#axial input[type=range]", 1)
    assert page.find_element(By.CSS_SELECTOR, "#axial output").text != shown
    assert not np.array_equal(pixels(page, "axial-decoded"), before)


def test_presets_and_numbers_change_the_window(page):
    before = pixels(page, "coronal-decoded")
    Select(page.find_element(By.ID, "preset")).select_by_visible_text("bone (1500 / 300)")
    bone = pixels(page, "coronal-decoded")
    assert page.find_element(By.ID, "level").get_property("value") == "300"
    assert page.find_element(By.ID, "width").get_property("value") == "1500"
    assert not np.array_equal(before, bone)
    page.execute_script(SET, "width", 1)
    assert set(np.unique(pixels(page, "coronal-decoded"))) <= {0, 127, 128, 255}


def test_nothing_is_loaded_and_nothing_complains(page, served):
    errors = [e for e in page.get_log("browser") if e["level"] == "SEVERE" and "favicon" not in e["message"]]
    assert errors == []
    assert {path for path in served[1] if "favicon" not in path} <= {"/page.html", "/alone.html"}
    resources = page.execute_script("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert [r for r in resources if "favicon" not in r and not r.startswith("data:")] == []


def test_without_a_reference_only_the_decoded_volume_is_there(browser, served):
    page = opened(browser, served, "alone.html")
    assert len(np.unique(pixels(page, "axial-decoded"))) > 10
    assert page.find_elements(By.ID, "axial-source") == [] and page.find_elements(By.ID, "errors") == []
    assert not page.find_element(By.ID, "spread-label").is_displayed()
