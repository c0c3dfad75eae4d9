"""The loop that trainings of every kind share.

In: networks, and batches.  Out: their weights, the running average of the training.
Invariant: resumable: a training that was stopped and resumed ends as one that was not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from inrcodec.encoder.fit.checkpoint import State, prefixed, under
from inrcodec.errors import FitFailed
from inrcodec.progress import Progress
from inrcodec.training.options import AnyTraining

AVERAGE_DECAY = 0.999  # of the running average of the weights, per step
LARGEST_GRADIENT = 1.0  # norm beyond which a gradient is clipped
MOMENTS = ("exp_avg", "exp_avg_sq")  # state of Adam beside the step, as torch names it

Source = TypeVar("Source")


class Loop(ABC, Generic[Source]):
    """Networks, Adam, running average of the weights, and how far the training has come.

    Parameters
    ----------
    groups : weights that have one learning rate each; by default all have one.
    """

    options: AnyTraining
    network: nn.Module

    def __init__(
        self,
        options: AnyTraining,
        network: nn.Module,
        betas: tuple[float, float],
        groups: Sequence[list[nn.Parameter]] = (),
    ) -> None:
        self.options, self.network = options, network
        self.average = {k: v.detach().clone() for k, v in network.state_dict().items()}
        self.groups = list(groups) or [list(network.parameters())]
        self.optimizer = torch.optim.Adam(
            [{"params": group} for group in self.groups], lr=options.learning_rate, betas=betas
        )
        self.steps, self.seconds, self.loss = 0, 0.0, 0.0

    @abstractmethod
    def learn(self, source: Source) -> None:
        """One step on the batch that comes next; raises `FitFailed`."""

    def run(
        self,
        source: Source,
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
            self.learn(source)
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

    def tensors(self) -> State:
        """The whole state, of the same names and shapes before and after any step."""
        moments: State = {}
        for i, parameter in enumerate(self._parameters()):
            zero = {"step": torch.zeros(()), **dict.fromkeys(MOMENTS, torch.zeros_like(parameter))}
            moments |= prefixed(str(i), self.optimizer.state.get(parameter) or zero)
        return {
            **prefixed("network", self.network.state_dict()),
            **prefixed("average", self.average),
            **prefixed("adam", moments),
            "progress": torch.tensor([self.steps, self.seconds, self.loss], dtype=torch.float64),
        }

    def restore(self, kept: State) -> None:
        """Continue from what :meth:`tensors` returned."""
        self.network.load_state_dict(under("network", kept))
        self.average = {k: v.to(self.options.device) for k, v in under("average", kept).items()}
        moments = under("adam", kept)
        state = {i: under(str(i), moments) for i in range(len(self._parameters()))}
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": state})
        steps, self.seconds, self.loss = kept["progress"].tolist()
        self.steps = int(steps)

    def _learnt(self, loss: Tensor, slowness: int) -> None:
        """Take a step that is counted into the averages, of which the first steps weigh more."""
        self.loss += (float(loss.detach()) - self.loss) * (0.01 if self.steps > 100 else 1 / self.steps)
        decay = min(AVERAGE_DECAY, self.steps / (self.steps + slowness))
        with torch.no_grad():
            for name, now in self.network.state_dict().items():
                self.average[name].lerp_(now, 1 - decay)

    def _diverged(self, when: str) -> FitFailed:
        return FitFailed(
            f"the training diverged {when} step {self.steps:,} with learning rate "
            f"{self.options.learning_rate:g}: use a smaller one",
            value=self.steps,
            option="learning_rate",
        )

    def _parameters(self) -> list[nn.Parameter]:
        """As the optimizer counts them."""
        return [parameter for group in self.groups for parameter in group]
