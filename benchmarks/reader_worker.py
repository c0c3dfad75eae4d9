"""A process that reads on behalf of ``readers.py``, so that a crash or a hang is a row and not the end."""

from __future__ import annotations

import os
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from reader_oracles import READERS


@dataclass(frozen=True)
class Outcome:
    """What became of a read: ``kind`` is read, refused (by an error), crash or timeout."""

    kind: str
    grids: tuple[Any, ...] = ()
    error: str = ""  # name of the class
    message: str = ""
    bases: tuple[str, ...] = ()  # names of all classes of the error


def _serve(pipe: Any) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)  # libraries print what they think of a file
    os.dup2(null, 2)
    import warnings

    warnings.simplefilter("ignore")
    while True:
        name, files = pipe.recv()
        try:
            outcome = Outcome("read", tuple(READERS[name](files)))
        except Exception as error:  # of any library
            bases = tuple(c.__name__ for c in type(error).__mro__)
            outcome = Outcome("refused", (), type(error).__name__, str(error), bases)
        pipe.send(outcome)


class Worker:
    """One process, started again after a crash or a timeout."""

    def __init__(self) -> None:
        self._process: Any = None

    def read(self, name: str, files: list[Path], timeout: float) -> Outcome:
        if self._process is None:
            context = get_context("spawn")
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()
        try:
            self._pipe.send((name, files))  # of a process that died meanwhile the pipe may be closed
            if self._pipe.poll(timeout):
                outcome: Outcome = self._pipe.recv()
                return outcome
            kind, message = "timeout", f"no answer in {timeout:g} s"
        except (EOFError, OSError):
            self._process.join(5)
            kind, message = "crash", f"exit status {self._process.exitcode}"
        self.close()
        return Outcome(kind, (), kind, message)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None
