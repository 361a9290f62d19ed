"""Small trainings to look into, and a check that drawing leaves the caller's matplotlib alone."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs

BACKENDS = ("numpy", "numba")


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 6)).astype(np.float32)
    return x, (x[:, 0] + 0.5 * x[:, 1] > 0).astype(np.int64) + (x[:, 2] > 1)


@pytest.fixture
def make_step():
    def make(run="numpy", model=None, optimizer=None, **options):
        model = model or fs.mlp([6, 16, 12, 3])
        return fs.TrainStep(model, fs.SoftmaxCrossEntropy(), optimizer or fs.Adam(1e-2), seed=3, backend=run, **options)

    return make


@pytest.fixture
def untouched():
    """After the test matplotlib's settings and pyplot's list of figures are as they were."""
    mpl = pytest.importorskip("matplotlib")
    import matplotlib.pyplot as plt

    before = dict(mpl.rcParams)
    yield
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == []
