"""What can go wrong, one class per kind of answer that the caller can give.

In: a cause, the value that shows it and a remedy, as one sentence in lower case. Out: an exception that
carries the value and the exit code of the command line. The one law: everything that the package raises
on purpose is an `InrvError`, so that ``except InrvError`` is all that a caller needs.

::

    InrvError                   1   unexpected
    ├─ UsageError               2   contradictory or impossible options (also a ValueError)
    ├─ InputError               3   no valid input: not found, unsupported, NaN, colour, 4-D, several series
    │   ├─ MissingExtra         3   an optional package is not installed
    │   └─ IncompleteSeries    10   missing, duplicate or inconsistent slices
    ├─ CorruptFile              4   bad magic, CRC, truncated, extended, header not canonical
    ├─ UnsupportedFile          5   newer major version, unknown critical section or identifier
    ├─ LimitExceeded            6   the file asks for more than the ceilings of the specification
    ├─ WriteError               7   the target cannot be written, or exists
    ├─ ModelNotFound            9   super-resolution model unknown, or its weights are not the ones meant
    └─ TargetNotReached        11   the wished ratio, size or quality was not met
        └─ FitFailed           11   the networks did not converge

The exit code of an interrupt (``KeyboardInterrupt``) is 130; 8 is kept free.
"""

from __future__ import annotations

__all__ = [
    "EXIT_INTERRUPTED",
    "CorruptFile",
    "FitFailed",
    "IncompleteSeries",
    "InputError",
    "InrvError",
    "LimitExceeded",
    "MissingExtra",
    "ModelNotFound",
    "TargetNotReached",
    "UnsupportedFile",
    "UsageError",
    "WriteError",
]

EXIT_INTERRUPTED = 130


class InrvError(Exception):
    """Root of all errors of the package.

    Parameters
    ----------
    message : str
        Lower-case cause, the value, the remedy.
    value : object, optional
        The value that caused the error, for programs.

    Examples
    --------
    >>> error = CorruptFile("not an .inrv file (starts 50 4b), pass one that inrv-enc wrote", value=b"PK")
    >>> error.value, error.exit_code
    (b'PK', 4)
    """

    exit_code: int = 1

    def __init__(self, message: str, *, value: object | None = None) -> None:
        super().__init__(message)
        self.value = value


class UsageError(InrvError, ValueError):
    """Options that contradict each other or have no meaning."""

    exit_code = 2


class InputError(InrvError):
    """The source is not a volume that can be encoded."""

    exit_code = 3


class MissingExtra(InputError):
    """An optional package is needed; the message names the extra that installs it."""

    def __init__(self, message: str, *, extra: str, value: object | None = None) -> None:
        super().__init__(f"{message}: pip install 'inrcodec[{extra}]'", value=value)
        self.extra = extra


class IncompleteSeries(InputError):
    """A series with missing, duplicate or inconsistent slices."""

    exit_code = 10


class CorruptFile(InrvError):
    """The bytes are not, or no longer, what an encoder wrote."""

    exit_code = 4


class UnsupportedFile(InrvError):
    """A sound file that needs a newer or a fuller decoder."""

    exit_code = 5


class LimitExceeded(InrvError):
    """The file asks for more than the ceilings in the specification."""

    exit_code = 6


class WriteError(InrvError):
    """The target cannot be written."""

    exit_code = 7


class ModelNotFound(InrvError):
    """No super-resolution model of this ID, or its weights have another SHA-256."""

    exit_code = 9


class TargetNotReached(InrvError):
    """The wished ratio, size or quality could not be met; nothing was written."""

    exit_code = 11


class FitFailed(TargetNotReached):
    """The networks did not converge, even after restarts."""
