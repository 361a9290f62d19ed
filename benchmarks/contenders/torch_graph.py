"""PyTorch on a GPU with several whole steps captured in one CUDA graph, as its notes on CUDA graphs show for one."""

from __future__ import annotations

from itertools import cycle
from typing import Any, ClassVar

from ..problem import Problem
from ..timing import Prepared
from .base import Missing
from .torch_eager import TorchEager, TorchStep, captured, finisher, settings


class TorchGraph(TorchEager):
    """The eager step, Adam(capturable=True), so many times in a row in one graph; the numbers of the rows are copied in before.

    In a dry run the steps are taken without a graph.
    """

    name: ClassVar[str] = "torch-graph"
    several: ClassVar[bool] = True

    def refuses(self, problem: Problem) -> Missing | None:
        """The data have to be there, because a graph reads from where it read when it was captured."""
        return super().refuses(problem) or (None if problem.resident else Missing("captures steps over resident data only"))

    def prepare(self, problem: Problem) -> Prepared:
        """Captures the graph."""
        with settings(problem):
            run = TorchSteps(problem, self.where.device)
        losses = lambda handle: [float(loss) for loss in handle]  # noqa: E731
        return Prepared(
            run, finisher(self.where), run.reset, lambda: settings(problem), clock=self.where.clock, covers=problem.launch,
            losses=losses,
        )  # fmt: skip


class TorchSteps:
    """Several steps a call.

    Args: problem – resident; device – "cpu" or "cuda".
    """

    def __init__(self, problem: Problem, device: str) -> None:
        import torch

        self.one = TorchStep(problem, device=device, capturable=device == "cuda")
        order = torch.stack([chosen for (chosen,) in self.one.minibatches]).repeat(problem.launch, 1)
        self.groups = list(order.reshape(-1, problem.launch, problem.network.batch))
        self.chosen = self.groups[0].clone()
        self.found = torch.zeros(problem.launch, device=device)
        self.replay = captured(self._take) if device == "cuda" else self._take
        self.reset()

    def _take(self) -> None:
        for chosen, found in zip(self.chosen, self.found, strict=True):
            found.copy_(self.one.take(chosen))

    def reset(self) -> None:
        """See TorchStep.reset."""
        self.one.reset()
        self.turn = cycle(self.groups)

    def __call__(self) -> Any:
        self.chosen.copy_(next(self.turn))
        self.replay()
        return self.found
