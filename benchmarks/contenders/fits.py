"""Whole epochs with validation: fusedstep's Trainer, and the loops that experts write with other libraries.

A call trains the epochs of a Fit and returns the mean training loss and the validation loss of each.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import cycle
from typing import Any, ClassVar

import numpy as np

from ...framework.training.trainer import Trainer
from ..problem import Problem
from ..team import blas_threads
from ..timing import Prepared
from ..workloads import Fit
from .jax_peer import Jax, JaxSteps, settings
from .ours import Ours, Threads, make_step, restarter
from .sklearn_peer import Sklearn, SklearnStep
from .torch_eager import TorchEager, TorchStep

Array = Any


def _prepared(problem: Fit, fit: Callable[[], list[float]], reset: Callable[[], None], around: Any) -> Prepared:
    """A fit with all that its timing needs; its first epoch is timed as well."""
    return Prepared(fit, reset=reset, around=around, covers=problem.epochs, losses=list, untimed=0)


class OursFit(Ours):
    """`Trainer(step).fit(x, y, validation, epochs, batch_size)` on NumPy arrays, with all checks and conversions."""

    def prepare(self, problem: Problem) -> Prepared:
        """The TrainStep with the common start; each burst has a new Trainer."""
        assert isinstance(problem, Fit)
        step = make_step(problem, self.backend, self.parallel)
        restart = restarter(step)
        trainers: list[Trainer] = []

        def reset() -> None:
            restart()
            trainers[:] = [Trainer(step)]

        def fit() -> list[float]:
            history = trainers[0].fit(*problem.data, problem.held_out, problem.epochs, problem.network.batch)
            return [row[name] for row in history for name in ("loss", "val_loss")]

        prepared = _prepared(problem, fit, reset, lambda: Threads(problem.threads))
        prepared.notes["step"] = step
        return prepared


class TorchLoop(TorchEager):
    """A loop over the minibatches of an order with `index_select`, and the fused Adam step of TorchEager for each.

    Losses are added up as tensors, so that nothing waits for them within an epoch; the validation is one pass in
    `inference_mode`, for loss and accuracy.
    """

    def prepare(self, problem: Problem) -> Prepared:
        """Data and orders as tensors."""
        assert isinstance(problem, Fit)
        fit = self.fit(problem)
        return _prepared(problem, fit, fit.reset, super().prepared(fit.run, problem).around)

    def fit(self, problem: Fit) -> TorchFit:
        """The loop."""
        return TorchFit(problem)


class TorchFit:
    """The loop.

    Args: problem.
    """

    def __init__(self, problem: Fit) -> None:
        import torch

        self.problem = problem
        self.run = TorchStep(problem)
        self.x, self.y = map(torch.from_numpy, problem.data)
        self.held_out = [torch.from_numpy(array) for array in problem.held_out]
        self.orders = [torch.from_numpy(order) for order in problem.orders]
        self.rows = problem.network.batch
        self.reset()

    def reset(self) -> None:
        """The common start, and the first order."""
        self.run.reset()
        self.turn = cycle(self.orders)

    def __call__(self) -> list[float]:
        found: list[float] = []
        for _ in range(self.problem.epochs):
            found += self.epoch()
        return found

    def epoch(self) -> list[float]:
        """Its mean loss, and the validation loss after it."""
        import torch

        run, x, y = self.run, self.x, self.y
        total = torch.zeros((), dtype=x.dtype)
        run.network.train()
        for chosen in next(self.turn).split(self.rows):
            total += run.take(x.index_select(0, chosen), y.index_select(0, chosen))
        run.network.eval()
        with torch.inference_mode():
            held_out, labels = self.held_out
            logits = run.network(held_out)
            loss = torch.nn.functional.cross_entropy(logits, labels)
            float((logits.argmax(1) == labels).float().mean())
        return [float(total) / self.problem.steps, float(loss)]


class JaxEpochs(Jax):
    """One jit for a whole epoch: `lax.scan` over its minibatches, each gathered inside, parameters and states donated; another
    one for loss and accuracy of the validation rows.
    """

    name: ClassVar[str] = "jax-scan"

    def prepare(self, problem: Problem) -> Prepared:
        """Compiles nothing yet: the first call does."""
        assert isinstance(problem, Fit)
        around = partial(settings, problem, self.where.device)
        with around():
            fit = JaxFit(problem.but(launch=problem.steps))
        return _prepared(problem, fit, fit.reset, around)


class JaxFit(JaxSteps):
    """The epochs.

    Args: problem – a Fit all of whose steps are a launch.
    """

    problem: Fit

    def __init__(self, problem: Fit) -> None:
        import jax
        import jax.numpy as jnp

        super().__init__(problem)
        x, y = problem.held_out
        self.held_out = jnp.asarray(x, problem.dtype), jnp.asarray(y, "int32")
        self.evaluate = jax.jit(self._evaluate)

    def _indices(self) -> list[Any]:
        """The orders of the epochs."""
        import jax.numpy as jnp

        return [jnp.asarray(order.reshape(self.problem.steps, -1), "int32") for order in self.problem.orders]

    def _evaluate(self, parameters: Any, x: Any, y: Any) -> Any:
        import jax.numpy as jnp
        import optax

        logits = self._logits(parameters, x, None)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
        return loss, jnp.mean(jnp.argmax(logits, axis=1) == y)

    def __call__(self) -> list[float]:
        found: list[float] = []
        for _ in range(self.problem.epochs):
            losses = super().__call__()
            loss, accuracy = self.evaluate(self.parameters, *self.held_out)
            found += [float(np.asarray(losses).mean()), float(loss)]
            float(accuracy)
        return found


class SklearnLoop(Sklearn):
    """`MLPClassifier(solver="adam", alpha=0, batch_size=B, shuffle=True).partial_fit` on all rows, one epoch per call, then
    `predict_proba` of the validation rows, for loss and accuracy.

    Its shuffle is given the common order. Epsilon is added as Sklearn says, so only the training loss of the first epoch is
    compared.
    """

    def prepare(self, problem: Problem) -> Prepared:
        """The classifier, back at the common start."""
        assert isinstance(problem, Fit)
        fit = SklearnFit(problem)
        return _prepared(problem, fit, fit.reset, lambda: blas_threads(problem.threads))


class GivenOrder(np.random.RandomState):
    """Its `shuffle` gives the next one of the given orders.

    Args: orders.
    """

    def __init__(self, orders: list[Array]) -> None:
        super().__init__(0)
        self._turn = cycle(orders)

    def shuffle(self, x: Any) -> None:
        """See the class."""
        x[...] = next(self._turn)


class SklearnFit(SklearnStep):
    """The epochs.

    Args: problem.
    """

    problem: Fit

    def reset(self) -> None:
        """See SklearnStep; and the first order."""
        super().reset()
        self.network.set_params(shuffle=True, random_state=GivenOrder(self.problem.orders))

    def __call__(self) -> list[float]:
        network, (x, y) = self.network, self.problem.held_out
        found: list[float] = []
        for _ in range(self.problem.epochs):
            network.partial_fit(*self.problem.data)
            p = network.predict_proba(x)
            float(np.mean(p.argmax(axis=1) == y))
            found += [network.loss_, float(-np.log(p[np.arange(len(y)), y]).mean())]
        return found
