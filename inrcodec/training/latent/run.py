"""A whole training of a latent model: from volumes to a model.

In: options.  Out: the frozen model and its card, a log, and float weights where they are exported.
Invariant: what can be refused is refused before the first step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from inrcodec import validate
from inrcodec.encoder.fit.checkpoint import Checkpoint, digest_of, keeping
from inrcodec.parallel import torch_threads
from inrcodec.progress import Progress
from inrcodec.training.latent import card, materials
from inrcodec.training.latent.crops import Crops
from inrcodec.training.latent.log import LatentLog, words
from inrcodec.training.latent.materials import Material
from inrcodec.training.latent.options import LatentOptions
from inrcodec.training.latent.trainer import Trainer
from inrcodec.training.latent.weights import Start, export, start_of

# Options on which the trained weights do not depend; a training may be resumed with others.
MAY_CHANGE = ("minutes", "steps", "report", "device", "threads", "force", "out", "licences", "export")
ON_THE_CARD = ("learning_rate", "minutes", "seed", "threads", "device")


def train(
    options: LatentOptions, say: Callable[[str], None] = lambda _: None, progress: Progress | None = None
) -> Path:
    """Train a model, or resume the training that was begun in the same folder, and write the model.

    Parameters
    ----------
    say : called with a line of text for each report.
    progress : called with ("train", fraction).

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


def _train(options: LatentOptions, say: Callable[[str], None], progress: Progress | None) -> Path:
    start = start_of(options)
    trainer = Trainer(options, start.weights)
    options.out.mkdir(parents=True, exist_ok=True)
    training, held_out = materials.read(options)
    if options.steps:
        _run(trainer, training, held_out, start, say, progress)
    weights = {name: value.cpu() for name, value in trainer.average.items()}
    volumes = _volumes(options, start)
    settings = _settings(options, trainer) if options.steps else start.training
    if options.export is not None:
        export(weights, volumes, settings, options.export, options.force)
    path, points = card.write(weights, options, settings, volumes, held_out)
    for point in points:
        say(f"{point.volume} by {point.factor}, rate {point.rate}: {words(point)}, {point.bytes:,} bytes")
    return path


def _run(
    trainer: Trainer,
    training: Sequence[Material],
    held_out: Sequence[Material],
    start: Start,
    say: Callable[[str], None],
    progress: Progress | None,
) -> None:
    options = trainer.options
    say(f"training on {', '.join(_names(training))}; held out: {', '.join(_names(held_out))}")
    crops = Crops(training, options.seed)
    checkpoint = Checkpoint(options.checkpoint, option="out")
    with keeping(checkpoint, trainer, lambda: _digest(options, [*training, *held_out], start)) as note:
        if trainer.steps:
            say(f"resumed at step {trainer.steps:,} from {checkpoint.path}")
        log = LatentLog(options.out / f"{options.model}.log.csv", trainer, held_out)
        trainer.run(crops, note, lambda: say(log.add()), progress)
    if not log.is_current:
        say(log.add())


def _digest(options: LatentOptions, volumes: Iterable[Material], start: Start) -> str:
    """Of everything that a training depends on, except how long it may take and where it is computed."""
    apart = (*MAY_CHANGE, "volumes", "held_out", "start")
    fixed = {k: v for k, v in asdict(options).items() if k not in apart}
    weights = [
        part for name, value in sorted((start.weights or {}).items()) for part in (name, value.numpy())
    ]
    values = [digest_of(v.name, v.factor, v.values) for v in volumes]
    return digest_of(sorted(fixed.items()), *values, *weights)


def _names(volumes: Iterable[Material]) -> list[str]:
    return list(dict.fromkeys(v.name for v in volumes))


def _volumes(options: LatentOptions, start: Start) -> list[dict[str, str]]:
    """What was trained on, with what the weights to start from were."""
    own = [options.names[path] for path in options.split()[0]]
    volumes = [{"name": name, "licence": options.licences.get(name, "not stated")} for name in own]
    return volumes + [v for v in start.trained_on if v["name"] not in own]


def _settings(options: LatentOptions, trainer: Trainer) -> dict[str, Any]:
    kept = {name: getattr(options, name) for name in ON_THE_CARD}
    start = None if options.start is None else Path(options.start).name
    return {"steps": trainer.steps, "seconds": round(trainer.seconds), **kept, "start": start}
