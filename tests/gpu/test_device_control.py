"""Schedules, early stopping and searches on a real device: the same rates, snapshots that never leave the device."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import fusedstep as fs

pytestmark = pytest.mark.gpu


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 5)).astype(np.float32)
    return x, ((x[:, 0] + 0.5 * x[:, 1] > 0).astype(np.int64) + (x[:, 2] > 1))


def _step(backend, optimizer, **options):
    return fs.TrainStep(fs.mlp([5, 16, 3], **options), fs.SoftmaxCrossEntropy(), optimizer, backend=backend)


@pytest.mark.parametrize("optimizer", [fs.Momentum(0.05), fs.Nesterov(0.05), fs.Nesterov(0.05, form="look_ahead")], ids=repr)
def test_c10_rate_and_momentum_schedules_follow_numpy(gpu_backend, optimizer, data):
    ends = []
    for run in ("numpy", gpu_backend):
        step = _step(run, optimizer)
        fs.Trainer(step, schedule=fs.OneCycle()).fit(*data, epochs=6, batch_size=50)
        ends.append(step.backend.to_numpy(step.model.arena.values))
    np.testing.assert_allclose(ends[1], ends[0], rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("restore_optimizer", [False, True])
def test_b11_early_stopping_restores_step_k_minus_p_bit_for_bit(gpu_backend, restore_optimizer, data):
    x, y = data
    saved = {}

    class Keep(fs.Callback):
        def on_epoch_end(self, trainer, row):
            saved[int(row["epoch"])] = copy.deepcopy(trainer.step)

    step = _step(gpu_backend, fs.Adam(0.05))
    stop = fs.EarlyStopping(4, restore_optimizer=restore_optimizer)
    history = fs.Trainer(step, [Keep(), stop]).fit(x[:60], y[:60], (x[200:], y[200:]), epochs=200, batch_size=20)
    then = saved[history.epochs - 4]
    to_host = gpu_backend.to_numpy
    np.testing.assert_array_equal(to_host(step.model.arena.values), to_host(then.model.arena.values))
    assert (step.steps == then.steps) == restore_optimizer


@pytest.mark.parametrize("search", [fs.find_learning_rate, fs.sweep_learning_rate], ids=lambda f: f.__name__)
def test_c11_a_search_leaves_the_step_as_it_was(gpu_backend, search, data):
    step = _step(gpu_backend, fs.Adam(0.02), dropout=0.2)
    float(step(*data))
    to_host = gpu_backend.to_numpy
    before = [to_host(a) for a in (step.model.arena.values, *step.state.states.values())]
    found = search(step, *data)
    assert 1e-4 < found.suggestion < 1
    assert (step.steps, step.lr) == (1, 0.02)
    for array, saved in zip((step.model.arena.values, *step.state.states.values()), before, strict=True):
        np.testing.assert_array_equal(to_host(array), saved)


def test_c11_a_rate_that_diverges_is_found_out_on_a_device(gpu_backend, data):
    x, y = data
    step = fs.TrainStep(fs.mlp([5, 16, 1]), fs.MSE(), fs.SGD(0.1), backend=gpu_backend)
    found = fs.find_learning_rate(step, x, y.astype(np.float32), rates=[0.01, 1e6])
    assert {t.rate: np.isinf(t.loss) for t in found.trials}[1e6]
    swept = fs.sweep_learning_rate(step, x, y.astype(np.float32), high=1e30, steps=30)
    assert len(swept.trials) < 30
