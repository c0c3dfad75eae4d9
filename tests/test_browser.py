"""The page in a real browser: what is painted, what the controls change, and that nothing is loaded.

In: the page of a real crop, in headless Chromium. Out: a screenshot beside the run's other artefacts. The one
rule: without a browser these are skipped with a word, never passed.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from browser_pages import AV1, DECODE, LATENT, PIXELS, SET, crop, current, serving, vector, write_pages

import inrcodec
from inrcodec.layers.superres.registry import manifest
from inrcodec.report.page import html_view

selenium = pytest.importorskip("selenium", reason="the page is tried in a browser by selenium (extra dev)")
from selenium import webdriver  # noqa: E402
from selenium.webdriver import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium and chromedriver here")

JAVASCRIPT = Path(__file__).parent.parent / "js"
RUNTIME = JAVASCRIPT / "node_modules" / "onnxruntime-web" / "dist"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1250,2600 --force-device-scale-factor=1"
)


@pytest.fixture(scope="module")
def source():
    return crop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, source):
    """The pages, and where the screenshots go."""
    place = Path(os.environ.get("INRCODEC_ARTEFACTS") or tmp_path_factory.mktemp("page"))
    place.mkdir(parents=True, exist_ok=True)
    write_pages(place, source)
    return place


@pytest.fixture(scope="module")
def served(folder):
    with serving(folder) as found:
        yield found


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
    served[1].clear()
    browser.get(f"{served[0]}/{name}")
    wait(browser, "return document.body.dataset.ready == 'yes'")
    assert browser.find_element(By.ID, "trouble").text == ""
    browser.find_element(By.ID, "whole").click()
    idle(browser)
    return browser


def wait(browser, script):
    WebDriverWait(browser, 120).until(lambda b: b.execute_script(script))


def idle(browser):
    """Wait until every slice that was asked for is painted."""
    wait(browser, "return document.body.dataset.busy == '0'")


@pytest.fixture
def compared(page):
    """The page with its reference beside the decoded volume."""
    page.find_element(By.ID, "compare").click()
    wait(page, "return document.body.dataset.compared == 'yes'")
    idle(page)
    return page


def pixels(page, name):
    return np.array(page.execute_script(PIXELS, name))


def test_everything_is_on_the_page(compared, folder):
    text = compared.find_element(By.TAG_NAME, "body").text
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
        for kind in ("reference", "decoded", "difference"):
            assert len(np.unique(pixels(compared, f"{name}-{kind}"))) > 10, (name, kind)
    for chart in ("histogram", "by-slice"):
        box = compared.find_element(By.CSS_SELECTOR, f"#{chart} svg").rect
        assert box["width"] > 300 and box["height"] > 100
    assert compared.save_screenshot(str(folder / "page.png"))


def plane_of(source, name, index):
    """A slice in the first window, grey by grey; the head lies with its feet first."""
    array = source.physical()
    plane = {"axial": lambda: array[index], "coronal": lambda: array[::-1, index]}[name]()
    return np.clip((plane + 160) / 400, 0, 1) * 255


def test_what_is_painted_is_the_slice(compared, source):
    """All of it, of any number."""
    for name, index in (("axial", 3), ("coronal", 77)):
        compared.execute_script(SET, f"#{name} input[type=range]", index)
        idle(compared)
        grey = plane_of(source, name, index)
        shown = pixels(compared, f"{name}-reference").reshape(grey.shape)
        assert np.abs(grey - shown).max() <= 0.51, name
        assert (
            np.abs(grey - pixels(compared, f"{name}-decoded").reshape(grey.shape)).max()
            <= 255 * 40 / 400 + 0.51
        )


def test_the_difference_is_grey_where_equal(compared):
    reference, decoded = pixels(compared, "axial-reference"), pixels(compared, "axial-decoded")
    difference = pixels(compared, "axial-difference")
    inside = (reference > 0) & (reference < 255) & (decoded > 0) & (decoded < 255)
    assert np.abs(difference - 127.5).max() < 128 * 0.45  # 40 HU of 100
    brighter = inside & (decoded > reference + 2)
    assert (difference[brighter] > 127).all() and brighter.any()


def test_slices_have_the_shape_of_what_they_show(page, source):
    """Millimetres along both sides, whatever the window's width."""
    sides = {"axial": (1, 2), "coronal": (0, 2), "sagittal": (0, 1)}
    for name, (down, right) in sides.items():
        box = page.find_element(By.ID, f"{name}-decoded").rect
        height, width = (source.shape[axis] * source.spacing[axis] for axis in (down, right))
        assert box["width"] / box["height"] == pytest.approx(width / height, rel=0.03), name
        assert box["width"] > 60


def test_sides_are_labelled(page):
    label = page.find_element(By.ID, "axial-decoded").get_attribute("aria-label")
    assert label == "axial slice, decoded; left to right R to L, top to bottom A to P"
    assert "H to F" in page.find_element(By.ID, "coronal-decoded").get_attribute("aria-label")


def test_presets_and_numbers_change_the_window(page):
    before = pixels(page, "coronal-decoded")
    Select(page.find_element(By.ID, "preset")).select_by_visible_text("bone (1500 / 300)")
    bone = pixels(page, "coronal-decoded")
    assert page.find_element(By.ID, "level").get_property("value") == "300"
    assert page.find_element(By.ID, "width").get_property("value") == "1500"
    assert not np.array_equal(before, bone)
    page.execute_script(SET, "width", 1)
    assert set(np.unique(pixels(page, "coronal-decoded"))) <= {0, 127, 128, 255}


def test_background_is_left_out_until_whole_slices_are_asked_for(page, source):
    def sides():
        canvas = page.find_element(By.ID, "axial-decoded")
        return tuple(int(canvas.get_attribute(name)) for name in ("height", "width"))

    assert sides() == source.shape[1:]
    page.find_element(By.ID, "whole").click()
    WebDriverWait(page, 30).until(lambda _: sides() != source.shape[1:])
    idle(page)
    assert len(np.unique(pixels(page, "axial-decoded"))) > 10


