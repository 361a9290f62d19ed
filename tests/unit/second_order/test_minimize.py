"""The loop: stopping rules, history, and that the model is never left worse than the best accepted point."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.errors import DtypeError, HyperparameterError, NonFiniteDataError, NonFiniteLossError, ShapeError
from fusedstep.framework.optimizers import FULL_BATCH, OPTIMIZERS

METHODS = {
    "Newton": fs.Newton(),
    "BFGS": fs.BFGS(),
    "LBFGS": fs.LBFGS(),
    "ConjugateGradient": fs.ConjugateGradient(),
    "HessianFree": fs.HessianFree(),
    "SteepestDescent": fs.SteepestDescent(),
}


def test_c9_every_full_batch_method_is_in_the_table():
    assert set(METHODS) == {name for name in FULL_BATCH if name in fs.__all__}
    assert not set(METHODS) & set(OPTIMIZERS)


@pytest.mark.parametrize("name", METHODS)
def test_c9_the_history_holds_what_the_model_went_through(name, backend, lab):
    problem = lab.classes(backend)
    seen = []

    def look(history):
        objective = fs.Objective(problem.model, problem.loss, problem.x, problem.y, l2=0.02)
        value, gradient = objective.gradient()
        seen.append((value, float(np.linalg.norm(gradient)), len(history)))

    result = fs.minimize(
        problem.model, problem.loss, problem.x, problem.y, METHODS[name], iterations=6, l2=0.02, callback=look
    )
    history = result.history
    assert history["epoch"] == [float(k) for k in range(result.iterations + 1)]
    assert [row[:2] for row in seen] == [pytest.approx(pair, rel=1e-12) for pair in zip(
        history["loss"], history["gradient_norm"], strict=True
    )]
    assert [row[2] for row in seen] == list(range(1, len(history) + 1))
    assert {"epoch", "loss", "gradient_norm", "step", "evaluations", "seconds"} <= set(history.columns)
    assert all(b > a for a, b in pairwise(history["evaluations"]))
    assert all(b <= a for a, b in pairwise(history["loss"]))
    assert history["evaluations"][-1] <= result.passes + result.products
    assert history.stopped_because == result.reason
    assert result.loss == min(history["loss"])
    assert all(set(row) == set(history.columns) for row in history)


@pytest.mark.parametrize("name", METHODS)
def test_c9_two_runs_give_the_same_bits(name, backend, lab):
    ends = []
    for _ in range(2):
        problem = lab.classes(backend)
        fs.minimize(problem.model, problem.loss, problem.x, problem.y, METHODS[name], iterations=4)
        ends.append(lab.found(problem.model))
    np.testing.assert_array_equal(*ends)


@pytest.mark.parametrize("name", METHODS)
def test_c9_all_backends_take_the_same_path(name, lab):
    # Conjugate gradients magnify rounding by every direction that has converged, so Hessian-free gets a few only.
    method = fs.HessianFree(cg_iterations=6) if name == "HessianFree" else METHODS[name]
    paths = []
    for run in ("numpy", "numba"):
        problem = lab.classes(run)
        result = fs.minimize(problem.model, problem.loss, problem.x, problem.y, method, iterations=4, l2=0.01)
        paths.append(result.history["loss"])
    np.testing.assert_allclose(paths[0], paths[1], rtol=1e-9)


def test_c9_it_stops_at_once_where_the_gradient_is_small(backend, lab):
    q = lab.least_squares(backend)
    fs.minimize(q.model, q.loss, q.x, q.y, fs.Newton())
    before = lab.found(q.model)
    result = fs.minimize(q.model, q.loss, q.x, q.y, fs.LBFGS())
    assert (result.iterations, result.converged) == (0, True)
    assert "at most 1e-06" in result.reason
    np.testing.assert_array_equal(lab.found(q.model), before)


def test_c9_it_stops_where_nothing_is_gained(backend, lab):
    q = lab.least_squares(backend)
    result = fs.minimize(q.model, q.loss, q.x, q.y, fs.LBFGS(), gradient_tolerance=0.0, progress_tolerance=1e-6)
    assert not result.converged
    assert "less than 1e-06 of itself in 5 iterations" in result.reason
    losses = result.history["loss"]
    assert all(a - b <= 1e-6 * a for a, b in pairwise(losses[-6:]))
    assert not all(a - b <= 1e-6 * a for a, b in pairwise(losses[-7:]))


def test_c9_a_run_to_the_end_of_precision_says_so(backend, lab):
    q = lab.least_squares(backend)
    result = fs.minimize(q.model, q.loss, q.x, q.y, fs.LBFGS(), gradient_tolerance=0.0, progress_tolerance=0.0)
    assert not result.converged
    assert "limit of the precision" in result.reason
    assert result.loss == pytest.approx(q.minimum, rel=1e-14)


def test_c9_the_best_point_is_kept_where_a_method_climbs(backend, lab):
    """A fixed step that is too long for a quadratic climbs from the second iteration on."""
    q = lab.least_squares(backend)
    before = lab.found(q.model)
    result = fs.minimize(q.model, q.loss, q.x, q.y, fs.SteepestDescent(fs.FixedStep(1.0)), iterations=5)
    losses = result.history["loss"]
    assert losses[-1] > losses[0]
    assert result.loss == min(losses) == losses[0]
    np.testing.assert_array_equal(lab.found(q.model), before)
    assert fs.Objective(q.model, q.loss, q.x, q.y).value() == pytest.approx(result.loss, rel=1e-14)


class Cliff(fs.MSE):
    """MSE that is NaN where the first output is above a limit."""

    def evaluate(self, y, targets, tape):
        rows, gradient = super().evaluate(y, targets, tape)
        if float(y[0, 0]) > 0.5:
            rows[0] = float("nan")
        return rows, gradient


@pytest.mark.parametrize("name", [n for n in METHODS if n not in ("Newton", "HessianFree", "ConjugateGradient")])
def test_c9_nan_on_the_way_is_stepped_around_and_named(name, backend):
    """The minimum, at an output of 2, lies behind a cliff at 0.5: it is approached, never crossed, and reported."""
    model = fs.Sequential(fs.Linear(1, 1, weight_init=0.1, bias=False)).initialize(0, backend, "float64")
    x, y = np.ones((1, 1)), np.full((1, 1), 2.0)
    result = fs.minimize(model, Cliff(), x, y, METHODS[name], iterations=60)
    assert not result.converged
    assert "was NaN or infinite at" in result.reason
    assert 0.45 < float(model(x)[0, 0]) <= 0.5
    assert result.loss == pytest.approx((2.0 - float(model(x)[0, 0])) ** 2)
    assert all(map(math.isfinite, result.history["loss"]))


def test_c9_a_start_that_is_not_finite_raises_and_changes_nothing(backend):
    model = fs.Sequential(fs.Linear(1, 1)).initialize(0, backend, "float64")
    model.parameters()["0.Linear.weight"][...] = 1e300
    before = np.array(model.arena.values)
    with pytest.raises(NonFiniteLossError, match="finite loss and gradient to start from; got inf"):
        fs.minimize(model, fs.MSE(), np.full((2, 1), 1e10), np.zeros((2, 1)), fs.LBFGS(), gradient_tolerance=0.0)
    np.testing.assert_array_equal(model.arena.values, before)


@pytest.mark.parametrize("name", METHODS)
def test_c9_an_interrupted_run_leaves_the_last_accepted_point(name, backend, lab, monkeypatch):
    """Ctrl-C in the middle of a trial must not leave the model on that trial."""
    problem = lab.classes(backend)
    accepted = []
    original = fs.Objective.gradient

    def interrupted(self, out=None):
        if len(accepted) == 3:
            raise KeyboardInterrupt
        return original(self, out)

    monkeypatch.setattr(fs.Objective, "gradient", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fs.minimize(
            problem.model, problem.loss, problem.x, problem.y, METHODS[name], l2=0.01,
            callback=lambda _: accepted.append(lab.found(problem.model)),
        )  # fmt: skip
    assert len(accepted) == 3
    np.testing.assert_array_equal(lab.found(problem.model), accepted[-1])


@pytest.mark.parametrize("name", METHODS)
def test_c9_a_train_step_names_the_right_call(name):
    with pytest.raises(HyperparameterError, match=rf"one minibatch.* got {name}.*fs\.minimize\(model, loss, x, y, fs\.{name}"):
        fs.TrainStep(fs.mlp([2, 2]), fs.MSE(), METHODS[name])


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"method": fs.Adam()}, HyperparameterError, "full-batch method such as fs.LBFGS"),
        ({"method": fs.LBFGS}, HyperparameterError, "did you forget"),
        ({"precision": "bfloat16"}, DtypeError, "curvature needs the digits"),
        ({"precision": "double"}, DtypeError, "float64"),
        ({"iterations": 0}, HyperparameterError, "iterations"),
        ({"l2": -0.1}, HyperparameterError, "l2"),
        ({"gradient_tolerance": -1.0}, HyperparameterError, "gradient_tolerance"),
        ({"progress_tolerance": math.nan}, HyperparameterError, "progress_tolerance"),
        ({"y": np.ones((3, 2))}, ShapeError, "one target for each"),
        ({"x": np.full((2, 2), math.nan)}, NonFiniteDataError, "NaN"),
        ({"model": fs.Sequential(fs.Linear(2, 2), fs.Dropout(0.5))}, HyperparameterError, "same at each call"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_c9_bad_arguments_are_refused(given, error, message):
    arguments = {"model": fs.mlp([2, 2]), "loss": fs.MSE(), "x": np.ones((2, 2)), "y": np.ones((2, 2)), "method": fs.LBFGS()}
    with pytest.raises(error, match=message):
        fs.minimize(**arguments | given, backend="numpy")


def test_c9_the_result_prints_in_one_line(lab):
    q = lab.least_squares()
    text = repr(fs.minimize(q.model, q.loss, q.x, q.y, fs.Newton()))
    assert text.startswith("Minimization(loss=")
    assert "converged=True" in text
    assert "\n" not in text
    assert repr(fs.LBFGS(5)).startswith("LBFGS(memory=5")
