"""Options: what is wished is kept, filled in from the preset, or refused with the way out."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest

from inrcodec.encoder.options import PRESETS, EncodeOptions
from inrcodec.errors import UsageError
from inrcodec.layers.decode_options import DecodeOptions
from inrcodec.validate import check_device

REFUSED = [
    # knobs, what the message must name
    ({"preset": "balance"}, "did you mean 'balanced'"),
    ({"preset": "ultra"}, "fast, balanced, best, paper"),
    ({"facter": 4}, "did you mean 'factor'"),
    ({"time-budget": 4}, "did you mean 'time_budget'"),
    ({"zebra": 4}, "known are preset, factor"),
    ({"factor": 0}, "from 1 to 8"),
    ({"factor": 9}, "from 1 to 8"),
    ({"factor": 4.0}, "from 1 to 8"),
    ({"factor": True}, "from 1 to 8"),
    ({"factor": (1, 4)}, "three whole numbers"),
    ({"factor": (1, 4, 9)}, "from 1 to 8"),
    ({"factor": "444"}, "three whole numbers"),
    ({"tiles": 4}, "three whole numbers"),
    ({"tiles": (0, 1, 1)}, "from 1 to 65536"),
    ({"tiles": (64, 64, 64)}, "65536 tiles in all"),
    ({"layers": 0}, "from 1 to 16"),
    ({"layers": 17}, "from 1 to 16"),
    ({"width": 1}, "from 2 to 1024"),
    ({"width": 1025}, "from 2 to 1024"),
    ({"ratio": 1.0}, "above 1"),
    ({"ratio": float("nan")}, "above 1"),
    ({"ratio": float("inf")}, "above 1"),
    ({"ratio": "1000"}, "above 1"),
    ({"size": 0}, "from 1"),
    ({"size": 2.5}, "whole number"),
    ({"ratio": 1000, "size": 20_000}, "give one of them"),
    ({"sr": "../weights.pt"}, "ID of a model"),
    ({"sr": "scheme://host/model"}, "ID of a model"),
    ({"sr": ""}, "ID of a model"),
    ({"through_sr": "yes"}, "True or False"),
    ({"seed": -1}, "from 0"),
    ({"seed": None}, "from 0"),
    ({"device": "gpu"}, "'cpu', 'cuda'"),
    ({"device": None}, "'cpu', 'cuda'"),
    ({"threads": 0}, "from 1"),
    ({"time_budget": 0}, "above 0"),
    ({"time_budget": -3}, "above 0"),
    ({"steps": 0}, "from 1"),
    ({"resume": ""}, "a path"),
    ({"resume": b"kept"}, "a path"),
    ({"resume": 3}, "a path"),
    ({"preset": "paper", "width": 64}, "width: preset .paper. fixes it at 128"),
    ({"preset": "paper", "factor": 2}, "factor: preset .paper. fixes it"),
    ({"preset": "paper", "tiles": (1, 1, 2)}, "tiles: preset .paper. fixes it"),
    ({"preset": "paper", "layers": 5}, "2, 3 or 4"),
    ({"preset": "paper", "through_sr": True}, "through_sr: preset .paper. fixes it at False"),
    ({"preset": "paper", "ratio": 1000}, "ratio: preset .paper. fixes it"),
    ({"preset": "paper", "size": 20_000}, "did you mean preset 'balanced'"),
]


@pytest.mark.parametrize(("knobs", "names"), REFUSED, ids=[str(knobs) for knobs, _ in REFUSED])
def test_impossible_wish_is_refused_with_what_is_allowed(knobs, names):
    with pytest.raises(UsageError, match=names) as caught:
        EncodeOptions.from_preset(**knobs)
    assert isinstance(caught.value, ValueError)
    assert caught.value.value is not None or None in knobs.values()


CONTRADICTIONS = [
    {"ratio": 1000, "size": 20_000},
    {"preset": "paper", "ratio": 1000},
    {"preset": "paper", "size": 20_000},
    {"preset": "paper", "width": 64},
    {"preset": "paper", "factor": 2},
    {"preset": "paper", "tiles": (1, 1, 2)},
    {"preset": "paper", "layers": 5},
    {"preset": "paper", "ensemble": 4},
    {"sr": "lanczos", "ensemble": 2},
]


@pytest.mark.parametrize("knobs", CONTRADICTIONS, ids=str)
def test_a_contradiction_ends_with_the_way_out(knobs):
    with pytest.raises(UsageError, match=r"(did you mean .+\?|give one of them|leave one of them out)$"):
        EncodeOptions.from_preset(**knobs)


@pytest.mark.parametrize(
    ("wishes", "names"),
    [
        ({"sr": "../weights.pt"}, "ID of a model"),
        ({"device": "gpu"}, "'cpu', 'cuda'"),
        ({"threads": 0}, "from 1 to 1024"),
        ({"threads": 2.0}, "whole number"),
        ({"precision": "float16"}, "float32 or bfloat16"),
        ({"ensemble": 3}, "1, 2, 4, 8"),
        ({"ensemble": True}, "1, 2, 4, 8"),
        ({"ensemble": 2, "lowres": True}, "ensemble: 2 has no meaning"),
    ],
)
def test_impossible_wishes_of_a_decode_are_refused(wishes, names):
    with pytest.raises(UsageError, match=names):
        DecodeOptions(**wishes)
    DecodeOptions(sr="lanczos", device="cuda:1", threads=4)


ALLOWED = [
    {"factor": 4},
    {"factor": [1, 8, 8]},
    {"factor": np.int64(4)},
    {"tiles": (1, 4, 4)},
    {"ratio": 6000},
    {"size": 20_000},
    {"sr": "auto"},
    {"sr": "lanczos"},
    {"device": "cuda:1"},
    {"seed": 2**63 - 1},
    {"resume": "kept"},
    {"resume": Path("kept")},
    {"preset": "paper", "layers": 2},
    {"preset": "paper", "layers": 4, "factor": 4, "tiles": (1, 1, 1), "width": 128},
    {"preset": "paper", "steps": 30, "time_budget": 5, "resume": "kept"},
]


@pytest.mark.parametrize("knobs", ALLOWED, ids=str)
def test_repr_of_options_is_valid_source(knobs):
    options = EncodeOptions.from_preset(**knobs)
    assert eval(repr(options)) == options


@pytest.mark.parametrize("preset", PRESETS)
def test_resolving_fills_in_the_preset(preset):
    resolved = EncodeOptions.from_preset(preset).resolved()
    for name in ("steps", "layers", "width", "rate", "optimizer", "learning_rate", "factor", "tiles", "sr"):
        assert getattr(resolved, name) == getattr(PRESETS[preset], name), name
    assert not resolved.sr_wished


WISHES = [
    ({"factor": 4}, "factor", (4, 4, 4)),
    ({"factor": (1, 4, 4)}, "factor", (1, 4, 4)),
    ({"preset": "best"}, "through_sr", True),
    ({"preset": "best", "through_sr": False}, "through_sr", False),
    ({"preset": "best", "ensemble": 1}, "ensemble", 1),
    ({"through_sr": True}, "through_sr", True),
    ({"layers": 2}, "layers", 2),
    ({"width": 48}, "width", 48),
    ({"steps": 30}, "steps", 30),
    ({"tiles": (1, 2, 2)}, "tiles", (1, 2, 2)),
    ({"sr": "lanczos"}, "sr", "lanczos"),
    ({"sr": "lanczos"}, "sr_wished", True),
    ({"sr": "auto"}, "sr", None),
    ({"sr": "auto"}, "sr_wished", False),
    ({"preset": "paper", "sr": "auto"}, "sr", "srdensenet-all"),
    ({"ratio": 6000}, "ratio", 6000.0),
    ({"seed": 3}, "seed", 3),
]


@pytest.mark.parametrize(("knobs", "name", "value"), WISHES)
def test_a_wish_wins_over_the_preset(knobs, name, value):
    assert getattr(EncodeOptions.from_preset(**knobs).resolved(), name) == value


def test_the_paper_preset_is_the_papers_network():
    paper = EncodeOptions(preset="paper").resolved()
    assert (paper.factor, paper.tiles, paper.layers, paper.width) == ((4, 4, 4), (1, 1, 1), 4, 128)
    assert (paper.optimizer, paper.learning_rate) == ("adam", 0.0015)
    assert (paper.batch_per_tile, paper.steps) == (2**16, 50_000)


def test_only_adam_has_a_learning_rate():
    for preset in PRESETS.values():
        assert (preset.learning_rate is not None) == (preset.optimizer == "adam")


def test_options_are_frozen():
    with pytest.raises(FrozenInstanceError):
        EncodeOptions().seed = 1


def test_a_device_that_is_not_here_is_refused():
    assert check_device("cpu") == "cpu"
    with pytest.raises(UsageError, match="use 'cpu'"):
        check_device("cuda:99")


def test_importing_options_imports_neither_torch_nor_numpy():
    code = (
        "import sys, inrcodec.encoder.options; print(sorted({'torch', 'numpy', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
