"""BFGS, L-BFGS and nonlinear conjugate gradients: quadratics in about n steps, and SciPy's end point."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.errors import HyperparameterError, TooLarge
from fusedstep.framework.second_order.lbfgs import _multiply, _Pair
from fusedstep.framework.second_order.vectors import Vectors

NEARLY_EXACT = fs.StrongWolfe(c1=1e-6, c2=1e-3)
"""Termination in n steps is a theorem about exact line searches."""


@pytest.mark.parametrize(
    "method", [fs.BFGS(NEARLY_EXACT), fs.LBFGS(line_search=NEARLY_EXACT), fs.LBFGS(100, NEARLY_EXACT)], ids=repr
)
@pytest.mark.parametrize("seed", range(5))
def test_c9_a_quadratic_takes_n_and_a_few_more_steps(method, seed, backend, lab):
    q = lab.least_squares(backend, seed=seed)
    result = fs.minimize(q.model, q.loss, q.x, q.y, method)
    assert result.converged
    assert result.iterations <= q.count + 4
    np.testing.assert_allclose(lab.found(q.model), q.solution, rtol=1e-5, atol=1e-6)
    assert result.loss == pytest.approx(q.minimum, rel=1e-12)


@pytest.mark.parametrize("beta", fs.ConjugateGradient.BETAS)
@pytest.mark.parametrize("seed", range(5))
def test_c9_conjugate_gradients_take_n_steps_on_a_quadratic(beta, seed, backend, lab):
    q = lab.least_squares(backend, seed=seed)
    result = fs.minimize(q.model, q.loss, q.x, q.y, fs.ConjugateGradient(beta), gradient_tolerance=1e-7)
    assert result.converged
    assert result.iterations <= q.count
    assert result.history["restart"][1:] == [1.0] + [0.0] * (result.iterations - 1)
    np.testing.assert_allclose(lab.found(q.model), q.solution, rtol=1e-6, atol=1e-7)


def test_c9_successive_directions_are_conjugate_on_a_quadratic(backend, lab):
    """<p_k, H p_j> = 0: the condition of the notes."""
    q = lab.least_squares(backend)
    hessian = np.array(fs.Objective(q.model, q.loss, q.x, q.y).hessian())
    points = []
    fs.minimize(
        q.model, q.loss, q.x, q.y, fs.ConjugateGradient(), iterations=6, callback=lambda _: points.append(lab.found(q.model))
    )
    steps = np.diff(np.hstack(points), axis=1)
    steps /= np.sqrt(np.einsum("ik,ij,jk->k", steps, hessian, steps))
    gram = steps.T @ hessian @ steps
    np.testing.assert_allclose(gram, np.eye(6), atol=1e-7)


METHODS = [
    fs.BFGS(), fs.BFGS(NEARLY_EXACT), fs.LBFGS(), fs.LBFGS(3), fs.ConjugateGradient(), fs.ConjugateGradient("fletcher_reeves"),
]  # fmt: skip


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_c9_the_end_point_is_that_of_scipy(method, backend, lab):
    """Softmax regression with a penalty: strictly convex but for the biases, so that there is one minimum to agree on."""
    optimize = pytest.importorskip("scipy.optimize")
    problem = lab.classes(backend, widths=(4, 3))
    objective = fs.Objective(problem.model, problem.loss, problem.x, problem.y, l2=0.05)
    start, flat = lab.found(problem.model)[:, 0], objective.arena.new()

    def value(theta):
        objective.packing.unpack(theta, flat)
        objective.parameters[...] = flat
        result, gradient = objective.gradient()
        packed = np.empty(objective.count)
        objective.packing.pack(gradient, packed)
        return result, packed

    name, options = ("BFGS", {}) if isinstance(method, fs.BFGS) else ("L-BFGS-B", {"ftol": 0.0})
    theirs = optimize.minimize(value, start, jac=True, method=name, options={"gtol": 1e-9, **options})
    value(start)
    result = fs.minimize(
        problem.model, problem.loss, problem.x, problem.y, method, iterations=300, l2=0.05, gradient_tolerance=1e-8,
        progress_tolerance=0.0,
    )  # fmt: skip
    assert result.converged, result.reason
    assert result.loss == pytest.approx(theirs.fun, rel=1e-13)
    np.testing.assert_allclose(lab.found(problem.model)[:, 0], theirs.x, rtol=0.0, atol=2e-6)


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_c9_a_network_is_trained_to_a_stationary_point(method, backend, lab):
    problem = lab.classes(backend)
    result = fs.minimize(
        problem.model, problem.loss, problem.x, problem.y, method, iterations=400, l2=0.01, gradient_tolerance=1e-5
    )
    assert result.converged, result.reason
    losses = result.history["loss"]
    assert losses[-1] < 0.6 * losses[0]
    assert all(b < a for a, b in pairwise(losses))


def test_c9_the_two_loop_recursion_is_the_matrix_of_bfgs(backend, lab):
    """Against B built by the textbook's product of matrices, from the same pairs."""
    model = fs.Sequential(fs.Linear(3, 2)).initialize(0, backend, "float64")
    arena = model.arena
    generator = np.random.default_rng(1)
    used = np.concatenate([np.arange(*arena.ranges[p]) for p in arena.parameters])
    pairs, n = [], len(used)
    for _ in range(3):
        s, y = generator.standard_normal((2, n))
        y = y if s @ y > 0 else -y
        flat = np.zeros((2, arena.size))
        flat[:, used] = s, y
        pairs.append(_Pair(*flat, s @ y, y @ y))
    matrix = np.eye(n) * pairs[-1].curvature / pairs[-1].squares
    for pair in pairs:
        s, y = pair.s[used], pair.y[used]
        left = np.eye(n) - np.outer(s, y) / (s @ y)
        matrix = left @ matrix @ left.T + np.outer(s, s) / (s @ y)
    x = np.zeros(arena.size)
    x[used] = generator.standard_normal(n)
    expected = matrix @ x[used]
    _multiply(x, pairs, Vectors(arena))
    np.testing.assert_allclose(x[used], expected, rtol=1e-11, atol=1e-12)


