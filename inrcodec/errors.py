"""What can go wrong: one class for each way in which a caller can react.

In: the cause, the value at fault and the remedy, as one sentence in lower case. Out: an exception that
carries the value, the option at fault and the exit code of the command line. Invariant: everything that the
package raises on purpose is an `InrvError`, so ``except InrvError`` catches all of it.

A message never names a command-line flag. An error that an option causes is raised with ``option="steps"``
and speaks of the value alone; ``str(error)`` puts the keyword in front (``steps: 0 is not possible, …``),
and the command line its flag (``--steps: 0 is not possible, …``).

::

    InrvError                   1   unexpected
    ├─ UsageError               2   conflicting or impossible options (also a ValueError)
    ├─ InputError               3   no valid input: not found, unsupported, NaN, colour, 4-D, several series
    │   ├─ MissingExtra         3   an optional package is not installed
    │   └─ IncompleteSeries    10   missing, duplicate or inconsistent slices
    ├─ CorruptFile              4   bad magic, CRC, truncated, extended, header not canonical
    ├─ UnsupportedFile          5   newer major version, unknown critical section or identifier
    ├─ LimitExceeded            6   the file needs more than the limits of the specification allow
    ├─ WriteError               7   the target cannot be written, or exists
    ├─ ModelNotFound            9   super-resolution model unknown, or its weights have another SHA-256
    ├─ TargetNotReached        11   the target ratio, size or quality was not met
    └─ FitFailed               11   the networks did not converge

The exit code of an interrupt (``KeyboardInterrupt``) is 130, of a collection of which some inputs failed 12;
8 is unassigned.
"""

from __future__ import annotations

import copyreg
import errno
from typing import Any

EXIT_INTERRUPTED = 130


class InrvError(Exception):
    """Root of all errors of the package.

    Parameters
    ----------
    message : str
        Lower-case cause, the value, the remedy.
    value : object, optional
        The value that caused the error, for programs.
    option : str or tuple of str, optional
        The keyword (or the keywords that conflict) at fault; ``str(error)`` begins with it.

    Examples
    --------
    >>> str(UsageError("0 is not possible, allowed: a whole number from 1 on", value=0, option="steps"))
    'steps: 0 is not possible, allowed: a whole number from 1 on'
    >>> error = CorruptFile("not an .inrv file (starts 50 4b)", value=b"PK")
    >>> str(error), error.value, error.exit_code
    ('not an .inrv file (starts 50 4b), get the file again', b'PK', 4)
    """

    exit_code: int = 1

    def __init__(
        self, message: str, *, value: object | None = None, option: str | tuple[str, ...] | None = None
    ) -> None:
        super().__init__(message)
        self.message, self.value, self.option = message, value, option

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as it is, for another process: nothing is put into the message a second time."""
        return copyreg.__newobj__, (type(self), *self.args), vars(self)  # type: ignore[attr-defined]

    @property
    def options(self) -> tuple[str, ...]:
        """All keywords at fault; empty where no option is."""
        return (self.option,) if isinstance(self.option, str) else self.option or ()

    def __str__(self) -> str:
        return f"{', '.join(self.options)}: {self.message}" if self.options else self.message


def reason(error: BaseException) -> str:
    """What an exception says, or its kind where it says nothing; what the system says without the path.

    Examples
    --------
    >>> reason(ValueError("a bad value")), reason(EOFError())
    ('a bad value', 'EOFError')
    """
    system = error.strerror.lower() if isinstance(error, OSError) and error.strerror else ""
    return system or str(error).strip() or type(error).__name__


def system_error(error: BaseException | None) -> OSError | None:
    """The first of an error and its causes that the operating system numbered; others say less of it."""
    while error is not None and not (isinstance(error, OSError) and error.errno):
        error = error.__cause__ or error.__context__
    return error


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or what it was raised on top of, is a full disk or an exceeded quota."""
    system = system_error(error)
    return system is not None and system.errno in (errno.ENOSPC, errno.EDQUOT)


class UsageError(InrvError, ValueError):
    """Options that conflict, are out of range or have no meaning here."""

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

    def __init__(
        self, cause: str, *, value: object | None = None, remedy: str = "get the file again"
    ) -> None:
        super().__init__(f"{cause}, {remedy}", value=value)


class UnsupportedFile(InrvError):
    """A valid file that needs a newer decoder, or one with more features."""

    exit_code = 5


class LimitExceeded(InrvError):
    """The file needs more than the limits of the specification allow."""

    exit_code = 6


class WriteError(InrvError):
    """The target cannot be written."""

    exit_code = 7

    @classmethod
    def of_system(cls, error: BaseException, target: str) -> WriteError:
        """That the system refused, and what helps."""
        elsewhere = "choose another place or check its permissions"
        remedy = "free some space" if is_disk_full(error) else elsewhere
        return cls(f"cannot write {target}: {reason(system_error(error) or error)}, {remedy}", value=target)


class ModelNotFound(InrvError):
    """No model of this ID, or its weights have another SHA-256."""

    exit_code = 9


class TargetNotReached(InrvError):
    """The target ratio, size or quality could not be met; nothing was written."""

    exit_code = 11


class FitFailed(InrvError):
    """The networks did not converge, even after restarts; nothing was written."""

    exit_code = 11
