"""Compensation: up-sampling what is fitted to comes nearer to the source, and only what counts has a say."""

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from conftest import encoded

from inrcodec.encoder import back_projection, planner
from inrcodec.encoder.back_projection import _Upsampled, projected
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.options import EncodeOptions
from inrcodec.format.header import Header
from inrcodec.layers import resample
from inrcodec.layers.decode_options import DecodeOptions
from inrcodec.layers.superres import blocks, registry
from inrcodec.layers.superres.architectures import Architecture
from inrcodec.layers.superres.network import BFLOAT16, SRDenseNet
from inrcodec.layers.upsample import Upsampling
from inrcodec.volume.box import lowres_shape
from inrcodec.volume.value_range import Range, unit_part
from inrcodec.volume.volume import Volume

HEAD = Path(__file__).parent / "data" / "vhf-head.nii.gz"
SMALL = Architecture(features=8, blocks=1, layers=2, growth=4, bottleneck=8)


@pytest.fixture(scope="module")
def head():
    """A crop with skin, bone and air, (29, 90, 100) int16."""
    array = np.asarray(nibabel.load(HEAD).dataobj).T[:, 120:210, 180:280]
    return Volume(np.ascontiguousarray(array), np.eye(4), modality="CT")


def header(volume, sr="lanczos", factor=(4, 4, 4), **changes):
    model = {} if sr == "lanczos" else {"sr": sr, "sr_sha256": bytes.fromhex(registry.manifest(sr).sha256)}
    window = {} if sr == "lanczos" else {"sr_window": registry.manifest(sr).window}
    span = Range.of(volume)
    fields = {"shape": volume.shape, "dtype": volume.array.dtype.name, "affine": np.eye(4), "factor": factor}
    fields |= {"low": span.low, "high": span.high, "padding": volume.padding}
    fields |= {"layers": 1, "width": 1, "tiles": (1, 1, 1), "cuts": ()}
    return Header(**fields | model | window | changes)


def lowres(volume, about):
    """Its plain low-res volume."""

    span = Range(about.low, about.high)

    def rows(z, rows):
        return unit_part(volume, span, (z, rows))

    return resample.down(rows, volume.shape, about.factor).clip(-1, 1)


def error(volume, about, low):
    """Mean squared error of what the decoder makes of it."""
    whole = Upsampling(about, np.ones(low.shape, bool), None)
    decoded = np.concatenate([slab.stored for slab in whole.slabs(low, DecodeOptions(threads=2))])
    return np.square(decoded.astype(float) - volume.array).mean()


@pytest.mark.parametrize(("sr", "less"), [("lanczos", 0.97), ("ct-3d-x4", 0.93)])
def test_the_decoded_volume_comes_nearer_to_the_source(head, sr, less):
    about = header(head, sr)
    low = lowres(head, about)
    nearer = projected(head, about, low, np.ones(low.shape, bool), threads=2).values
    assert error(head, about, nearer) < less * error(head, about, low)
    assert nearer.min() >= -1 and nearer.max() <= 1


@pytest.mark.parametrize("factor", [(1, 2, 2), (2, 2, 2), (1, 3, 5)])
def test_lanczos_of_any_factor_gains(head, factor):
    about = header(head, factor=factor)
    low = lowres(head, about)
    nearer = projected(head, about, low, np.ones(low.shape, bool), threads=2).values
    assert error(head, about, nearer) < error(head, about, low)


def test_the_error_is_the_decoders(head):
    about = header(head, "ct-3d-x4")
    low = lowres(head, about)
    found = _Upsampled(head, about, np.ones(low.shape, bool)).slope(low, 2)
    assert found.squared == found.judged < found.plain
    measured = found.squared / head.array.size * ((about.high - about.low) / 2) ** 2
    assert measured == pytest.approx(error(head, about, low), rel=1e-3)  # which rounds


def small_network(monkeypatch, arch):
    """Let the CT model be a small one with large weights, so that its part of the gradient is not small."""
    torch.manual_seed(3)
    network = SRDenseNet(arch).eval().requires_grad_(False)
    monkeypatch.setattr(registry, "load", lambda *_: network)


@pytest.mark.parametrize(
    ("arch", "factor", "ensemble"),
    [
        (None, (4, 4, 4), 1),
        (replace(SMALL, factor=(2, 4, 3)), (2, 4, 3), 1),
        (replace(SMALL, factor=(2, 4, 3)), (2, 4, 3), 8),
        (replace(SMALL, factor=(2, 4, 4), head="deconvolution"), (2, 4, 4), 1),
        (replace(SMALL, dims=2, factor=(1, 2, 2)), (1, 2, 2), 4),
    ],
)
def test_the_gradient_is_that_of_numerical_differences(arch, factor, ensemble, monkeypatch):
    """Over blocks that see each other, at the volume's edges too, with padding and what the window clips."""
    rng = np.random.default_rng(0)
    monkeypatch.setattr(blocks, "BLOCK", (4, 6, 6))
    low = rng.uniform(-0.9, 0.9, (5, 9, 8))
    shape = tuple(n * f - (f > 1) for n, f in zip(low.shape, factor, strict=True))
    array = rng.integers(-1000, 1001, shape).astype(np.int16)
    array[rng.random(shape) < 0.1] = -2000
    volume = Volume(array, np.eye(4), padding=-2000.0)
    if arch is None:
        about = header(volume, factor=factor)
    else:
        small_network(monkeypatch, arch)
        about = header(volume, "ct-3d-x4", factor, sr_window=(-800.0, 2000.0), sr_ensemble=ensemble)
    up = _Upsampled(volume, about, np.ones(low.shape, bool))
    gradient = up.slope(low, 2).gradient
    for _ in range(4):
        direction = rng.normal(size=low.shape)
        ahead, behind = (up.slope(low + h * direction, 2).squared / 2 for h in (1e-3, -1e-3))
        expected = (gradient * direction).sum()
        largest = np.linalg.norm(gradient) * np.linalg.norm(direction)
        assert abs((ahead - behind) / 2e-3 - expected) < 2e-3 * largest  # kinks of rectifiers and clips


