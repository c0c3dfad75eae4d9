"""The coders of the low-res volume as the encoder uses them: targets, the choice, and fall-backs."""

from __future__ import annotations

import sys
from dataclasses import replace
from math import exp
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import inrcodec
from inrcodec.encoder import base_choice
from inrcodec.encoder.bases.av1_slices import Encoder, effort_for
from inrcodec.encoder.bases.dial import Dial
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.options import EncodeOptions
from inrcodec.encoder.psnr import search as psnr_search
from inrcodec.errors import MissingExtra, ModelNotFound, TargetNotReached, UsageError
from inrcodec.layers.base.av1 import video
from inrcodec.layers.base.latent import models
from inrcodec.layers.models import Registry

SHAPE = (20, 40, 36)
ALL = ("siren", "av1", "latent")
OF_STREAMS = ("av1", "latent")


pytestmark = pytest.mark.usefixtures("few_maps")


@pytest.fixture(scope="module")
def blob():
    z, y, x = (np.linspace(-1, 1, n) for n in SHAPE)
    r = z[:, None, None] ** 2 + y[:, None] ** 2 + x**2
    noise = np.random.default_rng(0).normal(0, 10, SHAPE)
    return (1500 * np.exp(-3 * r) - 1000 + np.where(r < 0.8, noise, 0)).astype(np.int16)


def encoded(array, **options):
    """The file, opened, and its report."""
    from io import BytesIO

    file = BytesIO()
    report = inrcodec.encode_file(array, file, threads=1, **{"preset": "fast", "base": "av1", **options})
    return inrcodec.open(file.getvalue()), report


# --- the dial


@given(
    st.lists(st.floats(0.001, 0.2), min_size=2, max_size=300),
    st.integers(0, 299),
    st.booleans(),
)
def test_the_last_setting_within_a_goal_is_found_where_values_rise(steps, place, hinted):
    values = np.exp(np.cumsum(steps))
    place %= len(values)
    hints = {k: 1.3 * float(values[k]) for k in range(0, len(values), 20)} if hinted else None
    asked = []

    def measure(k):
        asked.append(k)
        return float(values[k])

    dial = Dial(measure, len(values), hints)
    assert dial.last_within(float(values[place]) * 1.0001, 400) == place
    assert len(asked) == len(set(asked))
    assert dial.last_within(float(values[0]) / 2, 400) is None


def test_few_tries_end_with_a_setting_that_is_within_the_goal():
    dial = Dial(lambda k: exp(0.05 * k), 277)
    for goal in (1.0, 30.0, 1e5):
        found = dial.last_within(goal, 3)
        assert found is not None and found in dial.known and dial.known[found] <= goal


def test_where_the_tries_are_used_up_in_vain_the_next_guesses_are_surer_and_not_far():
    values = [exp(0.016 * k) for k in range(277)]
    hints = {k: values[k] / 1.5 for k in range(0, 277, 40)}  # each is more than it promises
    found = Dial(values.__getitem__, len(values), hints).last_within(values[150], 1)
    assert found is not None and 0.5 * values[150] < values[found] <= values[150]


# --- targets


@pytest.mark.parametrize("base", OF_STREAMS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"size": 2500},
        {"psnr": 27.0},
        {"factor": 1, "size": 14_000},
        {"factor": (1, 2, 2), "focus": "brain", "modality": "CT"},
        {"through_sr": True, "factor": 2, "modality": "CT"},
        {"ratio": 20.0, "sr": "lanczos"},
    ],
    ids=str,
)
def test_every_target_is_met_and_the_file_decodes_to_what_was_measured(blob, options, base):
    file, report = encoded(blob, base=base, **options)
    decoded = file.read()
    assert decoded.shape == blob.shape and decoded.dtype == blob.dtype and file.verify()
    assert report.base == file.header.coder == base
    error = np.square(decoded.astype(float) - blob).mean()
    assert 10 * np.log10(report.peak**2 / error) == pytest.approx(report.psnr, abs=1e-6)
    assert report.psnr >= options.get("psnr", 0) and report.file_bytes <= options.get("size", 10**9)
    assert report.ratio >= options.get("ratio", 0)


