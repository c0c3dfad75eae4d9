"""What may come of an input: a result or an error of the package, soon, in little memory.

In: a target and an input.  Out: nothing, or `Finding`.
Invariant: processor time is counted, not the clock of a busy machine; memory is the peak of the process.
"""

from __future__ import annotations

import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from inrcodec.errors import InrvError

SECONDS = 1.0  # of processor time, for one thing that is done with an input below 1 MB
ALL = 12.0  # for all that a target does with it
MEMORY = 256 << 20  # bytes beyond what the header declares

Target = Callable[[bytes], int]
"""Does all that can be done with an input, and returns the bytes that it declares."""


Result = TypeVar("Result")


class Wrong(AssertionError):
    """A result that no input may have, such as one that depends on the number of threads."""


@dataclass(frozen=True)
class Finding:
    """What should not have come of an input."""

    target: str
    kind: str  # what is compared with others of its kind: where it arose
    text: str


def soon(work: Callable[[], Result]) -> Result:
    """What a function returns, if that does not take too long; what it raises is passed on."""
    start = time.process_time()
    try:
        return work()
    finally:
        if (seconds := time.process_time() - start) > SECONDS:
            raise Wrong(f"hang: {seconds:.2f} s of processor time")


def judged(name: str, target: Target, data: bytes) -> Finding | None:
    """Run a target; None where all is as it may be."""
    _reset_peak()
    before, start = _resident(), time.process_time()
    declared, finding = 0, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            declared = target(data)
    except InrvError:
        pass
    except Exception as error:
        finding = Finding(
            name,
            f"{type(error).__name__} {_place(error)} {str(error)[:8] if isinstance(error, Wrong) else ''}",
            traceback.format_exc(),
        )
    seconds, used = time.process_time() - start, _peak() - before
    if finding is None and seconds > ALL:
        finding = Finding(name, "hang", f"{seconds:.2f} s of processor time")
    if finding is None and used > MEMORY + declared:
        finding = Finding(name, "memory", f"{used >> 20} MiB, declared {declared >> 20} MiB")
    return finding


def _place(error: BaseException) -> str:
    """The line of the package, or of the target, that an error came from."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/inrcodec/" in frame.filename or "/fuzz/" in frame.filename]
    frame = ours[-1] if ours else frames[-1]
    return f"{Path(frame.filename).name}:{frame.name}"


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _resident() -> int:
    return _status("VmRSS:")


def _peak() -> int:
    return _status("VmHWM:")


def _status(key: str) -> int:
    """A line of the process's status, in bytes."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(key))
