"""Embeddings of numbers: bins from data, settings that are refused, and steps, files and second derivatives with them.

Their values and gradients are compared with PyTorch in tests/peers.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.errors import HyperparameterError, NonFiniteDataError, ShapeError

pytestmark = pytest.mark.row("G14")

rng = np.random.default_rng(0)
X = rng.standard_normal((203, 5)).astype(np.float32)
X[:, 3] = rng.integers(0, 20, 203)
Y = (np.sin(9.0 * X[:, 0]) > 0).astype(np.int64)
BINS = [[-1.0, 0.0, 2.0], [0.5, 1.5]]


def network(periodic=True):
    """Codes first, then two of the numbers that stand in front."""
    numbers = (
        fs.PeriodicEmbedding(9, 4, 8, 0.5, columns=[0, 2]) if periodic else fs.PiecewiseLinearEmbedding(9, BINS, 4, [0, 2])
    )
    hidden = fs.Dropout(0.1), fs.Linear(15, 16), fs.Tanh(), fs.Linear(16, 2)
    return fs.Sequential(fs.ColumnEmbeddings(5, {3: 20}, 5), numbers, *hidden)


def test_bins_are_quantiles_and_equal_ones_count_once():
    x = np.array([[0.0, 1.0, 7.0], [1.0, 1.0, 7.0], [2.0, 1.0, 7.0], [3.0, 5.0, 7.0], [4.0, 5.0, 7.0]])
    layer = fs.PiecewiseLinearEmbedding.from_data(x, bins=4, width=2)
    assert layer.bins == [[0.0, 1.0, 2.0, 3.0, 4.0], [1.0, 5.0], [7.0, 8.0]]
    model = fs.Sequential(layer).initialize(0, "numpy", "float64")
    assert model.parameters()["0.PiecewiseLinearEmbedding.weight"].shape == (3 * 4, 2)
    chosen = fs.PiecewiseLinearEmbedding.from_data(x, bins=2, columns=[2, 0])
    assert (chosen.bins, chosen.columns, chosen.output_width(3)) == ([[7.0, 8.0], [0.0, 2.0, 4.0]], (2, 0), 1 + 2 * 8)


def test_features_of_numbers_between_and_beyond_the_edges():
    layer = fs.PiecewiseLinearEmbedding(1, [[0.0, 1.0, 3.0]], 2)
    model = fs.Sequential(layer).initialize(0, "numba", "float64")
    model.load_parameters({
        "0.PiecewiseLinearEmbedding.weight": np.eye(2), "0.PiecewiseLinearEmbedding.bias": np.array([10.0, 10.0])
    })  # fmt: skip
    x = np.array([[-2.0], [0.0], [0.5], [1.0], [2.0], [3.0], [7.0]])
    wanted = [[-2, 0], [0, 0], [0.5, 0], [1, 0], [1, 0.5], [1, 1], [1, 3]]
    np.testing.assert_allclose(np.array(model(x)) - 10.0, wanted, atol=1e-14)


def test_columns_that_are_not_embedded_are_copied_to_the_front():
    model = fs.Sequential(fs.PeriodicEmbedding(5, 3, columns=[4, 1])).initialize(0, "numba")
    y = np.array(model(X))
    assert y.shape == (203, 3 + 2 * 3)
    np.testing.assert_array_equal(y[:, :3], X[:, [0, 2, 3]])


@pytest.mark.row("G14")
@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("options", [{}, {"deterministic": True}, {"micro_batch": 50}], ids=str)
def test_steps_on_numba_are_those_on_numpy(options, periodic):
    ends = []
    for backend, given in (("numpy", {}), ("numba", options)):
        step = fs.TrainStep(network(periodic), fs.SoftmaxCrossEntropy(), fs.Adam(1e-2), seed=1, backend=backend, **given)
        losses = [float(step(X, Y)) for _ in range(15)]
        ends.append((losses, np.array(step.model.arena.values), np.array(step.model(X))))
    assert ends[0][0][-1] < ends[0][0][0]
    for one, other in zip(*ends, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("periodic", [True, False])
def test_steps_in_16_bits_learn(precision, periodic):
    pytest.importorskip("ml_dtypes", reason="needs ml_dtypes: pip install ml_dtypes")
    step = fs.TrainStep(
        network(periodic), fs.SoftmaxCrossEntropy(), fs.Adam(1e-2), seed=1, backend="numpy", precision=precision
    )
    losses = [float(step(X, Y)) for _ in range(30)]
    assert losses[-1] < 0.95 * losses[0]


def test_a_fast_function_of_a_number_is_learned():
    """The sign of sin(9 x): a network on x alone does not get there in as many steps."""
    generator = np.random.default_rng(5)
    x = generator.uniform(-2.0, 2.0, (3000, 1)).astype(np.float32)
    y = (np.sin(9.0 * x[:, 0]) > 0).astype(int)
    found = {}
    for name, first in (
        ("plain", []), ("periodic", [fs.PeriodicEmbedding(1, deviation=1.0)]),
        ("piecewise", [fs.PiecewiseLinearEmbedding.from_data(x, bins=40)]),
    ):  # fmt: skip
        model = fs.Sequential(*first, fs.Linear(8 if first else 1, 32), fs.ReLU(), fs.Linear(32, 2))
        step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.Adam(1e-2), seed=0, backend="numba")
        fs.Trainer(step).fit(x, y, epochs=15, batch_size=100)
        found[name] = step.evaluate(x, y)["accuracy"]
    assert found["plain"] < 0.8 < 0.9 < min(found["periodic"], found["piecewise"]), found


@pytest.mark.parametrize("periodic", [True, False])
def test_products_with_the_hessian(periodic):
    layers = [layer for layer in network(periodic).layers if not isinstance(layer, fs.Dropout)]
    objective = fs.Objective(fs.Sequential(*layers), fs.SoftmaxCrossEntropy(), X[:40], Y[:40], backend="numpy")
    direction, h = objective.gradient()[1], 1e-6
    product = np.array(objective.hessian_product(direction))
    start, sides = np.array(objective.parameters), []
    for sign in (1, -1):
        objective.parameters[...] = start + sign * h * direction
        sides.append(objective.gradient()[1])
    objective.parameters[...] = start
    np.testing.assert_allclose(product, (sides[0] - sides[1]) / (2 * h), rtol=1e-4, atol=1e-7)
    assert direction @ np.array(objective.gauss_newton_product(direction)) > 0.0


def test_copies_and_files_predict_the_same(tmp_path):
    for periodic in (True, False):
        model = network(periodic).initialize(3, "numba")
        fs.save(model, tmp_path / "model.safetensors")
        for other in (copy.deepcopy(model), fs.load(tmp_path / "model.safetensors", "numba")):
            np.testing.assert_array_equal(other(X), model(X))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: fs.PeriodicEmbedding(3, columns=[3]), HyperparameterError, "from 0 to 2; got 3"),
        (lambda: fs.PeriodicEmbedding(3, columns=[]), HyperparameterError, "at least one column"),
        (lambda: fs.PeriodicEmbedding(3, columns=[1, 1]), HyperparameterError, "each once"),
        (lambda: fs.PeriodicEmbedding(3, frequencies=0), HyperparameterError, "frequencies"),
        (lambda: fs.PeriodicEmbedding(3, deviation=0.0), HyperparameterError, "deviation"),
        (lambda: fs.PiecewiseLinearEmbedding(2, [[0, 1]]), HyperparameterError, "each of the 2 embedded columns; got 1"),
        (lambda: fs.PiecewiseLinearEmbedding(1, [[0]]), HyperparameterError, "at least two edges"),
        (lambda: fs.PiecewiseLinearEmbedding(1, [[0, 1, 1]]), HyperparameterError, "ascending"),
        (lambda: fs.PiecewiseLinearEmbedding(1, [[0, np.nan]]), HyperparameterError, "an edge"),
        (lambda: fs.PiecewiseLinearEmbedding.from_data([1.0, 2.0]), ShapeError, "rows, columns"),
        (lambda: fs.PiecewiseLinearEmbedding.from_data([[1.0], [np.inf]]), NonFiniteDataError, "column 0"),
        (lambda: fs.Sequential(fs.PeriodicEmbedding(3, 2), fs.Linear(5, 1)), ShapeError, "got 6"),
    ],
)  # fmt: skip
def test_what_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
