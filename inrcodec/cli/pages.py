"""What a parser prints of itself: completion for a shell, and a man page.

In: a parser.  Out: text.
Invariant: every option of the parser is in it, in its own words.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from inrcodec._version import __version__
from inrcodec.cli.exits import EXITS
from inrcodec.errors import MissingExtra

if TYPE_CHECKING:
    from inrcodec.cli.arguments import Parser

SHELLS = ("bash", "zsh", "tcsh")
FILES = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}  # shtab's words


class PrintCompletion(argparse.Action):
    """Prints what makes a shell complete the command, and ends it."""

    def __call__(self, parser: argparse.ArgumentParser, _: object, shell: Any, *__: object) -> NoReturn:
        print(completion(parser, shell))
        parser.exit()


class PrintMan(argparse.Action):
    """Prints the man page of the command, and ends it."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: Any, *_: object) -> NoReturn:
        print(man(parser), end="")
        raise SystemExit


def completion(parser: argparse.ArgumentParser, shell: str) -> str:
    """A script for a shell; arguments by place are completed as files.

    Raises
    ------
    MissingExtra
        shtab is not installed.
    """
    try:
        shtab: Any = import_module("shtab")
    except ImportError as error:
        raise MissingExtra("shtab is not installed", extra="completion") from error
    _complete_files(parser)
    return str(shtab.complete(parser, shell=shell))


def _complete_files(parser: argparse.ArgumentParser) -> None:
    """Mark what is a file for shtab, also of the commands below."""
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for command in action.choices.values():
                _complete_files(command)
        elif not action.option_strings:
            action.complete = FILES  # type: ignore[attr-defined]


def man(parser: Parser) -> str:
    """The man page of a command, in the language of man."""
    name = parser.prog
    lines = [f'.TH {name.upper()} 1 "" "inrcodec {__version__}" "inrcodec"', ".SH NAME"]
    usage = parser.format_usage().removeprefix("usage: ").strip()
    lines += [_text(f"{name} - {parser.description}"), ".SH SYNOPSIS", _text(usage)]
    for group in parser._action_groups:
        if group._group_actions and group is not parser._optionals:
            by_place = group is parser._positionals
            lines.append(f'.SH "{"ARGUMENTS" if by_place else (group.title or "").upper()}"')
            for action in group._group_actions:
                words = (action.help or "") % {"prog": name}
                lines += [".TP", f"\\fB{_text(_invocation(action))}\\fR", _text(words)]
    lines.append('.SH "EXIT STATUS"')
    for code, meaning in EXITS:
        lines += [".TP", f"\\fB{code}\\fR", _text(meaning)]
    return "\n".join(lines) + "\n"


def _invocation(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 or not action.option_strings else f" {action.metavar}"
    return ", ".join(action.option_strings or [str(action.metavar)]) + value


def _text(words: str) -> str:
    """Words that man takes as they are."""
    escaped = words.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