def test_a_click_moves_all_planes_there_and_tells_place_and_value(page, source):
    canvas = page.find_element(By.ID, "axial-decoded")
    right, down = canvas.rect["width"] // 4, canvas.rect["height"] // 8
    ActionChains(page).move_to_element_with_offset(canvas, right, down).click().perform()
    idle(page)
    words = page.find_element(By.ID, "readout").text
    x, y, z, *place, value = (float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", words))
    assert place == pytest.approx((source.affine @ [x, y, z, 1])[:3], abs=0.006)
    assert abs(value - source.physical()[int(z), int(y), int(x)]) <= 40
    assert x == pytest.approx(source.shape[2] * 0.75, abs=2)
    for name, index in (("coronal", y), ("sagittal", x)):
        assert f"= {index:.0f} of" in page.find_element(By.CSS_SELECTOR, f"#{name} output").text


def test_cine_plays_and_stops(page):
    button, output = (page.find_element(By.CSS_SELECTOR, f"#axial {tag}") for tag in ("button", "output"))
    before = output.text
    button.click()
    WebDriverWait(page, 30).until(lambda _: output.text != before)
    button.click()
    idle(page)
    stopped = output.text
    assert page.execute_async_script("setTimeout(arguments[0], 300)") is None and output.text == stopped


def test_a_reference_may_be_chosen_from_disk(browser, served, folder):
    page = opened(browser, served, "alone.html")
    assert page.find_elements(By.ID, "axial-difference") == []
    page.find_element(By.ID, "choose").send_keys(str(folder / "reference.nii"))
    wait(page, "return document.body.dataset.compared == 'yes'")
    idle(page)
    difference = pixels(page, "axial-difference")
    assert len(np.unique(difference)) > 3 and np.abs(difference - 127.5).max() < 128 * 0.45
    words = page.find_element(By.ID, "readout").text
    assert "reference" in words and "difference" in words


def test_another_volume_is_no_reference(browser, served, folder):
    page = opened(browser, served, "alone.html")
    page.find_element(By.ID, "choose").send_keys(str(vector("lossless") / "input.inrv"))
    wait(page, "return document.body.dataset.compared == 'no'")
    assert "8 x 24 x 28 voxels" in page.find_element(By.ID, "compared").text


@pytest.mark.parametrize("name", [*AV1, *LATENT])
def test_streams_are_decoded_by_the_browser_bit_for_bit(browser, served, name):
    """The integers have a checksum; what follows from them is compared with the vector."""
    found = opened(browser, served, f"{name}.html").execute_async_script(DECODE.replace("SUPERRES", "{}"))
    assert "error" not in found, found
    case = json.loads((vector(name) / "case.json").read_text())
    with np.load(vector(name) / "expected.npz") as expected:
        for key, values, tolerance in (
            ("lowres", found["lowres"], case["lowres_tolerance"]),
            ("lanczos", found["stored"], case["lanczos_tolerance"]),
        ):
            assert np.abs(expected[key].ravel().astype(float) - values).max() <= tolerance, key


def test_every_voxel_is_checked_where_it_is_shown(page, browser, served):
    page.find_element(By.ID, "check").click()
    wait(page, "return document.getElementById('checked').textContent.startsWith('every voxel is')")
    page = opened(browser, served, "elsewhere.html")
    assert not page.find_element(By.ID, "check").is_displayed()  # networks: in floats


# --- super-resolution


@pytest.fixture(scope="module")
def models(folder):
    """A folder beside the pages, as "make superres" makes it."""
    pytest.importorskip("onnx", reason="models are exported by onnx (extra onnx)")
    from inrcodec.plugins.onnx import exported

    if not RUNTIME.exists():
        pytest.skip("js/ is not installed: npm ci --prefix js")
    there = folder / "superres"
    there.mkdir(exist_ok=True)
    known = manifest(inrcodec.open(current("model-named")).header.sr)
    (there / f"{known.sha256}.onnx").write_bytes(exported(known.id))
    for name in ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"):
        shutil.copy(RUNTIME / name, there)
    return there


@pytest.mark.parametrize("name", ["model-named", "av1-model-named"])
def test_a_browser_sharpens_as_python_does(browser, served, folder, models, name):
    if name.startswith("av1"):
        pytest.importorskip("av", reason="AV1 is decoded by PyAV (extra av1)")
    (folder / "sharp.html").write_text(html_view(current(name), superres="superres"))
    where = f"{{ superres: {{ models: '{served[0]}/superres' }} }}"
    found = opened(browser, served, "sharp.html").execute_async_script(DECODE.replace("SUPERRES", where))
    assert "error" not in found, found
    expected = inrcodec.decode(current(name)).ravel().astype(float)
    assert np.abs(expected - found["stored"]).max() <= 1
    assert np.abs(expected - inrcodec.decode(current(name), sr="lanczos").ravel()).max() > 5


def test_slices_are_sharpened_on_request_alone(browser, served, folder, models):
    page = opened(browser, served, "served.html")
    assert not [path for path in served[1] if "superres" in path]
    plain = pixels(page, "axial-decoded")
    assert "not applied" in page.find_element(By.ID, "notes").text
    page.find_element(By.ID, "sharpen").click()
    wait(page, "return document.getElementById('notes').innerText.indexOf('not applied') < 0")
    idle(page)
    sharp = pixels(page, "axial-decoded")
    index = int(page.execute_script("return document.querySelector('#axial input[type=range]').value"))
    grey = np.clip((inrcodec.decode_volume(current("model-named")).physical()[index] + 160) / 400, 0, 1) * 255
    assert np.abs(grey - sharp.reshape(grey.shape)).max() <= 255 / 400 + 0.51
    assert np.abs(plain - sharp).max() > 3
    assert page.find_element(By.ID, "sharpened").text == ""
    page.find_element(By.ID, "sharpen").click()
    wait(page, "return document.getElementById('notes').innerText.indexOf('not applied') > 0")
    idle(page)
    assert np.array_equal(pixels(page, "axial-decoded"), plain)


BUNDLES = """
    import { mkdirSync, writeFileSync } from "node:fs";
    import { bundled } from "./build.mjs";
    const [, folder] = process.argv;
    mkdirSync(folder, { recursive: true });
    for (const [entry, name] of [["index", "inrcodec"], ["worker", "worker"]]) {
      writeFileSync(`${folder}/${name}.js`, await bundled(`src/${entry}.js`, "esm"));
    }
"""


def test_the_example_sharpens_a_chosen_file(browser, served, folder, models):
    dist = folder / "dist"
    script = ["node", "--input-type=module", "--eval", BUNDLES, str(dist)]
    subprocess.run(script, cwd=JAVASCRIPT, check=True, capture_output=True)
    shutil.copytree(models, dist / "superres")
    shutil.copy(JAVASCRIPT / "example.html", folder)
    (folder / "chosen.inrv").write_bytes(current("model-named"))
    browser.get(f"{served[0]}/example.html")
    browser.find_element(By.ID, "file").send_keys(str(folder / "chosen.inrv"))
    wait(browser, "return document.getElementById('said').value.startsWith('sharpened by ct-3d-x4')")
    shown = [pixels(browser, name).astype(float) for name in ("interpolated", "sharpened")]
    assert all(len(np.unique(picture)) > 10 for picture in shown) and np.abs(shown[0] - shown[1]).max() > 3


def test_where_the_model_is_not_the_slices_stay(browser, served, folder):
    page = opened(browser, served, "elsewhere.html")
    page.find_element(By.ID, "sharpen").click()
    wait(page, "return document.getElementById('sharpened').textContent.startsWith('not sharpened')")
    assert (
        not page.find_element(By.ID, "sharpen").is_selected()
        and page.find_element(By.ID, "trouble").text == ""
    )
    assert not opened(browser, served, "av1-model-named.html").find_element(By.ID, "sharpen").is_displayed()


def test_a_browser_without_av1_says_so_and_shows_a_preview(browser, served, folder):
    (folder / "lacking.html").write_text(
        (folder / "av1.html").read_text().replace("VideoDecoder", "NoDecoder")
    )
    browser.get(f"{served[0]}/lacking.html")
    wait(browser, "return document.body.dataset.ready == 'yes'")
    assert "AV1" in browser.find_element(By.ID, "trouble").text
    if importlib.util.find_spec("av"):  # decoded when the page was written
        assert browser.find_element(By.CSS_SELECTOR, "#preview img").is_displayed()


def test_every_slice_is_there_offline(browser, folder):
    """From disk, as a user opens it."""
    browser.get((folder / "alone.html").as_uri())
    wait(browser, "return document.body.dataset.ready == 'yes'")
    assert len(np.unique(pixels(browser, "axial-decoded"))) > 10
    last = browser.execute_script("return document.querySelector('#axial input[type=range]').max")
    browser.execute_script(SET, "#axial input[type=range]", last)
    idle(browser)
    assert f"z = {last} of" in browser.find_element(By.CSS_SELECTOR, "#axial output").text


def test_nothing_is_loaded_and_nothing_complains(page, served):
    errors = [e for e in page.get_log("browser") if e["level"] == "SEVERE" and "favicon" not in e["message"]]
    assert errors == []
    assert {path for path in served[1] if "favicon" not in path and not path.endswith(".html")} == set()
    resources = page.execute_script("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert [r for r in resources if "favicon" not in r and not r.startswith(("data:", "blob:"))] == []


def test_without_a_reference_only_the_decoded_volume_is_there(browser, served):
    page = opened(browser, served, "alone.html")
    assert len(np.unique(pixels(page, "axial-decoded"))) > 10
    assert page.find_elements(By.ID, "axial-reference") == [] and page.find_elements(By.ID, "errors") == []
    assert not page.find_element(By.ID, "spread-label").is_displayed()
    assert not page.find_element(By.ID, "compare").is_displayed()
