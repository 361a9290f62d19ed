"""Trains two backends in lockstep, with the same network, data, masks and row order, and measures how far the results diverge.

Nothing is printed here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ...backends import Backend, Random
from ...backends import backend as find_backend
from ...backends.conformance.tolerances import tolerance
from ...errors import DtypeError, HyperparameterError
from ..engine.model import Sequential
from ..engine.step import TrainStep
from ..layers.activations import ELU, GELU, Sigmoid, SiLU, Tanh
from ..layers.dense import Linear
from ..layers.noise import Dropout, GaussianNoise
from ..layers.normalization import LayerNorm
from ..layers.residual import Residual
from ..losses import SoftmaxCrossEntropy
from ..optimizers.adaptive import AdamW
from ..streams import LAYER, SHUFFLE

TOLERANCES = {dtype: tolerance(dtype, "loss").rtol for dtype in ("float32", "float64")}
"""Relative tolerances of the losses."""

ROWS, COLUMNS, CLASSES, BATCH = 512, 24, 5, 64

WEIGHTS, MASKS, SHUFFLES = "initial weights", "random bits of dropout and noise", "shuffles"


class Row(NamedTuple):
    """One step: both losses, their relative difference, and the largest difference of a parameter with its name."""

    step: int
    losses: tuple[float, float]
    loss: float
    parameters: float
    name: str


class Lockstep:
    """Runs the steps when iterated over; afterwards `bits`, `worst_loss`, `worst_parameters` and `passed` are complete.

    Args: backend_a, backend_b – names; steps – >= 1; precision – "float32" or "float64"; seed.
    Raises: UnknownBackend, BackendUnavailable, DtypeError, HyperparameterError, before the first step.
    """

    def __init__(self, backend_a: str, backend_b: str, steps: int, precision: str, seed: int) -> None:
        if steps < 1:
            raise HyperparameterError(f"--steps: expected a whole number >= 1; got {steps}")
        if precision not in TOLERANCES:
            raise DtypeError(f"--precision: expected one of {', '.join(TOLERANCES)}; got {precision!r}")
        self.backends = (find_backend(backend_a), find_backend(backend_b))
        self.names = tuple(backend.name for backend in self.backends)
        self.count = steps
        self.precision = precision
        self.seed = seed
        self.steps = [
            TrainStep(_network(), SoftmaxCrossEntropy(0.05), _optimizer(), seed, backend, precision)
            for backend in self.backends
        ]
        self.random_layers = sum(isinstance(layer, Dropout | GaussianNoise) for layer in self.steps[0].model.walk())
        self.bits = {WEIGHTS: self._same_weights(), MASKS: True, SHUFFLES: True}
        self.worst_loss = 0.0
        self.worst_parameters = 0.0

    @property
    def description(self) -> str:
        """The size of the network and of the minibatches."""
        model = self.steps[0].model
        return f"{len(model.layers)} layers, {model.arena.count:,} parameters, minibatches of {BATCH} rows"

    @property
    def passed(self) -> bool:
        """Whether the losses stayed within the tolerance and all bits were the same."""
        return self.worst_loss <= TOLERANCES[self.precision] and all(self.bits.values())

    def __iter__(self) -> Iterator[Row]:
        x, y = _data(self.seed)
        per_epoch = ROWS // BATCH
        order = np.arange(ROWS)
        for done in range(self.count):
            if done % per_epoch == 0:
                order = self._shuffle(done // per_epoch)
            chosen = order[done % per_epoch * BATCH :][:BATCH]
            losses = [float(step(x[chosen], y[chosen])) for step in self.steps]
            self.bits[MASKS] &= self._same_bits(done + 1)
            apart, name = self._parameters_apart()
            row = Row(done + 1, (losses[0], losses[1]), relative(losses[0], losses[1]), apart, name)
            self.worst_loss = max(self.worst_loss, row.loss)
            self.worst_parameters = max(self.worst_parameters, row.parameters)
            yield row

    def _values(self) -> list[dict[str, Any]]:
        return [{name: step.backend.to_numpy(array) for name, array in step.model.parameters().items()} for step in self.steps]

    def _same_weights(self) -> bool:
        first, second = self._values()
        return all(first[name].tobytes() == second[name].tobytes() for name in first)

    def _shuffle(self, epoch: int) -> Any:
        """The row order of an epoch, as in Trainer."""
        first, second = (
            backend.to_numpy(backend.permutation(ROWS, Random(backend.random_state(self.seed, epoch), SHUFFLE)))
            for backend in self.backends
        )
        self.bits[SHUFFLES] &= bool(np.array_equal(first, second))
        return first

    def _same_bits(self, number: int) -> bool:
        """Whether all layers that draw random numbers get the same ones in this step."""
        for layer in range(self.random_layers):
            first, second = (self._drawn(backend, number, LAYER + layer) for backend in self.backends)
            if first.tobytes() != second.tobytes():
                return False
        return True

    def _drawn(self, backend: Backend, number: int, stream: int) -> Any:
        return backend.to_numpy(backend.random_bits(BATCH, 48, Random(backend.random_state(self.seed, number), stream)))

    def _parameters_apart(self) -> tuple[float, str]:
        first, second = self._values()
        apart = {name: relative(first[name], second[name]) for name in first}
        worst = max(apart, key=lambda name: apart[name])
        return apart[worst], worst if apart[worst] else ""


def relative(first: Any, second: Any) -> float:
    """max |a - b| / max |a|, and 0 where both are 0; infinite where one is not finite."""
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    difference, size = float(np.max(np.abs(first - second))), float(np.max(np.abs(first)))
    if not np.isfinite(difference):
        return float("inf")
    return difference / size if size > 0.0 else (0.0 if difference == 0.0 else float("inf"))


def _network() -> Sequential:
    # All activations are smooth. At a kink of ReLU, PReLU or Maxout, rounding would put a unit on different sides on the two
    # backends once in a few hundred steps, and the runs would diverge without any error.
    return Sequential(
        Linear(COLUMNS, 48), GELU(), Dropout(0.2),
        LayerNorm(48), Residual(Linear(48, 32), SiLU(), Dropout(0.1), Linear(32, 48)),
        Linear(48, 32), ELU(), GaussianNoise(0.05),
        Linear(32, 32), SiLU(), Linear(32, 24), Tanh(), Linear(24, 24), Sigmoid(), Linear(24, CLASSES),
    )  # fmt: skip


def _optimizer() -> AdamW:
    # With Adam's usual epsilon of 1e-8, the first step is the sign of the gradient even where the gradient is only a rounding
    # error, and this would hide real differences between the backends.
    return AdamW(3e-3, epsilon=1e-5, clip_norm=5.0)


def _data(seed: int) -> tuple[Any, Any]:
    """Overlapping Gaussian clusters, one or two per class, with linearly mixed columns."""
    rng = np.random.Generator(np.random.Philox(seed))
    centres = 1.5 * rng.standard_normal((2 * CLASSES, COLUMNS))
    cluster = rng.integers(0, 2 * CLASSES, ROWS)
    x = (centres[cluster] + rng.standard_normal((ROWS, COLUMNS))) @ rng.standard_normal((COLUMNS, COLUMNS))
    return (x - x.mean(axis=0)) / x.std(axis=0), cluster % CLASSES
