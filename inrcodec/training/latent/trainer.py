"""The training loop of a latent grid.

In: options, crops and maybe weights to start from.  Out: weights, the running average of the training.
Invariant: resumable and seeded: a training that was stopped and resumed ends as one that was not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import cos, isfinite, pi
from time import monotonic

import torch
from torch import Tensor, nn

from inrcodec.encoder.fit.checkpoint import State, prefixed, under
from inrcodec.errors import FitFailed
from inrcodec.layers.superres.network import NATIVE_BFLOAT16
from inrcodec.progress import Progress
from inrcodec.training.latent.crops import Batch, Crops
from inrcodec.training.latent.network import LatentGrid, Sizes, step_of
from inrcodec.training.latent.options import LatentOptions

WORTH = 0.12  # squared error that a bit is worth, in squared steps
SLOWER = 0.5  # learning rate of the linear layers: what they see is not companded
LINEAR = ("linear", "overlap")  # in their names
WARM_UP, FINAL_RATE = 300, 0.02  # steps of linear warm-up, and the share of the learning rate at the end
PAIRS = 0.3  # share of the schedule after which a step sees two crops
LARGEST_GRADIENT = 1.0  # norm beyond which a gradient is clipped; of linear layers apart, it is far larger
AVERAGE_DECAY = 0.999  # of the running average of the weights, per step
BETAS = (0.9, 0.98)  # of Adam
MOMENTS = ("exp_avg", "exp_avg_sq")  # its state beside the step, as torch names it
MOST_SKIPPED = 100  # steps in a row whose gradient is not finite


class Trainer:
    """Networks, Adam, running average of the weights, and how far the training has come.

    Parameters
    ----------
    weights : to start from, of a `LatentGrid`; random ones by default.
    """

    def __init__(self, options: LatentOptions, weights: Mapping[str, Tensor] | None = None) -> None:
        self.options = options
        sizes = Sizes.of_maps(options.maps) if weights is None else Sizes.of(weights)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            self.network = LatentGrid(sizes)
        if weights is not None:
            self.network.load_state_dict(weights)
        layout = torch.channels_last_3d
        self.network.to(device=options.device, memory_format=layout)  # type: ignore[call-overload]
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        named = list(self.network.named_parameters())
        linear = [p for name, p in named if any(word in name for word in LINEAR)]
        slower = set(map(id, linear))
        self.groups = [[p for _, p in named if id(p) not in slower], linear]
        self.optimizer = torch.optim.Adam([{"params": group} for group in self.groups], betas=BETAS)
        self.steps, self.skipped, self.seconds, self.loss = 0, 0, 0.0, 0.0

    def run(
        self,
        crops: Crops,
        note: Callable[[bool], None],
        report: Callable[[], None],
        progress: Progress | None = None,
    ) -> None:
        """Train to the end of the schedule.

        Parameters
        ----------
        note : called after each step for the checkpoint, and with True after the last.
        report : called every ``options.report`` steps.
        """
        start, before = monotonic(), self.seconds
        while self.progress < 1:
            self.step(crops.draw(self.steps, 1 if self.progress < PAIRS else 2))
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
        minutes, steps = self.options.minutes, self.options.steps
        return max(self.steps / steps if steps else 1.0, self.seconds / (60 * minutes) if minutes else 0.0)

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
        norms = [nn.utils.clip_grad_norm_(group, LARGEST_GRADIENT) for group in self.groups]
        self.steps += 1
        if not all(isfinite(float(norm)) for norm in norms):
            self._skip()
            return
        self.optimizer.step()
        self.skipped = 0
        self.loss += (float(loss.detach()) - self.loss) * (0.01 if self.steps > 100 else 1 / self.steps)
        decay = min(AVERAGE_DECAY, self.steps / (self.steps + 49))
        with torch.no_grad():
            for name, now in self.network.state_dict().items():
                self.average[name].lerp_(now, 1 - decay)

    def _skip(self) -> None:
        self.skipped += 1
        if self.skipped >= MOST_SKIPPED:
            raise FitFailed(
                f"the training diverged before step {self.steps:,} with learning rate "
                f"{self.options.learning_rate:g}: use a smaller one",
                value=self.steps,
                option="learning_rate",
            )

    def averaged(self) -> LatentGrid:
        """Networks of the averaged weights on the CPU, ready for use."""
        network = LatentGrid(Sizes.of(self.average))
        network.load_state_dict({name: value.cpu() for name, value in self.average.items()})
        return network.eval().requires_grad_(False)

    def tensors(self) -> State:
        """The whole state, of the same names and shapes before and after any step."""
        moments: State = {}
        for i, parameter in enumerate(self._parameters()):
            zero = {"step": torch.zeros(()), **dict.fromkeys(MOMENTS, torch.zeros_like(parameter))}
            moments |= prefixed(str(i), self.optimizer.state.get(parameter) or zero)
        progress = [self.steps, self.skipped, self.seconds, self.loss]
        return {
            **prefixed("network", self.network.state_dict()),
            **prefixed("average", self.average),
            **prefixed("adam", moments),
            "progress": torch.tensor(progress, dtype=torch.float64),
        }

    def restore(self, kept: State) -> None:
        """Continue from what :meth:`tensors` returned."""
        self.network.load_state_dict(under("network", kept))
        self.average = {k: v.to(self.options.device) for k, v in under("average", kept).items()}
        moments = under("adam", kept)
        state = {i: under(str(i), moments) for i in range(len(self._parameters()))}
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": state})
        steps, skipped, self.seconds, self.loss = kept["progress"].tolist()
        self.steps, self.skipped = int(steps), int(skipped)

    def _parameters(self) -> list[nn.Parameter]:
        """As the optimizer counts them."""
        return [parameter for group in self.groups for parameter in group]


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