@pytest.mark.parametrize("base", OF_STREAMS)
@pytest.mark.parametrize("promise", [{"lossless": True}, {"max_error": 5.0}])
def test_a_base_stands_in_front_of_a_refinement(blob, promise, base):
    file, report = encoded(blob, base=base, **promise)
    assert report.base == base and report.bound is not None
    assert np.abs(file.read().astype(int) - blob).max() <= promise.get("max_error", 0)
    assert file.volume(quality="base").shape == blob.shape


@pytest.mark.parametrize("base", OF_STREAMS)
def test_an_image_and_padding_are_coded(blob, base):
    image = blob[10].copy()
    assert encoded(image, base=base)[0].volume().array.shape == (1, *image.shape)
    padded = blob.copy()
    padded[:, :6] = -2000
    volume = inrcodec.Volume.from_array(padded)
    decoded = encoded(replace(volume, padding=-2000.0), base=base)[0].read()
    assert (decoded[:, :6] == -2000).all()


@pytest.mark.parametrize("array", [np.array([[[7]]], np.int16), np.full((2, 3, 5), 255, np.uint8)])
def test_what_every_quality_codes_exactly_is_coded(array):
    assert np.array_equal(encoded(array)[0].read(), array)


@pytest.mark.parametrize("base", ALL)
def test_a_constant_reaches_any_psnr(base):
    array = np.zeros((8, 32, 32), np.int16)
    file = inrcodec.encode(array, base=base, psnr=40, preset="fast", threads=1)
    assert np.array_equal(inrcodec.decode(file), array)


@pytest.mark.parametrize("base", OF_STREAMS)
def test_too_few_bytes_are_refused(blob, base):
    with pytest.raises(TargetNotReached):
        encoded(blob, size=150, base=base)


@pytest.mark.parametrize("base", OF_STREAMS)
def test_the_same_options_give_the_same_bytes_whatever_the_threads(blob, base):
    one = inrcodec.encode(blob, base=base, preset="fast", threads=1)
    assert one == inrcodec.encode(blob, base=base, preset="fast", threads=2)


@pytest.mark.parametrize("base", OF_STREAMS)
def test_a_plan_tells_base_bytes_and_seconds(blob, base):
    found = inrcodec.plan(blob, base=base, threads=1)
    assert found["base"] == base and found["predicted_bytes"] > 0 and found["seconds"] > 0
    assert "tiles" not in found


def test_more_voxels_are_encoded_at_a_lower_effort():
    efforts = [effort_for(0, 1 << n) for n in range(10, 30)]
    assert efforts == sorted(efforts) and efforts[0] == 0 < efforts[-1]


def test_a_quality_is_encoded_once(blob):
    low = blob[::2, ::2, ::2] / 2048.0
    encoder = Encoder(low, np.ones(low.shape, bool), (), 4, 1)
    assert encoder.at(100) is encoder.at(100)
    assert encoder.best(900, 0.0).bytes <= 900
    known = dict(encoder.found)
    encoder.best(900, 0.0)
    assert encoder.found == known


# --- the choice


def outcome(base, psnr, size, error=None):
    return SimpleNamespace(
        psnr=psnr,
        size=size,
        header=SimpleNamespace(coder=base, unit="HU"),
        plan=SimpleNamespace(options=SimpleNamespace(psnr=None)),
        low_pass=None if error is None else SimpleNamespace(error=error),
    )


