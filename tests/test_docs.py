"""The manual is whole: every option, exit code and public name is in it, and its links lead somewhere."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from pathlib import Path

import pytest

import inrcodec
from inrcodec.cli import exits
from inrcodec.cli.inrv import COMMANDS
from inrcodec.encoder.presets import PRESETS
from inrcodec.io.registry import DICOM, ENDINGS, FORMATS

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}


@pytest.fixture(scope="module")
def option_tables():
    pytest.importorskip("sphinx", reason="the manual needs the extra docs")
    sys.path.insert(0, str(DOCS / "_ext"))
    import option_tables

    return option_tables


@pytest.mark.parametrize("command", [[name] for name in COMMANDS] + [["train", "latent"]], ids=" ".join)
def test_every_flag_of_a_command_is_in_its_tables(option_tables, command):
    made = option_tables.options(*command)
    flags = [flag for action in option_tables.parser_of(*command)._actions for flag in action.option_strings]
    assert flags
    for flag in flags:
        assert f"`{flag}" in made, flag


def test_every_command_has_its_tables():
    page = TEXTS[DOCS / "cli.md"]
    assert set(re.findall(r"\{options-of\} (\w+)", page)) == set(COMMANDS)
    assert "{exit-codes}" in page


def test_presets_are_the_encoders_own(option_tables):
    made = option_tables.presets()
    for name in PRESETS:
        assert f"| `{name}` |" in made
    assert "| 128 |" in made  # the paper's width, which is not the usual one


def test_exit_codes_are_the_commands_own(option_tables):
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", option_tables.exit_codes(), re.MULTILINE)
    assert tuple((int(code), meaning) for code, meaning in rows) == tuple(exits.EXITS)


def test_flags_that_the_pages_name_exist(option_tables):
    known = {
        flag
        for command in [[name] for name in COMMANDS] + [["train", "latent"]]
        for action in option_tables.parser_of(*command)._actions
        for flag in action.option_strings
    }
    for name in (
        "cli",
        "collections",
        "how-it-works",
        "index",
        "limitations",
        "plugins",
        "quickstart",
        "radiologist",
        "refinement",
        "training",
    ):
        page = DOCS / f"{name}.md"
        text = TEXTS[page]
        for line in re.findall(r"^inrv-.*$", text, re.MULTILINE) + re.findall(
            r"`(inrv-[^`]*|--[^`]*)`", text
        ):
            assert set(re.findall(r"(?<!\S)--[a-z][a-z0-9-]+", line)) <= known, (page.name, line)


def test_every_public_name_is_in_the_reference():
    page = TEXTS[DOCS / "python.md"]
    errors = {name for name in dir(inrcodec.errors) if name[0].isupper()}
    for name in set(inrcodec.__all__) - errors - {"__version__"}:
        assert f"inrcodec.{name}" in page, name


def test_links_between_pages_lead_to_files():
    for page, text in TEXTS.items():
        for link in re.findall(r"\]\(([^)#:\s]+?)(?:#[^)]*)?\)", text):
            assert (page.parent / link).exists(), (page.name, link)


def test_limitations_stand_before_the_evidence():
    front = TEXTS[DOCS / "index.md"]
    assert front.index("\nlimitations\n") < front.index("\nevidence\n")


def test_cells_of_executed_pages_are_python_or_shell():
    cells = [
        cell
        for text in TEXTS.values()
        for cell in re.findall(r"^```\{code-cell\}\n(?::[^\n]*\n)*(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]
    assert cells
    for cell in cells:
        if not cell.startswith("%%sh"):
            ast.parse(cell)


def test_every_format_is_in_the_table_as_it_is():
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in TEXTS[DOCS / "formats.md"].partition("\n## Objects")[0].splitlines()
        if line.startswith("| ") and not line.startswith(("| format", "| ---"))
    ]
    assert [row[0] for row in rows] == [form.name for form in FORMATS]
    for (_, endings, read, write, extra, _), form in zip(rows, FORMATS, strict=True):
        assert tuple(re.findall(r"`(\.[^`]+)`", endings)) == form.endings
        assert (read, write) == ("yes", "yes" if form.sink else "no")
        assert form.extra in extra
        assert form is DICOM or not extra or form.extra


@pytest.mark.parametrize("command", ["enc", "dec"])
def test_endings_that_the_help_names_are_formats(command):
    parser = importlib.import_module(f"inrcodec.cli.{command}").parser()
    words = next(a.help for a in parser._actions if a.metavar == {"enc": "INPUT", "dec": "OUTPUT"}[command])
    named = re.findall(r"\.[a-z.]+", words)
    assert len(named) > 3
    for ending in named:
        assert ENDINGS[ending].sink or command == "enc"
