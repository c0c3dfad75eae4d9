"""Exit codes: how a command ends, whatever happens.

In: a command to run. Out: an exit code from the table below. Invariant: a user sees one line that says what
to do, a traceback only with ``-v``, and a program can tell every kind of end by its code.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from inrcodec.cli.notes import notes
from inrcodec.errors import (
    EXIT_INTERRUPTED,
    CorruptFile,
    InrvError,
    LimitExceeded,
    UnsupportedFile,
    UsageError,
    WriteError,
    is_disk_full,
    reason,
)
from inrcodec.format.remote import without_secrets

if TYPE_CHECKING:
    from inrcodec.cli.arguments import Parser

OK = 0
UNEXPECTED = 1
SOME_FAILED = 12

EXITS: tuple[tuple[int, str], ...] = (
    (OK, "ok"),
    (UNEXPECTED, "unexpected error, please report it"),
    (2, "usage: unknown, conflicting or impossible options"),
    (3, "no valid input: not found, unsupported, NaN, colour, several series"),
    (4, "corrupt file: truncated, changed, extended, or not an .inrv file"),
    (5, "unsupported version or feature: needs a newer inrcodec"),
    (6, "limit exceeded: the file needs more than the specification allows"),
    (7, "cannot write: disk full, no permission, output exists without --force"),
    (9, "model missing or changed: of super-resolution or of latents"),
    (10, "incomplete series: missing, duplicate or inconsistent slices"),
    (11, "target not reached, or the fit did not converge; nothing is written"),
    (SOME_FAILED, "some inputs of a collection failed; the others are done"),
    (EXIT_INTERRUPTED, "interrupted; no output is written"),
)

ONE_PRESS = 2.0  # seconds in which a second signal belongs to the first: it must not cut the clean-up short
_REFUSED = {errno.EFBIG, errno.EROFS}


def exit_codes() -> str:
    """Return the table of exit codes for ``--help-all``."""
    return "exit codes:\n" + "\n".join(f"  {code:>3}  {meaning}" for code, meaning in EXITS)


def run(
    parser: Parser, command: Callable[[argparse.Namespace], int | None], argv: Sequence[str] | None
) -> int:
    """Parse, run the command, and turn every end into an exit code.

    Parameters
    ----------
    parser : Parser
        With the switch ``verbose``, which shows tracebacks.
    command : callable
        Gets the parsed arguments; returns an exit code, None for 0.
    argv : sequence of str, optional
        Arguments without the program's name, by default the process's own.

    Returns
    -------
    int
        One of `EXITS`. ``--help`` and ``--version`` return 0 as well. An interrupted process whose own
        arguments these are ends here.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    verbose = "-v" in words or "--verbose" in words
    with _unwinding_signals():
        try:
            return _end(parser, command, words, verbose=verbose)
        except KeyboardInterrupt as interrupt:
            code = _report(parser, interrupt, "", verbose=verbose)
            if argv is None:
                _leave(code)
            return code


def _end(
    parser: Parser, command: Callable[[argparse.Namespace], int | None], words: list[str], *, verbose: bool
) -> int:
    """The exit code of every end but an interrupt, which may come while another end is reported."""
    source = ""
    try:
        parsed = parser.parse_words(words)
        source = parsed.input if isinstance(parsed.input, str) else ""
        with notes(verbose=verbose, quiet=parsed.quiet or parsed.json):
            code = command(parsed) or OK
        sys.stdout.flush()  # a full disk or a closed pipe shows here, not after the last line
        return code
    except SystemExit as request:  # --help and --version
        return request.code if isinstance(request.code, int) else OK
    except BrokenPipeError:
        _drop_stdout()  # the reader has gone, as in `| head`: no message
        return WriteError.exit_code
    except Exception as error:
        code = _report(parser, error, source, verbose=verbose)
        if code == WriteError.exit_code:
            _drop_stdout()
        return code


def _report(parser: Parser, error: BaseException, source: str, *, verbose: bool) -> int:
    """Say in one line why the command ends, and return its exit code; `source` is the input's name."""
    if verbose and not isinstance(error, UsageError):
        traceback.print_exception(error)
    code, words = _verdict(parser, error, source)
    print(f"{parser.prog}: {words}", file=sys.stderr)
    return code


def _verdict(parser: Parser, error: BaseException, source: str) -> tuple[int, str]:
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED, str(error) or "interrupted, no output was written"
    if isinstance(error, InrvError):
        return error.exit_code, f"error: {_at_fault(parser, error, source)}{error.message}"
    if is_disk_full(error) or (isinstance(error, OSError) and error.errno in _REFUSED):
        refused = WriteError.of_system(error, "the output")
        return refused.exit_code, f"error: {refused.message}"
    if isinstance(error, MemoryError):
        return UNEXPECTED, "error: out of memory, free some or take a smaller volume"
    first_line = reason(error).partition("\n")[0]
    return UNEXPECTED, f"unexpected {type(error).__name__}: {first_line}, run with -v for the traceback"


def _at_fault(parser: Parser, error: InrvError, source: str) -> str:
    """What the message is about: the flags of the options at fault, or the file, which bytes do not name."""
    if error.options:
        return f"{', '.join(map(parser.flag, error.options))}: "
    source = without_secrets(source)
    about_bytes = isinstance(error, CorruptFile | UnsupportedFile | LimitExceeded)
    if not about_bytes or not source or source in error.message:
        return ""
    return f"{'standard input' if source == '-' else source}: "


@contextlib.contextmanager
def _unwinding_signals() -> Iterator[None]:
    """Let SIGTERM unwind as Ctrl-C does, and both only once, so that no temporary file stays behind."""
    unwound = -math.inf

    def interrupt(signum: int, frame: object) -> None:
        nonlocal unwound
        now = time.monotonic()
        if now - unwound > ONE_PRESS:
            unwound = now
            raise KeyboardInterrupt

    before: dict[signal.Signals, Any] = {}
    with contextlib.suppress(ValueError):  # not the main thread, which alone may ask
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup and in background jobs
                before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(code: int) -> NoReturn:
    """End the process now, without the interpreter's own farewell.

    Which would wait for threads that still compute, or end them inside of torch's code: "terminate called
    without an active exception", exit code 134.  What is left in stdout's buffer is part of a file.
    """
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(code)


def _drop_stdout() -> None:
    """Point stdout at nothing, or the interpreter's own last flush fails a second time."""
    with contextlib.suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)
