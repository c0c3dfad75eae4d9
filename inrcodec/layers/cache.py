"""What was decoded and may be wanted again, up to so many bytes.

In: keys, values and their bytes.  Out: values.
Invariant: never more than the bytes that it was made for; threads share it, and a forked child begins anew.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Any, Protocol
from weakref import WeakSet


class Cache:
    """The values that were used last.

    Parameters
    ----------
    most : bytes that are kept; a larger value is not.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.forget()
        forgets_after_fork(self)

    def get(self, key: Hashable) -> Any:
        """The value of a key, or ``None``."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            self._kept.move_to_end(key)
            return found[0]

    def put(self, key: Hashable, value: Any, size: int) -> None:
        """Keep a value of so many bytes, and let go of those that were used longest ago."""
        with self._lock:
            if key in self._kept or size > self.most:  # another thread may have been faster
                return
            self._kept[key] = value, size
            self._held += size
            while self._held > self.most:
                self._held -= self._kept.popitem(last=False)[1][1]

    def seal(self) -> None:
        """Keep what there is, and nothing more."""
        with self._lock:
            self.most = 0

    def forget(self) -> None:
        """Begin anew, with a lock that nobody holds."""
        self._lock, self._held = Lock(), 0
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def __reduce__(self) -> tuple[type[Cache], tuple[int]]:
        return Cache, (self.most,)


class Forgetful(Protocol):
    """What remembers behind a lock."""

    def forget(self) -> None:
        """Begin anew, with a lock that nobody holds."""


_KNOWN: WeakSet[Forgetful] = WeakSet()


def forgets_after_fork(one: Forgetful) -> None:
    """Make it forget in a forked child: a thread of the parent may have held its lock, in mid-change."""
    _KNOWN.add(one)


def _after_fork() -> None:
    for one in list(_KNOWN):
        one.forget()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)
