"""Pruning, augmentation and convolutions on a real device, beside numpy."""

import numpy as np
import pytest

import fusedstep as fs

pytestmark = pytest.mark.gpu

rng = np.random.default_rng(2)
X, Y = rng.standard_normal((64, 16)).astype(np.float32), rng.integers(0, 3, 64)


def cnn():
    return fs.Sequential(
        fs.Conv2d(1, 8, 3, padding=1, image=(4, 4)), fs.ReLU(), fs.MaxPool2d(2, 1), fs.Conv2d(8, 4, 2), fs.Tanh(), fs.Flatten(),
        fs.Linear(16, 3),
    )  # fmt: skip


def host(step):
    return step.backend.to_numpy(step.model.arena.values)


@pytest.mark.parametrize("kind", [fs.Adam, fs.Momentum, fs.LAMB])
def test_b9_a_pruned_cnn_trains_as_on_numpy_and_keeps_its_zeros(kind, gpu_backend):
    runs = []
    for name in ("numpy", gpu_backend.name):
        step = fs.TrainStep(cnn(), fs.SoftmaxCrossEntropy(), kind(1e-2, clip_norm=0.5), seed=3, backend=name)
        losses = [float(step(X, Y)) for _ in range(2)]
        fs.prune(step, 0.5)
        gone = step.backend.to_numpy(step.model.arena.mask) == 0.0
        losses += [float(step(X, Y)) for _ in range(10)]
        assert gone.sum() > 100
        assert np.all(host(step)[gone] == 0.0)
        runs.append(losses)
    np.testing.assert_allclose(runs[1], runs[0], rtol=1e-4)


def test_b10_minibatches_are_augmented_as_on_numpy(gpu_backend):
    runs = []
    for name in ("numpy", gpu_backend.name):
        step = fs.TrainStep(cnn(), fs.SoftmaxCrossEntropy(), fs.SGD(0.1), seed=3, backend=name)
        augment = [fs.InputNoise(0.1), fs.FeatureMasking(0.2), fs.Mixup(0.5)]
        history = fs.Trainer(step, augment=augment).fit(X, Y, epochs=3, batch_size=24)
        runs.append((history["loss"], host(step)))
    np.testing.assert_allclose(runs[1][0], runs[0][0], rtol=1e-4)
    np.testing.assert_allclose(runs[1][1], runs[0][1], rtol=1e-3, atol=1e-4)


def test_b12_members_are_trained_one_after_another(gpu_backend):
    bagging = fs.Bagging(lambda d: fs.mlp([d, 8, 3]), fs.SoftmaxCrossEntropy(), members=3, backend=gpu_backend.name)
    bagging.fit(X, Y, epochs=2, batch_size=16)
    assert 0.0 < bagging.out_of_bag["error"] < 1.0
    with pytest.raises(fs.HyperparameterError, match="n_jobs=1"):
        fs.Bagging(lambda d: fs.mlp([d, 8, 3]), fs.SoftmaxCrossEntropy(), backend=gpu_backend.name, n_jobs=2)
