"""The companding of an encoding: by the volume, never by its metal; a focus comes before it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from inrcodec.encoder import curves
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.options import EncodeOptions
from inrcodec.format.header_checks import is_curve
from inrcodec.layers.base import companding
from inrcodec.volume.volume import Volume

PLAIN = EncodeOptions().resolved()


def facts(low, high, modality="CT", rescale=(1.0, 0.0)):
    stored = np.array([[[low, high]]], np.int32)
    return Facts.of(Volume(stored, np.eye(4), modality=modality, rescale=rescale))


def slopes(found, nodes, values):
    """Of the curve at some physical values, against that of bone."""
    slope, intercept = found.volume.rescale
    half = abs(found.span.high - found.span.low) / 2

    def reached(value):
        return companding.compress(nodes, found.span.to_unit(np.array([(value - intercept) / slope])))[0]

    at = np.array([(reached(v + 1) - reached(v - 1)) * half / slope for v in (*values, 1000)])
    return at[:-1] / at[-1]


@pytest.mark.parametrize(("low", "high"), [(-1024, 3071), (-3024, 3071), (-1024, 30_000), (-3024, 30_000)])
@pytest.mark.parametrize("rescale", [(1.0, 0.0), (0.5, -24.0), (-1.0, 0.0)])
def test_metal_and_pads_change_no_slope_of_tissue(low, high, rescale):
    slope, intercept = rescale
    ends = sorted(round((v - intercept) / slope) for v in (low, high))
    found = facts(*ends, rescale=rescale)
    nodes, notices = curves.curve_for(found, PLAIN)
    assert is_curve(nodes) and not notices
    expected = [curves.SLOPES[1], curves.SLOPES[2], curves.SLOPES[2], 1.0]
    assert slopes(found, nodes, [-600, -100, 200, 600]) == pytest.approx(expected, rel=0.03)
    if high > 4000:
        assert slopes(found, nodes, [high - 9]) == pytest.approx(curves.SLOPES[-1], rel=0.03)


@pytest.mark.parametrize(("base", "steepest"), [("av1", curves.GENTLE), ("siren", max(curves.SLOPES))])
def test_a_psnr_by_av1_favours_tissue_less(base, steepest):
    found, options = facts(-1024, 3071), replace(PLAIN, psnr=44.0, base=base)
    nodes, _ = curves.curve_for(found, options)
    assert slopes(found, nodes, [-600, 0]) == pytest.approx([1.0, steepest], rel=0.03)


@pytest.mark.parametrize(
    ("low", "high", "modality"),
    [(-1024, 3071, "MR"), (0, 3000, ""), (0, 100, "CT"), (-100, -100, "CT"), (300, 900, "CT")],
)
def test_what_has_no_tissue_beside_other_values_is_not_companded(low, high, modality):
    assert curves.for_ct(facts(low, high, modality)) == ()


def test_a_volume_of_which_nobody_says_that_it_is_a_ct_may_look_like_one():
    assert curves.for_ct(facts(-1024, 3071, "")) == curves.for_ct(facts(-1024, 3071, "CT")) != ()


def test_a_focus_comes_first_and_the_paper_has_no_curve():
    found = facts(-1024, 3071)
    focused = replace(PLAIN, focus="brain")
    assert curves.curve_for(found, focused)[0] not in ((), curves.for_ct(found))
    assert curves.curve_for(found, EncodeOptions(preset="paper").resolved())[0] == ()


@pytest.mark.parametrize(
    ("low", "high"), [(-1024, -159), (239, 3071), (-160, 241), (-161, 240), (-1025, 3072)]
)
def test_edges_that_rounding_puts_upon_an_end_are_left_out(low, high):
    assert is_curve(curves.for_ct(facts(low * 1000, high * 1000, rescale=(0.001, 0.0))))
