"""Newton's method: one step on a quadratic, damping, saddles, and the refusal of what is too large."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.errors import HyperparameterError, NotDifferentiable, TooLarge


def test_c8_newton_reaches_the_minimum_of_a_quadratic_in_one_step(backend, lab):
    q = lab.least_squares(backend)
    result = fs.minimize(q.model, q.loss, q.x, q.y, fs.Newton())
    assert (result.iterations, result.converged) == (1, True)
    np.testing.assert_allclose(lab.found(q.model), q.solution, rtol=1e-11, atol=1e-12)
    assert result.loss == pytest.approx(q.minimum, rel=1e-13)
    assert result.products == q.count
    assert result.history["step"] == [0.0, 1.0]


@pytest.mark.parametrize("alpha", [0.1, 10.0, 1e6])
def test_c8_a_damped_step_is_the_one_of_the_formula(alpha, backend, lab):
    q = lab.least_squares(backend)
    objective = fs.Objective(q.model, q.loss, q.x, q.y)
    start, gradient, hessian = lab.found(q.model), np.empty(7), np.array(objective.hessian())
    objective.packing.pack(objective.gradient()[1], gradient)
    fs.minimize(q.model, q.loss, q.x, q.y, fs.Newton(damping=alpha), iterations=1)
    expected = start - np.linalg.solve(hessian + alpha * np.eye(7), gradient[:, None])
    np.testing.assert_allclose(lab.found(q.model), expected, rtol=1e-11, atol=1e-12)
    if alpha == 1e6:  # it turns into gradient descent with rate 1 / alpha
        np.testing.assert_allclose(lab.found(q.model) - start, -gradient[:, None] / alpha, rtol=1e-4)


def test_c8_newton_converges_quadratically_on_a_convex_problem(backend, lab):
    problem = lab.classes(backend, widths=(4, 3))
    result = fs.minimize(problem.model, problem.loss, problem.x, problem.y, fs.Newton(), l2=0.1, gradient_tolerance=1e-12)
    assert result.converged
    assert result.iterations <= 8
    norms = [n for n in result.history["gradient_norm"] if n > 1e-14]
    orders = [np.log(c / b) / np.log(b / a) for a, b, c in zip(norms[-4:], norms[-3:], norms[-2:], strict=False)]
    assert max(orders) > 1.8


def test_c8_newton_agrees_with_scipy_on_a_small_network(backend, lab):
    optimize = pytest.importorskip("scipy.optimize")
    problem = lab.classes(backend)
    objective = fs.Objective(problem.model, problem.loss, problem.x, problem.y, l2=0.05)
    packing, flat = objective.packing, objective.arena.new()
    start = lab.found(problem.model)[:, 0]
    result = fs.minimize(problem.model, problem.loss, problem.x, problem.y, fs.Newton(), l2=0.05, gradient_tolerance=1e-9)
    assert result.converged, result.reason
    end = lab.found(problem.model)[:, 0]

    def value(theta):
        packing.unpack(theta, flat)
        objective.parameters[...] = flat
        return objective.value()

    def gradient(theta):
        value(theta)
        out = np.empty(objective.count)
        packing.pack(objective.gradient()[1], out)
        return out

    # Networks have many minima, so SciPy starts near the one found: it must stay there.
    theirs = optimize.minimize(value, end + 1e-3 * (start - end), jac=gradient, method="BFGS", options={"gtol": 1e-9})
    np.testing.assert_allclose(end, theirs.x, rtol=0.0, atol=1e-6)
    assert result.loss == pytest.approx(theirs.fun, rel=1e-12)


def saddle(backend):
    """f(a, b) = (a b - 1)^2, with a saddle at 0 where H has the eigenvalues -2 and 2."""
    model = fs.Sequential(fs.Linear(1, 1, bias=False), fs.Linear(1, 1, bias=False)).initialize(0, backend, "float64")
    for value, array in zip((0.1, 0.05), model.parameters().values(), strict=True):
        array[...] = value
    return model, np.ones((1, 1)), np.ones((1, 1))


def test_c8_at_a_saddle_the_textbook_step_climbs_and_the_damped_one_does_not(backend):
    model, x, y = saddle(backend)
    pure = fs.minimize(model, fs.MSE(), x, y, fs.Newton(convexify=False, line_search=fs.FixedStep()), iterations=20)
    losses = pure.history["loss"]
    assert losses[1] > losses[0]
    assert losses[-1] == pytest.approx(1.0, abs=1e-12)  # the saddle
    assert pure.loss == min(losses)
    assert (float(model(x)[0, 0]) - 1.0) ** 2 == pytest.approx(pure.loss, rel=1e-12)
    model, x, y = saddle(backend)
    result = fs.minimize(model, fs.MSE(), x, y, fs.Newton())
    assert result.converged
    assert result.loss < 1e-12
    assert result.history["negative"][1] == 1.0
    assert result.history["damping"][1] > 1.9
    assert result.history["negative"][-1] == result.history["damping"][-1] == 0.0


def test_c8_an_uphill_step_is_not_taken_and_named(backend):
    model, x, y = saddle(backend)
    for value, array in zip((0.1, 0.1), model.parameters().values(), strict=True):
        array[...] = value
    result = fs.minimize(model, fs.MSE(), x, y, fs.Newton(convexify=False))
    assert result.iterations == 0
    assert "uphill" in result.reason
    assert [float(np.asarray(v).item()) for v in model.parameters().values()] == [0.1, 0.1]


def test_c8_directions_without_curvature_are_left_out(backend, lab):
    """Two equal columns: H is singular, the minimum is a line, and the step is the shortest one that reaches it."""
    q = lab.least_squares(backend)
    x = np.hstack([q.x, q.x[:, :1]])
    model = fs.Sequential(fs.Linear(7, 1)).initialize(0, backend, "float64")
    start = lab.found(model)
    result = fs.minimize(model, q.loss, x, q.y, fs.Newton())
    assert (result.iterations, result.converged) == (1, True)
    assert result.loss == pytest.approx(q.minimum, rel=1e-12)
    moved = lab.found(model) - start
    assert moved[0, 0] == pytest.approx(moved[6, 0], rel=1e-9)


def test_c8_newton_in_float32_comes_as_close_as_rounding_lets_it(backend, lab):
    q = lab.least_squares(backend)
    q.model.to(backend, "float32")
    result = fs.minimize(q.model, q.loss, q.x, q.y, fs.Newton(), iterations=5)
    np.testing.assert_allclose(lab.found(q.model), q.solution, rtol=1e-4, atol=1e-5)
    assert result.loss == pytest.approx(q.minimum, rel=1e-5)


def test_c8_a_network_that_is_too_large_is_refused_before_anything_changes():
    model = fs.mlp([784, 128, 10]).initialize(0, "numpy")
    before = np.array(model.arena.values)
    with pytest.raises(TooLarge, match=r"N = 101,770: 38\.6 GiB .* use fs\.LBFGS\(\) or fs\.HessianFree\(\)"):
        fs.minimize(model, fs.SoftmaxCrossEntropy(), np.ones((2, 784)), [0, 1], fs.Newton())
    np.testing.assert_array_equal(model.arena.values, before)
    with pytest.raises(TooLarge, match="at most 10 parameters"):
        fs.minimize(fs.mlp([4, 3]), fs.SoftmaxCrossEntropy(), np.ones((2, 4)), [0, 1], fs.Newton(max_parameters=10))


@pytest.mark.parametrize("method", [fs.Newton(), fs.HessianFree()], ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("loss", [fs.Hinge(), fs.MultiClassHinge()], ids=repr)
def test_c8_losses_without_curvature_are_refused(loss, method):
    with pytest.raises(NotDifferentiable, match=r"second derivative for (Newton|HessianFree); got .*Hinge"):
        fs.minimize(fs.mlp([2, 2]), loss, np.ones((2, 2)), [0, 1], method)


@pytest.mark.parametrize("settings", [{"damping": -1.0}, {"damping": "1"}, {"max_parameters": 0}, {"line_search": 0.1}])
def test_c8_impossible_settings_are_refused(settings):
    with pytest.raises(HyperparameterError):
        fs.Newton(**settings)
