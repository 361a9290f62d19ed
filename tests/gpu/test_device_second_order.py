"""Curvature products and full-batch methods on a real device, beside numpy."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs

pytestmark = pytest.mark.gpu

rng = np.random.default_rng(0)
X, Y = rng.standard_normal((200, 10)), rng.integers(0, 4, 200)


def objective(run, l2=0.01):
    model = fs.Sequential(
        fs.Linear(10, 12), fs.LayerNorm(12), fs.GELU(), fs.Residual(fs.Linear(12, 12), fs.Tanh()), fs.Maxout(12, 6),
        fs.PReLU(6), fs.Linear(6, 4),
    )  # fmt: skip
    return fs.Objective(model, fs.SoftmaxCrossEntropy(0.1, class_weights=[1.0, 2.0, 0.5, 1.0]), X, Y, l2=l2, backend=run)


def test_c8_products_are_those_of_numpy(gpu_backend):
    results = []
    for run in ("numpy", gpu_backend):
        f = objective(run)
        direction = f.backend.asarray(np.where(f.backend.to_numpy(f.parameters) != 0.0, 0.5, 0.0))
        products = (f.gradient()[1], f.hessian_product(direction), f.gauss_newton_product(direction))
        results.append([f.backend.to_numpy(p) for p in products])
    np.testing.assert_allclose(results[1], results[0], rtol=1e-10, atol=1e-12)


def test_c8_the_hessian_and_its_decomposition_are_those_of_numpy(gpu_backend):
    hessians = [f.backend.to_numpy(f.hessian()) for f in map(objective, ("numpy", gpu_backend))]
    np.testing.assert_allclose(hessians[1], hessians[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "method",
    [
        fs.Newton(), fs.BFGS(), fs.LBFGS(), fs.ConjugateGradient(), fs.HessianFree(cg_iterations=6),
        fs.SteepestDescent(fs.BestOf()),
    ],
    ids=lambda m: type(m).__name__,
)  # fmt: skip
def test_c9_every_method_takes_the_path_of_numpy(method, gpu_backend):
    losses = []
    for run in ("numpy", gpu_backend):
        model = fs.mlp([10, 8, 4], activation="tanh")
        result = fs.minimize(model, fs.SoftmaxCrossEntropy(), X, Y, method, iterations=4, l2=0.01, backend=run)
        losses.append(result.history["loss"])
    assert losses[0][-1] < losses[0][0]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-8)


@pytest.mark.parametrize("method", [fs.Newton(), fs.LBFGS(), fs.HessianFree(cg_iterations=6)], ids=lambda m: type(m).__name__)
def test_b9_c9_pruned_weights_stay_zero_on_the_path_of_numpy(method, gpu_backend):
    losses = []
    for run in ("numpy", gpu_backend):
        model = fs.mlp([10, 8, 4], activation="tanh").initialize(0, run, "float64")
        fs.prune(fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD()), 0.5)
        result = fs.minimize(model, fs.SoftmaxCrossEntropy(), X, Y, method, iterations=4, l2=0.01)
        losses.append(result.history["loss"])
        assert fs.sparsity(model)["sparsity"] == 0.5
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-8)
