"""fusedstep's own step, as a user would call it, on one of its backends."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any, ClassVar

import numpy as np

from ...backends.threads import num_threads, set_num_threads
from ...framework.engine.model import Sequential, mlp
from ...framework.engine.step import TrainStep
from ...framework.losses import SoftmaxCrossEntropy
from ...framework.optimizers.adaptive import Adam, AdamW
from ..problem import BETA1, BETA2, CLIP_NORM, EPSILON, WEIGHT_DECAY, Problem
from ..team import blas_threads
from ..timing import Prepared
from .base import Contender, Missing, Where
from .resident import ResidentSteps


class Ours(Contender):
    """`step(x, y)` of a TrainStep, all checks of x and y included; the minibatches are arrays of the backend.

    On a GPU it is `step.run` on minibatches that `step.prepare` has checked once, as the Trainer calls it, because a check
    waits for the device. Where a problem's data are resident, steps are taken as the Trainer takes them, several in a launch
    where it does so: see resident.py.

    Args: backend – a Backend that works here; where – its clock; None for the host's; label – what is added to the name;
        parallel – of the TrainStep.
    """

    kind: ClassVar[str] = "ours"

    def __init__(
        self, backend: Any, where: Where | None = None, label: str = "", parallel: str | None = None
    ) -> None:  # fmt: skip
        self.backend, self.parallel = backend, parallel
        self.name = backend.name + label  # type: ignore[misc]
        self.device = backend.device
        self.where = where or Where(backend.device)

    def refuses(self, problem: Problem) -> Missing | None:
        """A backend has the precisions that it says it has."""
        known = self.backend.precisions
        if problem.precision in known:
            return None
        return Missing(f"backend {self.backend.name!r} has no {problem.precision} here; it has {', '.join(known)}")

    def version(self) -> str:
        """fusedstep's, with NumPy's or CuPy's."""
        from ... import __version__

        return f"fusedstep {__version__}, {self.backend.xp.__name__} {self.backend.xp.__version__}"

    def prepare(self, problem: Problem) -> Prepared:
        """A model with the common start, its TrainStep, and the data or the minibatches on the backend."""
        step = make_step(problem, self.backend, self.parallel)
        restart = restarter(step)
        take: Callable[[], Any]
        if problem.resident:
            steps = ResidentSteps(problem, step)
            take, begin, covers, refusal = steps, steps.begin, steps.covers, steps.refusal
            losses = lambda handle: [float(loss) for loss in handle]  # noqa: E731
        else:
            turns = Turns(problem, step)
            take, begin, covers, refusal = turns, turns.begin, 1, ""
            losses = lambda handle: [float(handle)]  # noqa: E731

        def reset() -> None:
            restart()
            begin()

        def finish(handle: Any) -> None:
            del handle
            self.backend.synchronize()

        notes: dict[str, Any] = {"step": step, "refusal": refusal}
        return Prepared(
            take, finish, reset, lambda: Threads(problem.threads), notes, self.where.clock, covers=covers, losses=losses
        )


def restarter(step: TrainStep) -> Callable[[], None]:
    """The function that gives a step its present parameters again, and an optimiser that has not yet taken a step."""
    values = step.model.arena.values
    start = values + 0.0

    def restart() -> None:
        step.backend.copy(start, values)
        for state in step.state.states.values():
            state[...] = 0.0
        step.state.t = 0

    return restart


class Turns:
    """Calls of a step on minibatches that lie ready, one after the other.

    Args: problem; step.
    """

    def __init__(self, problem: Problem, step: TrainStep) -> None:
        self.batches = on_backend(problem, step.backend)
        self.take: Callable[..., Any] = step
        if not step.backend.on_host:
            self.batches = [step.prepare(x, y) for x, y in self.batches]
            self.take = step.run
        self.begin()

    def begin(self) -> None:
        """From the first minibatch on."""
        self.turn = cycle(self.batches)

    def __call__(self) -> Any:
        """The loss of the next step."""
        return self.take(*next(self.turn))


class Threads:
    """Threads of BLAS and of the numba backend's steps, as long as the block lasts."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __enter__(self) -> None:
        self.before = num_threads()
        self.changes = self.before != self.count
        if self.changes:
            set_num_threads(self.count)
        self.blas = blas_threads(self.count)
        self.blas.__enter__()

    def __exit__(self, *error: object) -> None:
        self.blas.__exit__(None, None, None)
        if self.changes:
            set_num_threads(self.before)


def make_step(problem: Problem, backend: Any, parallel: str | None = None) -> TrainStep:
    """The step of a problem, its parameters set to the common start."""
    model = make_model(problem)
    model.initialize(problem.seed, backend, problem.dtype)
    set_parameters(model, problem)
    optimizer = (
        AdamW(problem.learning_rate, BETA1, BETA2, EPSILON, weight_decay=WEIGHT_DECAY, clip_norm=CLIP_NORM)
        if problem.full
        else Adam(problem.learning_rate, BETA1, BETA2, EPSILON)
    )
    return TrainStep(
        model, SoftmaxCrossEntropy(), optimizer, problem.seed, backend, problem.precision, parallel=parallel
    )  # fmt: skip


def make_model(problem: Problem) -> Sequential:
    """Linear and ReLU; or Linear, LayerNorm, GELU and Dropout; then Linear."""
    if problem.full:
        return mlp(problem.network.widths, "gelu", problem.dropped, layer_norm=True)
    return mlp(problem.network.widths, "relu", problem.dropped)


def set_parameters(model: Sequential, problem: Problem) -> None:
    """Gives a model the common start: weights and biases in the order of the layers."""
    values = {name: model.backend.to_numpy(array) for name, array in model.parameters().items()}
    for kind, given in (("weight", [w for w, _ in problem.start]), ("bias", [b for _, b in problem.start])):
        names = [name for name in values if name.rpartition(".")[2] == kind]
        values.update(zip(names, given, strict=True))
    model.load_parameters(values)


def on_backend(problem: Problem, backend: Any) -> list[tuple[Any, Any]]:
    """The minibatches as arrays of a backend: x in the problem's precision, labels int32."""
    return [(backend.asarray(x), backend.asarray(y.astype(np.int32))) for x, y in problem.minibatches]
