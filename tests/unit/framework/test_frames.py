"""Data frames as x: their columns are found by name, columns of any numbers are taken, others refused by name."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import errors

pandas = pytest.importorskip("pandas", reason="frames of pandas")
polars = pytest.importorskip("polars", reason="frames of Polars")
arrow = pytest.importorskip("pyarrow", reason="tables of PyArrow")

NAMES = ["a", "b", "c"]
X = np.random.default_rng(0).standard_normal((40, 3)).astype("f4") * np.array([1, 10, 100], "f4")
Y = (X[:, :1] - X[:, 1:2] / 10).astype("f4")
KINDS = {
    "pandas": lambda columns: pandas.DataFrame(columns),
    "Polars": lambda columns: polars.DataFrame(columns),
    "PyArrow": lambda columns: arrow.table(columns),
}


@pytest.fixture(params=KINDS)
def frame_of(request):
    return KINDS[request.param]


def columns(order=NAMES, x=X):
    return {name: x[:, NAMES.index(name)] for name in order}


def a_step(**settings):
    return fs.TrainStep(fs.mlp([3, 4, 1]), fs.MSE(), fs.Adam(1e-2), seed=0, backend="numpy", **settings)


def same(first, second):
    np.testing.assert_array_equal(first.model(X), second.model(X))


@pytest.mark.row("G6")
def test_t14_columns_in_another_order_are_found_by_name(frame_of):
    ordered, mixed = frame_of(columns()), frame_of(columns("cab"))
    frames, arrays = a_step(), a_step()
    fs.Trainer(frames).fit(ordered, Y, validation=(mixed, Y), epochs=2, batch_size=16)
    fs.Trainer(arrays).fit(X, Y, validation=(X, Y), epochs=2, batch_size=16)
    same(frames, arrays)
    assert frames.model.feature_names == ("a", "b", "c")
    assert arrays.model.feature_names is None
    for given in (ordered, mixed, X, frame_of({**columns("bca"), "more": np.zeros(40)})):
        np.testing.assert_array_equal(frames.model.predict(given), arrays.model.predict(X))
        assert frames.evaluate(given, Y) == arrays.evaluate(X, Y)
    fs.Trainer(frames).fit(mixed, Y, epochs=1, batch_size=16, data="stream")
    fs.Trainer(arrays).fit(X, Y, epochs=1, batch_size=16, data="stream")
    same(frames, arrays)


@pytest.mark.parametrize("settings", [{}, {"micro_batch": 7}])
def test_t14_steps_find_columns_by_name(frame_of, settings):
    frames, arrays = a_step(**settings), a_step(**settings)
    for order in (NAMES, "bca", "cab"):
        frames(frame_of(columns(order)), Y)
        arrays(X, Y)
    same(frames, arrays)


def test_t14_a_frame_that_lacks_a_column_is_refused(frame_of):
    step = a_step()
    step(frame_of(columns()), Y)
    before = copy.deepcopy(step.model.parameters())
    for call in (step.model, step.model.predict, lambda x: step(x, Y), lambda x: fs.Trainer(step).fit(x, Y, epochs=1)):
        with pytest.raises(errors.UnknownColumn, match="found none called 'b', 'c' among a, e, d"):
            call(frame_of({"a": X[:, 0], "e": X[:, 1], "d": X[:, 2]}))
    for name, values in step.model.parameters().items():
        np.testing.assert_array_equal(values, before[name])
    step.model.feature_names = None
    step.model(frame_of({"a": X[:, 0], "e": X[:, 1], "d": X[:, 2]}))


def test_columns_that_are_only_numbered_are_taken_as_they_come():
    step = a_step()
    step(pandas.DataFrame(X), Y)
    assert step.model.feature_names is None
    np.testing.assert_array_equal(step.model(pandas.DataFrame(X)), step.model(X))


def test_t14_ensembles_and_minimisation_find_columns_by_name(frame_of, tmp_path):
    ensemble, arrays = (
        fs.Bagging(lambda d: fs.mlp([d, 3, 1]), fs.MSE(), members=2, features=0.7, backend="numpy", n_jobs=1) for _ in range(2)
    )
    ensemble.fit(frame_of(columns()), Y, epochs=1)
    arrays.fit(X, Y, epochs=1)
    ensemble.save(tmp_path / "e.safetensors")
    for one in (ensemble, fs.Bagging.load(tmp_path / "e.safetensors", "numpy")):
        np.testing.assert_array_equal(one.predict(frame_of(columns("cba"))), arrays.predict(X))
        with pytest.raises(errors.UnknownColumn, match="'b'"):
            one.predict(frame_of({"a": X[:, 0], "c": X[:, 1]}))
    model = fs.mlp([3, 1])
    fs.minimize(model, fs.MSE(), frame_of(columns()), Y, fs.BFGS(), 2, backend="numpy")
    np.testing.assert_array_equal(model(frame_of(columns("cba"))), model(X.astype("f8")))


@pytest.mark.row("G6")
@pytest.mark.parametrize(
    "frame",
    [
        pandas.DataFrame({"a": [1.5, 2], "b": [True, False], "c": [1, 0]}),
        pandas.DataFrame({"a": [1.5, 2], "b": [1, 0], "c": [1, 0]}).astype({"b": "Int64", "c": "boolean"}),
        pandas.DataFrame({"a": [1.5, 2], "b": [1, 0], "c": [1, 0]}).astype({"a": "double[pyarrow]", "b": "bool[pyarrow]"}),
        polars.DataFrame({"a": [1.5, 2], "b": [True, False], "c": [1, 0]}),
        arrow.table({"a": [1.5, 2], "b": [True, False], "c": [1, 0]}),
    ],
)
def test_t15_nullable_arrow_and_boolean_columns_are_numbers(frame):
    np.testing.assert_array_equal(fs.asarray(frame, backend="numpy"), [[1.5, 1, 1], [2, 0, 0]])
    step = a_step()
    step(frame, np.zeros((2, 1), "f4"))
    assert step.model.predict(frame).shape == (2, 1)


@pytest.mark.parametrize(
    "column", [["x", "1"], pandas.Categorical(["u", "v"]), pandas.to_datetime(["2020-01-01", "2021-01-01"]), [None, "a"]]
)
@pytest.mark.parametrize("others", [{"a": [1.0, 2.0]}, {}])
def test_text_and_dates_are_refused_and_the_encoder_is_named(column, others):
    frame = pandas.DataFrame({**others, "town": column})
    step = a_step()
    dates = hasattr(column, "year")
    for call in (lambda: step(frame, [[0.0], [1.0]]), lambda: fs.Trainer(step).fit(frame, [[0.0], [1.0]], epochs=1)):
        with pytest.raises(errors.DtypeError, match=r"turn dates into numbers" if dates and not others else "TableEncoder"):
            call()
