"""Tables of the command line for the manual, made from the tables of options that the commands use.

    ```{options-of} enc
    ```

In: the name of a module of `inrcodec.cli`, and maybe a word for its `parser`, as in `train latent`. Out: a
table for each group of its arguments. The directives `exit-codes` and `presets` make theirs. Invariant: every
argument of a command is in its tables.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from dataclasses import asdict
from importlib import import_module

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from inrcodec.cli.arguments import Parser
from inrcodec.cli.exits import EXITS
from inrcodec.encoder.presets import PRESETS

SHOWN = (
    "steps",
    "layers",
    "width",
    "optimizer",
    "batch_per_tile",
    "factor",
    "tiles",
    "sr",
    "through_sr",
)


def parser_of(command: str, *kind: str) -> Parser:
    """Return the parser of `inrv-<command>`."""
    parser: Parser = import_module(f"inrcodec.cli.{command}").parser(*kind)
    return parser


def options(command: str, *kind: str) -> str:
    """Return the reference of one command as Markdown."""
    parser = parser_of(command, *kind)
    lines: list[str] = []
    for group in parser._action_groups:
        actions = group._group_actions
        if actions and actions[0].option_strings:
            title = group.title or ""
            title = title[:1].upper() + title[1:]  # DICOM stays as it is
            rows = [_row(parser, action) for action in actions]
            lines += ["", f"**{title}**", "", *_table(("option", "meaning", "values", "without it"), rows)]
        elif actions:
            rows = [(f"`{action.metavar}`", action.help or "") for action in actions]
            lines += ["", *_table(("argument", "meaning"), rows)]
    return "\n".join(lines)


def _row(parser: Parser, action: argparse.Action) -> tuple[str, ...]:
    option = parser.rows.get(action.dest)
    value = "" if action.nargs == 0 else f" {action.metavar}"
    written = ", ".join(
        f"`{flag}{value}`" if flag.startswith("--") else f"`{flag}`" for flag in action.option_strings
    )
    if option is None:
        return written, (action.help or "").replace("%%", "%"), "", ""
    meaning = "; ".join(filter(None, [option.help, option.detail]))
    return written, meaning, option.range, option.without_it


def exit_codes() -> str:
    """Return the exit codes as a Markdown table."""
    return "\n".join(_table(("code", "meaning"), [(str(code), meaning) for code, meaning in EXITS]))


def presets() -> str:
    """Return what the presets stand for as a Markdown table."""
    rows = []
    for name, preset in PRESETS.items():
        values = asdict(preset)
        values["width"] = preset.width or preset.usual_width
        rows.append([f"`{name}`", *(_word(values[key]) for key in SHOWN)])
    return "\n".join(_table(("preset", *(key.replace("_", " ") for key in SHOWN)), rows))


def _word(value: object) -> str:
    if isinstance(value, tuple):
        return " × ".join(map(str, value))
    return {None: "by rule", True: "yes", False: "no"}.get(value, str(value))  # type: ignore[call-overload]


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    head = list(head)
    cells = [[re.sub(r"\s+", " ", cell).replace("|", r"\|") for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *cells)]


class Made(SphinxDirective):
    """A directive whose content is made, and then read as Markdown of its page."""

    def made(self) -> str:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        container = nodes.container()
        self.state.nested_parse(StringList(self.made().splitlines()), self.content_offset, container)
        return list(container.children)


class OptionsOf(Made):
    required_arguments, optional_arguments = 1, 1

    def made(self) -> str:
        return options(*self.arguments)


class ExitCodes(Made):
    def made(self) -> str:
        return exit_codes()


class Presets(Made):
    def made(self) -> str:
        return presets()


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("options-of", OptionsOf)
    app.add_directive("exit-codes", ExitCodes)
    app.add_directive("presets", Presets)
    return {"parallel_read_safe": True}
