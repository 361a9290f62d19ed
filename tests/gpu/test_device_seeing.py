"""D2, D3 and D4 on a device: statistics of layers and loss surfaces equal those of the reference backend."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends.conformance.tolerances import tolerance

pytestmark = pytest.mark.gpu


@pytest.fixture
def looked_at(gpu_backend):
    """The same training with callbacks on the reference backend and on the device."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((256, 12)).astype(np.float32)
    y = rng.integers(0, 3, 256)
    found = []
    for run in ("numpy", gpu_backend):
        inner = fs.Residual(fs.Linear(16, 16), fs.Sigmoid())
        model = fs.Sequential(fs.Linear(12, 32), fs.ReLU(), fs.Linear(32, 16), fs.Tanh(), inner, fs.Linear(16, 3))
        step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD(0.05), seed=1, backend=run)
        statistics, path = fs.LayerStatistics(every=2, data=(x, y)), fs.ParameterPath(every=2)
        history = fs.Trainer(step, [statistics, path]).fit(x, y, epochs=3, batch_size=64)
        found.append((step, statistics, path, history, x, y))
    return found


def test_d1_losses_of_minibatches_on_a_device(looked_at):
    (*_, reference, _, _), (*_, found, _, _) = looked_at
    assert tolerance("float32", "loss").allows(found.step_losses, reference.step_losses).all()


def test_d2_d3_statistics_on_a_device(looked_at):
    (_, reference, *_), (_, found, *_) = looked_at
    assert found.steps == reference.steps == [0, 2, 4, 6, 8, 10, 12]
    allowed = tolerance("float32", "parameter")
    for quantity in ("activation_mean", "activation_std", "gradient_mean", "gradient_std"):
        assert allowed.allows(found[quantity], reference[quantity]).all()
    for quantity in ("saturated", "dead"):
        np.testing.assert_allclose(found[quantity], reference[quantity], atol=0.001)


def test_d2_looking_does_not_wait_for_the_device(gpu_backend, monkeypatch):
    step = fs.TrainStep(fs.mlp([4, 8, 3]), fs.SoftmaxCrossEntropy(), fs.SGD(0.05), backend=gpu_backend)
    statistics = fs.LayerStatistics(every=1)
    inputs, targets = step.prepare(np.ones((8, 4), np.float32), np.zeros(8, np.int64))
    trainer = fs.Trainer(step, [statistics])
    trainer.minibatch = (inputs, targets)
    statistics.on_fit_begin(trainer)
    step.run(inputs, targets)
    waits = []
    for name in ("item", "to_numpy", "synchronize"):
        monkeypatch.setattr(type(gpu_backend), name, lambda *_, name=name: waits.append(name))
    statistics.on_step_end(trainer, 1, 1)
    assert waits == []
    monkeypatch.undo()
    assert np.isfinite(statistics["activation_std"]).all()


def test_d4_loss_surface_on_a_device(looked_at):
    surfaces = [fs.loss_surface(step, None, x, y, points=5) for step, _, _, _, x, y in looked_at]
    assert tolerance("float32", "parameter").allows(surfaces[1].values, surfaces[0].values).all()
    step, _, path, _, x, y = looked_at[1]
    surface = fs.loss_surface(step, None, x, y, path=path, points=3)
    np.testing.assert_allclose(surface.path[-1], [0.0, 0.0], atol=1e-6)
    reference = fs.loss_surface(looked_at[0][0], None, x, y, path=looked_at[0][2], points=2)
    np.testing.assert_allclose(np.abs(surface.path), np.abs(reference.path), atol=1e-2)
