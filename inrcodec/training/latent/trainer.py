"""The training loop of a latent grid.

In: options, crops and maybe weights to start from.  Out: weights, the running average of the training.
Invariant: resumable and seeded: a training that was stopped and resumed ends as one that was not.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import cos, isfinite, pi

import torch
from torch import Tensor, nn

from inrcodec.encoder.fit.checkpoint import State
from inrcodec.layers.superres.network import NATIVE_BFLOAT16
from inrcodec.training.latent.crops import Batch, Crops
from inrcodec.training.latent.network import LatentGrid, Sizes, step_of
from inrcodec.training.latent.options import LatentOptions
from inrcodec.training.loop import LARGEST_GRADIENT, Loop

WORTH = 0.12  # squared error that a bit is worth, in squared steps
SLOWER = 0.5  # learning rate of the linear layers: what they see is not companded
LINEAR = ("linear", "overlap")  # in their names
WARM_UP, FINAL_RATE = 300, 0.02  # steps of linear warm-up, and the share of the learning rate at the end
PAIRS = 0.3  # share of the schedule from which a step sees two crops; from trained weights on, each does
SLOWNESS = 49  # steps until which a new state weighs more than half in the running average
BETAS = (0.9, 0.98)  # of Adam
MOST_SKIPPED = 100  # steps in a row whose gradient is not finite


class Trainer(Loop[Crops]):
    """Training of the networks.

    Parameters
    ----------
    weights : to start from, of a `LatentGrid`; random ones by default.
    """

    options: LatentOptions
    network: LatentGrid

    def __init__(self, options: LatentOptions, weights: Mapping[str, Tensor] | None = None) -> None:
        sizes = Sizes.of_maps(options.maps) if weights is None else Sizes.of(weights)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            network = LatentGrid(sizes)
        if weights is not None:
            network.load_state_dict(weights)
        layout = torch.channels_last_3d
        network.to(device=options.device, memory_format=layout)  # type: ignore[call-overload]
        named = list(network.named_parameters())
        linear = [p for name, p in named if any(word in name for word in LINEAR)]
        slower = set(map(id, linear))
        groups = [[p for _, p in named if id(p) not in slower], linear]
        super().__init__(options, network, BETAS, groups)
        self.skipped = 0

    def learn(self, source: Crops) -> None:
        """See `Loop.learn`."""
        pairs = self.options.start is not None or self.progress >= PAIRS
        self.step(source.draw(self.steps, 2 if pairs else 1))

    def step(self, batch: Batch) -> None:
        """One step on a batch; nothing is learnt of one whose gradient is not finite.

        Raises
        ------
        FitFailed
            A hundred such in a row.
        """
        rate = self.options.learning_rate * min(1.0, (self.steps + 1) / WARM_UP)
        rate *= FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + cos(pi * min(self.progress, 1.0)))
        for group, factor in zip(self.optimizer.param_groups, (1.0, SLOWER), strict=True):
            group["lr"] = rate * factor
        loss = loss_of(self.network, batch, self.options.device)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        # Apart: that of the linear layers is far larger.
        norms = [nn.utils.clip_grad_norm_(group, LARGEST_GRADIENT) for group in self.groups]
        self.steps += 1
        if not all(isfinite(float(norm)) for norm in norms):
            self._skip()
            return
        self.optimizer.step()
        self.skipped = 0
        self._learnt(loss, SLOWNESS)

    def _skip(self) -> None:
        self.skipped += 1
        if self.skipped >= MOST_SKIPPED:
            raise self._diverged("before")

    def averaged(self) -> LatentGrid:
        """Networks of the averaged weights on the CPU, ready for use."""
        network = LatentGrid(Sizes.of(self.average))
        network.load_state_dict({name: value.cpu() for name, value in self.average.items()})
        return network.eval().requires_grad_(False)

    def tensors(self) -> State:
        """See `Loop.tensors`."""
        return {**super().tensors(), "skipped": torch.tensor(self.skipped)}

    def restore(self, kept: State) -> None:
        """See `Loop.restore`."""
        super().restore(kept)
        self.skipped = int(kept["skipped"])


def loss_of(network: LatentGrid, batch: Batch, device: str) -> Tensor:
    """Bits and squared error of each crop, about as a logarithm of them: rates count alike."""
    x, rate = batch.values.to(device), batch.rates.to(device)
    noise = torch.Generator(device).manual_seed(batch.seed)
    # In bfloat16 a step takes a fifth of the time where the processor multiplies in it, elsewhere longer.
    fast = NATIVE_BFLOAT16 or x.device.type != "cpu"
    with torch.autocast(x.device.type, torch.bfloat16, enabled=fast):
        decoded, bits = network(x, rate, noise=noise)
    worth = WORTH * step_of(rate).flatten() ** 2
    squared = (decoded.float() - x).square().sum((1, 2, 3, 4))
    each: Tensor = (bits.sum(1) + squared / worth) / x[0].numel()
    return (each / (each.detach() + 0.1)).mean()
