"""Hessian and Gauss-Newton products of every layer and loss, against differences of the gradient and explicit J^T H J."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends import Backend
from fusedstep.backends import backend as find
from fusedstep.backends.forward_mode.backend import DualBackend
from fusedstep.errors import HyperparameterError, NotDifferentiable, ShapeError, TooLarge
from fusedstep.framework.engine.arena import Arena
from fusedstep.framework.engine.tape import Tape
from fusedstep.framework.layers import LAYERS
from fusedstep.framework.layers.activations import _Elementwise
from fusedstep.framework.layers.noise import Dropout, GaussianNoise
from fusedstep.framework.losses import LOSSES

RANDOM = {"Dropout", "GaussianNoise", "Residual"}
"""Names in the table of layers that hold dropout or noise there; Residual is tested here without."""


def checked_product(objective, direction, lab):
    """H v by differences of the analytic gradient."""
    start = np.array(objective.parameters)

    def gradient(offset):
        objective.parameters[...] = start + offset * direction
        return np.array(objective.gradient()[1])

    numeric = lab.difference(gradient)
    objective.parameters[...] = start
    return numeric


def chains(lab):
    layers, _ = lab.tables()
    made = {name: make for name, make in layers.items() if name not in RANDOM}
    made["Residual"] = lambda: [fs.Residual(fs.Linear(6, 4), fs.Tanh(), fs.Linear(4, 6))]
    return made


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(3).standard_normal((5, 6))


def problem_around(layers, x, backend, l2=0.0):
    """The layers between two Linear ones, so that their input moves as well, under a loss with curvature; codes do not move."""
    inner = fs.Sequential(*layers)
    width = inner.output_width(6)
    coded = layers[0].coded_columns
    for column, codes in coded.items():
        x = x.copy()
        x[:, column] = np.arange(len(x)) % codes
    model = fs.Sequential(*([] if coded else [fs.Linear(6, 6)]), *layers, fs.Linear(width, 3))
    targets = np.random.default_rng(0).integers(0, 3, len(x))
    return fs.Objective(model, fs.SoftmaxCrossEntropy(), x, targets, l2=l2, seed=2, backend=backend)


@pytest.mark.parametrize("name", sorted(set(LAYERS) - {"Dropout", "GaussianNoise"}))
def test_c8_hessian_products_of_every_layer_agree_with_differences_of_the_gradient(name, backend, x, lab):
    objective = problem_around(chains(lab)[name](), x, backend, l2=0.1)
    direction = lab.random_direction(objective)
    exact = objective.hessian_product(direction)
    numeric = checked_product(objective, direction, lab)
    assert np.linalg.norm(exact) > 0.1
    np.testing.assert_allclose(exact, numeric, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", sorted(set(LAYERS) - {"Dropout", "GaussianNoise"}))
def test_a12_the_jvp_of_every_layer_is_the_tangent_of_its_forward_pass(name, backend, x, lab):
    objective = problem_around(chains(lab)[name](), x, backend)
    direction = lab.random_direction(objective)
    tape = Tape(objective.arena, gradients=objective.arena.new(), tangents=direction)
    tape.begin(len(x))
    y, dy = objective.chain.jvp(objective.inputs, None, tape)

    start = np.array(objective.parameters)

    def outputs(offset):
        objective.parameters[...] = start + offset * direction
        return np.array(objective.model(objective.inputs))

    numeric = lab.difference(outputs)
    objective.parameters[...] = start
    np.testing.assert_allclose(y, outputs(0.0), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(dy, numeric, rtol=1e-7, atol=1e-9)




def loss_cases(lab):
    return [(loss, outputs, targets) for cases in lab.tables()[1].values() for loss, outputs, targets in cases]


def test_c9_the_curvature_of_every_loss_agrees_with_differences_of_its_gradient(lab):
    """H_L u at the outputs themselves; symmetric, positive semi-definite for convex losses, 0 for the piecewise linear ones."""
    native = find("numpy")
    dual = DualBackend(native)
    cases = loss_cases(lab)
    assert {type(loss).__name__ for loss, _, _ in cases} == set(LOSSES)
    for loss, outputs, targets in cases:
        prepared = loss.prepare(targets, outputs.shape[1], native, "float64")
        size = outputs.size
        matrix, numeric = np.empty((size, size)), np.empty((size, size))
        for k in range(size):
            unit = np.zeros(size)
            unit[k] = 1.0
            unit = unit.reshape(outputs.shape)
            tape = Tape(Arena([], native, "float64"), backend=dual)
            tape.begin(len(outputs))
            _, derivative = loss.evaluate(dual.pair(outputs.copy(), unit), dual.pair(prepared), tape)
            matrix[k] = derivative.tangent.ravel()

            def gradient(offset, unit=unit, loss=loss, outputs=outputs, prepared=prepared):
                plain = Tape(Arena([], native, "float64"))
                plain.begin(len(outputs))
                return np.array(loss.evaluate(outputs + offset * unit, prepared, plain)[1]).ravel()

            numeric[k] = lab.difference(gradient)
        np.testing.assert_allclose(matrix, numeric, rtol=1e-6, atol=1e-8, err_msg=repr(loss))
        np.testing.assert_allclose(matrix, matrix.T, rtol=1e-12, atol=1e-13, err_msg=repr(loss))
        convex = np.linalg.eigvalsh(matrix)[0] >= -1e-12 * max(1.0, np.abs(matrix).max())
        assert convex or not loss.convex, loss
        assert loss.curved == bool(np.abs(matrix).max() > 0.0), loss


def jacobian(objective):
    """J [rows * outputs, count] by differences of the outputs, one parameter at a time."""
    start, columns = np.array(objective.parameters), []
    for first, last in (objective.arena.ranges[p] for p in objective.arena.parameters):
        for k in range(first, last):
            unit = np.zeros_like(start)
            unit[k] = 1.0

            def outputs(offset, unit=unit):
                objective.parameters[...] = start + offset * unit
                tape = Tape(objective.arena)
                tape.begin(objective.rows)
                return np.array(objective.chain.forward(objective.inputs, tape)).ravel()

            columns.append((8 * (outputs(1e-4) - outputs(-1e-4)) - (outputs(2e-4) - outputs(-2e-4))) / 12e-4)
    objective.parameters[...] = start
    return np.stack(columns, axis=1)


def softmax(z):
    raised = np.exp(z - z.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def block_diagonal(blocks):
    size = blocks[0].shape[0]
    out = np.zeros((size * len(blocks),) * 2)
    for k, block in enumerate(blocks):
        out[k * size : (k + 1) * size, k * size : (k + 1) * size] = block
    return out


GAUSS_NEWTON = {
    "MSE": (fs.MSE(), lambda z, n: 2.0 / n * np.eye(z.size)),
    "sum of squares": (fs.MSE("sum"), lambda z, n: 2.0 * np.eye(z.size)),
    "BinaryCrossEntropy": (
        fs.BinaryCrossEntropy(), lambda z, n: np.diag((1 / (1 + np.exp(-z)) * (1 - 1 / (1 + np.exp(-z))) / n).ravel()),
    ),
    "SoftmaxCrossEntropy": (
        fs.SoftmaxCrossEntropy(), lambda z, n: block_diagonal([(np.diag(p) - np.outer(p, p)) / n for p in softmax(z)]),
    ),
}  # fmt: skip
"""Loss, and its Hessian by the outputs from the textbook, as a matrix over all rows and outputs."""


@pytest.mark.parametrize("name", GAUSS_NEWTON)
def test_c9_gauss_newton_is_the_explicit_product_of_jacobians(name, backend, x):
    loss, hessian_of_loss = GAUSS_NEWTON[name]
    targets = np.random.default_rng(1).random((5, 3))
    targets = targets / targets.sum(axis=1, keepdims=True)
    model = fs.Sequential(fs.Linear(6, 4), fs.Tanh(), fs.LayerNorm(4), fs.Linear(4, 3))
    objective = fs.Objective(model, loss, x, targets, seed=3, backend=backend)
    j = jacobian(objective)
    outputs = np.array(model(x))
    explicit = j.T @ hessian_of_loss(outputs, len(x)) @ j
    got = np.array(objective.gauss_newton())
    np.testing.assert_allclose(got, explicit, rtol=1e-7, atol=1e-9)
    # The products themselves, before `gauss_newton` makes the matrix symmetric.
    u, v = lab_directions(objective)
    left, right = u @ objective.gauss_newton_product(v), v @ objective.gauss_newton_product(u)
    assert left == pytest.approx(right, rel=1e-11)
    assert np.linalg.eigvalsh(got)[0] >= -1e-13 * np.abs(got).max()
    assert v @ objective.gauss_newton_product(v) > 0.0


def lab_directions(objective):
    generator = np.random.default_rng(9)
    result = []
    for _ in range(2):
        direction = objective.arena.new()
        for view in objective.arena.views_of(direction).values():
            view[...] = generator.standard_normal(view.shape)
        result.append(direction)
    return result


def test_c9_gauss_newton_is_the_hessian_where_outputs_are_linear_in_the_parameters(backend, lab):
    quadratic = lab.least_squares(backend)
    objective = fs.Objective(quadratic.model, quadratic.loss, quadratic.x, quadratic.y, l2=0.7)
    np.testing.assert_allclose(objective.gauss_newton(), objective.hessian(), rtol=1e-12, atol=1e-13)
    design = np.hstack([quadratic.x, np.ones((60, 1))])
    expected = 2.0 / 60.0 * design.T @ design + np.diag([0.7] * 6 + [0.0])
    np.testing.assert_allclose(objective.hessian(), expected, rtol=1e-12, atol=1e-12)


def test_c8_the_hessian_is_symmetric_and_agrees_with_differences(backend, lab):
    problem = lab.classes(backend)
    objective = fs.Objective(problem.model, problem.loss, problem.x, problem.y, l2=0.01)
    hessian = np.array(objective.hessian())
    assert hessian.shape == (objective.count,) * 2 == (43, 43)
    numeric, column = np.empty_like(hessian), np.empty(43)
    for k in range(43):
        unit, flat = np.zeros(43), objective.arena.new()
        unit[k] = 1.0
        objective.packing.unpack(unit, flat)
        objective.packing.pack(checked_product(objective, flat, lab), column)
        numeric[k] = column
        objective.packing.pack(objective.hessian_product(flat), column)
        np.testing.assert_allclose(column, hessian[k], rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(hessian, numeric, rtol=1e-7, atol=1e-9)
    np.testing.assert_array_equal(hessian, hessian.T)


def test_c8_products_are_the_same_on_every_backend_and_in_the_base_class(lab):
    results = []
    for run in ("numpy", "numba", Backend(np)):
        problem = lab.classes(run)
        objective = fs.Objective(problem.model, problem.loss, problem.x, problem.y, backend=run)
        direction = lab.random_direction(objective)
        results.append([objective.hessian_product(direction), objective.gauss_newton_product(direction)])
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], rtol=1e-11, atol=1e-13)


def test_c8_float32_products_agree_with_float64(backend, lab):
    results = []
    for dtype in ("float32", "float64"):
        problem = lab.classes(backend, dtype=dtype)
        objective = fs.Objective(problem.model, problem.loss, problem.x, problem.y)
        direction = lab.random_direction(objective)
        assert direction.dtype == dtype
        results.append([objective.hessian_product(direction), objective.gauss_newton_product(direction)])
    np.testing.assert_allclose(results[0], results[1], rtol=2e-4, atol=2e-5)


def test_c8_a_product_changes_neither_parameters_nor_gradient(backend, lab):
    problem = lab.classes(backend)
    objective = fs.Objective(problem.model, problem.loss, problem.x, problem.y)
    before, (value, gradient) = np.array(objective.parameters), objective.gradient()
    direction = lab.random_direction(objective)
    saved = direction.copy()
    objective.hessian_product(direction)
    objective.gauss_newton_product(direction)
    np.testing.assert_array_equal(objective.parameters, before)
    np.testing.assert_array_equal(direction, saved)
    again, gradient_again = objective.gradient()
    assert again == value
    np.testing.assert_array_equal(gradient_again, gradient)
    assert (objective.passes, objective.products) == (2, 2)


def test_c8_the_objective_is_float64_unless_the_model_says_otherwise():
    assert fs.Objective(fs.mlp([2, 2]), fs.MSE(), [[1.0, 2.0]], [[0.0, 1.0]], backend="numpy").arena.dtype == "float64"
    model = fs.mlp([2, 2]).initialize(0, "numpy")
    assert fs.Objective(model, fs.MSE(), [[1.0, 2.0]], [[0.0, 1.0]]).arena.dtype == "float32"


@pytest.mark.parametrize("layer", [Dropout(0.2), GaussianNoise(0.1), fs.Residual(fs.Linear(3, 3), Dropout(0.5))])
def test_c8_random_layers_are_refused(layer):
    model = fs.Sequential(fs.Linear(2, 3), layer, fs.Linear(3, 1))
    with pytest.raises(HyperparameterError, match=r"same at each call; got a model with (Dropout|GaussianNoise)"):
        fs.Objective(model, fs.MSE(), np.ones((2, 2)), np.ones((2, 1)), backend="numpy")


def test_c8_random_layers_that_do_nothing_are_not():
    model = fs.Sequential(fs.Linear(2, 3), Dropout(0.0), GaussianNoise(0.0), fs.Linear(3, 1))
    assert fs.Objective(model, fs.MSE(), np.ones((2, 2)), np.ones((2, 1)), backend="numpy").value() > 0.0


class OwnTanh(_Elementwise, public=False):
    """A layer that computes with NumPy, behind its tape's back."""

    def forward(self, x, tape):
        y = np.tanh(x)
        tape.push(y)
        return y

    def backward(self, dy, tape, needs_input=True):
        return dy * (1.0 - tape.pop()[0] ** 2)


