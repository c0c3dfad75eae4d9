"""The commands by one name."""

from __future__ import annotations

import importlib

import pytest

from inrcodec.cli import inrv


@pytest.mark.parametrize("command", inrv.COMMANDS)
def test_every_row_is_a_command(command, capsys):
    assert inrv.main([command, "--help"]) == 0
    assert f"usage: inrv-{command}" in capsys.readouterr().out
    assert callable(importlib.import_module(f"inrcodec.cli.{command}").parser)


def test_help_lists_the_commands(capsys):
    assert inrv.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: inrv COMMAND")
    for command, what in inrv.COMMANDS.items():
        assert f"{command} " in out and what in out


@pytest.mark.parametrize(
    ("words", "says"),
    [([], "no command, there are enc"), (["inf"], "'inf', did you mean 'info'?"), (["xyz"], "there are enc")],
)
def test_a_wrong_name_is_refused_with_the_right_ones(words, says, capsys):
    assert inrv.main(words) == 2
    assert says in capsys.readouterr().err


def test_the_version_is_the_packages(capsys):
    assert inrv.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("inrv ")


def test_what_a_command_returns_is_returned(tmp_path):
    assert inrv.main(["info", str(tmp_path / "missing.inrv")]) == 3