@pytest.fixture
def measured(monkeypatch):
    """Encodings with given outcomes; the options that each was made with are noted."""
    made = []

    def encode(facts, options, progress):
        made.append(options)
        found = encode.outcomes[options.base or "siren"]
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(base_choice, "_with_notice", lambda found, notice: (found, notice))
    monkeypatch.setattr(base_choice, "_why_behind", lambda facts, options, found: "")
    monkeypatch.setattr(base_choice.tissue_aim, "aim", lambda facts, options: None)
    encode.made = made
    return encode


def chosen(encode, **options):
    return base_choice.encoded(None, EncodeOptions(**options).resolved(), None, encode)


@pytest.mark.parametrize("best", ALL)
def test_auto_keeps_the_best_and_tells_all(measured, best):
    measured.outcomes = {b: outcome(b, 40.0 + (b == best), 5000) for b in ALL}
    found, notice = chosen(measured, base="auto")
    assert found.header.coder == best
    assert notice.startswith(f"base {best!r}: 41.00 dB in 5,000 bytes;")
    assert notice.count("40.00 dB in 5,000 bytes") == 2
    assert [options.base for options in measured.made] == ["latent", "av1", "siren"]
    assert [options.size for options in measured.made] == [None, 5000, 5000]  # equal bytes


@pytest.mark.parametrize("best", ALL)
def test_where_the_files_are_level_the_low_pass_error_decides(measured, best):
    measured.outcomes = {b: outcome(b, 40.0 + 0.1 * (b != best), 5000, 5.0 + (b != best)) for b in ALL}
    found, notice = chosen(measured, base="auto")
    assert found.header.coder == best and "low-pass error 6 HU" in notice


@pytest.mark.parametrize(
    ("errors", "sizes", "best"),
    [
        ((1.9, 1.8, 1.7), (5000, 4000, 4500), "av1"),  # all within the aim: the smallest
        ((2.2, 1.8, 3.0), (1000, 4000, 500), "av1"),  # the only one
        ((2.2, 2.8, 2.1), (1000, 1000, 9000), "siren"),  # none: the nearest
    ],
)
def test_auto_without_a_target_keeps_the_smallest_whose_flat_tissue_serves(
    measured, monkeypatch, errors, sizes, best
):
    monkeypatch.setattr(base_choice.tissue_aim, "aim", lambda facts, options: 2.0)
    measured.outcomes = {
        base: outcome(base, 40.0, size) for base, size in zip(("latent", "av1", "siren"), sizes, strict=True)
    }
    for found, error in zip(measured.outcomes.values(), errors, strict=True):
        found.low_pass = SimpleNamespace(error=error, error_mm=error)
    assert chosen(measured, base="auto")[0].header.coder == best
    # Coders of seconds are steered to the aim; networks get as many bytes.
    assert [options.size for options in measured.made] == [None, None, sizes[0]]


def test_auto_ends_with_the_coder_that_serves(measured):
    too_few = TargetNotReached("too few bytes")
    for serving in reversed(ALL):
        measured.outcomes = {b: outcome(b, 40.0, 5000) if b == serving else too_few for b in ALL}
        found, notice = chosen(measured, base="auto")
        assert found.header.coder == serving and notice.count("does not serve here") == 2
    assert "'av1' does not serve here: too few bytes" in notice


def test_auto_tells_what_each_coder_refuses(measured):
    measured.outcomes = {base: TargetNotReached(f"{base} takes more") for base in ALL}
    with pytest.raises(TargetNotReached, match="'av1': av1 takes more; base 'siren': siren takes more"):
        chosen(measured, base="auto", size=200)


def test_auto_speaks_of_no_size_where_none_was_requested(measured):
    refusal = TargetNotReached("333 bytes are too few; request a larger size")
    measured.outcomes = {"siren": refusal, "latent": outcome("latent", 40.0, 333)}
    measured.outcomes["av1"] = outcome("av1", 40.0, 333)
    _, notice = chosen(measured, base="auto")
    assert "333 bytes are too few for the smallest networks" in notice and "request" not in notice
    assert "request a larger size" in chosen(measured, base="auto", size=333)[1]


