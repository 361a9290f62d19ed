"""PyTorch, eager, written the way its own guides advise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import Any, ClassVar

from ..problem import BETA1, BETA2, CLIP_NORM, EPSILON, LAYER_NORM_EPSILON, WEIGHT_DECAY, Problem
from ..timing import Prepared
from .base import Contender, Missing, Where

HERE = Where()


class TorchEager(Contender):
    """`torch.optim.Adam(fused=True)`, `zero_grad(set_to_none=True)`, as many threads as cores, tensors made beforehand.

    In the full variant AdamW(fused=True) with two groups (no decay on biases, gains and offsets) and clip_grad_norm_.
    On a GPU float32 products are taken in float32 or TF32 as the problem says; "bfloat16" is autocast, with float32 weights and
    minibatches that are bfloat16 beforehand. Of resident data each step takes its rows by indexing, forward and loss together,
    so that what is compiled can do it inside.

    Args: where – device and clock.
    """

    name: ClassVar[str] = "torch"
    needs: ClassVar[tuple[tuple[str, str], ...]] = (("torch", "torch"),)

    def __init__(self, where: Where = HERE) -> None:
        self.where = where
        self.device = where.device

    def missing(self) -> Missing | None:
        """Besides torch there has to be a GPU that it can use, where one is asked for."""
        absent = super().missing()
        if absent is None and self.where.cuda:
            import torch

            if not torch.cuda.is_available():
                return Missing(f"torch {torch.__version__} sees no CUDA device", "install a build of torch for this driver")
        return absent

    def refuses(self, problem: Problem) -> Missing | None:
        """float16 would need its own loss scale."""
        return Missing("float16 with a loss scale is not written for it") if problem.precision == "float16" else None

    def version(self) -> str:
        """torch's."""
        import torch

        return f"torch {torch.__version__}"

    def prepare(self, problem: Problem) -> Prepared:
        """Model, optimiser and minibatches as tensors."""
        return self.prepared(TorchStep(problem, self.wrap(), self.where.device), problem)

    def wrap(self) -> Callable[[Any], Any] | None:
        """What is done to forward and loss together; None for nothing."""
        return None

    def prepared(self, run: TorchStep, problem: Problem) -> Prepared:
        """A step with all that its timing needs."""
        return Prepared(run, finisher(self.where), run.reset, lambda: settings(problem), clock=self.where.clock)


def finisher(where: Where) -> Callable[[Any], None]:
    """What waits until the device is done; nothing on a CPU, where the step itself waits."""
    if not where.cuda:
        return lambda handle: None  # noqa: ARG005
    import torch

    return lambda handle: torch.cuda.synchronize()  # noqa: ARG005


@contextmanager
def settings(problem: Problem) -> Iterator[None]:
    """Within it PyTorch uses the threads and the products of a problem."""
    with threads(problem.threads), products(problem.precision):
        yield


@contextmanager
def products(precision: str) -> Iterator[None]:
    """Within it PyTorch takes products of float32 in TF32 for "tf32", and in float32 for all else."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


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

    return getattr(torch, problem.dtype)


class TorchStep:
    """zero_grad, forward, loss, backward, optimiser.

    Args: problem; wrap – what is done to forward and loss together, such as torch.compile; device – "cpu" or "cuda";
        capturable – whether the optimiser may be captured in a CUDA graph.
    Attributes: minibatches – what steps are given in turn: (x, y), or of resident data the numbers of the rows.
    """

    def __init__(
        self, problem: Problem, wrap: Callable[[Any], Any] | None = None, device: str = "cpu", capturable: bool = False
    ) -> None:
        import torch

        torch.manual_seed(problem.seed)
        self.problem, self.capturable = problem, capturable
        with torch.device(device):
            self.network = make_network(problem)
        self.parameters = list(self.network.parameters())
        self.optimizer = self._optimizer()
        data = torch.bfloat16 if problem.precision == "bfloat16" else _dtype(problem)

        def brought(x: Any, y: Any) -> tuple[Any, Any]:
            return torch.from_numpy(x).to(device, data), torch.from_numpy(y).to(device)

        self.minibatches: list[tuple[Any, ...]]
        if problem.resident:
            inputs, labels = brought(*problem.data)
            for array in (inputs, labels):
                # Else a compiled step that is replayed as a CUDA graph would copy all of it to a place of its own each time.
                torch._dynamo.mark_static_address(array)
            self.minibatches = [(chosen,) for chosen in torch.from_numpy(problem.indices).to(device)]
        else:
            self.minibatches = [brought(x, y) for x, y in problem.minibatches]
        self.start = list(self._start(device))
        self.reset()

        reduced = problem.precision == "bfloat16"

        def evaluate(x: Any, y: Any) -> Any:
            with torch.autocast(device, torch.bfloat16, enabled=reduced):
                return torch.nn.functional.cross_entropy(self.network(x), y)

        def taken(chosen: Any) -> Any:
            return evaluate(inputs[chosen], labels[chosen])

        function: Callable[..., Any] = taken if problem.resident else evaluate
        self.evaluate = function if wrap is None else wrap(function)

    def _optimizer(self) -> Any:
        import torch

        settings: dict[str, Any] = {"lr": self.problem.learning_rate, "betas": (BETA1, BETA2), "eps": EPSILON, "fused": True}
        settings["capturable"] = self.capturable
        if not self.problem.full:
            return torch.optim.Adam(self.parameters, **settings)
        groups = [
            {"params": [p for p in self.parameters if p.ndim == 2], "weight_decay": WEIGHT_DECAY},
            {"params": [p for p in self.parameters if p.ndim != 2], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, **settings)

    def _start(self, device: str) -> Iterator[Any]:
        """The common start, in the order of the parameters; large ones are turned around where that takes no time."""
        import torch

        given = {2: (w for w, _ in self.problem.start), 1: (b for _, b in self.problem.start)}
        of_linear = [p for layer in self.network if isinstance(layer, torch.nn.Linear) for p in layer.parameters()]
        linear = {id(p) for p in of_linear}
        for p in self.parameters:
            if id(p) in linear:
                value = torch.from_numpy(next(given[p.ndim])).to(device)
                yield value.T.contiguous() if p.ndim == 2 else value.clone()
            else:
                yield p.detach().clone()

    def reset(self) -> None:
        """The common start, states of the optimiser 0, minibatches from the first."""
        import torch

        with torch.no_grad():
            for parameter, value in zip(self.parameters, self.start, strict=True):
                parameter.copy_(value)
            for state in self.optimizer.state.values():
                for value in state.values():
                    value.zero_()
        self.turn = cycle(self.minibatches)

    def __call__(self) -> Any:
        return self.take(*next(self.turn))

    def take(self, *minibatch: Any) -> Any:
        """One step; its loss."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.evaluate(*minibatch)
        loss.backward()
        if self.problem.full:
            self.clip()
        self.optimizer.step()
        return loss.detach()

    def clip(self) -> None:
        """Scales the gradient to norm 1 where it is larger."""
        import torch

        torch.nn.utils.clip_grad_norm_(self.parameters, CLIP_NORM)


def captured(step: Callable[[], Any]) -> Callable[[], Any]:
    """The replay of a CUDA graph of what a call hands to the device, which is called three times before."""
    import torch

    beside: Any = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(beside)
    graph: Any = torch.cuda.CUDAGraph()
    # Threads of other libraries may go on meanwhile; else whatever they ask the device for would end the capture.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        step()
    replay: Callable[[], Any] = graph.replay
    return replay
