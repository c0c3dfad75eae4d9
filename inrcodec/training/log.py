"""The log of a training: one CSV line for each evaluation, and a plot of them.

In: a trainer, and figures of held-out volumes.  Out: ``ID.log.csv``, ``ID.curve.png``.
Invariant: a resumed training continues its log.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import BytesIO, StringIO
from pathlib import Path
from typing import Protocol

from inrcodec.io import atomic_write
from inrcodec.report import plots
from inrcodec.training.dataset import TrainingVolume
from inrcodec.training.evaluate import Score, scores
from inrcodec.training.trainer import Trainer

COLUMNS = ["step", "seconds", "loss"]  # then the figures of held-out volumes


class Running(Protocol):
    """How far a training has come."""

    steps: int
    seconds: float
    loss: float


class Lines:
    """The lines of a log; a resumed training keeps those of before.

    Parameters
    ----------
    figures : what is evaluated, a column each.
    """

    def __init__(self, path: Path, trainer: Running, figures: Sequence[str]) -> None:
        self.path, self.running = path, trainer
        self.lines = [[*COLUMNS, *figures]]
        if trainer.steps and path.exists():
            before = list(csv.reader(StringIO(path.read_text())))
            if before[:1] == self.lines:
                self.lines += [line for line in before[1:] if int(line[0]) <= trainer.steps]

    @property
    def is_current(self) -> bool:
        """Whether the last line is of the present step."""
        return self.lines[-1][0] == str(self.running.steps)

    def append(self, figures: Sequence[str]) -> str:
        """Add a line to the file, and return how far the training has come in words."""
        now = self.running
        self.lines.append([str(now.steps), f"{now.seconds:.0f}", f"{now.loss:.3e}", *figures])
        stream = StringIO()
        csv.writer(stream).writerows(self.lines)
        atomic_write(self.path, stream.getvalue().encode(), force=True)
        step, seconds, loss, *_ = self.lines[-1]
        return f"step {step}, {seconds} s, loss {loss}"


class Log(Lines):
    """Evaluates a super-resolution network on held-out volumes: the gain over Lanczos of each, in dB."""

    def __init__(
        self, path: Path, trainer: Trainer, held_out: Sequence[TrainingVolume], threads: int
    ) -> None:
        super().__init__(path, trainer, [f"{v.name} {v.version}" for v in held_out])
        self.trainer, self.held_out, self.threads = trainer, held_out, threads

    def add(self, found: Sequence[Score] | None = None) -> str:
        """Evaluate, append a line to the file, and return it in words; ``found`` saves the evaluation."""
        found = found or scores(self.trainer.averaged(), self.held_out, self.threads)
        gains = [f"{s.gain:+.2f}" for s in found]
        return f"{self.append(gains)}, held out over Lanczos: {' '.join(gains)} dB"

    def plot(self, path: Path) -> None:
        """Write a PNG of the gains over the steps."""
        figure = plots.figure(8, 4.5)
        axes = figure.subplots()
        steps = [int(line[0]) for line in self.lines[1:]]
        for k, name in enumerate(self.lines[0][len(COLUMNS) :], len(COLUMNS)):
            axes.plot(steps, [float(line[k]) for line in self.lines[1:]], label=name)
        axes.set(xlabel="step", ylabel="PSNR over Lanczos / dB", title="held-out volumes")
        axes.axhline(0, color="grey", linewidth=0.8)
        axes.legend(fontsize="small")
        stream = BytesIO()
        figure.savefig(stream, format="png", dpi=120)
        atomic_write(path, stream.getvalue(), force=True)
