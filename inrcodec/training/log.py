"""The log of a training: a line for each report, as CSV, and the curve of what it tells.

In: how far a training has come, and held-out material.  Out: ``ID.log.csv``, and ``ID.curve.png``.
The one law: a run that goes on goes on with its log.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import BytesIO, StringIO
from pathlib import Path

from inrcodec.io import atomic_write
from inrcodec.report import plots
from inrcodec.training import evaluate
from inrcodec.training.dataset import Material
from inrcodec.training.trainer import Training

FIXED = ["step", "seconds", "loss"]


class Log:
    """Steps, seconds, loss, and for each held-out volume the gain over Lanczos in dB.

    Parameters
    ----------
    path : of the CSV file; lines of a run that goes on are kept.
    run : what is trained.
    material : held out.
    threads : of the measurement.
    """

    def __init__(self, path: Path, run: Training, material: Sequence[Material], threads: int) -> None:
        self.path, self.run, self.material, self.threads = path, run, material, threads
        self.lines = [FIXED + [f"{m.name} {m.version}" for m in material]]
        if run.steps and path.exists():
            found = list(csv.reader(StringIO(path.read_text())))
            if found[:1] == self.lines:
                self.lines += [line for line in found[1:] if int(line[0]) <= run.steps]

    @property
    def is_current(self) -> bool:
        """Whether the last line is of the present step."""
        return self.lines[-1][0] == str(self.run.steps)

    def add(self) -> str:
        """Measure, write, and say it."""
        rows = evaluate.measured(self.run.averaged(), self.material, self.threads)
        gains = [f"{row.gain:+.2f}" for row in rows]
        line = [str(self.run.steps), f"{self.run.seconds:.0f}", f"{self.run.loss:.3e}", *gains]
        self.lines.append(line)
        stream = StringIO()
        csv.writer(stream).writerows(self.lines)
        atomic_write(self.path, stream.getvalue().encode(), force=True)
        return f"step {line[0]}, {line[1]} s, loss {line[2]}, held out over Lanczos: {' '.join(gains)} dB"

    def curve(self) -> bytes:
        """Gains over steps, as PNG.

        Raises
        ------
        MissingExtra
            Matplotlib is not installed.
        """
        figure = plots.figure(8, 4.5)
        axes = figure.subplots()
        steps = [int(line[0]) for line in self.lines[1:]]
        for k, name in enumerate(self.lines[0][len(FIXED) :], len(FIXED)):
            axes.plot(steps, [float(line[k]) for line in self.lines[1:]], label=name)
        axes.set(xlabel="step", ylabel="PSNR over Lanczos / dB", title="held-out volumes")
        axes.axhline(0, color="grey", linewidth=0.8)
        axes.legend(fontsize="small")
        stream = BytesIO()
        figure.savefig(stream, format="png", dpi=120)
        return stream.getvalue()
