"""What commands print of themselves, for shells and for man; and what the environment tells them."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib import import_module
from pathlib import Path

import pytest

import inrcodec
from inrcodec.cli import enc, inrv
from inrcodec.cli.exits import EXITS
from inrcodec.cli.inrv import COMMANDS

PACKAGE = Path(inrcodec.__file__).parent
MANUAL = PACKAGE.parent / "docs" / "cli.md"


def printed(capsys, command, *words):
    assert inrv.main([*([command] if command else []), *words]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", [*COMMANDS, ""])
def test_completion_has_every_flag(command, capsys, tmp_path):
    pytest.importorskip("shtab")
    script = printed(capsys, command, "--print-completion", "bash")
    names = [command] if command else COMMANDS
    for name in names:
        flags = import_module(f"inrcodec.cli.{name}").parser()._option_string_actions
        assert {flag for flag in flags if flag.startswith("--")} <= set(re.findall(r"--[a-z0-9-]+", script))
    (tmp_path / "script").write_text(script)
    if shutil.which("bash"):
        subprocess.run(["bash", "-n", tmp_path / "script"], check=True)


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_completion_of_other_shells(shell, capsys):
    pytest.importorskip("shtab")
    assert "lossless" in printed(capsys, "enc", "--print-completion", shell)


@pytest.mark.parametrize("words", [["enc"], []])
def test_an_unknown_shell_is_refused(words, capsys):
    assert inrv.main([*words, "--print-completion", "fish"]) == 2
    assert "'fish'" in capsys.readouterr().err


def test_completion_needs_its_extra(capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "shtab", None)
    assert enc.main(["--print-completion", "bash"]) == 3
    assert "inrcodec[completion]" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_man_pages_have_every_option_and_code(command, capsys, tmp_path):
    page = printed(capsys, command, "--print-man")
    plain = page.replace("\\-", "-").replace("\\&", "")
    for action in import_module(f"inrcodec.cli.{command}").parser()._actions:
        assert all(flag in plain for flag in action.option_strings)
        assert (action.help or "").replace("%%", "%").partition("%(")[0] in plain
    for code, meaning in EXITS:
        assert f"\\fB{code}\\fR\n{meaning}" in plain
    if shutil.which("groff"):
        (tmp_path / "page.1").write_text(page)
        done = subprocess.run(
            ["groff", "-k", "-ww", "-man", "-Tutf8", tmp_path / "page.1"], capture_output=True, check=True
        )
        assert not done.stderr and f"inrv-{command}".encode() in done.stdout.replace(b"\xe2\x80\x90", b"-")


def test_the_manual_has_every_variable_of_the_environment():
    read = set()
    for path in [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.c")]:
        read |= set(re.findall(r'"(INRCODEC_[A-Z_]+)"', path.read_text(encoding="utf-8")))
    section = MANUAL.read_text(encoding="utf-8").partition("\n## Environment\n")[2].partition("\n## ")[0]
    assert read and set(re.findall(r"INRCODEC_[A-Z_]+", section)) == read


def test_the_citation_has_the_packages_version():
    citation = (PACKAGE.parent / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {inrcodec.__version__}\n" in citation and "\nlicense: Apache-2.0\n" in citation
