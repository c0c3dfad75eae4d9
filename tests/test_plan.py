"""The plan: rules of the volume and the options, and what the user fixed."""

import numpy as np
import pytest

import inrcodec
from inrcodec.encoder import grid_search, model_choice, networks
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.options import EncodeOptions
from inrcodec.errors import ModelNotFound, TargetNotReached, UsageError
from inrcodec.layers.superres import registry
from inrcodec.volume.value_range import Range
from inrcodec.volume.volume import Volume

HEAD = (232, 512, 512)


def volume(shape=HEAD, spacing=(1.0, 1.0, 1.0), modality="CT"):
    array = np.broadcast_to(np.zeros((), np.int16), shape)
    return Volume(array, np.diag([*spacing[::-1], 1.0]), modality=modality)


def facts(span=None, modality="CT"):
    return Facts(volume(modality=modality), span or Range(-1024, 3071), b"")


def options(**knobs):
    return EncodeOptions.from_preset(**knobs).resolved()


@pytest.mark.parametrize(
    ("spacing", "factor"),
    [
        ((1, 1, 1), (4, 4, 4)),
        ((1, 0.78, 0.78), (4, 4, 4)),
        ((2, 1, 1), (2, 4, 4)),
        ((2.5, 0.9, 0.9), (2, 4, 4)),
        ((5, 0.5, 0.5), (1, 4, 4)),
        ((0.6, 0.5, 2.0), (4, 4, 1)),
    ],
)
def test_lowres_voxels_come_out_near_isotropic(spacing, factor):
    assert grid_search.factor_for(volume(spacing=spacing), options()) == factor


@pytest.mark.parametrize(
    ("shape", "factor"), [((1, 512, 512), (1, 4, 4)), ((9, 100, 100), (2, 4, 4)), ((3, 3, 3), (1, 1, 1))]
)
def test_short_axes_keep_enough_voxels(shape, factor):
    assert grid_search.factor_for(volume(shape), options()) == factor


def test_a_requested_factor_is_taken_and_an_impossible_one_refused():
    assert grid_search.factor_for(volume(), options(factor=(1, 3, 8))) == (1, 3, 8)
    with pytest.raises(UsageError, match="2 voxels"):
        grid_search.factor_for(volume((2, 64, 64)), options(factor=4))


def plan(active, room=None, **knobs):
    values = np.random.default_rng(0).normal(scale=0.3, size=int(active.sum())).clip(-1, 1)
    return networks.sized(values, active, options(**knobs), room)


def test_tiles_follow_the_active_voxels_and_small_volumes_get_small_networks():
    assert np.prod(plan(np.ones((60, 60, 60), bool)).parts) == 8
    small = plan(np.ones((10, 10, 10), bool))
    assert small.parts == (1, 1, 1) and small.layout.width == networks.WIDTHS[0]
    assert plan(np.ones((60, 60, 60), bool), tiles=(1, 1, 2), width=40, layers=3).layout.width == 40


@pytest.mark.parametrize("room", [400, 2_000, 8_000, 40_000, 200_000])
def test_a_room_is_planned_for_in_full_and_in_sensible_widths(room):
    planned = plan(np.ones((60, 60, 60), bool), room)
    assert 0.75 * room <= planned.bytes <= room
    assert planned.layout.width <= 1.2 * networks.WIDTHS[1]


def test_no_room_at_all_is_refused():
    with pytest.raises(TargetNotReached, match="more bytes"):
        plan(np.ones((8, 8, 8), bool), 3)


@pytest.mark.parametrize(
    ("knobs", "cause"),
    [({"ratio": 1e9}, "ratio: .* request a smaller ratio"), ({"size": 9}, "size: .* larger size")],
)
def test_too_few_bytes_are_the_fault_of_the_option_that_was_given(knobs, cause):
    with pytest.raises(TargetNotReached, match=cause) as caught:
        inrcodec.encode(np.arange(4096, dtype=np.int16).reshape(16, 16, 16), sr="lanczos", factor=2, **knobs)
    assert caught.value.options == tuple(knobs)


