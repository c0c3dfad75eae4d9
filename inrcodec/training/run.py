"""From volumes to a model: the whole of a training.

In: options.  Out: the model's two files, a log and a curve of its PSNR.
The one law: what a volume is for, training or reporting, is settled before it is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch

from inrcodec._version import __version__
from inrcodec.io import atomic_write
from inrcodec.layers.superres import registry
from inrcodec.layers.superres.architectures import named
from inrcodec.layers.superres.network import Architecture
from inrcodec.progress import Progress
from inrcodec.report import plots
from inrcodec.training import card, evaluate
from inrcodec.training.dataset import Loader, Material
from inrcodec.training.log import Log
from inrcodec.training.options import TrainOptions
from inrcodec.training.patches import Patches
from inrcodec.training.trainer import Training

CLOCK = ("minutes", "steps", "report", "device", "threads", "curve", "force", "out", "licences")


def train(
    options: TrainOptions, say: Callable[[str], None] = lambda _: None, progress: Progress | None = None
) -> Path:
    """Train, or go on with what was begun in the same folder, and write the model.

    Parameters
    ----------
    say : called with a line for what is done, and for each report.
    progress : called with ("fits of NAME", fraction) and ("train", fraction).

    Returns
    -------
    Path of the model card.

    Raises
    ------
    InrvError
        A volume cannot be used, the checkpoint is of another training, or the training diverged.
    """
    if options.curve:
        plots.require()
    if options.start:
        registry.manifest(options.start)  # or there is nothing to start from
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    training, reporting = Loader(options, progress).all()
    say(f"to train on: {_listed(training)}; held out: {_listed(reporting)}")
    arch = Architecture(**named(options.arch, options.factor))
    patches = Patches(training, arch, options.patch, options.seed, options.clean)
    run = _begun(options, arch, _about(options, training, reporting), say)
    log = Log(options.out / f"{options.model}.log.csv", run, reporting, options.threads)
    run.run(patches, checkpoint_of(options), lambda: say(log.add()), progress)
    if not log.is_current:
        say(log.add())
    if options.curve:
        atomic_write(options.out / f"{options.model}.curve.png", log.curve(), force=True)
    network = card.as_shipped(run.averaged())
    rows = evaluate.measured(network, reporting, options.threads)
    for row in rows:
        found = f"Lanczos {row.lanczos:.2f} dB, model {row.model:.2f} ({row.gain:+.2f})"
        say(f"{row.volume} {row.version}: {found}")
    facts = card.Facts(
        model=options.model,
        modality=options.modality,
        training=_facts(options, run, patches),
        volumes=_volumes(options, training),
        held_out=rows,
    )
    return card.write(options.out, network, facts, force=options.force)


def checkpoint_of(options: TrainOptions) -> Path:
    """Where the state of a training is kept."""
    return options.out / f"{options.model}.checkpoint.safetensors"


def _begun(options: TrainOptions, arch: Architecture, about: str, say: Callable[[str], None]) -> Training:
    """A run at its beginning, or where it was left."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        run = Training(arch, options, about)
    if options.start is not None:
        known = registry.manifest(options.start)
        run.begin_with(registry.load(known.id, bytes.fromhex(known.sha256)).state_dict())
    checkpoint = checkpoint_of(options)
    if checkpoint.exists():
        run.resume(checkpoint)
        say(f"goes on from step {run.steps:,} of {checkpoint}")
    return run


def _about(options: TrainOptions, training: Sequence[Material], reporting: Sequence[Material]) -> str:
    """All that a run depends on, but for the time that it may take and where it is computed."""
    told = {k: v for k, v in asdict(options).items() if k not in (*CLOCK, "volumes", "held_out")}
    digests = [[_digest(m) for m in side] for side in (training, reporting)]
    start = registry.manifest(options.start).sha256 if options.start else ""
    return repr((__version__, sorted(told.items()), digests, start))


def _digest(material: Material) -> tuple[str, str, str]:
    return material.name, material.version, blake2b(material.decoded.numpy().tobytes()).hexdigest()


def _listed(material: Sequence[Material]) -> str:
    return ", ".join(dict.fromkeys(m.name for m in material))


def _volumes(options: TrainOptions, training: Sequence[Material]) -> list[dict[str, Any]]:
    """Of the card: with those of the model that it started from."""
    names = dict.fromkeys(m.name for m in training)
    own = [{"name": name, "licence": options.licences.get(name, "not stated")} for name in names]
    before = registry.card(options.start)["trained_on"] if options.start else []
    return own + [v for v in before if v["name"] not in names]


def _facts(options: TrainOptions, run: Training, patches: Patches) -> dict[str, Any]:
    told = ("batch", "rate", "loss", "clean", "minutes", "seed", "threads", "device", "start")
    return {
        "steps": run.steps,
        "seconds": round(run.seconds),
        **{name: getattr(options, name) for name in told},
        "patch": list(patches.size),
        "fits": {"widths": list(options.fits), "steps": options.fit_steps},
    }