def test_c8_a_layer_that_leaves_its_backend_is_refused_by_the_name_of_what_it_called():
    model = fs.Sequential(fs.Linear(2, 3), OwnTanh(), fs.Linear(3, 1))
    objective = fs.Objective(model, fs.MSE(), np.ones((2, 2)), np.ones((2, 1)), backend="numpy")
    value, gradient = objective.gradient()
    assert np.isfinite(value)
    with pytest.raises(NotDifferentiable, match=r"numpy\.tanh"):
        objective.hessian_product(gradient)


def test_c8_a_hessian_that_is_too_large_says_what_it_would_take():
    model = fs.mlp([784, 128, 10])
    objective = fs.Objective(model, fs.SoftmaxCrossEntropy(), np.zeros((2, 784)), [0, 1], backend="numpy")
    with pytest.raises(TooLarge, match=r"at most 5,000 .*N = 101,770: 77\.2 GiB .*9\.5e\+15 operations.*1\.1 days") as raised:
        objective.hessian()
    assert isinstance(raised.value, MemoryError)
    with pytest.raises(TooLarge, match="Gauss-Newton"):
        objective.gauss_newton(limit=100)


def test_c8_a_direction_of_another_layout_is_refused():
    objective = fs.Objective(fs.mlp([3, 2]), fs.MSE(), np.ones((2, 3)), np.ones((2, 2)), backend="numpy")
    for wrong in (np.ones(8), np.ones((128, 1)), [1.0] * 128):
        with pytest.raises(ShapeError, match=r"\[128\] with the arena's layout"):
            objective.hessian_product(wrong)
