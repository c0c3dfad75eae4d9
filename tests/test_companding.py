"""Companding: a curve that rises, is undone exactly, and never lets a window swallow the rest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inrcodec.format import header_checks
from inrcodec.format.header_checks import is_curve
from inrcodec.layers.base import companding
from inrcodec.layers.base.companding import ONE, compress, curve, expand
from inrcodec.volume.windows import NARROWEST

UNIT = np.concatenate([np.random.default_rng(0).uniform(-1, 1, 20_000), [-1.0, 1.0, 0.0]])


@st.composite
def windows(draw):
    """A window that `focus.unit_window` may hand over: within [-1, 1], not narrower than the narrowest."""
    low = draw(st.floats(-1, 1 - NARROWEST))
    high = draw(st.floats(low + NARROWEST, 1) if low + NARROWEST < 1 else st.just(1.0))
    return low, high


@st.composite
def curves(draw):
    """Any nodes that a file may state."""
    count = draw(st.integers(0, header_checks.MOST))
    inner = st.integers(1 - ONE, ONE - 1)
    x, y = (sorted(draw(st.sets(inner, min_size=count, max_size=count))) for _ in range(2))
    return tuple(n for node in zip(x, y, strict=True) for n in node)


@given(windows())
def test_every_window_gives_a_curve_that_favours_it(window):
    nodes = curve(*window)
    assert is_curve(nodes) and len(nodes) <= 4
    low, high = compress(nodes, np.array(window))
    grain = 4 / ONE  # what rounding the nodes can move both ends by
    assert high - low >= (window[1] - window[0]) - grain


@given(windows())
def test_no_window_takes_everything(window):
    """What is outside keeps nearly half of the slope that it had, or more."""
    x = np.array([-1.0, window[0], window[1], 1.0])
    y = compress(curve(*window), x)
    for a in (0, 2):
        assert y[a + 1] - y[a] >= companding.POWER * (x[a + 1] - x[a]) - 4 / ONE


@given(curves())
@example((29, -32767))  # comes 1 ulp above 1
def test_expanding_undoes_compressing_to_rounding(nodes):
    assert is_curve(nodes)
    companded = compress(nodes, UNIT)
    rounding = 4 * np.finfo(float).eps
    assert np.abs(companded).max() <= 1 + rounding
    steepest = max([1.0, *(np.diff([-ONE, *nodes[0::2], ONE]) / np.diff([-ONE, *nodes[1::2], ONE]))])
    assert np.abs(expand(nodes, companded) - UNIT).max() <= rounding * steepest


@given(curves())
def test_nodes_and_ends_are_met_exactly(nodes):
    x, y = (np.array([-ONE, *nodes[axis::2], ONE]) / ONE for axis in (0, 1))
    assert np.array_equal(compress(nodes, x)[:-1], y[:-1]) and np.array_equal(expand(nodes, y)[:-1], x[:-1])
    for mapped in (compress(nodes, x), expand(nodes, y)):
        assert (np.diff(mapped) > 0).all() and mapped[-1] == pytest.approx(1, abs=1e-15)


@given(curves(), st.integers(0, len(UNIT) - 1), st.integers(1, 33))
def test_a_value_depends_on_nothing_beside_it(nodes, start, count):
    part = UNIT[start : start + count]
    assert np.array_equal(expand(nodes, part), expand(nodes, UNIT)[start : start + count])
    assert np.array_equal(expand(nodes, part[:, None, None]).ravel(), expand(nodes, part))


def test_without_nodes_nothing_is_touched():
    assert compress((), UNIT) is UNIT and expand((), UNIT) is UNIT


@pytest.mark.parametrize(
    "nodes",
    [
        (0,),
        (0, 0, 5),
        (0, 0, 0, 5),
        (0, 5, 5, 5),
        (5, 0, 0, 5),
        (0, 5, 5, 0),
        (-ONE, 0),
        (0, -ONE),
        (ONE, 0),
        (0, ONE),
        (0, 2 * ONE),
        (0, 10**30),
        tuple(range(2 * (header_checks.MOST + 1))),
    ],
    ids=str,
)
def test_what_is_no_rising_curve_is_known(nodes):
    assert not is_curve(nodes)