def test_c9_lbfgs_and_bfgs_walk_together_while_all_pairs_are_remembered(backend, lab):
    """BFGS scales its first matrix once and L-BFGS by the newest pair, so the first two points are the same."""
    walks = []
    for method in (fs.BFGS(), fs.LBFGS(50)):
        problem = lab.classes(backend)
        points = []
        fs.minimize(
            problem.model, problem.loss, problem.x, problem.y, method, iterations=2,
            callback=lambda _, m=problem.model, p=points: p.append(lab.found(m)),
        )  # fmt: skip
        walks.append(points)
    np.testing.assert_allclose(walks[0], walks[1], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("method", [fs.LBFGS(), fs.ConjugateGradient(), fs.BFGS()], ids=repr)
def test_c9_float32_is_allowed(method, backend, lab):
    q = lab.least_squares(backend)
    q.model.to(backend, "float32")
    result = fs.minimize(q.model, q.loss, q.x, q.y, method, gradient_tolerance=0.0)
    assert not result.converged
    assert result.loss == pytest.approx(q.minimum, rel=1e-4)
    np.testing.assert_allclose(lab.found(q.model), q.solution, rtol=2e-2, atol=2e-3)


def test_c9_memory_of_lbfgs_does_not_grow(lab):
    """A pair's arrays are used again once `memory` pairs are held."""
    problem = lab.classes("numpy")
    made = []
    objective = fs.Objective(problem.model, problem.loss, problem.x, problem.y)
    arena = type(objective.arena)
    original = arena.new
    arena.new = lambda self: (made.append(1), original(self))[1]
    try:
        counts = []
        for iterations in (5, 60):
            made.clear()
            problem = lab.classes("numpy")
            fs.minimize(
                problem.model, problem.loss, problem.x, problem.y, fs.LBFGS(4), iterations, gradient_tolerance=0.0, l2=0.01
            )
            counts.append(len(made))
    finally:
        arena.new = original
    assert counts[0] == counts[1]


def test_c9_bfgs_refuses_a_matrix_that_is_too_large():
    with pytest.raises(TooLarge, match=r"matrix of BFGS.*N = 101,770.*6 N\^2\) to update it"):
        fs.minimize(fs.mlp([784, 128, 10]), fs.SoftmaxCrossEntropy(), np.ones((2, 784)), [0, 1], fs.BFGS())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fs.LBFGS(memory=0), "memory"),
        (lambda: fs.LBFGS(memory=2.5), "memory"),
        (lambda: fs.BFGS(max_parameters=0), "max_parameters"),
        (lambda: fs.BFGS(line_search="wolfe"), "line search"),
        (lambda: fs.ConjugateGradient("hestenes"), "polak_ribiere"),
        (lambda: fs.ConjugateGradient(restart_after=0), "restart_after"),
        (lambda: fs.ConjugateGradient(overlap=0.0), "overlap"),
    ],
)
def test_c9_impossible_settings_are_refused(make, message):
    with pytest.raises(HyperparameterError, match=message):
        make()
