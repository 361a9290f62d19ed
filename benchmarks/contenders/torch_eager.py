"""PyTorch, eager, written the way its own guides advise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import Any, ClassVar

from ..problem import BETA1, BETA2, CLIP_NORM, EPSILON, LAYER_NORM_EPSILON, LEARNING_RATE, WEIGHT_DECAY, Problem
from ..timing import Prepared
from .base import Contender


class TorchEager(Contender):
    """`torch.optim.Adam(fused=True)`, `zero_grad(set_to_none=True)`, as many threads as cores, tensors made beforehand.

    In the full variant AdamW(fused=True) with two groups (no decay on biases, gains and offsets) and clip_grad_norm_.
    """

    name: ClassVar[str] = "torch"
    needs: ClassVar[tuple[tuple[str, str], ...]] = (
        ("torch", "torch --index-url https://download.pytorch.org/whl/cpu"),
    )

    def version(self) -> str:
        """torch's."""
        import torch

        return f"torch {torch.__version__}"

    def prepare(self, problem: Problem) -> Prepared:
        """Model, optimiser and minibatches as tensors."""
        run = TorchStep(problem)
        return Prepared(run, reset=run.reset, around=lambda: threads(problem.threads))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Within it PyTorch uses `count` threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def make_network(problem: Problem) -> Any:
    """Linear and ReLU; or Linear, LayerNorm, GELU and Dropout; then Linear."""
    from torch import nn

    layers: list[Any] = []
    for k, (n, m) in enumerate(problem.sizes):
        layers.append(nn.Linear(n, m))
        if k == len(problem.sizes) - 1:
            break
        if problem.full:
            layers += [nn.LayerNorm(m, eps=LAYER_NORM_EPSILON), nn.GELU()]
        else:
            layers.append(nn.ReLU())
        if problem.dropped:
            layers.append(nn.Dropout(problem.dropped))
    return nn.Sequential(*layers).to(_dtype(problem)).train()


def _dtype(problem: Problem) -> Any:
    import torch

    return getattr(torch, problem.precision)


class TorchStep:
    """zero_grad, forward, loss, backward, optimiser.

    Args: problem; wrap – what is done to forward and loss together, such as torch.compile.
    """

    def __init__(self, problem: Problem, wrap: Callable[[Any], Any] | None = None) -> None:
        import torch

        torch.manual_seed(problem.seed)
        self.problem = problem
        self.network = make_network(problem)
        self.parameters = list(self.network.parameters())
        self.optimizer = self._optimizer()
        self.batches = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in problem.minibatches]
        self.start = self._start()
        self.reset()

        def evaluate(x: Any, y: Any) -> Any:
            return torch.nn.functional.cross_entropy(self.network(x), y)

        self.evaluate = evaluate if wrap is None else wrap(evaluate)

    def _optimizer(self) -> Any:
        import torch

        settings: dict[str, Any] = {"lr": LEARNING_RATE, "betas": (BETA1, BETA2), "eps": EPSILON, "fused": True}
        if not self.problem.full:
            return torch.optim.Adam(self.parameters, **settings)
        groups = [
            {"params": [p for p in self.parameters if p.ndim == 2], "weight_decay": WEIGHT_DECAY},
            {"params": [p for p in self.parameters if p.ndim != 2], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, **settings)

    def _start(self) -> list[Any]:
        """The common start, in the order of the parameters."""
        import torch

        given = {2: (w.T for w, _ in self.problem.start), 1: (b for _, b in self.problem.start)}
        of_linear = [p for layer in self.network if isinstance(layer, torch.nn.Linear) for p in layer.parameters()]
        linear = {id(p) for p in of_linear}
        return [
            torch.from_numpy(next(given[p.ndim]).copy()) if id(p) in linear else p.detach().clone() for p in self.parameters
        ]

    def reset(self) -> None:
        """The common start, states of the optimiser 0, minibatches from the first."""
        import torch

        with torch.no_grad():
            for parameter, value in zip(self.parameters, self.start, strict=True):
                parameter.copy_(value)
            for state in self.optimizer.state.values():
                for value in state.values():
                    value.zero_()
        self.turn = cycle(self.batches)

    def __call__(self) -> Any:
        x, y = next(self.turn)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.evaluate(x, y)
        loss.backward()
        if self.problem.full:
            self.clip()
        self.optimizer.step()
        return loss.detach()

    def clip(self) -> None:
        """Scales the gradient to norm 1 where it is larger."""
        import torch

        torch.nn.utils.clip_grad_norm_(self.parameters, CLIP_NORM)
