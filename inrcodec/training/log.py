"""The log of a training: one CSV line for each evaluation, and a plot of them.

In: a trainer and held-out volumes.  Out: ``ID.log.csv``, ``ID.curve.png``.
Invariant: a resumed training continues its log.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import BytesIO, StringIO
from pathlib import Path

from inrcodec.io import atomic_write
from inrcodec.report import plots
from inrcodec.training.dataset import TrainingVolume
from inrcodec.training.evaluate import Score, scores
from inrcodec.training.trainer import Trainer

COLUMNS = ["step", "seconds", "loss"]  # then the gain over Lanczos in dB of each held-out volume


class Log:
    """Evaluates a network on held-out volumes and keeps the results; a resumed training keeps its lines."""

    def __init__(
        self, path: Path, trainer: Trainer, held_out: Sequence[TrainingVolume], threads: int
    ) -> None:
        self.path, self.trainer, self.held_out, self.threads = path, trainer, held_out, threads
        self.lines = [COLUMNS + [f"{v.name} {v.version}" for v in held_out]]
        if trainer.steps and path.exists():
            before = list(csv.reader(StringIO(path.read_text())))
            if before[:1] == self.lines:
                self.lines += [line for line in before[1:] if int(line[0]) <= trainer.steps]

    @property
    def is_current(self) -> bool:
        """Whether the last line is of the present step."""
        return self.lines[-1][0] == str(self.trainer.steps)

    def add(self, found: Sequence[Score] | None = None) -> str:
        """Evaluate, append a line to the file, and return it in words; ``found`` saves the evaluation."""
        trainer = self.trainer
        found = found or scores(trainer.averaged(), self.held_out, self.threads)
        gains = [f"{s.gain:+.2f}" for s in found]
        self.lines.append([str(trainer.steps), f"{trainer.seconds:.0f}", f"{trainer.loss:.3e}", *gains])
        stream = StringIO()
        csv.writer(stream).writerows(self.lines)
        atomic_write(self.path, stream.getvalue().encode(), force=True)
        step, seconds, loss, *_ = self.lines[-1]
        return f"step {step}, {seconds} s, loss {loss}, held out over Lanczos: {' '.join(gains)} dB"

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
