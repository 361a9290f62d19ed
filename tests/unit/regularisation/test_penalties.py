"""L2, decoupled decay and L1 as the notes write them, on losses whose minimum is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Lasso, Ridge

import fusedstep as fs

BACKENDS = ["numpy", "numba"]


def regression():
    """80 samples of 12 columns; three of them carry the answer."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(80, 12))
    y = x @ np.array([2.0, -1.5, 0.7, *[0.0] * 9]) + 0.1 * rng.normal(size=80)
    return x, y


def fitted(optimizer, backend, steps, bias=False):
    """Weights of a linear model after that many steps on the whole data, in float64."""
    x, y = regression()
    model = fs.Sequential(fs.Linear(12, 1, bias=bias, bias_init=0.5)).initialize(0, backend, "float64")
    step = fs.TrainStep(model, fs.MSE(), optimizer, backend=backend)
    for _ in range(steps):
        step(x, y)
    return {name: np.array(values) for name, values in model.parameters().items()}


@pytest.mark.parametrize("backend", BACKENDS)
def test_b7_l2_adds_alpha_theta_to_the_gradient_and_ends_where_ridge_regression_does(backend):
    x, y = regression()
    alpha = 0.4  # mean squared error + (alpha / 2) ||w||^2 is Ridge's sum of squares + N (alpha / 2) ||w||^2
    ridge = Ridge(alpha=len(x) * alpha / 2, fit_intercept=False).fit(x, y).coef_
    weights = fitted(fs.SGD(0.05, l2=alpha), backend, 400)["0.Linear.weight"][:, 0]
    np.testing.assert_allclose(weights, ridge, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("backend", BACKENDS)
def test_b7_one_step_of_l2_and_one_of_decay_follow_their_formulas(backend):
    x, y = regression()
    before = fitted(fs.SGD(0.1), backend, 0, bias=True)
    w, b = before["0.Linear.weight"], before["0.Linear.bias"]
    error = x @ w + b - y[:, None]
    derivative, offset = 2.0 * x.T @ error / len(x), 2.0 * error.mean(0)
    for name in ("l2", "weight_decay"):  # theta -= lr g + lr alpha theta is the same for plain gradient descent
        after = fitted(fs.SGD(0.1, **{name: 0.3}), backend, 1, bias=True)
        np.testing.assert_allclose(after["0.Linear.weight"], w - 0.1 * derivative - 0.1 * 0.3 * w, rtol=1e-12)
        np.testing.assert_allclose(after["0.Linear.bias"], b - 0.1 * offset, rtol=1e-12)  # exempt
    # Adam divides l2 by the size of the gradient; decay acts on the weight alone.
    after = fitted(fs.Adam(0.1, weight_decay=0.3, epsilon=1e-12), backend, 1)["0.Linear.weight"]
    w = fitted(fs.SGD(0.1), backend, 0)["0.Linear.weight"]
    derivative = 2.0 * x.T @ (x @ w - y[:, None]) / len(x)
    np.testing.assert_allclose(after, w - 0.1 * 0.3 * w - 0.1 * np.sign(derivative), rtol=1e-9)
    after = fitted(fs.Adam(0.1, l2=0.3, epsilon=1e-12), backend, 1)["0.Linear.weight"]
    np.testing.assert_allclose(after, w - 0.1 * np.sign(derivative + 0.3 * w), rtol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_b8_proximal_l1_ends_where_the_lasso_does_with_exact_zeros(backend):
    x, y = regression()
    beta = 0.5  # mean squared error + beta |w| is Lasso's 1/2 mean squared error + (beta / 2) |w|
    lasso = Lasso(alpha=beta / 2, fit_intercept=False, tol=1e-14, max_iter=100_000).fit(x, y).coef_
    weights = fitted(fs.SGD(0.1, l1=beta, l1_form="proximal"), backend, 500)["0.Linear.weight"][:, 0]
    np.testing.assert_allclose(weights, lasso, rtol=1e-7, atol=1e-9)
    assert 6 <= np.sum(weights == 0.0) <= 9
    np.testing.assert_array_equal(weights == 0.0, lasso == 0.0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_b8_the_subgradient_comes_near_zero_and_does_not_reach_it(backend):
    weights = fitted(fs.SGD(0.02, l1=0.5), backend, 500)["0.Linear.weight"][:, 0]
    proximal = fitted(fs.SGD(0.02, l1=0.5, l1_form="proximal"), backend, 500)["0.Linear.weight"][:, 0]
    zeros = proximal == 0.0
    assert zeros.sum() >= 6
    assert not np.any(weights == 0.0)
    assert np.abs(weights[zeros]).max() < 2 * 0.02 * 0.5 + 1e-9
    np.testing.assert_allclose(weights[~zeros], proximal[~zeros], atol=0.02)
