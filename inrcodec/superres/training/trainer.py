"""The training loop of a super-resolution network, and its state.

In: an architecture and patches.  Out: a network whose weights are the running average of the run.
The one law: resumable and seeded: a run that was cut off and goes on ends as one that was not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi
from pathlib import Path
from time import monotonic
from typing import Literal

import torch
from safetensors.torch import load, save
from torch import Tensor

from inrcodec.errors import CorruptFile
from inrcodec.io import atomic_write
from inrcodec.options import Progress
from inrcodec.superres.network import Architecture, SRDenseNet
from inrcodec.superres.training.patches import BORDER, Batch, Patches

Loss = Literal["mse", "l1"]

WARM_UP = 200  # steps
LAST = 0.01  # of the learning rate, at the end of the cosine
AVERAGED = 0.999  # of the running average that a step keeps
SAVED_EVERY = 120.0  # seconds


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Of one run.

    Attributes
    ----------
    steps, minutes : whichever ends first; the cosine goes by what is nearer to its end.
    batch, rate, loss : patches a step, peak learning rate of Adam, and which error is made small, relative to
        that of Lanczos.
    report : steps from one report to the next.
    """

    steps: int
    minutes: float
    batch: int
    rate: float
    loss: Loss
    report: int
    device: str = "cpu"


class Training:
    """Network, Adam, running average of the weights, and how far they have come."""

    def __init__(self, arch: Architecture, settings: Settings) -> None:
        self.arch, self.settings = arch, settings
        self.layout = torch.channels_last_3d if arch.dims == 3 else torch.channels_last
        self.network = SRDenseNet(arch)
        self.network.to(device=settings.device, memory_format=self.layout)  # type: ignore[call-overload]
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=settings.rate, betas=(0.9, 0.99))
        self.steps, self.seconds, self.loss = 0, 0.0, 0.0

    def run(
        self,
        patches: Patches,
        checkpoint: Path,
        report: Callable[[], None],
        progress: Progress | None = None,
    ) -> None:
        """Train to the end of the schedule; a checkpoint every two minutes, and however it ends."""
        start = saved = monotonic()
        before = self.seconds
        try:
            while self.progress < 1:
                self.step(patches.draw(self.steps, self.settings.batch))
                now = monotonic()
                self.seconds = before + now - start
                if progress:
                    progress("train", min(self.progress, 1.0))
                if self.steps % self.settings.report == 0:
                    report()
                if now - saved > SAVED_EVERY:
                    self.save(checkpoint)
                    saved = now
        finally:
            self.save(checkpoint)

    @property
    def progress(self) -> float:
        """From 0 to 1."""
        return max(self.steps / self.settings.steps, self.seconds / (60 * self.settings.minutes))

    def step(self, batch: Batch) -> None:
        """One step on a batch."""
        low, target, weight = (t.to(self.settings.device) for t in batch)
        warm = min(1.0, (self.steps + 1) / WARM_UP)
        for group in self.optimizer.param_groups:
            group["lr"] = (
                self.settings.rate * warm * (LAST + (1 - LAST) * 0.5 * (1 + cos(pi * self.progress)))
            )
        if self.arch.dims == 2:
            weight = weight.repeat_interleave(low.shape[2])
            low, target = (t[:, 0].flatten(0, 1)[:, None] for t in (low, target))
        low = low.contiguous(memory_format=self.layout)
        with torch.autocast(low.device.type, dtype=torch.bfloat16):
            out = self.network(low)
        spans = (slice(BORDER * f, -BORDER * f) for f in self.arch.factor[3 - self.arch.dims :])
        left = (out.float() - target)[(..., *spans)].flatten(1)
        if self.settings.loss == "mse":
            loss = (left.square().mean(1) * weight).mean()
        else:
            loss = (left.abs().mean(1) * weight.sqrt()).mean()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.steps += 1
        self.loss += (float(loss.detach()) - self.loss) * (0.01 if self.steps > 100 else 1 / self.steps)
        keep = min(AVERAGED, self.steps / (self.steps + 10))
        with torch.no_grad():
            for k, v in self.network.state_dict().items():
                self.average[k].lerp_(v, 1 - keep)

    def averaged(self) -> SRDenseNet:
        """A network of the averaged weights on the CPU, ready for use."""
        network = SRDenseNet(self.arch)
        network.load_state_dict({k: v.cpu() for k, v in self.average.items()})
        return network.eval().requires_grad_(False)

    def save(self, path: Path) -> None:
        """The whole state as safetensors."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{i}.{k}": torch.as_tensor(v) for k, v in state.items()}
        tensors["progress"] = torch.tensor([self.steps, self.seconds, self.loss], dtype=torch.float64)
        atomic_write(path, save({k: v.cpu().contiguous() for k, v in tensors.items()}), force=True)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises
        ------
        CorruptFile
            It is none, or one of another architecture.
        """
        try:
            tensors = load(path.read_bytes())
            self.network.load_state_dict(_part(tensors, "network."))
            self.average = {k: v.to(self.settings.device) for k, v in _part(tensors, "average.").items()}
            states: dict[int, dict[str, Tensor]] = {}
            for key, value in _part(tensors, "adam.").items():
                index, name = key.split(".", 1)
                states.setdefault(int(index), {})[name] = value
            self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": states})
            self.steps, self.seconds, self.loss = (float(v) for v in tensors["progress"])  # type: ignore[assignment]
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise CorruptFile(
                f"{path} is no checkpoint of this architecture, name another --out or delete it",
                value=str(path),
            ) from error
        self.steps = int(self.steps)


def _part(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {k[len(name) :]: v for k, v in tensors.items() if k.startswith(name)}
