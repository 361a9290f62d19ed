"""Problems beside the single step: a whole training, a prediction, the start of a process, and steps and trainings by ranks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..framework.sources.order import permutation
from .gemms import GemmCase, blocks, products
from .networks import Network
from .problem import Problem

Array = Any

MINIBATCHES = 64
"""In an epoch, if the network does not state its rows."""
HELD_OUT = 4
"""One validation minibatch for so many training minibatches."""
EPOCHS, FLOP = 10, 1e10
"""Epochs of a call: that many, or as many as have about so many operations, but at least one."""
ORDERS = 16
"""Row orders that are used in turn."""


@dataclass(frozen=True)
class Fit(Problem):
    """Whole epochs: the rows in a new order, a step for each minibatch, then loss and accuracy of the validation rows.

    All contenders take the rows in the same order. Times are per epoch.
    """

    workload: ClassVar[str] = "fit"
    shared: ClassVar[tuple[str, ...]] = (*Problem.shared, "data", "held_out", "orders")

    @property
    def rows(self) -> int:
        """Rows of the training data."""
        return self.network.rows or MINIBATCHES * self.network.batch

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return self.rows // self.network.batch

    @property
    def held_out_rows(self) -> int:
        """Rows of the validation data, whole minibatches."""
        return max(1, self.steps // HELD_OUT) * self.network.batch

    @property
    def products(self) -> list[tuple[int, list[GemmCase]]]:
        """Of all steps of an epoch, and of the forward pass over the validation rows."""
        return [(self.steps, products(self.network)), *blocks(self.network, self.held_out_rows)]

    @property
    def epochs(self) -> int:
        """Of one call."""
        return max(1, min(EPOCHS, round(FLOP / self.flop)))

    @cached_property
    def data(self) -> tuple[Array, Array]:
        """The training rows: x [N, d], standard normal, and labels [N] int64, uniform."""
        return self._drawn(self.rows, 2)

    @cached_property
    def held_out(self) -> tuple[Array, Array]:
        """The validation rows, as `data`."""
        return self._drawn(self.held_out_rows, 4)

    def _drawn(self, rows: int, stream: int) -> tuple[Array, Array]:
        rng, widths = np.random.default_rng([self.seed, stream]), self.network.widths
        return rng.standard_normal((rows, widths[0]), np.float32).astype(self.dtype), rng.integers(0, widths[-1], rows)

    @cached_property
    def orders(self) -> list[Array]:
        """Row numbers [N] int64 of the first epochs, as a Trainer with this seed draws them."""
        return [permutation(self.rows, self.seed, epoch) for epoch in range(ORDERS)]

    @cached_property
    def minibatches(self) -> list[tuple[Array, Array]]:
        """Those of the first epoch."""
        x, y = self.data
        return [(x[chosen], y[chosen]) for chosen in self.orders[0].reshape(self.steps, -1)]


@dataclass(frozen=True)
class Prediction(Problem):
    """Probabilities of the classes for the rows of a minibatch, from a NumPy array to a NumPy array."""

    workload: ClassVar[str] = "predict"

    @property
    def products(self) -> list[tuple[int, list[GemmCase]]]:
        """Of the forward pass."""
        return blocks(self.network, self.rows)


@dataclass(frozen=True)
class Start(Problem):
    """A new process, to the loss of its first step."""

    workload: ClassVar[str] = "start"

    @property
    def products(self) -> list[tuple[int, list[GemmCase]]]:
        """They take no time to speak of."""
        return []


@dataclass(frozen=True)
class Ranks(Problem):
    """A step that several processes take together, each on its rows of the minibatch."""

    workload: ClassVar[str] = "ranks"
    ranked: ClassVar[bool] = True


@dataclass(frozen=True)
class RanksFit(Fit):
    """Whole epochs of several processes."""

    workload: ClassVar[str] = "ranks-fit"
    ranked: ClassVar[bool] = True


WORKLOADS: dict[str, type[Problem]] = {kind.workload: kind for kind in (Problem, Fit, Prediction, Start, Ranks, RanksFit)}


def problem(workload: str, network: Network, variant: str, precision: str, threads: int) -> Problem:
    """The problem of a workload for one network."""
    if not issubclass(WORKLOADS[workload], Fit):
        network = replace(network, rows=0)
    dropout = 0.1 if workload == "start" else None
    return WORKLOADS[workload](network, variant, precision, threads, dropout)
