"""A file that was measured, in as far as an aim looks at it."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace


@dataclass(frozen=True)
class Found:
    plan: object
    size: int
    low_pass: object
    notices: tuple[str, ...] = ()

    @property
    def header(self):
        return SimpleNamespace(unit="HU")
