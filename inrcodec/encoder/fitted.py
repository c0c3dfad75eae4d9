"""A plan's low-res volume, coded.

In: a plan, and perhaps what was coded before to start from.  Out: the sections that a file stores.
Invariant: the coder alone knows what is in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from inrcodec.encoder.bases.coding import Coded
from inrcodec.encoder.plan import Plan
from inrcodec.progress import Progress


@dataclass(frozen=True, eq=False)
class Fitted:
    """The base of a plan."""

    plan: Plan
    coded: Coded

    @property
    def sections(self) -> Mapping[str, bytes]:
        """Masks, and what the coder made."""
        return {**self.plan.known, **self.coded.sections}

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know about the choices, and about the coding."""
        return (*self.plan.notices, *self.coded.notices)


def fit(plan: Plan, progress: Progress | None = None, start: Fitted | None = None) -> Fitted:
    """Code the low-res volume of a plan, perhaps from an earlier coding of it."""
    assert plan.coding is not None
    return Fitted(plan, plan.coding.fit(plan, progress, None if start is None else start.coded))
