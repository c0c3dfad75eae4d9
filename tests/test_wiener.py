"""The filter of full-res values: what it computes, when it is used, what it costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import correlate, gaussian_filter

import inrcodec
from inrcodec.encoder import plan as plans
from inrcodec.encoder import wiener_fit
from inrcodec.errors import CorruptFile
from inrcodec.format import container
from inrcodec.format.header import Header
from inrcodec.layers import resample, upsample, wiener
from inrcodec.layers.decode_options import DecodeOptions
from inrcodec.layers.superres import registry
from inrcodec.layers.upsample import Upsampling
from inrcodec.volume.box import Box
from inrcodec.volume.value_range import Range

RNG = np.random.default_rng(0)
WEIGHTS = (40, -3, 55, -128, 9, 70, -20, 255, -6, 5, 11, -12, 3, 1)
SHAPE = (21, 30, 41)
VECTORS = Path(__file__).parents[1] / "spec" / "vectors"
FAST = {"preset": "fast", "steps": 30, "width": 8, "layers": 2, "threads": 1, "factor": 2, "sr": "lanczos"}


def header(shape=SHAPE, **changes):
    fields = {"shape": shape, "dtype": "float64", "affine": np.eye(4), "low": -1.0, "high": 1.0}
    fields |= {"layers": 1, "width": 1, "wiener": WEIGHTS}
    return Header(**fields | changes)


def decoded(head, low, box=None, **how):
    slabs = Upsampling(head, np.ones(low.shape, bool), None).slabs(low, DecodeOptions(**how), box=box)
    return np.concatenate([slab.stored for slab in slabs])


def kernel():
    around = np.zeros((5, 7, 7))
    for weight, (z, y, x) in zip(WEIGHTS, wiener.OFFSETS, strict=True):
        around[2 + z, 3 + y, 3 + x] += weight / 256
        around[2 - z, 3 - y, 3 - x] += weight / 256
    around[2, 3, 3] = 1 - around.sum()
    return around


@pytest.mark.parametrize("shape", [SHAPE, (1, 9, 8), (3, 1, 2), (1, 1, 1), (40, 2, 3)])
def test_it_is_a_correlation_that_repeats_the_outermost_voxels(shape):
    low = RNG.uniform(-0.05, 0.05, shape)  # nothing is clipped
    expected = correlate(low, kernel(), mode="nearest")
    assert np.allclose(decoded(header(shape), low, threads=1), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("model", ["lanczos", "ct-3d-x2"])
def test_slabs_bands_boxes_and_threads_change_no_bit(model, monkeypatch):
    fields = {"factor": (2, 2, 2)}
    if model != "lanczos":
        known = registry.manifest(model)
        fields |= {"sr": model, "sr_sha256": bytes.fromhex(known.sha256), "sr_window": known.window}
        fields |= {"low": -1024.0, "high": 3071.0}
    head, low = header(**fields), RNG.uniform(-0.2, 0.2, (11, 15, 21))
    whole = decoded(head, low, threads=1)
    box = Box((2, 5, 0), (19, 13, 40))
    assert np.array_equal(decoded(head, low, box, threads=1), whole[box.slices])
    monkeypatch.setattr(upsample, "SLAB", 5)
    monkeypatch.setattr(resample, "BAND", 150)
    resample._bands_up.cache_clear()
    assert np.array_equal(decoded(head, low, threads=3), whole)
    resample._bands_up.cache_clear()


def test_a_box_is_decoded_from_the_voxels_it_says_that_it_needs():
    head = header(factor=(2, 2, 2))
    low = RNG.uniform(-0.2, 0.2, (11, 15, 21))
    box = Box((6, 8, 12), (9, 20, 17))
    needed = Upsampling(head, np.ones(low.shape, bool), None).support(box)
    other = RNG.uniform(-0.2, 0.2, low.shape)
    other[needed.slices] = low[needed.slices]
    assert needed.shape != low.shape
    assert np.array_equal(decoded(head, other, box), decoded(head, low, box))


def test_what_is_flat_stays_as_it_is():
    assert np.array_equal(decoded(header(), np.full(SHAPE, 0.25)), np.full(SHAPE, 0.25))


def test_it_is_left_out_with_the_model_that_it_was_made_for():
    model = registry.manifest("ct-3d-x2")
    named = {"sr": model.id, "sr_sha256": bytes.fromhex(model.sha256), "sr_window": model.window}
    head, low = header(factor=(2, 2, 2), low=-1024.0, high=3071.0, **named), RNG.uniform(-1, 1, (11, 15, 21))
    plain = decoded(replace(head, wiener=()), low, sr="lanczos")
    assert np.array_equal(decoded(head, low, sr="lanczos"), plain)
    assert not np.array_equal(decoded(head, low), decoded(replace(head, wiener=()), low))


@pytest.mark.parametrize("wrong", [(1,) * 13, (1,) * 15, (0,) * 14, (256,) * 14, (-129,) + (0,) * 13])
def test_impossible_weights_are_refused(wrong):
    with pytest.raises(CorruptFile, match="filter"):
        Header.from_bytes(header(wiener=wrong).to_bytes())


def test_a_file_without_networks_has_none():
    lossless = {"coder": "none", "layers": 0, "width": 0, "refine_steps": (1,)}
    with pytest.raises(CorruptFile, match="low-res volume, which it says is not there"):
        Header.from_bytes(header(**lossless).to_bytes())


# --- the encoder


def brain():
    return inrcodec.io.read(Path(__file__).parent / "data" / "vhf-brain.nii.gz").in_memory()


@pytest.fixture(scope="module")
def blurred():
    """A source with padding, and as a low-res volume of factor 1 what a coder that blurs leaves of it."""
    array = brain().array[:, 40:140, 40:140].copy()
    array[:, :30, :30] = -2000
    volume = replace(brain(), array=array, padding=-2000)
    unit = Range.of(volume).to_unit(np.maximum(array, -1024))
    return volume, gaussian_filter(unit, (0.4, 0.5, 0.5))


def upsampling_of(volume, low, **changes):
    span = Range.of(volume)
    fields = {"low": span.low, "high": span.high, "padding": volume.padding, "wiener": (), "dtype": "int16"}
    return Upsampling(header(volume.shape, **fields | changes), np.ones(low.shape, bool), None)


def error(volume, low, weights):
    slabs = upsampling_of(volume, low, wiener=weights).slabs(low)
    off = np.concatenate([slab.stored for slab in slabs]).astype(float) - volume.array
    return np.square(off[volume.array != volume.padding]).mean()


def test_it_takes_back_what_a_blur_did(blurred):
    volume, low = blurred
    weights = wiener_fit.weights(volume, upsampling_of(volume, low), low, 50_000)
    assert error(volume, low, weights) < 0.5 * error(volume, low, ())


def test_threads_fit_the_same_weights(blurred):
    volume, low = blurred
    one, three = (wiener_fit.weights(volume, upsampling_of(volume, low), low, 50_000, n) for n in (1, 3))
    assert one == three != ()


def test_it_is_left_out_where_it_would_not_be_worth_its_bytes(blurred):
    volume, low = blurred
    assert wiener_fit.weights(volume, upsampling_of(volume, low), low, 20) == ()
    exact = Range.of(volume).to_unit(np.maximum(volume.array, -1024))
    assert wiener_fit.weights(volume, upsampling_of(volume, exact), exact, 50_000) == ()


def test_it_is_left_out_where_half_of_the_blocks_would_lose_by_the_other_half(blurred):
    """Every other block is sharper than it should be, not blurred: no weights serve both."""
    volume, low = blurred
    upsampling = upsampling_of(volume, low)
    boxes = wiener_fit.blocks(upsampling.header, np.ones(low.shape, bool))
    exact = Range.of(volume).to_unit(np.maximum(volume.array, -1024))
    both = low.copy()
    for box in boxes[1::2]:
        both[box.slices] = (2 * exact - low)[box.slices]
    assert len(boxes) > 1 and wiener_fit.weights(volume, upsampling, low, 50_000) != ()
    assert wiener_fit.weights(volume, upsampling, both, 50_000) == ()


@pytest.mark.parametrize("fewest", [4, 16])
def test_more_blocks_are_looked_at_by_fewer_slices(monkeypatch, fewest):
    """So that the equations take as long however many blocks there are."""
    monkeypatch.setattr(wiener_fit, "FEWEST", fewest)
    monkeypatch.setattr(wiener_fit, "VOXELS", 1 << 14)
    seen, error = [], wiener_fit._error

    def noted(volume, header, box, decoded):
        seen.append(decoded.size)
        return error(volume, header, box, decoded)

    monkeypatch.setattr(wiener_fit, "_error", noted)
    volume = inrcodec.Volume.from_array(RNG.normal(size=(32, 64, 256)).astype(np.float32))
    low = Range.of(volume).to_unit(volume.array)
    head = header(
        volume.array.shape, low=float(volume.array.min()), high=float(volume.array.max()), wiener=()
    )
    wiener_fit.weights(volume, Upsampling(head, np.ones(low.shape, bool), None), low, 50_000)
    assert 0.3 * wiener_fit.VOXELS < sum(seen) < 2 * wiener_fit.VOXELS


@pytest.fixture(scope="module")
def filtered():
    """A real file, its decoded volume, and its header with a filter whatever its own is."""
    blob = inrcodec.encode(brain(), **FAST)
    head, sections = container.read(blob)
    return head, sections, inrcodec.decode(blob)


def test_the_file_states_what_its_filter_gives(filtered):
    head, _, voxels = filtered
    error = np.square(voxels.astype(float) - brain().array).mean()
    assert 10 * np.log10(head.peak**2 / error) == pytest.approx(head.psnr, abs=1e-9)


def test_it_is_a_field_of_the_file(filtered):
    head, sections, voxels = filtered
    bodies = {**sections, "HEAD": replace(head, wiener=WEIGHTS).to_bytes()}
    other = container.pack(list(bodies.items()))
    assert inrcodec.info(other)["codec"]["wiener"] == list(WEIGHTS)
    assert not np.array_equal(inrcodec.decode(other), voxels)


def test_a_small_file_has_none():
    small = inrcodec.encode(brain(), size=plans.SMALLEST_FILTERED - 1, **FAST)
    assert inrcodec.open(small).header.wiener == ()


def test_a_size_is_kept_with_one():
    size = plans.SMALLEST_FILTERED
    assert len(inrcodec.encode(brain(), size=size, **FAST | {"width": None})) <= size


def test_its_blocks_are_a_part_of_a_large_volume_and_apart():
    active = np.ones((200, 256, 256), bool)
    found = wiener_fit.blocks(header((400, 512, 512), factor=(2, 2, 2)), active)
    voxels = sum(int(np.prod(box.shape)) for box in found)
    assert 0 < voxels <= 1.1 * wiener_fit.VOXELS
    assert len({box.low for box in found}) == len(found)
    active[:] = False
    assert wiener_fit.blocks(header((400, 512, 512), factor=(2, 2, 2)), active) == []
