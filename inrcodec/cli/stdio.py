"""Standard streams: words to stderr, data to stdout.

In: text, results, file bytes. Out: each on its stream. Invariant: stdout can be piped into a program.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inrcodec.cli.arguments import STREAM
from inrcodec.errors import UsageError, WriteError


def say(text: str, *, quiet: bool = False) -> None:
    """Print words for a person to stderr."""
    if not quiet:
        print(text, file=sys.stderr)


def put_json(result: Mapping[str, Any]) -> None:
    """Print a result for a program to stdout; numbers that JSON does not have (infinite PSNR) become null."""
    print(json.dumps(_plain(result), indent=2, allow_nan=False))


class _Stdout:
    """Standard output as a target of :func:`inrcodec.encode_file`."""

    def write(self, data: bytes) -> None:
        """Write a file; `UsageError` to a terminal, `BrokenPipeError` where the reader has gone."""
        refuse_terminal()
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise WriteError.of_system(error, "standard output") from error


STDOUT = _Stdout()


def refuse_terminal() -> None:
    """Refuse to fill a person's terminal with bytes."""
    if sys.stdout.isatty():
        raise UsageError(
            "will not write a file to a terminal, redirect stdout or name an output", value=STREAM
        )


def refuse_stream(path: str, remedy: str) -> None:
    """Refuse ``-`` where it makes no sense."""
    if path == STREAM:
        raise UsageError(f"'-' is not possible here, {remedy}", value=path)


def refuse_same_file(source: str, target: str) -> None:
    """Refuse an output that is the input: ``--force`` must never cost the source."""
    both = (source, target)
    if STREAM not in both and all(map(os.path.exists, both)) and os.path.samefile(*both):
        raise UsageError(f"output {target} is the input itself, name another output", value=target)


def input_bytes(path: str) -> str | bytes:
    """Return the path itself, or for ``-`` the checked bytes of standard input."""
    if path != STREAM:
        return path
    if sys.stdin.isatty():
        raise UsageError("'-' reads an .inrv file from standard input, which is a terminal here", value=path)
    from inrcodec.format.container import load

    return load(sys.stdin.buffer)


def _plain(value: Any) -> Any:
    """Return `value` as JSON has it: mappings, lists, finite numbers, text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