def test_the_rate_scales_with_amplitude_and_voxels():
    """Loss is an error squared and a mean over voxels: twice the signal, four times the rate."""
    active = np.ones((20, 20, 20), bool)
    values = np.random.default_rng(0).normal(scale=0.1, size=8000)
    one = networks.sized(values, active, options(), None).rate
    assert networks.sized(2 * values, active, options(), None).rate == pytest.approx(4 * one)
    assert plan(active, preset="paper").rate == 0.0


@pytest.mark.parametrize(
    ("modality", "span", "factor", "knobs", "model"),
    [
        ("CT", Range(-1024, 3071), (4, 4, 4), {}, "ct-3d-x4"),
        ("", Range(-1024, 3071), (4, 4, 4), {}, "mr-3d-x4"),
        ("", Range(0, 255), (4, 4, 4), {}, "mr-3d-x4"),
        ("MR", Range(0, 900), (4, 4, 4), {}, "mr-3d-x4"),
        ("MR", Range(0, 900), (1, 4, 4), {}, "mr-2d-x4"),
        ("PT", Range(0, 900), (4, 4, 4), {}, "lanczos"),
        ("CT", Range(-1024, 3071), (3, 3, 3), {}, "lanczos"),
        ("CT", Range(-1024, 3071), (4, 4, 4), {"sr": "lanczos"}, "lanczos"),
        ("CT", Range(-1024, 3071), (1, 4, 4), {}, "ct-2d-x4"),
        ("CT", Range(-1024, 3071), (4, 4, 4), {"preset": "paper"}, "ct-3d-x4"),
        ("CT", Range(-1024, 3071), (1, 4, 4), {"preset": "paper"}, "srdensenet-all"),
        ("MR", Range(0, 900), (2, 2, 2), {"preset": "paper"}, "mr-3d-x2"),
    ],
)
def test_the_model_follows_modality_and_factor(modality, span, factor, knobs, model):
    chosen, _ = model_choice.model_for(facts(span, modality), factor, options(**knobs))
    assert chosen == model


@pytest.mark.parametrize(
    ("model", "preset", "ensemble"),
    [
        ("ct-3d-x4", "fast", 1),
        ("ct-3d-x4", "balanced", 2),
        ("ct-3d-x4", "best", 8),
        ("ct-3d-x2", "balanced", 1),
        ("ct-2d-x4", "balanced", 1),
        ("ct-2d-x4", "best", 4),  # along z there is nothing to mirror
        ("srdensenet-all", "best", 1),
        ("srdensenet-all", "paper", 1),
    ],
)
def test_an_ensemble_is_as_large_as_the_presets_work_allows(model, preset, ensemble):
    known = registry.manifest(model)
    assert model_choice.ensemble_of(known, options(preset=preset)) == ensemble
    fields = model_choice.fields_of(model, facts(), options(preset=preset))
    assert fields["sr_ensemble"] == ensemble
    if preset != "paper":
        assert model_choice.ensemble_of(known, options(preset=preset, ensemble=2)) == 2
        most = 4 if known.architecture.dims == 2 else 8
        assert model_choice.ensemble_of(known, options(preset=preset, ensemble=8)) == most


def test_going_without_a_model_is_told_as_a_choice_and_not_as_a_failure():
    _, (notice,) = model_choice.model_for(facts(Range(-1024, 3071)), (3, 2, 2), options())
    assert "Lanczos interpolation restores factor 3 x 2 x 2" in notice and "(CT)" in notice


@pytest.mark.parametrize("span", [Range(-9e7, 1e12), Range(1e12, 1e12 + 1)])
def test_values_that_are_no_hounsfield_units_get_no_model_of_ct(span):
    chosen, (notice,) = model_choice.model_for(facts(span), (4, 4, 4), options())
    assert chosen == "lanczos" and "Lanczos is used" in notice
    with pytest.raises(UsageError, match="another kind"):
        model_choice.model_for(facts(span), (4, 4, 4), options(sr="ct-3d-x4"))


def test_a_model_that_is_not_there_or_does_not_fit_is_refused():
    span = Range(-1024, 3071)
    with pytest.raises(ModelNotFound, match="no-such"):
        model_choice.model_for(facts(span), (4, 4, 4), options(sr="no-such"))
    with pytest.raises(UsageError, match="did you mean factor 4,4,4"):
        model_choice.model_for(facts(span), (2, 2, 2), options(sr="ct-3d-x4"))
