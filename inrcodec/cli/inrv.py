"""`inrv`: all commands by one name, ``inrv enc`` for ``inrv-enc``.

In: the name of a command and its words.  Out: its exit code.
Invariant: a command is a row of `COMMANDS` and a module of this room, which is imported when it is named.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

from inrcodec._version import __version__
from inrcodec.cli.arguments import Parser
from inrcodec.cli.exits import run
from inrcodec.cli.pages import SHELLS, PrintCompletion
from inrcodec.errors import UsageError

COMMANDS = {
    "enc": "compress a volume",
    "dec": "decompress a file",
    "info": "show what is in a file",
    "view": "show a file in the browser",
    "serve": "show files to programs that know OME-Zarr",
    "train": "train a model on volumes",
}
_MANNERS = ("-h", "--help", "--help-all", "--version")


def main(argv: Sequence[str] | None = None, prog: str = "inrv") -> int:
    """Run one of the commands and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        Name and words of a command, by default the process's own.
    prog : str
        What the user called.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    name = words[0] if words else ""
    if name in COMMANDS:
        command = import_module(f"inrcodec.cli.{name}")
        if argv is not None:
            return int(command.main(words[1:]))
        del sys.argv[1]  # the process's own words, so that an interrupt may end it
        return int(command.main())
    if name.partition("=")[0] == "--print-completion":
        return run(_parser(), lambda _: None, words)
    if name in _MANNERS:
        print(f"{prog} {__version__} (inrcodec)" if name == "--version" else help_of(prog))
        return 0
    cause = f"unknown command {name!r}" if name else "no command"
    near = get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(COMMANDS)}"
    print(f"{prog}: error: {cause}, {hint}", file=sys.stderr)
    return UsageError.exit_code


def _parser() -> Parser:
    """The parser of all commands, for what a shell completes."""
    made = Parser("inrv", "Compress CT and MR volumes as implicit neural representations.")
    made.add("--print-completion", action=PrintCompletion, choices=SHELLS, metavar="SHELL")
    commands = made.add_subparsers(metavar="COMMAND", parser_class=ArgumentParser)
    for name, what in COMMANDS.items():
        parser = import_module(f"inrcodec.cli.{name}").parser()
        commands.add_parser(name, help=what, parents=[parser], add_help=False)
    return made


def help_of(prog: str) -> str:
    """The list of commands."""
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            f"usage: {prog} COMMAND [options] …",
            "",
            "Compress CT and MR volumes as implicit neural representations.",
            "",
            *(
                f"  {name:<{width}}  {what} (also installed as inrv-{name})"
                for name, what in COMMANDS.items()
            ),
            "",
            f"{prog} COMMAND --help shows the options of a command.",
        ]
    )
