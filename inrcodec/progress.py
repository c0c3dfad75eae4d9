"""Progress of a long call: one callback, and a timer of its stages.

In: a stage's name and the fraction of it that is done.  Out: a call of the user's callback; seconds by stage.
Invariant: a callback never changes a result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from threading import Lock
from time import monotonic
from typing import TypeAlias

Progress: TypeAlias = Callable[[str, float], None]
"""Called with the stage's name and the fraction of that stage that is done, 0..1.

Stages of encoding: "read", "grid" (its factor is chosen), "downsample", "project" (with
`through_sr`), "fit", "verify"; "refine" with a refinement.
Stages of decoding: "lowres", "superres" ("upsample" without a model), or "refine"; `inrv-dec` adds "write".
Stages of training: "fits of NAME", "train".
"""

Report: TypeAlias = Callable[[float], None]
"""Called with the fraction of a part that is done, 0..1."""


def shares(progress: Progress | None, stage: str, weights: Sequence[int]) -> Callable[[int], Report | None]:
    """A callback for each of several parts of a stage that are done side by side, by their weights.

    The user's callback is called by one thread at a time, with fractions that do not fall.
    """
    if progress is None:
        return lambda part: None
    whole, lock = sum(weights), Lock()
    begun: dict[int, float] = {}
    over: set[int] = set()
    ended = 0

    def report(part: int, fraction: float) -> None:
        nonlocal ended
        with lock:
            if part in over:  # some say twice that they are done
                return
            begun[part] = fraction * weights[part]
            if fraction >= 1:
                ended += weights[part]
                over.add(part)
                del begun[part]
            progress(stage, (ended + sum(begun.values())) / whole)

    return lambda part: partial(report, part)


def one_stage(report: Report | None) -> Progress | None:
    """A progress callback of a call that has one stage, from that of a part."""
    return None if report is None else lambda stage, fraction: report(fraction)


class Stages:
    """A progress callback that times the stages on their way to the user's callback."""

    def __init__(self, progress: Progress | None = None) -> None:
        self.progress = progress
        self.seconds: dict[str, float] = {}
        self._last = monotonic()

    def __call__(self, stage: str, fraction: float) -> None:
        now = monotonic()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now
        if self.progress:
            self.progress(stage, fraction)
