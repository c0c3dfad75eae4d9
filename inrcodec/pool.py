"""A pool of threads that an interrupt does not have to wait for.

In: how many threads.  Out: an executor.
The one law: work that nobody waits for any more is not begun; imports no torch, for the low-res decode.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

__all__ = ["InterruptiblePool"]


class InterruptiblePool(ThreadPoolExecutor):
    """A `ThreadPoolExecutor` that leaves its ``with`` block at once on Ctrl-C.

    An error cancels what has not begun and waits for the rest, as nothing may change behind the caller's
    back.  An interrupt does not wait: a piece of work can be many seconds long on a busy machine.
    """

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        self.shutdown(wait=not interrupted, cancel_futures=kind is not None)
