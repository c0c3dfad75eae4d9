"""Options: given ones are kept, others come from the preset, impossible ones are refused."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError, dataclass, fields
from inspect import signature
from pathlib import Path

import numpy as np
import pytest

import inrcodec
from inrcodec.cli import enc
from inrcodec.cli.arguments import Parser, given
from inrcodec.encoder import options as encoding
from inrcodec.encoder.options import PRESETS, EncodeOptions
from inrcodec.encoder.presets import by_preset
from inrcodec.encoder.source_options import SOURCE_OPTIONS, SourceOptions
from inrcodec.errors import UsageError
from inrcodec.layers import decode_options as decoding
from inrcodec.layers.decode_options import DecodeOptions
from inrcodec.validate import check_device, whole
from inrcodec.validate.rows import lists_keywords, row, table

REFUSED = [
    # options, what the message must name
    ({"preset": "balance"}, "did you mean 'balanced'"),
    ({"preset": "ultra"}, "fast, balanced, best or paper"),
    ({"facter": 4}, "did you mean 'factor'"),
    ({"time-budget": 4}, "did you mean 'time_budget'"),
    ({"zebra": 4}, "known are preset, ratio"),
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
    ({"size": "2.5"}, "whole number"),
    ({"size": "10kb"}, "such as 20kB"),  # a small b would be bits
    ({"size": "10k"}, "such as 20kB"),  # 1,000 or 1,024?
    ({"size": "-1kB"}, "such as 20kB"),
    ({"size": "0.0001kB"}, "from 1"),
    ({"size": "9999999999GB"}, "from 1"),
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
    ({"preset": "paper", "layers": 5}, "fixes it at 2 or 3 or 4"),
    ({"preset": "paper", "through_sr": True}, "through_sr: preset .paper. fixes it at False"),
    ({"preset": "paper", "ratio": 1000}, "ratio: preset .paper. does not take it"),
    ({"preset": "paper", "size": 20_000}, "did you mean preset 'balanced'"),
]


@pytest.mark.parametrize(("options", "names"), REFUSED, ids=[str(options) for options, _ in REFUSED])
def test_an_impossible_value_is_refused_with_what_is_allowed(options, names):
    with pytest.raises(UsageError, match=names) as caught:
        EncodeOptions.from_preset(**options)
    assert isinstance(caught.value, ValueError)
    assert caught.value.value is not None or None in options.values()


CONFLICTS = [
    {"ratio": 1000, "size": 20_000},
    {"preset": "paper", "ratio": 1000},
    {"preset": "paper", "size": 20_000},
    {"preset": "paper", "width": 64},
    {"preset": "paper", "factor": 2},
    {"preset": "paper", "tiles": (1, 1, 2)},
    {"preset": "paper", "layers": 5},
    {"preset": "paper", "ensemble": 4},
    {"sr": "lanczos", "ensemble": 2},
    {"psnr": 40, "size": 20_000},
    {"lossless": True, "ratio": 3},
    {"lossless": True, "max_error": 3},
    {"max_error": 3, "psnr": 40},
    {"base": "av1", "steps": 30},
    {"base": "av1", "device": "cuda"},
    {"lossless": True, "steps": 30},
    {"max_error": 3, "through_sr": False},
]


@pytest.mark.parametrize("options", CONFLICTS, ids=str)
def test_a_conflict_ends_with_the_remedy(options):
    with pytest.raises(
        UsageError, match=r"(did you mean .+\?|give one of them|leave one of them out|or set base)$"
    ):
        EncodeOptions.from_preset(**options)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"sr": "../weights.pt"}, "ID of a model"),
        ({"device": "gpu"}, "'cpu', 'cuda'"),
        ({"threads": 0}, "from 1 to 1024"),
        ({"threads": 2.0}, "whole number"),
        ({"precision": "float16"}, "float32 or bfloat16"),
        ({"ensemble": 3}, "1, 2, 4 or 8"),
        ({"ensemble": True}, "1, 2, 4 or 8"),
        ({"ensemble": 2, "lowres": True}, "ensemble: 2 has no meaning"),
    ],
)
def test_an_impossible_value_of_decode_options_is_refused(options, names):
    with pytest.raises(UsageError, match=names):
        DecodeOptions(**options)
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
    {"psnr": 5},
    {"max_error": 0},
    {"max_error": 1e308},
    {"lossless": True, "base": "siren", "steps": 30},
    {"psnr": 40, "base": "av1"},
]


@pytest.mark.parametrize("options", ALLOWED, ids=str)
def test_repr_of_options_is_valid_source(options):
    made = EncodeOptions.from_preset(**options)
    assert eval(repr(made)) == made


@pytest.mark.parametrize("preset", PRESETS)
def test_resolving_fills_in_the_preset(preset):
    resolved = EncodeOptions.from_preset(preset).resolved()
    for name in ("steps", "layers", "width", "rate", "optimizer", "learning_rate", "factor", "tiles", "sr"):
        assert getattr(resolved, name) == getattr(PRESETS[preset], name), name
    assert not resolved.sr_given


GIVEN = [
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
    ({"sr": "lanczos"}, "sr_given", True),
    ({"sr": "auto"}, "sr", None),
    ({"sr": "auto"}, "sr_given", False),
    ({"preset": "paper", "sr": "auto"}, "sr", "srdensenet-all"),
    ({"ratio": 6000}, "ratio", 6000.0),
    ({"seed": 3}, "seed", 3),
]


@pytest.mark.parametrize(("options", "name", "value"), GIVEN)
def test_a_given_option_wins_over_the_preset(options, name, value):
    assert getattr(EncodeOptions.from_preset(**options).resolved(), name) == value


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


TABLES = [
    # keywords that type checkers see, dataclasses whose fields they are
    (encoding.EncodeKeywords, (EncodeOptions, SourceOptions)),
    (decoding.DecodeKeywords, (DecodeOptions,)),
]


@pytest.mark.parametrize(("keywords", "classes"), TABLES, ids=["encode", "decode"])
def test_typed_keywords_are_the_fields_of_the_options(keywords, classes):
    typed = {name: ref.__forward_arg__ for name, ref in keywords.__annotations__.items()}
    assert typed == {f.name: f.type for options in classes for f in fields(options)}


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"spacing": 3}, r"spacing: 3 is not possible, allowed: \(z, y, x\)"),
        ({"spacing": (1, 0, 1)}, "spacing: 0 is not possible, allowed: a number above 0"),
        ({"spacing": "1,1,1"}, "spacing: '1,1,1' is not"),
        ({"modality": 3}, "modality: 3 is not a DICOM term"),
    ],
)
def test_an_impossible_value_of_source_options_is_refused(options, names):
    with pytest.raises(UsageError, match=names):
        SourceOptions(**options)
    found = SourceOptions(spacing=np.array([3.0, 1, 1]), modality="ct")
    assert (found.spacing, found.modality) == ((3.0, 1.0, 1.0), "CT")


VERBS = [
    (inrcodec.encode, {**encoding.OPTIONS, **SOURCE_OPTIONS}),
    (inrcodec.encode_file, {**encoding.OPTIONS, **SOURCE_OPTIONS}),
    (inrcodec.plan, {**encoding.OPTIONS, **SOURCE_OPTIONS}),
    (inrcodec.decode, decoding.OPTIONS),
    (inrcodec.decode_volume, decoding.OPTIONS),
]


@pytest.mark.parametrize(("verb", "rows"), VERBS, ids=lambda value: getattr(value, "__name__", ""))
def test_help_of_a_verb_lists_every_keyword_with_type_and_default(verb, rows):
    parameters = signature(verb).parameters
    assert all(p.kind != p.VAR_KEYWORD for p in parameters.values())
    for name, option in rows.items():
        assert (parameters[name].annotation, parameters[name].default) == (option.type, option.default)
        assert f"\n{name} : {option.type}, default {option.default!r}\n    " in verb.__doc__
    assert "{keywords}" not in verb.__doc__


ROWS = [*encoding.OPTIONS.values(), *SOURCE_OPTIONS.values(), *decoding.OPTIONS.values()]


@pytest.mark.parametrize("option", ROWS, ids=lambda option: option.name)
def test_a_row_is_whole(option):
    assert (
        option.help[0] != option.help[0].upper() or not option.help[0].isalpha() or option.help[:2].isupper()
    )
    assert not option.help.endswith(".") and option.group
    assert option.kind.is_switch or option.metavar or option.kind.metavar
    for name in option.needs:
        assert name in encoding.OPTIONS


@dataclass(frozen=True, kw_only=True)
class Extended(EncodeOptions):
    """Options with one more.

    Parameters
    ----------
    {keywords}
    """

    grain: int = row(3, whole(1, 9), "size of the grain", "noise", unit="mm", for_networks=True)


def test_a_row_is_all_that_an_option_needs():
    """To be checked, parsed, explained and held against others; the recipe is in `encoder.options`."""
    parser = Parser("inrv-enc", "Compress.")
    parser.add_rows(table(Extended))
    parser.add_manners()
    words = parser.parse_words(["--grain", "7", "--seed", "4"])
    assert Extended(**given(words, parser.rows)) == Extended(grain=7, seed=4)
    assert "--grain N size of the grain (1 to 9 mm; default: 3)" in " ".join(parser.format_help_all().split())
    assert (
        "\ngrain : int, default 3\n    Size of the grain (1 to 9 mm)." in lists_keywords()(Extended).__doc__
    )
    with pytest.raises(UsageError, match="grain: 10 is not possible, allowed: a whole number from 1 to 9"):
        Extended(grain=10)


@pytest.mark.parametrize(
    ("word", "count"),
    [
        ("10000", 10_000),
        ("10B", 10),
        ("10kB", 10_000),
        ("10 KB", 10_000),
        ("64KiB", 65_536),
        ("64kiB", 65_536),
        ("1.5MB", 1_500_000),
        ("0.1MiB", 104_857),  # at most this size
        ("2GB", 2 * 10**9),
    ],
)
def test_bytes_may_have_a_unit(word, count):
    assert EncodeOptions(size=word).size == count
    assert enc.parser().parse_words(["in.npy", "out.inrv", "--size", word]).size in (word, count)


def test_the_table_has_the_values_of_the_presets():
    assert by_preset("through_sr") == "no (fast, paper), yes (balanced, best)"
    assert by_preset("layers") == "4"
    for name in ("steps", "layers", "width", "through_sr"):
        assert by_preset(name) in encoding.OPTIONS[name].line


def test_what_a_preset_fixes_are_options():
    for preset in PRESETS.values():
        assert preset.fixed.keys() <= encoding.OPTIONS.keys()
