"""The training loop of a super-resolution network, and its state.

In: an architecture and patches.  Out: a network whose weights are the running average of the run.
The one law: resumable and seeded: a run that was cut off and goes on ends as one that was not.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from math import cos, isfinite, pi
from pathlib import Path
from time import monotonic

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from inrcodec.errors import CorruptFile, FitFailed, UsageError
from inrcodec.io import atomic_write
from inrcodec.layers.superres.network import BFLOAT16, Architecture, SRDenseNet, frozen
from inrcodec.progress import Progress
from inrcodec.training.options import TrainOptions
from inrcodec.training.patches import BORDER, Batch, Patches

WARM_UP = 200  # steps
LAST = 0.01  # of the learning rate, at the end of the cosine
LONGEST = 1.0  # norm of a gradient: a longer one is clipped
AVERAGED = 0.999  # of the running average that a step keeps
SAVED_EVERY = 60.0  # seconds


class Training:
    """Network, Adam, running average of the weights, and how far they have come.

    Parameters
    ----------
    arch, options : of the network, and of the run.
    about : all that the run depends on beside the options' clock; another run's checkpoint is refused.
    """

    def __init__(self, arch: Architecture, options: TrainOptions, about: str = "") -> None:
        self.arch, self.options = arch, options
        self.about = sha256(about.encode()).digest()
        self.layout = torch.channels_last_3d if arch.dims == 3 else torch.channels_last
        self.network = SRDenseNet(arch)
        self.network.to(device=options.device, memory_format=self.layout)  # type: ignore[call-overload]
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=options.rate, betas=(0.9, 0.99))
        self.steps, self.seconds, self.loss = 0, 0.0, 0.0

    def run(
        self,
        patches: Patches,
        checkpoint: Path,
        report: Callable[[], None],
        progress: Progress | None = None,
    ) -> None:
        """Train to the end of the schedule; a checkpoint every minute and at the end.

        Raises
        ------
        FitFailed
            The loss is no number any more; the last checkpoint is of a time when it was.
        """
        start = saved = monotonic()
        before = self.seconds
        while self.progress < 1:
            self.step(patches.draw(self.steps, self.options.batch))
            if not isfinite(self.loss):
                raise FitFailed(
                    f"the training diverged at step {self.steps:,}: pass a smaller rate than "
                    f"{self.options.rate:g} and another folder (out)",
                    value=self.steps,
                    option="rate",
                )
            now = monotonic()
            self.seconds = before + now - start
            if progress:
                progress("train", min(self.progress, 1.0))
            if self.steps % self.options.report == 0:
                report()
            if now - saved > SAVED_EVERY:
                self.save(checkpoint)
                saved = now
        self.save(checkpoint)

    @property
    def progress(self) -> float:
        """From 0 to 1."""
        minutes = self.options.minutes
        return max(self.steps / self.options.steps, self.seconds / (60 * minutes) if minutes else 0.0)

    def step(self, batch: Batch) -> None:
        """One step on a batch."""
        low, target, weight, noise = (t.to(self.options.device) for t in batch)
        warm = min(1.0, (self.steps + 1) / WARM_UP)
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.rate * warm * (LAST + (1 - LAST) * 0.5 * (1 + cos(pi * self.progress)))
        if self.arch.dims == 2:
            weight, noise = (t.repeat_interleave(low.shape[2]) for t in (weight, noise))
            low, target = (t[:, 0].flatten(0, 1)[:, None] for t in (low, target))
        low = low.contiguous(memory_format=self.layout)
        with torch.autocast(low.device.type, torch.bfloat16, enabled=BFLOAT16 or low.device.type != "cpu"):
            out = self.network(low, noise=noise)
        spans = (slice(BORDER * f, -BORDER * f) for f in self.arch.factor[3 - self.arch.dims :])
        left = (out.float() - target)[(..., *spans)].flatten(1)
        if self.options.loss == "mse":
            loss = (left.square().mean(1) * weight).mean()
        else:
            loss = (left.abs().mean(1) * weight.sqrt()).mean()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), LONGEST)
        self.optimizer.step()
        self.steps += 1
        self.loss += (float(loss.detach()) - self.loss) * (0.01 if self.steps > 100 else 1 / self.steps)
        keep = min(AVERAGED, self.steps / (self.steps + 10))
        with torch.no_grad():
            for k, v in self.network.state_dict().items():
                self.average[k].lerp_(v, 1 - keep)

    def averaged(self) -> SRDenseNet:
        """A network of the averaged weights on the CPU, ready for use."""
        return frozen(self.arch, {k: v.cpu() for k, v in self.average.items()})

    def begin_with(self, weights: dict[str, Tensor]) -> None:
        """Begin with the weights of a model of the same architecture.

        Raises
        ------
        UsageError
            It is of another one.
        """
        try:
            self.network.load_state_dict(weights)
        except RuntimeError as error:
            raise UsageError(
                "the model to start from is of another architecture, leave it out or pass its arch",
                value=self.options.start,
                option="start",
            ) from error
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}

    def save(self, path: Path) -> None:
        """The whole state as safetensors."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{i}.{k}": torch.as_tensor(v) for k, v in state.items()}
        tensors["progress"] = torch.tensor([self.steps, self.seconds, self.loss], dtype=torch.float64)
        tensors["about"] = torch.frombuffer(bytearray(self.about), dtype=torch.uint8)
        atomic_write(path, save({k: v.cpu().contiguous() for k, v in tensors.items()}), force=True)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises
        ------
        CorruptFile
            It is none.
        UsageError
            It is one of another run.
        """
        try:
            tensors = load(path.read_bytes())
            about = bytes(tensors["about"].tolist())
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            raise CorruptFile(
                f"{path} is not a checkpoint, delete it or name another folder", value=str(path), option="out"
            ) from error
        if about != self.about:
            raise UsageError(
                f"{path} is of a training on other volumes or with other options: delete it, or name another "
                "folder",
                value=str(path),
                option="out",
            )
        try:
            self._restore(tensors)
        except (KeyError, ValueError, RuntimeError) as error:
            raise CorruptFile(
                f"{path} is damaged, delete it or name another folder", value=str(path), option="out"
            ) from error

    def _restore(self, tensors: dict[str, Tensor]) -> None:
        self.network.load_state_dict(_part(tensors, "network."))
        average = _part(tensors, "average.")
        self.average = {k: average[k].to(self.options.device) for k in self.network.state_dict()}
        states: dict[int, dict[str, Tensor]] = {}
        for key, value in _part(tensors, "adam.").items():
            index, name = key.split(".", 1)
            states.setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": states})
        steps, self.seconds, self.loss = tensors["progress"].tolist()
        self.steps = int(steps)


def _part(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {k[len(name) :]: v for k, v in tensors.items() if k.startswith(name)}
