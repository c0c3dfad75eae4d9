"""From volumes to a model: the whole of a training.

In: wishes.  Out: the model's two files, a log and a curve of its PSNR.
The one law: what a volume is for, training or reporting, is settled before it is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from inrcodec.io import atomic_write
from inrcodec.options import Progress
from inrcodec.superres.architectures import named
from inrcodec.superres.network import Architecture
from inrcodec.superres.training import card, held_out
from inrcodec.superres.training.log import Log, require_plots
from inrcodec.superres.training.material import Loader, Material
from inrcodec.superres.training.patches import Patches
from inrcodec.superres.training.trainer import Settings, Training

Shape = tuple[int, int, int]
Say = Callable[[str], None]

HELD_OUT = 5  # of so many volumes one is held out, where none is named


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What to train, on what, and for how long.

    Attributes
    ----------
    volumes, held_out : paths; without the second one volume in five is held out, or the last fifth of one.
    arch, factor, modality, model : name of the architecture, (z, y, x), "CT" or "MR" …, ID of the model.
    out : folder for all that is written.
    widths, fit_steps : of the real fits to train on; no width, no fits.
    patch : low-res voxels (z, y, x).
    offsets, licences : of single volumes, by file name.
    curve : whether the gains are drawn too.
    """

    volumes: Sequence[Path]
    held_out: Sequence[Path]
    arch: str
    factor: Shape
    modality: str
    model: str
    out: Path
    settings: Settings
    widths: Sequence[int] = (20, 28, 40)
    fit_steps: int = 1000
    patch: Shape = (12, 24, 24)
    seed: int = 0
    threads: int = 1
    offsets: Mapping[str, float] = field(default_factory=dict)
    licences: Mapping[str, str] = field(default_factory=dict)
    curve: bool = False
    force: bool = False


def train(wishes: Wishes, say: Say, progress: Progress | None = None) -> Path:
    """Train, or go on with what was begun in the same folder, and write the model.

    Parameters
    ----------
    say : called with a line for each volume and each report.
    progress : called with ("train", fraction) at each step.

    Returns
    -------
    Path of the model card.

    Raises
    ------
    InrvError
        A volume cannot be used, or the checkpoint is of another architecture.
    """
    if wishes.curve:
        require_plots()
    torch.set_num_threads(wishes.threads)
    arch = Architecture(**named(wishes.arch, wishes.factor))
    wishes.out.mkdir(parents=True, exist_ok=True)
    training, reporting = _material(wishes, say)
    torch.manual_seed(wishes.seed)  # of the first weights
    run = Training(arch, wishes.settings)
    checkpoint = wishes.out / f"{wishes.model}.checkpoint.safetensors"
    if checkpoint.exists():
        run.resume(checkpoint)
        say(f"goes on from step {run.steps:,} of {checkpoint}")
    log = Log(wishes.out / f"{wishes.model}.log.csv", run, reporting, wishes.threads)
    patches = Patches(training, arch, wishes.patch, wishes.seed)
    run.run(patches, checkpoint, lambda: say(log.add()), progress)
    if wishes.curve:
        atomic_write(wishes.out / f"{wishes.model}.curve.png", log.curve(), force=True)
    network = card.as_shipped(run.averaged())
    rows = held_out.measured(network, reporting, wishes.threads)
    for row in rows:
        found = f"Lanczos {row.lanczos:.2f} dB, model {row.model:.2f} ({row.gain:+.2f})"
        say(f"{row.volume} {row.version}: {found}")
    return card.write(
        wishes.out,
        wishes.model,
        network,
        modality=wishes.modality,
        training=_facts(wishes, run, patches),
        volumes=[
            {"name": name, "licence": wishes.licences.get(name, "not stated")}
            for name in sorted({m.name for m in training})
        ],
        held_out=rows,
        force=wishes.force,
    )


def split(wishes: Wishes) -> tuple[list[Path], list[Path]]:
    """Volumes to train on and to report on; none of the second where a single one has to serve for both."""
    volumes, kept = list(wishes.volumes), list(wishes.held_out)
    if kept or len(volumes) == 1:
        return [v for v in volumes if v not in kept], kept
    generator = torch.Generator().manual_seed(wishes.seed)
    count = -(-len(volumes) // HELD_OUT)
    chosen = set(torch.randperm(len(volumes), generator=generator)[:count].tolist())
    return (
        [v for i, v in enumerate(volumes) if i not in chosen],
        [v for i, v in enumerate(volumes) if i in chosen],
    )


def _material(wishes: Wishes, say: Say) -> tuple[list[Material], list[Material]]:
    loader = Loader(
        wishes.factor, wishes.modality, wishes.out, wishes.widths, wishes.fit_steps, wishes.offsets
    )
    volumes, kept = split(wishes)
    if not kept:
        say(f"{volumes[0].name}: the last fifth of its slices is held out")
        return loader.split(volumes[0])
    training, reporting = [], []
    for path in volumes:
        training += loader.varied(path)
        say(f"{path.name}: to train on")
    for path in kept:
        reporting += loader.plain(path)
        say(f"{path.name}: held out")
    return training, reporting


def _facts(wishes: Wishes, run: Training, patches: Patches) -> dict[str, Any]:
    settings = {k: v for k, v in asdict(wishes.settings).items() if k not in ("steps", "report")}
    return {
        "steps": run.steps,
        "seconds": round(run.seconds),
        **settings,
        "patch": list(patches.size),
        "fits": {"widths": list(wishes.widths), "steps": wishes.fit_steps},
        "threads": wishes.threads,
        "seed": wishes.seed,
    }
