"""Progress on a terminal: a bar for each stage, and the seconds that each stage took.

In: the library's calls `(stage, fraction)`. Out: a bar on stderr. Invariant: only a terminal sees a bar; a
log sees one line for each stage, and only with ``-v``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from inrcodec.progress import Stages

if TYPE_CHECKING:
    from tqdm import tqdm


class StageBar(Stages):
    """A progress callback that draws; use it as a context manager.

    Parameters
    ----------
    quiet : bool
        Draw nothing.
    verbose : bool
        Where stderr is not a terminal, print one line for each finished stage.

    Attributes
    ----------
    seconds : dict of str to float
        Wall-clock time of each stage that was reported so far.
    """

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        super().__init__(self._draw)
        self._draws = not quiet and sys.stderr.isatty()
        self._logs = verbose and not self._draws
        self._bar: tqdm[None] | None = None
        self._stage = ""

    def __enter__(self) -> StageBar:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._finish(kept=kind is None)

    def _draw(self, stage: str, fraction: float) -> None:
        if stage != self._stage:
            self._finish(kept=True)
            self._start(stage)
        if self._bar is not None:
            self._bar.update(max(0.0, min(1.0, fraction) * 100 - self._bar.n))

    def _start(self, stage: str) -> None:
        self._stage = stage
        if self._draws:
            from tqdm import tqdm  # tens of milliseconds that a quiet run does not pay

            self._bar = tqdm(
                total=100.0,
                desc=f"{stage:<10}",
                bar_format="{desc} {percentage:3.0f}% |{bar}| {elapsed} elapsed, {remaining} left",
                file=sys.stderr,
                leave=False,
                dynamic_ncols=True,
            )

    def _finish(self, *, kept: bool) -> None:
        if not self._stage:
            return
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        if self._logs and kept:
            print(f"{self._stage:<10} {self.seconds[self._stage]:8.2f} s", file=sys.stderr, flush=True)
        self._stage = ""
