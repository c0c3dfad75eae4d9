"""Tables of the command line for the manual, made from the parsers that the commands use.

    ```{options-of} enc
    ```

In: the name of a module of `inrcodec.cli`. Out: a table for each group of its arguments. The directive
`exit-codes` makes the table of exit codes. Invariant: every argument of a command is in its tables.
"""

from __future__ import annotations

import argparse
import re
from importlib import import_module
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

GROUPS = {"positional arguments": "Arguments", "options": "General", "optional arguments": "General"}


def parser_of(command: str) -> argparse.ArgumentParser:
    """Return the parser of `inrv-<command>`."""
    return import_module(f"inrcodec.cli.{command}")._parser()


def rows(action: argparse.Action) -> tuple[str, str]:
    """Return how an argument is written, and what it means."""
    names = [name for name in action.option_strings if name.startswith("--")] or action.option_strings
    short = [name for name in action.option_strings if name not in names]
    value = "" if action.nargs == 0 else f" {_value_of(action)}"
    written = ", ".join(f"`{name}{value if name.startswith('--') else ''}`" for name in [*short, *names])
    return written or f"`{_value_of(action)}`", (action.help or "") % _fields_of(action)


def _value_of(action: argparse.Action) -> str:
    if action.choices:
        return "{" + ",".join(map(str, action.choices)) + "}"
    value = action.metavar or action.dest.upper()
    return f"{value}…" if action.nargs in ("+", "*") else str(value)


def _fields_of(action: argparse.Action) -> dict[str, Any]:
    return {**vars(action), "prog": "inrv"}


def markdown(command: str) -> str:
    """Return the reference of one command as Markdown."""
    parser = parser_of(command)
    lines: list[str] = []
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action.help is not argparse.SUPPRESS]
        if not actions:
            continue
        title = GROUPS.get(group.title or "", (group.title or "").capitalize())
        lines += ["", f"**{title}**", "", "| | |", "| --- | --- |"]
        lines += [f"| {_cell(written)} | {_cell(meaning)} |" for written, meaning in map(rows, actions)]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", r"\|")


def exit_codes() -> str:
    """Return the exit codes as a Markdown table."""
    from inrcodec.cli.exits import EXITS

    return "\n".join(
        ["| code | meaning |", "| --- | --- |", *(f"| {code} | {text} |" for code, text in EXITS)]
    )


class Markdown(SphinxDirective):
    """A directive whose content is made, and then read as the rest of the page."""

    def made(self) -> str:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        container = nodes.container()
        self.state.nested_parse(StringList(self.made().splitlines()), self.content_offset, container)
        return list(container.children)


class OptionsOf(Markdown):
    required_arguments = 1

    def made(self) -> str:
        return markdown(self.arguments[0])


class ExitCodes(Markdown):
    def made(self) -> str:
        return exit_codes()


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("options-of", OptionsOf)
    app.add_directive("exit-codes", ExitCodes)
    return {"parallel_read_safe": True}
