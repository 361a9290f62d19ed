"""Embeddings of categories: values against one-hot products, codes that are refused, and everything that a step can do."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.errors import CategoryError, HyperparameterError, ShapeError
from fusedstep.framework.engine.tape import Tape
from fusedstep.framework.layers.embedding import embedding_width

pytestmark = pytest.mark.row("G7")

CATEGORIES = {1: 30, 4: 4, 5: 1}
ROWS = 203


def data(rows=ROWS, seed=0):
    """x [rows, 6] with three columns of codes, y [rows] that depends on one of them."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((rows, 6)).astype(np.float32)
    for column, codes in CATEGORIES.items():
        x[:, column] = generator.integers(0, codes, rows)
    return x, (x[:, 1] * 7 % 3).astype(np.int64)


def step_for(backend="numba", **options):
    model = fs.mlp([6, 16, 3], categories=CATEGORIES, dropout=0.1)
    return fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.Adam(1e-2), seed=1, backend=backend, **options)


def test_the_width_of_an_embedding_follows_the_number_of_codes():
    assert [embedding_width(codes) for codes in (1, 2, 3, 10, 100, 456, 468, 100_000)] == [2, 3, 3, 6, 22, 50, 50, 50]
    model = fs.mlp([6, 16, 3], categories={4: 4, 1: 30})
    first = model.layers[0]
    assert repr(first) == "ColumnEmbeddings(inputs=6, categories=[[1, 30], [4, 4]], widths=[11, 4])"
    assert (model.inputs, model.layers[1].inputs, model.outputs) == (6, 4 + 11 + 4, 3)
    assert fs.mlp([6, 16, 3], categories={1: 30, 4: 4}, embedding_widths=[2, 3]).layers[1].inputs == 4 + 2 + 3
    assert fs.mlp([2, 3], categories={0: 30, 1: 4}, embedding_widths=5).layers[1].inputs == 10
    assert repr(fs.mlp([6, 16, 3], categories={})) == repr(fs.mlp([6, 16, 3]))


@pytest.mark.row("G7")
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_values_and_gradients_are_those_of_one_hot_products(backend):
    x, _ = data()
    layer = fs.ColumnEmbeddings(6, CATEGORIES, [3, 2, 4])
    model = fs.Sequential(layer).initialize(5, backend, "float64")
    matrices = layer.matrices(model.parameters()["0.ColumnEmbeddings.weight"])
    assert {column: matrix.shape for column, matrix in matrices.items()} == {1: (30, 3), 4: (4, 2), 5: (1, 4)}
    hot = {column: np.eye(codes)[x[:, column].astype(int)] for column, codes in CATEGORIES.items()}
    wanted = np.hstack([x[:, [0, 2, 3]], *(hot[column] @ matrix for column, matrix in matrices.items())])
    gradient = model.arena.new()
    tape = Tape(model.arena, training=True, gradients=gradient)
    tape.begin(ROWS)
    np.testing.assert_array_equal(model.forward(x.astype(float), tape), wanted)
    dy = np.random.default_rng(1).standard_normal(wanted.shape)
    dx = model.backward(dy, tape)
    np.testing.assert_array_equal(dx[:, [0, 2, 3]], dy[:, :3])
    assert not dx[:, [1, 4, 5]].any()
    edges = np.cumsum([3, 3, 2, 4])
    for (column, found), start, stop in zip(layer.matrices(gradient).items(), edges, edges[1:], strict=False):
        np.testing.assert_allclose(found, hot[column].T @ dy[:, start:stop], rtol=1e-12, atol=1e-12)


def test_rows_start_with_a_norm_of_about_one():
    layer = fs.ColumnEmbeddings(2, {0: 4000, 1: 4000}, [4, 25])
    model = fs.Sequential(layer).initialize(0, "numpy")
    for matrix in layer.matrices(model.parameters()["0.ColumnEmbeddings.weight"]).values():
        assert np.mean((matrix**2).sum(axis=1)) == pytest.approx(1.0, abs=0.03)
        assert abs(matrix.mean()) < 0.02
    plain = fs.Sequential(fs.Embedding(4000, 25)).initialize(0, "numpy").parameters()["0.Embedding.weight"]
    assert np.mean((plain**2).sum(axis=1)) == pytest.approx(1.0, abs=0.03)


def test_the_columns_of_one_embedding_share_its_matrix():
    codes = np.random.default_rng(2).integers(0, 9, (ROWS, 3))
    model = fs.Sequential(fs.Embedding(9, 2, columns=3)).initialize(0, "numba")
    weight = model.parameters()["0.Embedding.weight"]
    np.testing.assert_array_equal(model(codes), weight[codes].reshape(ROWS, 6))
    with pytest.raises(ShapeError, match="3"):
        model(codes[:, :2])


@pytest.mark.parametrize("options", [{}, {"deterministic": True}, {"micro_batch": 50}], ids=str)
def test_steps_on_numba_are_those_on_numpy(options):
    x, y = data()
    ends = []
    for step in (step_for("numpy"), step_for("numba", **options)):
        losses = [float(step(x, y)) for _ in range(20)]
        ends.append((losses, np.array(step.model.arena.values)))
    assert ends[0][0][-1] < ends[0][0][0]
    np.testing.assert_allclose(ends[1][0], ends[0][0], rtol=1e-5)
    np.testing.assert_allclose(ends[1][1], ends[0][1], rtol=1e-4, atol=1e-5)


def test_the_gradient_of_an_embedding_has_the_same_bits_with_any_number_of_threads():
    """Also without deterministic=True, because each element is added in the order of the rows."""
    x, y = data(1000)
    found = []
    for threads in (1, 2, 3, 5):
        fs.set_num_threads(threads)
        model = fs.Sequential(fs.ColumnEmbeddings(6, CATEGORIES), fs.Linear(20, 3)).initialize(0, "numba")
        step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD(0.1))
        start = np.array(model.arena.values)
        step(x, y)
        first, last = step.ranges[model.layers[0].weight]
        assert not np.array_equal(start, model.arena.values)
        found.append(np.array(step.gradient[first:last]).tobytes())
    assert len(set(found)) == 1


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_codes_are_not_rounded_to_16_bits(precision):
    pytest.importorskip("ml_dtypes", reason="needs ml_dtypes: pip install ml_dtypes")
    generator = np.random.default_rng(3)
    x = generator.integers(2900, 3000, (300, 1))
    y = x[:, 0] % 2
    model = fs.mlp([1, 2], categories={0: 3000}, embedding_widths=8)
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.Adam(0.1), seed=0, backend="numpy", precision=precision)
    assert fs.Trainer(step).fit(x, y, epochs=40, batch_size=100)["loss"][-1] < 0.1
    assert step.evaluate(x, y)["accuracy"] == 1.0


def _trained(step, x, y):
    return fs.Trainer(step).fit(x, y, epochs=1, batch_size=64)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("wrong", [-1.0, 30.0, 2.5])
def test_codes_that_have_no_row_are_refused(wrong, backend, tmp_path):
    x, y = data()
    bad = x.copy()
    bad[17, 1] = wrong
    np.save(tmp_path / "x.npy", bad)
    step = step_for(backend)
    step(x, y)
    before = np.array(step.model.arena.values)
    for call in (
        lambda: step(bad, y), lambda: step.prepare(bad, y), lambda: _trained(step, bad, y),
        lambda: step.evaluate(bad, y), lambda: step.model.predict(bad), lambda: step.model.predict_proba(bad),
    ):  # fmt: skip
        with pytest.raises(CategoryError, match=rf"0 to 29, in column 1 .*got {wrong:g} in row 18"):
            call()
        np.testing.assert_array_equal(step.model.arena.values, before)
    outputs = np.array(step.model(bad))
    assert np.isnan(outputs[17]).all()
    assert np.isfinite(np.delete(outputs, 17, axis=0)).all()
    with pytest.raises(CategoryError, match=rf"0 to 29, in column 1 .*got {wrong:g} in row 18"):
        _trained(step, np.load(tmp_path / "x.npy", mmap_mode="r"), y)


def test_nan_in_a_column_of_codes_is_missing_data():
    x, y = data()
    x[3, 4] = np.nan
    with pytest.raises(fs.NonFiniteDataError, match="row 4, column 5"):
        step_for().prepare(x, y)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fs.mlp([6, 3], categories={6: 2}), "from 0 to 5; got 6"),
        (lambda: fs.mlp([6, 3], categories={-1: 2}), "from 0 to 5; got -1"),
        (lambda: fs.mlp([6, 3], categories={0: 0}), "number of codes"),
        (lambda: fs.mlp([6, 3], categories={0: 2**24 + 1}), "16777216"),
        (lambda: fs.mlp([6, 3], categories={0: 2}, embedding_widths=[1, 2]), "one width for each of the 1"),
        (lambda: fs.mlp([6, 3], categories={0: 2}, embedding_widths=0), "a width"),
        (lambda: fs.ColumnEmbeddings(6, []), "at least one"),
        (lambda: fs.ColumnEmbeddings(6, ["ab"]), "at least one"),
        (lambda: fs.ColumnEmbeddings(6, [[0, 2], [0, 3]]), "each column of categories once"),
        (lambda: fs.ColumnEmbeddings(2, {0: 2**24, 1: 2**24}, 100), "smaller widths"),
        (lambda: fs.Embedding(2**24, 200), "smaller widths"),
        (lambda: fs.Embedding(0, 2), "categories of Embedding"),
        (lambda: fs.Sequential(fs.Linear(6, 6), fs.ColumnEmbeddings(6, {0: 2})), "first layer"),
        (lambda: fs.Sequential(fs.Flatten(), fs.Sequential(fs.Embedding(5, 2))), "first layer"),
    ],
)  # fmt: skip
def test_settings_that_are_refused(make, message):
    with pytest.raises(HyperparameterError, match=message):
        make()


def test_copies_and_pickles_and_files_predict_the_same(tmp_path):
    x, y = data()
    step = step_for()
    step(x, y)
    model = step.model
    fs.save(model, tmp_path / "model.safetensors")
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), fs.load(tmp_path / "model.safetensors", "numba")):
        np.testing.assert_array_equal(other(x), model(x))
    again = pickle.loads(pickle.dumps(step))
    assert float(again(x, y)) == float(step(x, y))


def test_the_gradient_check_leaves_codes_out():
    x, y = data(20)
    model = fs.Sequential(fs.ColumnEmbeddings(6, CATEGORIES), fs.Tanh(), fs.Linear(20, 3))
    for backend in ("numpy", "numba"):
        report = fs.gradient_check(model, fs.SoftmaxCrossEntropy(), x, y, backend=backend, samples=100)
        assert report.passed, report
        assert report.checked["input"] == 20 * 3
    report = fs.gradient_check(fs.Embedding(4, 3), None, x[:, [4]])
    assert report.passed
    assert "input" not in report.errors
    by_x, by_parameters = fs.local_jacobians(fs.ColumnEmbeddings(3, {1: 2}, 2), np.array([5.0, 1.0, 7.0]))
    np.testing.assert_array_equal(by_x, [[1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(by_parameters, [[0] * 4, [0] * 4, [0, 0, 1, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_products_with_the_hessian(backend):
    x, y = data(30)
    model = fs.Sequential(fs.ColumnEmbeddings(6, CATEGORIES), fs.Tanh(), fs.Linear(20, 3))
    objective = fs.Objective(model, fs.SoftmaxCrossEntropy(), x, y, backend=backend)
    direction = objective.gradient()[1]
    product, h = np.array(objective.hessian_product(direction)), 1e-5
    start, sides = np.array(objective.parameters), []
    for sign in (1, -1):
        objective.parameters[...] = start + sign * h * direction
        sides.append(objective.gradient()[1])
    np.testing.assert_allclose(product, (sides[0] - sides[1]) / (2 * h), rtol=1e-5, atol=1e-8)
    objective.parameters[...] = start
    assert direction @ np.array(objective.gauss_newton_product(direction)) > 0.0


def test_diagnostics_of_a_network_with_embeddings():
    x, y = data()
    step = step_for()
    statistics, path = fs.LayerStatistics(every=1), fs.ParameterPath(every=1)
    fs.Trainer(step, callbacks=[statistics, path]).fit(x, y, epochs=2, batch_size=64)
    assert "ColumnEmbeddings" in str(step.profile(x, y, repeats=2))
    assert np.isfinite(fs.loss_surface(step, None, x, y, path=path, points=3).values).all()
    moved = fs.loss_surface(step, None, x, y, points=3).point(1.0, 0.0)["0.ColumnEmbeddings.weight"]
    start = np.array(step.model.parameters()["0.ColumnEmbeddings.weight"])
    assert np.linalg.norm(moved - start) == pytest.approx(np.linalg.norm(start), rel=1e-5)
    assert step.memory(100).total > 0


def test_pruned_rows_stay_at_zero():
    x, y = data()
    step = step_for()
    step(x, y)
    found = fs.prune(step, 0.5)
    assert found["sparsity"] == pytest.approx(0.5, abs=0.01)
    assert found["sparse_bytes"] < 1.1 * found["dense_bytes"]
    weight = step.model.parameters()["0.ColumnEmbeddings.weight"]
    gone = np.array(weight) == 0.0
    for _ in range(3):
        step(x, y)
    np.testing.assert_array_equal(np.array(weight) == 0.0, gone)


@pytest.mark.row("G7")
def test_a_table_with_100_000_categories_trains():
    """The label is a function of the category alone, so only the rows of a matrix can tell it."""
    generator = np.random.default_rng(7)
    rows, codes = 40_000, 100_000
    category = generator.choice(generator.permutation(codes)[:4000], rows)
    x = np.stack([generator.standard_normal(rows), category, generator.standard_normal(rows)], axis=1)
    y = generator.integers(0, 2, codes)[category]
    model = fs.mlp([3, 32, 2], categories={1: codes}, embedding_widths=16)
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.Adam(1e-2), seed=0, backend="numba")
    matrix = model.layers[0].matrices(model.parameters()["0.ColumnEmbeddings.weight"])[1]
    start = np.array(matrix)
    fs.Trainer(step).fit(x[:36_000], y[:36_000], epochs=3, batch_size=2048)
    assert step.evaluate(x[36_000:], y[36_000:])["accuracy"] > 0.95
    touched = np.zeros(codes, bool)
    touched[category[:36_000]] = True
    np.testing.assert_array_equal(matrix[~touched], start[~touched])
    assert (matrix[touched] != start[touched]).any(axis=1).all()
