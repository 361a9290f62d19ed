"""Curvature products and full-batch methods of the cuda backend under Numba's simulator, beside numpy."""

from __future__ import annotations

import os

import pytest

if os.environ.get("NUMBA_ENABLE_CUDASIM") != "1":
    pytest.skip("needs NUMBA_ENABLE_CUDASIM=1 before Numba is imported: run this folder alone", allow_module_level=True)

import numpy as np

import fusedstep as fs

rng = np.random.default_rng(2)
X, Y = rng.standard_normal((6, 3)), rng.integers(0, 2, 6)


def model() -> fs.Sequential:
    return fs.Sequential(fs.Linear(3, 3), fs.LayerNorm(3), fs.GELU(), fs.Linear(3, 2))


def test_c8_products_are_those_of_numpy() -> None:
    results = []
    for run in ("numpy", "cuda"):
        f = fs.Objective(model(), fs.SoftmaxCrossEntropy(0.1), X, Y, l2=0.1, backend=run)
        _, gradient = f.gradient()
        results.append([gradient, f.hessian_product(gradient), f.gauss_newton_product(gradient)])
    np.testing.assert_allclose(results[1], results[0], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("method", [fs.BFGS(), fs.LBFGS(), fs.HessianFree(cg_iterations=3, probes=2)], ids=repr)
def test_c9_methods_take_the_path_of_numpy(method) -> None:
    losses = []
    for run in ("numpy", "cuda"):
        result = fs.minimize(model(), fs.SoftmaxCrossEntropy(), X, Y, method, iterations=2, l2=0.1, backend=run)
        losses.append(result.history["loss"])
    assert losses[0][-1] < losses[0][0]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-9)


def test_b9_c9_pruned_weights_stay_zero_on_the_path_of_numpy() -> None:
    losses = []
    for run in ("numpy", "cuda"):
        pruned = model().initialize(0, run, "float64")
        fs.prune(fs.TrainStep(pruned, fs.SoftmaxCrossEntropy(), fs.SGD()), 0.4)
        result = fs.minimize(pruned, fs.SoftmaxCrossEntropy(), X, Y, fs.LBFGS(), iterations=2, l2=0.1)
        losses.append(result.history["loss"])
        assert fs.sparsity(pruned)["sparsity"] == 0.4
    assert losses[0][-1] < losses[0][0]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-9)
