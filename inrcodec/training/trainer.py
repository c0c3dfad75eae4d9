"""The training loop of a super-resolution network.

In: an architecture and patches.  Out: a network whose weights are the running average of the training.
Invariant: resumable and seeded: a training that was stopped and resumed ends as one that was not.
"""

from __future__ import annotations

from math import cos, isfinite, pi

import torch
from torch import Tensor

from inrcodec.errors import UsageError
from inrcodec.layers.superres import registry
from inrcodec.layers.superres.architectures import Architecture
from inrcodec.layers.superres.network import BFLOAT16, SRDenseNet, frozen
from inrcodec.training.loop import LARGEST_GRADIENT, Loop
from inrcodec.training.options import TrainOptions
from inrcodec.training.patches import BORDER, Batch, Patches

WARM_UP = 200  # steps of linear warm-up
FINAL_RATE = 0.01  # of the learning rate, at the end of the cosine schedule
SLOWNESS = 10  # steps until which a new state weighs more than half in the running average
BETAS = (0.9, 0.99)  # of Adam


class Trainer(Loop[Patches]):
    """Training of a network.

    With ``options.start`` the weights are those of that model, which must be of the same architecture.
    """

    options: TrainOptions
    network: SRDenseNet

    def __init__(self, arch: Architecture, options: TrainOptions) -> None:
        self.arch = arch
        self.layout = torch.channels_last_3d if arch.dims == 3 else torch.channels_last
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            network = SRDenseNet(arch)
        if options.start is not None:
            network.load_state_dict(_weights_of(options.start, arch))
        network.to(device=options.device, memory_format=self.layout)  # type: ignore[call-overload]
        super().__init__(options, network, BETAS)

    def learn(self, source: Patches) -> None:
        """See `Loop.learn`; a state whose loss is not finite is never noted."""
        self.step(source.draw(self.steps, self.options.batch))
        if not isfinite(self.loss):
            raise self._diverged("at")

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
        self._learnt(loss, SLOWNESS)

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
