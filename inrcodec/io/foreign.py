"""What other packages warn of while they read and write: logged, instead of printed.

In: warnings of their code.  Out: lines of the logger `inrcodec.io.foreign`, at level INFO, each once a call.
Invariant: warnings of this package, of other threads and of the caller's code go where they went before.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, get_ident
from typing import Any, TextIO

PACKAGES = ("pydicom", "nibabel", "numpy", "SimpleITK", "nrrd", "tifffile", "gdcm", "pylibjpeg", "openjpeg")

logger = logging.getLogger(__name__)


class _Ear:
    """Listens while any thread reads: Python has one hook for warnings, not one a thread."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.heard: dict[int, set[str]] = {}  # by thread
        self.saved = warnings.catch_warnings()

    def enter(self) -> None:
        with self.lock:
            if not self.heard:
                self.saved = warnings.catch_warnings()
                self.saved.__enter__()
                self.passed_on = warnings.showwarning
                pattern = rf"({'|'.join(PACKAGES)})(\.|$)"
                warnings.filterwarnings("always", module=pattern)  # an error would end the parser
                warnings.showwarning = self._hear
            self.heard[get_ident()] = set()

    def leave(self) -> None:
        with self.lock:
            del self.heard[get_ident()]
            if not self.heard:
                self.saved.__exit__(None, None, None)

    def _hear(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        known, package = self.heard.get(get_ident()), _package(filename)
        if known is None or not package:
            self.passed_on(message, category, filename, lineno, file, line)
            return
        text = f"{package}: {' '.join(str(message).split())}"
        if text not in known:
            known.add(text)
            logger.info("%s", text)


_EAR = _Ear()


@contextmanager
def overheard() -> Iterator[Any]:
    """Log what other packages warn of in this thread; also a decorator."""
    if get_ident() in _EAR.heard:
        yield
        return
    _EAR.enter()
    try:
        yield
    finally:
        _EAR.leave()


def _package(filename: str) -> str:
    """The package that a file belongs to, if it is one of `PACKAGES`."""
    return next((part for part in reversed(Path(filename).parts) if part in PACKAGES), "")
