"""Hessian-free optimisation and the linear conjugate gradients inside it."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.errors import HyperparameterError
from fusedstep.framework.second_order.hessian_free import _row_squares
from fusedstep.framework.second_order.linear_solver import conjugate_gradients
from fusedstep.framework.second_order.vectors import Vectors
from fusedstep.framework.tables.bundled import read_bundled


class System:
    """A x = b with a positive definite A on the 7 used elements of an arena."""

    def __init__(self, backend, condition=100.0):
        model = fs.Sequential(fs.Linear(6, 1)).initialize(0, backend, "float64")
        self.arena, self.vectors = model.arena, Vectors(model.arena)
        self.used = np.concatenate([np.arange(*self.arena.ranges[p]) for p in self.arena.parameters])
        generator = np.random.default_rng(2)
        basis, _ = np.linalg.qr(generator.standard_normal((7, 7)))
        self.matrix = basis @ np.diag(np.geomspace(1.0, condition, 7)) @ basis.T
        self.b = self.flat(generator.standard_normal(7))
        self.products = 0

    def flat(self, values):
        out = self.arena.new()
        out[self.used] = values
        return out

    def product(self, v, out):
        self.products += 1
        out[self.used] = self.matrix @ v[self.used]

    def plain(self, r, out):
        out[...] = r

    def jacobi(self, r, out):
        out[self.used] = r[self.used] / np.diag(self.matrix)

    def model(self, x):
        x = x[self.used]
        return 0.5 * x @ self.matrix @ x - self.b[self.used] @ x

    def solve(self, start=None, precondition=None, **options):
        start = self.arena.new() if start is None else start
        return conjugate_gradients(
            self.product, self.b, start, precondition or self.plain, self.vectors, **{"iterations": 50, **options}
        )


@pytest.mark.parametrize("preconditioned", [False, True])
def test_c9_linear_cg_solves_in_as_many_iterations_as_there_are_unknowns(preconditioned, backend):
    system = System(backend)
    found = system.solve(precondition=system.jacobi if preconditioned else None, iterations=7, tolerance=0.0)
    solution = np.linalg.solve(system.matrix, system.b[system.used])
    assert found[-1].number == 7
    np.testing.assert_allclose(found[-1].x[system.used], solution, rtol=1e-9)
    assert system.products == 8  # one for the residual of the start


def test_c9_the_kept_iterates_carry_their_number_and_their_model(backend):
    system = System(backend)
    found = system.solve(iterations=7, tolerance=0.0)
    assert [k.number for k in found] == [1, 2, 3, 4, 5, 6, 7][: len(found)] or found[-1].number == 7
    for iterate in found:
        assert iterate.model == pytest.approx(system.model(iterate.x), rel=1e-10)
    models = [k.model for k in found]
    assert models == sorted(models, reverse=True)


def test_c9_iterates_are_kept_at_powers_of_the_spread(backend):
    """ceil-like spacing: 1, 2, 3, 4, 5, 7, 9, 11, … as 1.3^j passes whole numbers; and always the last one."""
    system = System(backend, condition=1e12)
    numbers = [k.number for k in system.solve(iterations=30, tolerance=0.0)]
    due = {int(np.ceil(1.3**j)) for j in range(30)}
    assert set(numbers) <= due | {numbers[-1]}
    assert len(numbers) < 20


def test_c9_cg_stops_by_relative_progress_of_the_model(backend):
    """It ends at the first i > k = max(10, i // 10) at which phi fell by less than k tolerance |phi| over k iterations."""
    system = System(backend, condition=1e8)
    end = system.solve(iterations=200, tolerance=5e-4)[-1]
    assert 13 <= end.number < 30, "not at once where it may end first"
    full = [system.model(system.solve(iterations=i, tolerance=0.0)[-1].x) for i in range(1, end.number + 1)]
    phi = [0.0, *full]
    stops = [i for i in range(11, len(phi)) if phi[i] < 0 and (phi[i] - phi[i - 10]) / phi[i] < 10 * 5e-4]
    assert stops[0] == end.number


def test_c9_a_warm_start_at_the_solution_stays_there(backend):
    system = System(backend)
    start = system.flat(np.linalg.solve(system.matrix, system.b[system.used]))
    wanted = start.copy()
    np.testing.assert_allclose(system.solve(start)[-1].x, wanted, rtol=1e-9, atol=1e-12)


def test_c9_a_start_without_residual_gives_the_start(backend):
    system = System(backend)
    system.b[...] = 0.0
    found = system.solve()
    assert [k.number for k in found] == [0]
    np.testing.assert_array_equal(found[0].x, 0.0)


def test_c9_hessian_free_finds_the_minimum_of_a_quadratic(backend, lab):
    q = lab.least_squares(backend)
    result = fs.minimize(q.model, q.loss, q.x, q.y, fs.HessianFree(), iterations=30)
    assert result.converged
    assert result.iterations <= 10
    np.testing.assert_allclose(lab.found(q.model), q.solution, rtol=1e-4, atol=1e-5)


def test_c9_damping_follows_the_rule_of_levenberg_and_marquardt(backend, lab):
    problem = lab.classes(backend, activation="sigmoid")
    history = fs.minimize(
        problem.model, problem.loss, problem.x, problem.y, fs.HessianFree(damping=1e-6), iterations=25, l2=1e-3,
        gradient_tolerance=0.0,
    ).history  # fmt: skip
    damping, seen = 1e-6, set()
    for row in history.rows[1:]:
        factor = 1.5 if row["rho"] < 0.25 else 1.0 / 1.5 if row["rho"] > 0.75 else 1.0
        damping *= factor
        assert row["damping"] == pytest.approx(damping, rel=1e-12)
        seen.add(factor)
    assert {1.5, 1.0 / 1.5} <= seen


def test_c9_signed_gradients_add_up_the_rows_with_their_signs(backend, lab):
    problem = lab.classes(backend)
    objective = fs.Objective(problem.model, problem.loss, problem.x, problem.y)
    signs = np.random.default_rng(0).standard_normal(60)
    out = objective.arena.new()
    objective.signed_gradient(signs, out)
    rows = row_gradients(problem)
    np.testing.assert_allclose(out, np.sign(signs) @ rows, rtol=1e-11, atol=1e-14)


def row_gradients(problem):
    """[rows, size]: each row's share of the gradient of the mean loss."""
    return np.array([
        fs.Objective(problem.model, problem.loss, problem.x[k : k + 1], problem.y[k : k + 1]).gradient()[1] / 60.0
        for k in range(60)
    ])  # fmt: skip


def test_c9_the_preconditioner_estimates_the_sum_of_squared_gradients(backend, lab):
    """Within its statistical error: with K probes the relative deviation of each element is about sqrt(2 / K)."""
    problem = lab.classes(backend)
    objective = fs.Objective(problem.model, problem.loss, problem.x, problem.y, l2=0.5)
    out = objective.arena.new()
    _row_squares(objective, out, 800, 1)
    expected = 60.0 * (row_gradients(problem) ** 2).sum(axis=0)
    used = np.concatenate([np.arange(*objective.arena.ranges[p]) for p in objective.arena.parameters])
    decays = np.concatenate([np.full(p.size, 0.5 * p.decays) for p in objective.arena.parameters])
    ratio = (out[used] - decays) / expected[used]
    assert abs(ratio.mean() - 1.0) < 0.02
    assert np.abs(ratio - 1.0).max() < 5.0 * np.sqrt(2.0 / 800.0)


def autoencoder():
    """Seven layers of weights with a code of 8, on 300 images of 8 x 8 pixels in [0, 1]."""
    images = np.asarray(read_bundled("digits").features.values, float)[:300] / 16.0
    return fs.mlp([64, 32, 16, 8, 16, 32, 64], activation="sigmoid"), images


@pytest.mark.exhaustive
def test_c9_hessian_free_beats_sgd_per_epoch_on_a_deep_autoencoder():
    """SGD stays on the plateau where every image is answered by the mean one; curvature leads off it."""
    epochs, losses = 15, {}
    for rate in (0.03, 0.1, 0.3, 1.0):
        model, images = autoencoder()
        step = fs.TrainStep(model, fs.BinaryCrossEntropy(), fs.SGD(rate), backend="numpy", precision="float64")
        fs.Trainer(step).fit(images, images, epochs=epochs, batch_size=50)
        losses[rate] = step.evaluate(images, images)["loss"]
    model, images = autoencoder()
    result = fs.minimize(model, fs.BinaryCrossEntropy(), images, images, fs.HessianFree(), epochs, backend="numpy")
    mean = images.mean(axis=0)
    plateau = float(-(images * np.log(mean + 1e-12) + (1 - images) * np.log(1 - mean + 1e-12)).sum(axis=1).mean())
    print(f"after {epochs} epochs: SGD {losses}, Hessian-free {result.loss:.2f}, the mean image {plateau:.2f}")
    assert min(losses.values()) > 0.99 * plateau
    assert result.loss < 0.9 * min(losses.values())


@pytest.mark.parametrize(
    "settings",
    [
        {"damping": 0.0}, {"cg_iterations": 0}, {"cg_tolerance": 0.0}, {"decay": 1.0}, {"exponent": 1.5}, {"exponent": -0.1},
        {"probes": 0}, {"damping": float("nan")},
    ],
    ids=repr,
)  # fmt: skip
def test_c9_impossible_settings_are_refused(settings):
    with pytest.raises(HyperparameterError, match=f"expected {next(iter(settings))}"):
        fs.HessianFree(**settings)
