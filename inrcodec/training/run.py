"""A whole training: from volumes to a model.

In: options.  Out: the model's weights and card, a log, and a plot of it.
Invariant: what can be refused is refused before the first fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from inrcodec import validate
from inrcodec.encoder.fit.checkpoint import Checkpoint, digest_of, keeping
from inrcodec.layers.superres import registry
from inrcodec.parallel import torch_threads
from inrcodec.progress import Progress
from inrcodec.training import card, dataset
from inrcodec.training.dataset import TrainingVolume
from inrcodec.training.evaluate import scores
from inrcodec.training.log import Log
from inrcodec.training.options import TrainOptions
from inrcodec.training.patches import Patches, check_size, check_volumes
from inrcodec.training.trainer import Trainer

# Options on which the trained weights do not depend; a training may be resumed with others.
MAY_CHANGE = ("minutes", "steps", "report", "device", "threads", "curve", "force", "out", "licences")
ON_THE_CARD = ("batch", "learning_rate", "loss", "clean", "minutes", "seed", "threads", "device", "start")


def train(
    options: TrainOptions, say: Callable[[str], None] = lambda _: None, progress: Progress | None = None
) -> Path:
    """Train a model, or resume the training that was begun in the same folder, and write the model.

    Parameters
    ----------
    say : called with a line of text for each report.
    progress : called with ("fits of NAME", fraction) and ("train", fraction).

    Returns
    -------
    Path of the model card.

    Raises
    ------
    InrvError
        A volume cannot be used, the checkpoint belongs to another training, or the training diverged.
    """
    validate.check_device(options.device)
    with torch_threads(options.threads):
        return _train(options, say, progress)


def _train(options: TrainOptions, say: Callable[[str], None], progress: Progress | None) -> Path:
    trainer = Trainer(options.architecture, options)
    check_size(options.patch, trainer.arch)
    options.out.mkdir(parents=True, exist_ok=True)
    sources = dataset.read(options)
    check_volumes(sources.clean(), trainer.arch)
    training, held_out = sources.volumes(options, progress)
    say(f"training on {', '.join(_names(training))}; held out: {', '.join(_names(held_out))}")
    patches = Patches(training, trainer.arch, options.patch, options.seed, options.clean)
    checkpoint = Checkpoint(options.checkpoint, option="out")
    with keeping(checkpoint, trainer, lambda: _digest(options, training, held_out)) as note:
        if trainer.steps:
            say(f"resumed at step {trainer.steps:,} from {checkpoint.path}")
        log = Log(options.out / f"{options.model}.log.csv", trainer, held_out, options.threads)
        trainer.run(patches, note, lambda: say(log.add()), progress)
    network = card.as_serialized(trainer.averaged())
    results = scores(network, held_out, options.threads)
    if not log.is_current:
        say(log.add(results))
    if options.curve:
        log.plot(options.out / f"{options.model}.curve.png")
    for s in results:
        say(f"{s.volume} {s.version}: Lanczos {s.lanczos:.2f} dB, model {s.model:.2f} ({s.gain:+.2f})")
    volumes = [{"name": n, "licence": options.licences.get(n, "not stated")} for n in _names(training)]
    settings = _settings(options, trainer, patches)
    return card.write(network, options, settings, card.with_predecessors(volumes, options.start), results)


def _digest(
    options: TrainOptions, training: Sequence[TrainingVolume], held_out: Sequence[TrainingVolume]
) -> str:
    """Of everything that a training depends on, except how long it may take and where it is computed."""
    fixed = {k: v for k, v in asdict(options).items() if k not in (*MAY_CHANGE, "volumes", "held_out")}
    volumes = [digest_of(v.name, v.version, v.decoded.numpy()) for side in (training, held_out) for v in side]
    start = registry.manifest(options.start).sha256 if options.start else None
    return digest_of(sorted(fixed.items()), len(training), *volumes, start)


def _names(volumes: Sequence[TrainingVolume]) -> list[str]:
    return list(dict.fromkeys(v.name for v in volumes))


def _settings(options: TrainOptions, trainer: Trainer, patches: Patches) -> dict[str, Any]:
    return {
        "steps": trainer.steps,
        "seconds": round(trainer.seconds),
        **{name: getattr(options, name) for name in ON_THE_CARD},
        "patch": list(patches.size),
    }
