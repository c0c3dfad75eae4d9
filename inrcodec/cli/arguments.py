"""Arguments that the three commands share, and how they are refused.

In: words of the command line. Out: a namespace. The one law: a wrong word is a `UsageError` that names the
right one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from difflib import get_close_matches
from re import compile as pattern
from typing import NoReturn

from inrcodec._version import __version__
from inrcodec.cli.exits import epilog
from inrcodec.errors import UsageError

__all__ = ["STREAM", "Parser", "add_machine", "add_manners", "numbers", "whole_numbers"]

STREAM = "-"
"""As INPUT: standard input. As OUTPUT: standard output."""

WINDOW = pattern(r"-[\d.]")  # begins like one with a negative end


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that raises `UsageError` and knows the nearest option.

    Parameters
    ----------
    prog, description : str
        Name of the command and what it does.
    """

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,  # --si must not mean --size today and something else tomorrow
        )
        self.add_argument("--version", action="version", version=f"%(prog)s {__version__} (inrcodec)")

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
        return parsed

    def error(self, message: str) -> NoReturn:
        """Refuse; argparse calls this for everything that it finds wrong."""
        raise UsageError(f"{message}, see {self.prog} --help", value=message)


def _with_negative_ends(words: Sequence[str]) -> list[str]:
    """Join ``--focus -160:240`` into one word: argparse takes the second for an option."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] == "--focus" and WINDOW.match(word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def add_manners(parser: Parser) -> None:
    """Add what every command knows: ``--force``, ``--json``, ``-q``, ``-v``."""
    parser.add_argument("--force", action="store_true", help="replace an existing output")
    parser.add_argument("--json", action="store_true", help="print the result as JSON to stdout")
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors")
    loudness.add_argument("-v", "--verbose", action="store_true", help="say each stage; show tracebacks")


def add_machine(parser: Parser) -> None:
    """Add where the arithmetic runs: ``--device``, ``--threads``."""
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or cuda:N")
    parser.add_argument("--threads", type=int, metavar="N", help="threads (default: one a core)")


def whole_numbers(word: str) -> int | tuple[int, ...]:
    """Return ``"4"`` as 4 and ``"1,4,4"`` as (1, 4, 4)."""
    parts = tuple(int(part) for part in word.split(","))
    return parts[0] if len(parts) == 1 else parts


whole_numbers.__name__ = "whole number or Z,Y,X"  # argparse says "invalid <name> value"


def numbers(word: str) -> tuple[float, ...]:
    """Return ``"1.0,0.5,0.5"`` as (1.0, 0.5, 0.5)."""
    return tuple(float(part) for part in word.split(","))


numbers.__name__ = "Z,Y,X"
