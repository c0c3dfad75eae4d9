"""What is logged and warned of while a command runs: notes for the user, instead of raw lines on stderr.

In: log records and warnings.  Out: with ``-v`` a line each; else what this package warns of, and one line
that counts what others do.
Invariant: a note is one line without the place in the source that it comes from, and comes once.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import inrcodec

OWN, FOREIGN = "inrcodec", "inrcodec.io.foreign"
PLACE = str(Path(inrcodec.__file__).parent)


class _Notes(logging.Handler):
    """Collects texts, and whether this package, another, or only a log says each."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.texts: dict[str, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        package = record.name.partition(".")[0]
        if record.name == FOREIGN:
            self._add(record.getMessage(), "others")
        elif package == OWN:
            self._add(record.getMessage(), "own" if record.levelno >= logging.WARNING else "log")
        elif record.levelno >= logging.WARNING:
            self._add(f"{package}: {record.getMessage()}", "others")

    def instead(self, record: logging.LogRecord) -> bool:
        """A filter of a logger that has a handler of its own."""
        self.handle(record)
        return False

    def warned(
        self, message: Warning | str, category: type[Warning], filename: str, *_: Any, **__: Any
    ) -> None:
        """In the place of `warnings.showwarning`."""
        self._add(str(message), "own" if filename.startswith(PLACE) else "others")

    def _add(self, text: str, whose: str) -> None:
        self.texts.setdefault(" ".join(text.split()), whose)

    def lines(self, *, verbose: bool) -> list[str]:
        """The notes that are shown."""
        if verbose:
            return list(self.texts)
        shown = [text for text, whose in self.texts.items() if whose == "own"]
        count = sum(whose == "others" for whose in self.texts.values())
        if count:
            shown.append(f"{count} warning{'s' if count > 1 else ''} of other packages, -v shows them")
        return shown


@contextmanager
def notes(*, verbose: bool, quiet: bool) -> Iterator[None]:
    """Keep what is logged and warned of, and say it where the command has not failed, or with ``-v``."""
    kept, root, own = _Notes(), logging.getLogger(), logging.getLogger(OWN)
    talker = logging.getLogger("nibabel.global")
    level, done = own.level, False
    own.setLevel(logging.INFO)
    root.addHandler(kept)
    talker.addFilter(kept.instead)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = kept.warned
            yield
        done = True
    finally:
        root.removeHandler(kept)
        talker.removeFilter(kept.instead)
        own.setLevel(level)
        if not quiet and (done or verbose):
            for line in kept.lines(verbose=verbose):
                print(f"note: {line}", file=sys.stderr)
