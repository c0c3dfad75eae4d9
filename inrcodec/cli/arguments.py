"""Parsers: from rows of options to flags, ``--help`` and a typed value for each word.

In: words of the command line. Out: a namespace with the options that were given, and only those. Invariant: a
wrong word is a `UsageError` that names the right one.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import MISSING
from difflib import get_close_matches
from functools import partial
from re import compile as pattern
from shutil import get_terminal_size
from textwrap import wrap
from typing import Any, NoReturn

from inrcodec._version import __version__
from inrcodec.cli.exits import exit_codes
from inrcodec.cli.pages import SHELLS, PrintCompletion, PrintMan
from inrcodec.errors import UsageError
from inrcodec.validate.rows import Option

STREAM = "-"
"""As INPUT: standard input. As OUTPUT: standard output."""

WIDTH = 90  # columns of help, where the terminal has no fewer
COLUMN = 24  # where the help of an option begins
WINDOW = pattern(r"-[\d.]")  # begins like one with a negative end


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that raises `UsageError`, knows the nearest option and has two lengths of help.

    Parameters
    ----------
    prog, description : str
        Name of the command and what it does.
    """

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            formatter_class=_formatter,
            add_help=False,
            allow_abbrev=False,  # --si must not mean --size today and something else tomorrow
        )
        self.rows: dict[str, Option] = {}
        self.brief: list[argparse.Action] = []  # what the short help lists

    def add(self, *flags: str, group: str = "", main: bool = False, **how: Any) -> None:
        """Add an argument as `add_argument` does; `group` is its heading, `main` puts it into ``--help``."""
        groups = {found.title: found for found in self._action_groups}
        place = groups[group] if group in groups else self.add_argument_group(group) if group else self
        action = place.add_argument(*flags, **how)
        if main:
            self.brief.append(action)

    def add_rows(self, rows: Mapping[str, Option]) -> None:
        """Add a flag for each row of a table of options."""
        for option in rows.values():
            how: dict[str, Any] = {"help": option.line.replace("%", "%%"), "default": argparse.SUPPRESS}
            if not option.kind.is_switch:
                how |= {"type": option.kind.parse, "metavar": option.value}
                how |= {"nargs": "*"} if option.kind.many else {}
                how |= {"required": True} if option.default is MISSING else {}
            elif option.default is None:
                how["action"] = argparse.BooleanOptionalAction
            else:
                how["action"] = "store_true"
            self.add(option.flag, group=option.group, main=option.main, **how)
        self.rows |= rows

    def add_manners(self, *, force: str = "replace an existing output") -> None:
        """Add what every command knows: ``--force``, if it writes, ``--json``, ``-q``, ``-v``, ``--help``."""
        add = partial(self.add, group="output", main=True, action="store_true")
        if force:
            add("--force", help=force)
        add("--json", help="print the result as JSON")
        add("-q", "--quiet", help="only errors")
        add("-v", "--verbose", help="each stage and its seconds, tracebacks")
        self.add("-h", "--help", group="help", main=True, action="help", help="show this help")
        self.add("--help-all", group="help", main=True, action=_HelpAll, help="show all options")
        shells: dict[str, Any] = {"choices": SHELLS, "metavar": "SHELL"}
        shells["help"] = f"what makes a shell complete it: {', '.join(SHELLS)}"
        self.add("--print-completion", group="help", action=PrintCompletion, **shells)
        self.add("--print-man", group="help", action=PrintMan, help="its man page")
        version = f"%(prog)s {__version__} (inrcodec)"
        self.add("--version", group="help", action="version", version=version, help="show the version")

    def flag(self, option: str) -> str:
        """The flag of a keyword of the library, as ``--time-budget`` of ``time_budget``.

        A keyword that has no flag here stays as it is.
        """
        flags = [word for word, action in self._option_string_actions.items() if action.dest == option]
        return next((flag for flag in flags if flag.startswith("--")), option)

    def parse_words(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse all words, or say which one is not known and which one was probably meant."""
        parsed, unknown = self.parse_known_args(_with_negative_ends(words))
        if unknown:
            word = unknown[0].partition("=")[0]
            near = get_close_matches(word, self._option_string_actions, n=1)
            hint = f", did you mean {near[0]!r}?" if near else f", see {self.prog} --help"
            raise UsageError(f"unknown argument {word!r}{hint}", value=word)
        if getattr(parsed, "quiet", False) and getattr(parsed, "verbose", False):
            self.error("-q is not allowed with -v")
        return parsed

    def error(self, message: str) -> NoReturn:
        """Refuse; argparse calls this for everything that it finds wrong."""
        raise UsageError(f"{message}, see {self.prog} --help", value=message)

    def format_usage(self) -> str:
        return f"usage: {self._usage()}\n"

    def format_help(self) -> str:
        """The short help: one line for each main option."""
        formatter = self._begun()
        formatter.start_section("options")
        width = _columns() - COLUMN - 2
        for action in self.brief:
            short = copy(action)
            if action.dest in self.rows:
                short.help = self.rows[action.dest].brief(width).replace("%", "%%")
            formatter.add_argument(short)
        formatter.end_section()
        formatter.add_text(f"{self.prog} --help-all: every option with its range and default, the exit codes")
        return formatter.format_help()

    def format_help_all(self) -> str:
        """The full help: every option by group with its range and default, and the exit codes."""
        formatter = self._begun()
        for group in self._action_groups[1:]:  # after the arguments by place
            formatter.start_section(group.title)
            formatter.add_arguments(group._group_actions)
            formatter.end_section()
        formatter.add_text(exit_codes())
        return formatter.format_help()

    def _begun(self) -> argparse.HelpFormatter:
        formatter = self._get_formatter()
        formatter.add_usage(self._usage(), [], [])
        formatter.add_text(self.description)
        formatter.start_section("arguments")
        formatter.add_arguments(self._get_positional_actions())
        formatter.end_section()
        return formatter

    def _usage(self) -> str:
        required = [f"{a.option_strings[0]} {a.metavar}" for a in self._actions if _is_required_flag(a)]
        places = [f"{a.metavar}{' …' if a.nargs == '+' else ''}" for a in self._get_positional_actions()]
        return " ".join([self.prog, *required, "[options]", *places])


def given(args: argparse.Namespace, rows: Mapping[str, Option]) -> dict[str, Any]:
    """The options of a table that were given, by keyword."""
    return {name: value for name, value in vars(args).items() if name in rows}


class _HelpAll(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        assert isinstance(parser, Parser)
        print(parser.format_help_all(), end="")
        parser.exit()


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def _split_lines(self, text: str, width: int) -> list[str]:
        return wrap(text, width, break_on_hyphens=False)  # "soft-tissue" is one word

    def _format_action_invocation(self, action: argparse.Action) -> str:
        """``-q, --quiet`` and ``--size BYTES``, with the value once."""
        value = "" if action.nargs == 0 or not action.option_strings else f" {action.metavar}"
        return ", ".join(action.option_strings or [str(action.metavar)]) + value


def _columns() -> int:
    return min(WIDTH, max(60, get_terminal_size().columns)) - 1


def _formatter(prog: str) -> argparse.HelpFormatter:
    return _Formatter(prog, max_help_position=COLUMN, width=_columns())


def _is_required_flag(action: argparse.Action) -> bool:
    return bool(action.option_strings) and action.required


def _with_negative_ends(words: Sequence[str]) -> list[str]:
    """Join ``--focus -160:240`` into one word: argparse takes the second for an option; ``--box`` alike."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in ("--focus", "--box") and WINDOW.match(word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined
