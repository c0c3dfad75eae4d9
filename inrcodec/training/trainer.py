"""The training loop of a super-resolution network.

In: an architecture and patches.  Out: a network whose weights are the running average of the training.
Invariant: resumable and seeded: a training that was stopped and resumed ends as one that was not.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, isfinite, pi
from time import monotonic

import torch
from torch import Tensor

from inrcodec.encoder.fit.checkpoint import prefixed, under
from inrcodec.errors import FitFailed, UsageError
from inrcodec.layers.superres import registry
from inrcodec.layers.superres.architectures import Architecture
from inrcodec.layers.superres.network import BFLOAT16, SRDenseNet, frozen
from inrcodec.progress import Progress
from inrcodec.training.options import TrainOptions
from inrcodec.training.patches import BORDER, Batch, Patches

WARM_UP = 200  # steps of linear warm-up
FINAL_RATE = 0.01  # of the learning rate, at the end of the cosine schedule
LARGEST_GRADIENT = 1.0  # norm beyond which a gradient is clipped
AVERAGE_DECAY = 0.999  # of the running average of the weights, per step
BETAS = (0.9, 0.99)  # of Adam
MOMENTS = ("exp_avg", "exp_avg_sq")  # its state beside the step, as torch names it


class Trainer:
    """Network, Adam, running average of the weights, and how far the training has come.

    With ``options.start`` the weights are those of that model, which must be of the same architecture.
    """

    def __init__(self, arch: Architecture, options: TrainOptions) -> None:
        self.arch, self.options = arch, options
        self.layout = torch.channels_last_3d if arch.dims == 3 else torch.channels_last
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            self.network = SRDenseNet(arch)
        if options.start is not None:
            self.network.load_state_dict(_weights_of(options.start, arch))
        self.network.to(device=options.device, memory_format=self.layout)  # type: ignore[call-overload]
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=options.learning_rate, betas=BETAS)
        self.steps, self.seconds, self.loss = 0, 0.0, 0.0

    def run(
        self,
        patches: Patches,
        note: Callable[[bool], None],
        report: Callable[[], None],
        progress: Progress | None = None,
    ) -> None:
        """Train to the end of the schedule; a state whose loss is not finite is never noted.

        Parameters
        ----------
        note : called after each step for the checkpoint, and with True after the last.
        report : called every ``options.report`` steps.
        """
        start, before = monotonic(), self.seconds
        while self.progress < 1:
            self.step(patches.draw(self.steps, self.options.batch))
            if not isfinite(self.loss):
                raise FitFailed(
                    f"the training diverged at step {self.steps:,} with learning rate "
                    f"{self.options.learning_rate:g}: use a smaller one",
                    value=self.steps,
                    option="learning_rate",
                )
            self.seconds = before + monotonic() - start
            if progress:
                progress("train", min(self.progress, 1.0))
            if self.steps % self.options.report == 0:
                report()
            note(False)
        note(True)

    @property
    def progress(self) -> float:
        """Share of the schedule, from 0 to 1: of the steps or of the minutes, whichever ends first."""
        minutes = self.options.minutes
        return max(self.steps / self.options.steps, self.seconds / (60 * minutes) if minutes else 0.0)

    def step(self, batch: Batch) -> None:
        """One step on a batch."""
        rate = self.options.learning_rate * min(1.0, (self.steps + 1) / WARM_UP)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * (FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + cos(pi * self.progress)))
        loss = self._loss(batch)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
        self.optimizer.step()
        self.steps += 1
        self.loss += (float(loss.detach()) - self.loss) * (0.01 if self.steps > 100 else 1 / self.steps)
        decay = min(AVERAGE_DECAY, self.steps / (self.steps + 10))
        with torch.no_grad():
            for k, v in self.network.state_dict().items():
                self.average[k].lerp_(v, 1 - decay)

    def _loss(self, batch: Batch) -> Tensor:
        """Weighted error of the residual, without the border."""
        low, target, weight, noise = (t.to(self.options.device) for t in batch)
        if self.arch.dims == 2:  # slices become images of the batch
            weight, noise = (t.repeat_interleave(low.shape[2]) for t in (weight, noise))
            low, target = (t[:, 0].flatten(0, 1)[:, None] for t in (low, target))
        low = low.contiguous(memory_format=self.layout)
        with torch.autocast(low.device.type, torch.bfloat16, enabled=BFLOAT16 or low.device.type != "cpu"):
            out = self.network(low, noise=noise)
        spans = (slice(BORDER * f, -BORDER * f) for f in self.arch.factor[3 - self.arch.dims :])
        error = (out.float() - target)[(..., *spans)].flatten(1)
        squared = self.options.loss == "mse"
        each = error.square().mean(1) * weight if squared else error.abs().mean(1) * weight.sqrt()
        loss: Tensor = each.mean()
        return loss

    def averaged(self) -> SRDenseNet:
        """A network of the averaged weights on the CPU, ready for use."""
        return frozen(self.arch, {k: v.cpu() for k, v in self.average.items()})

    def tensors(self) -> dict[str, Tensor]:
        """The whole state, of the same names and shapes before and after any step."""
        moments: dict[str, Tensor] = {}
        for i, parameter in enumerate(self.network.parameters()):
            zero = {"step": torch.zeros(()), **dict.fromkeys(MOMENTS, torch.zeros_like(parameter))}
            moments |= prefixed(str(i), self.optimizer.state.get(parameter) or zero)
        return {
            **prefixed("network", self.network.state_dict()),
            **prefixed("average", self.average),
            **prefixed("adam", moments),
            "progress": torch.tensor([self.steps, self.seconds, self.loss], dtype=torch.float64),
        }

    def restore(self, kept: dict[str, Tensor]) -> None:
        """Continue from what :meth:`tensors` returned."""
        self.network.load_state_dict(under("network", kept))
        self.average = {k: v.to(self.options.device) for k, v in under("average", kept).items()}
        moments, count = under("adam", kept), len(list(self.network.parameters()))
        state = {i: under(str(i), moments) for i in range(count)}
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": state})
        steps, self.seconds, self.loss = kept["progress"].tolist()
        self.steps = int(steps)


def _weights_of(model: str, arch: Architecture) -> dict[str, Tensor]:
    """Weights of a model that is to be trained further."""
    network = registry.load(model, bytes.fromhex(registry.manifest(model).sha256))
    if network.arch != arch:
        raise UsageError(
            f"model {model!r} to start from has another architecture or factor, start from none or choose "
            "its architecture",
            value=model,
            option="start",
        )
    return network.state_dict()