@pytest.mark.parametrize("sr", ["lanczos", "ct-3d-x4"])
def test_threads_change_no_bit(head, sr, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", (4, 8, 8))
    about = header(head, sr)
    low = lowres(head, about)
    active = np.zeros(low.shape, bool)
    active[2:, 3:20, 4:] = True
    one, three = (projected(head, about, low, active, threads=n).values for n in (1, 3))
    assert np.array_equal(one, three)
    assert np.array_equal(one[~active], low[~active]) and not np.array_equal(one, low)


@pytest.mark.skipif(not BFLOAT16, reason="oneDNN has no bfloat16 here")
def test_bfloat16_is_computed_where_it_may_be_and_the_processor_has_it(head, monkeypatch):
    about = header(head, "ct-3d-x4")
    low = lowres(head, about)

    def step(native, rounded):
        monkeypatch.setattr(back_projection, "NATIVE_BFLOAT16", native)
        nearer = projected(head, about, low, np.ones(low.shape, bool), rounded=rounded, threads=2)
        return (nearer.values - low).ravel()

    exact, rounded = step(True, False), step(True, True)
    assert np.array_equal(step(False, True), exact) and not np.array_equal(rounded, exact)
    assert exact @ rounded > 0.9 * np.linalg.norm(exact) * np.linalg.norm(rounded)


def test_no_error_counts_for_more_than_the_cap_where_a_model_is_judged(head):
    about = header(head, "ct-3d-x4")
    low = lowres(head, about)
    full = np.ones(low.shape, bool)
    whole, capped = (_Upsampled(head, about, full, cap=cap).slope(low, 2) for cap in (np.inf, 1e-3))
    assert capped.squared == whole.squared and np.array_equal(capped.gradient, whole.gradient)
    assert capped.judged < head.array.size * 1e-6 < whole.judged and capped.plain < whole.plain


def test_what_a_perfect_fit_leaves_is_told(head):
    about = header(head)
    low = lowres(head, about)
    nearer = projected(head, about, low, np.ones(low.shape, bool), threads=2)
    left = error(head, about, nearer.values) / ((about.high - about.low) / 2) ** 2
    assert nearer.error == pytest.approx(left, rel=0.5)


def test_a_model_that_is_worse_than_lanczos_is_left_out_before_the_fit(head, monkeypatch):
    small_network(monkeypatch, replace(SMALL, factor=(4, 4, 4)))  # never trained
    about = header(head, "ct-3d-x4")
    low = lowres(head, about)
    assert projected(head, about, low, np.ones(low.shape, bool), threads=1) is None
    options = EncodeOptions(factor=4, threads=2, through_sr=True).resolved()
    facts = Facts.of(head)
    found = back_projection.project(planner.make(facts, options))
    plain = back_projection.project(planner.make(facts, replace(options, sr="lanczos")))
    assert found.header.to_bytes() == plain.header.to_bytes()
    assert np.array_equal(found.lowres.target, plain.lowres.target)
    assert any("Lanczos is used" in notice for notice in found.notices)


def test_what_lies_under_padding_has_no_say(head):
    """Whatever value says that there is none."""
    results = []
    for padding in (-3000, 3000):
        array = head.array.copy()
        array[:, :, 60:] = padding
        volume = replace(head, array=array, padding=float(padding))
        about = header(volume, low=-1024.0, high=2233.0)
        low = lowres(head, about)
        results.append(projected(volume, about, low, np.ones(low.shape, bool), threads=1).values)
    assert np.array_equal(*results)
    assert np.array_equal(results[0][:, :, 18:], low[:, :, 18:])  # beyond the reach of a kernel


@pytest.mark.parametrize("factor", [(1, 1, 1), (2, 2, 2)])
def test_what_cannot_gain_stays(factor):
    """A grid that is the source's own, and a volume that is constant or nothing but background."""
    array = np.zeros((4, 8, 8), np.int16)
    array[1:3, 2:6, 2:6] = 100
    volume = Volume(array, np.eye(4))
    about = header(volume, factor=factor)
    low = np.zeros(lowres_shape(array.shape, factor))
    full = np.ones(low.shape, bool)
    assert projected(volume, replace(about, low=0.0, high=0.0), low, full).values is low
    assert projected(volume, about, low, ~full).values is low
    assert (projected(volume, about, low, full).values is low) == (factor == (1, 1, 1))


def test_the_fit_is_to_another_volume_and_the_plain_one_stays_the_measure(head):
    options = EncodeOptions(factor=4, threads=2, sr="lanczos", through_sr=True).resolved()
    plain = planner.make(Facts.of(head), options)
    projected = back_projection.project(plain)
    assert plain.lowres.target is plain.lowres.values
    assert projected.lowres.values is plain.lowres.values and projected.known == plain.known
    assert not np.array_equal(projected.lowres.target, plain.lowres.values)
    assert projected.coding is plain.coding


def test_the_report_says_so(head):
    _, report = encoded(head, steps=20, factor=4, through_sr=True)
    assert report.through_sr and back_projection.STAGE in report.seconds
    assert not encoded(head, steps=20, factor=4, through_sr=False)[1].through_sr


def test_a_psnr_is_reached_through_it(head):
    part = replace(head, array=np.ascontiguousarray(head.array[:12, :40, :40]))
    _, report = encoded(part, steps=40, factor=4, through_sr=True, sr="lanczos", psnr=20)
    assert report.psnr >= 20
