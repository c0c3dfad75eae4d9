"""The README is true: its blocks run, its links lead somewhere, and it is a door and not the house."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from inrcodec.cli import dec, enc, info, train

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAINS = {"inrv-enc": enc.main, "inrv-dec": dec.main, "inrv-info": info.main, "inrv-train": train.main}
LONGEST = 7_000  # bytes


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder that looks like the checkout and takes the outputs."""
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_is_short():
    assert len(README.encode()) <= LONGEST


def test_console_blocks_run_in_order(checkout):
    commands = [
        line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")
    ]
    assert len(commands) == 2
    for command in commands:
        program, *words = shlex.split(command)
        assert MAINS[program](words) == 0, command


def test_python_blocks_run(checkout):
    python = blocks("python")
    assert python
    for block in python:
        exec(compile(block, "README.md", "exec"), {})


def test_the_example_has_six_lines():
    assert len([line for line in blocks("python")[0].splitlines() if line]) <= 6


def test_every_switch_that_is_named_exists(capsys):
    for main in MAINS.values():
        main(["--help"])
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    code = "".join(re.findall(r"`[^`]+`", README)) + "".join(blocks("console"))
    assert set(re.findall(r"--[a-z][a-z-]+", code)) <= known | {"--strict"}  # mypy's


def test_links_lead_to_files():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


def test_limitations_stand_before_results():
    assert README.index("## Limitations") < README.index("## Results")


def test_the_make_targets_that_it_names_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make ([a-z]+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
