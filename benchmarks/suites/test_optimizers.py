"""The update of a million parameters, in one kernel call, by each optimiser."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.benchmarks.timing import Prepared
from fusedstep.framework.optimizers import OPTIMIZERS


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer(measure, backend, name):
    model = fs.Sequential(fs.Linear(1000, 999)).initialize(0, backend)
    gradient = backend.asarray(1e-3 * np.random.default_rng(0).standard_normal(model.arena.size).astype("float32"))
    state = OPTIMIZERS[name]().bind(model.arena)
    squares = backend.sum_of_squares(gradient)

    def update():
        state.begin()
        state.apply(gradient, squares)

    # Reads theta, the gradient and the states, writes all but the gradient.
    moved = 4 * model.arena.size * (3 + 2 * len(state.states))
    measure(Prepared(update, lambda _: backend.synchronize()), bytes=moved)