def test_a_refinement_alone_is_called_what_it_is(measured):
    measured.outcomes = {base: outcome("none", 40.0, 5000) for base in ALL}
    assert "none, a refinement alone: 40.00 dB" in chosen(measured, base="auto")[1]


def test_networks_that_are_forecast_far_behind_are_not_fitted(blob):
    facts = Facts.of(inrcodec.Volume.from_array(blob))
    options = EncodeOptions(base="siren").resolved()
    for psnr in (10.0, 90.0):
        why = base_choice._why_behind(facts, options, [outcome("latent", psnr, 3000)])
        assert bool(why) == (psnr == 90.0)
    options = replace(options, psnr=30.0)
    for size in (10, 10**9):
        why = base_choice._why_behind(facts, options, [outcome("latent", 30.0, size)])
        assert bool(why) == (size == 10)
    assert not base_choice._why_behind(facts, options, [])


class Broken:
    """An import hook by which PyAV is there, and cannot be loaded."""

    def find_spec(self, name, path=None, target=None):
        if name == "av":
            raise RuntimeError("a library of another machine")


@pytest.fixture(params=["missing", "broken"])
def no_pyav(request, monkeypatch):
    """What is told of it."""
    if request.param == "missing":
        monkeypatch.setitem(sys.modules, "av", None)
        return "needs PyAV: pip install"
    monkeypatch.delitem(sys.modules, "av", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    return "a library of another machine"


def test_auto_without_pyav_does_without_and_tells_why(measured, no_pyav):
    measured.outcomes = {base: outcome(base, 40.0, 5000) for base in ALL}
    _, notice = chosen(measured, base="auto")
    assert no_pyav in notice and [options.base for options in measured.made] == ["latent", "siren"]


def test_auto_plans_what_it_tries_first(monkeypatch, tmp_path, no_pyav):
    options = EncodeOptions(base="auto").resolved()
    assert base_choice.planned(options).base == "latent"
    none = Registry(kind="latent", title="", folder=tmp_path, parse=lambda card, found: None)
    monkeypatch.setattr(models, "manifests", none.manifests)
    monkeypatch.setattr(models, "REGISTRY", none)
    monkeypatch.setenv("INRCODEC_MODELS", str(tmp_path))
    assert base_choice.planned(options).base == "siren"
    with pytest.raises(ModelNotFound):
        EncodeOptions(base="latent").resolved()


def test_av1_without_pyav_is_refused_before_the_source_is_read(no_pyav):
    with pytest.raises(MissingExtra, match="av1") as caught:
        inrcodec.encode("there is no such file", base="av1")
    assert no_pyav in str(caught.value)


def test_a_pyav_without_the_encoder_is_told(monkeypatch):
    monkeypatch.setattr(video, "ENCODER", "libnone")
    assert "libnone" in base_choice.without_av1()


@pytest.mark.parametrize("option", [{"steps": 5}, {"tiles": (1, 1, 1)}, {"resume": "kept"}, {"seed": 3}])
@pytest.mark.parametrize("base", OF_STREAMS)
def test_what_only_networks_have_is_refused(option, base):
    with pytest.raises(UsageError, match="no networks to fit"):
        EncodeOptions(base=base, **option)


@pytest.mark.parametrize("base", OF_STREAMS)
def test_a_search_is_steered_to_an_error(blob, monkeypatch, base):
    """Whatever the attempts reach: each is a plan with another low-res error, and no size."""
    seen, measure = [], psnr_search.measure.base

    def noted(fitted, progress=None):
        seen.append((fitted.plan.error, fitted.plan.size))
        return measure(fitted, progress)

    monkeypatch.setattr(psnr_search.measure, "base", noted)
    encoded(blob, psnr=27.0, factor=2, sr="lanczos", base=base)
    assert seen and all(error > 0 and size is None for error, size in seen)
