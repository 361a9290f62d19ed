"""A small problem that a small network learns in a few epochs, and steps on it."""

from __future__ import annotations

import numpy as np
import pytest
from search_cases import small_search

import fusedstep as fs


@pytest.fixture(params=("numpy", "numba"))
def backend(request):
    return request.param


@pytest.fixture
def data():
    """x [300, 5] and labels of 3 classes; rows 200 to 300 serve as validation."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 5)).astype(np.float32)
    return x, ((x[:, 0] + 0.5 * x[:, 1] > 0).astype(np.int64) + (x[:, 2] > 1))


@pytest.fixture
def validated(data):
    """Arguments of fit, with validation: 200 rows, 4 minibatches of 50."""
    x, y = data
    return {"x": x[:200], "y": y[:200], "validation": (x[200:], y[200:]), "batch_size": 50}


@pytest.fixture
def new_step():
    """(backend, optimizer, **options of mlp) -> a TrainStep of 5-16-3."""

    def make(backend="numpy", optimizer=None, seed=0, **options):
        model = fs.mlp([5, 16, 3], **options)
        return fs.TrainStep(model, fs.SoftmaxCrossEntropy(), optimizer or fs.SGD(0.1), seed=seed, backend=backend)

    return make


@pytest.fixture
def rates():
    """Makes a callback that notes the learning rate and the momentum of every step."""

    class Rates(fs.Callback):
        def __init__(self):
            self.lr, self.momentum = [], []

        def on_step_end(self, trainer, done, total):
            self.lr.append(trainer.step.lr)
            self.momentum.append(trainer.step.momentum)

    return Rates


@pytest.fixture(scope="session")
def found():
    """The result of the small search, without storage or interruption."""
    return small_search()
