"""The estimate of the time: its rule, with the seconds of short fits given."""

from __future__ import annotations

import numpy as np
import pytest

from inrcodec.encoder import planner, timing
from inrcodec.encoder.bases import siren
from inrcodec.encoder.bases.siren import SirenCoding
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.options import EncodeOptions
from inrcodec.volume.volume import Volume


def plan(**knobs):
    volume = Volume.from_array(np.add.outer(np.arange(24), np.arange(32)).astype(np.int16) * 20)
    options = EncodeOptions(**{"factor": 2, "sr": "lanczos", "threads": 1, "steps": 1010, **knobs})
    return planner.make(Facts.of(volume), options.resolved())


@pytest.fixture(autouse=True)
def given(monkeypatch):
    """Two seconds once, a tenth of a second a step, nothing for the rest."""
    monkeypatch.setattr(SirenCoding, "_timed", lambda self, plan, steps: 2.0 + 0.1 * steps)
    monkeypatch.setattr(timing, "_resample_seconds", lambda plan: 0.0)


def test_the_steps_are_counted_and_what_is_done_once_is_counted_once():
    assert timing.base(plan()) == pytest.approx(2.0 + 0.1 * siren.FEW + 0.1 * 1010)


def test_a_time_budget_bounds_the_fit():
    assert timing.base(plan(time_budget=5.0)) == pytest.approx(5.0)


@pytest.mark.parametrize(("depth", "seconds"), [(240, 1.0 + 0.1 * 240), (6, 1.0 + 0.1 * 6)])
def test_what_a_refinement_does_once_is_counted_once(depth, seconds, monkeypatch):
    """One second once, a tenth of a second a slice; what is coded for a bound was verified."""
    monkeypatch.setattr(timing, "_coding_seconds", lambda facts, options, slices: 1.0 + 0.1 * slices)
    volume = Volume.from_array(np.zeros((depth, 4, 4), np.int16))
    found = timing.refinement(Facts.of(volume), EncodeOptions(lossless=True).resolved())
    assert found == pytest.approx(seconds)


def test_an_estimate_leaves_the_checkpoint_alone(tmp_path, monkeypatch):
    monkeypatch.undo()
    assert timing.base(plan(resume=tmp_path / "kept", steps=20)) > 0
    assert list(tmp_path.iterdir()) == []
