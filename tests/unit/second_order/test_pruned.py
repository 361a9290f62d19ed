"""Full-batch methods on pruned models: what was pruned stays 0 to the bit, and the rest finds its own minimum."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs

METHODS = [
    fs.Newton(),
    fs.Newton(damping=0.1),
    fs.BFGS(),
    fs.LBFGS(),
    fs.ConjugateGradient(),
    fs.HessianFree(),
    fs.SteepestDescent(),
]


def pruned(problem, share=0.5):
    """The problem with that share of its weights removed; where they were, in the order of `lab.found`."""
    fs.prune(fs.TrainStep(problem.model, problem.loss, fs.SGD()), share)
    masks = problem.model.masks()
    return np.concatenate([
        np.reshape(masks[name] == 0.0 if name in masks else np.zeros(values.shape, bool), -1)
        for name, values in problem.model.parameters().items()
    ])


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_b9_c9_pruned_weights_stay_zero_and_the_others_learn(method, backend, lab):
    problem = lab.classes(backend)
    zeros = pruned(problem)
    result = fs.minimize(problem.model, problem.loss, problem.x, problem.y, method, iterations=8, l2=0.01)
    after = lab.found(problem.model)
    assert zeros.any()
    np.testing.assert_array_equal(after[zeros], 0.0)
    assert result.loss < 0.9 * result.history["loss"][0]


@pytest.mark.parametrize("method", METHODS[:1] + METHODS[2:6], ids=repr)
def test_b9_c9_the_minimum_is_that_of_the_weights_that_are_left(method, backend, lab):
    problem = lab.least_squares(backend)
    zeros = pruned(problem)
    assert zeros.sum() == 3  # of 6 weights; the bias is never pruned
    design = np.hstack([problem.x, np.ones((len(problem.x), 1))])[:, ~zeros]
    solution, (squares,), *_ = np.linalg.lstsq(design, problem.y, rcond=None)
    result = fs.minimize(problem.model, problem.loss, problem.x, problem.y, method, gradient_tolerance=1e-6)
    assert result.converged, result.reason
    assert result.loss == pytest.approx(squares / len(problem.x), rel=1e-12)
    np.testing.assert_allclose(lab.found(problem.model)[~zeros], solution, rtol=1e-6)
    np.testing.assert_array_equal(lab.found(problem.model)[zeros], 0.0)
    if isinstance(method, fs.Newton):
        assert result.iterations == 1


def test_b9_c8_the_hessian_is_that_of_the_weights_that_are_left(backend, lab):
    full = lab.classes(backend)
    zeros = pruned(full)
    same = lab.classes(backend)
    same.model.load_parameters(full.model.parameters())  # the same point, where nothing is pruned
    for name in ("hessian", "gauss_newton"):
        found, whole = (np.array(getattr(fs.Objective(p.model, p.loss, p.x, p.y, l2=0.1), name)()) for p in (full, same))
        np.testing.assert_allclose(found[np.ix_(~zeros, ~zeros)], whole[np.ix_(~zeros, ~zeros)], rtol=1e-12, atol=1e-14)
        assert np.abs(whole[zeros]).max() > 0.0
        np.testing.assert_array_equal(found[zeros], 0.0)
        np.testing.assert_array_equal(found[:, zeros], 0.0)


def test_b9_d4_the_slice_of_the_loss_leaves_pruned_weights_at_zero(backend, lab):
    problem = lab.classes(backend)
    zeros = pruned(problem, 0.7)
    surface = fs.loss_surface(problem.model, problem.loss, problem.x, problem.y, points=3)
    point = np.concatenate([np.reshape(v, -1) for v in surface.point(0.3, -0.8).values()])
    np.testing.assert_array_equal(point[zeros], 0.0)
    assert np.isfinite(surface.values).all()
    assert np.any(point[~zeros] != lab.found(problem.model)[~zeros, 0])
